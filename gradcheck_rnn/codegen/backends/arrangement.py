"""Rows put among other rows as assignments, the same in NumPy and in CuPy."""

from __future__ import annotations

from collections.abc import Callable

from ...language.dims import ONE, Dim
from ..schedule.ops import Access, Arrange, Lead
from .expressions import dim_text

__all__ = ["arrangement"]


def arrangement(
    s: Arrange, access: Callable[[Access], str], lead: Callable[[Access], Lead]
) -> list[str]:
    """Lines that fill dest.

    Parameters
    ----------
    access : callable
        Place → text.
    lead : callable
        Place → the leading axes that it has where the text stands.
    """

    def rows(a: Access, width: Dim, first: Dim, count: Dim) -> str:
        axes = [d for d in (s.groups,) if d != ONE]
        inner = [width, *(d for d in (s.columns,) if d != ONE)]
        text = access(a)
        if len(axes) + len(inner) > 1:
            text += f".reshape({', '.join([*lead(a), *map(dim_text, (*axes, *inner))])})"
        end = ", :" if s.columns != ONE else ""
        start = "" if first == Dim() else dim_text(first)
        stop = "" if first + count == width else dim_text(first + count)
        return f"{text}[..., {start}:{stop}{end}]"

    whole = access(s.dest)
    out = [] if s.covers else [f"{whole if whole.endswith(']') else whole + '[...]'} = 0"]
    for part, (width, first, place, count) in zip(s.parts, s.moves, strict=True):
        to = rows(s.dest, s.width, place, count)
        out.append(f"{to} = {rows(part, width, first, count)}")
    return out
