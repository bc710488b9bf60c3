"""Small pieces of HTML for notebooks; they take the colours of the page they are shown in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["COLOURS", "block", "details", "paragraph", "table"]

#: Of verdicts, readable on white and on dark pages.
COLOURS = {"pass": "#2a8a3e", "fail": "#d0342c", "undecided": "#b8860b"}


def paragraph(text: str, *, colour: str = "", bold: bool = False) -> str:
    """A line of text."""
    style = f"color:{colour};" if colour else ""
    style += "font-weight:bold;" if bold else ""
    return f'<p style="margin:.3em 0;{style}">{escape(text)}</p>'


def block(text: str) -> str:
    """Text as it stands, in a fixed width; it scrolls where it is too wide."""
    style = "margin:.3em 0;overflow-x:auto;line-height:1.35"
    return f'<pre style="{style}">{escape(text)}</pre>'


def details(summary: str, inside: str) -> str:
    """HTML that is folded away behind a line of text."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of text under a head; a cell that is a verdict is coloured."""
    cells = "".join(f'<th style="text-align:left">{escape(h)}</th>' for h in head)
    lines = [f"<tr>{cells}</tr>"]
    for row in rows:
        inside = ""
        for text in row:
            style = "text-align:left;white-space:nowrap"
            if text in COLOURS:
                style += f";font-weight:bold;color:{COLOURS[text]}"
            inside += f'<td style="{style}">{escape(text)}</td>'
        lines.append(f"<tr>{inside}</tr>")
    return f'<div style="overflow-x:auto"><table>{"".join(lines)}</table></div>'
