"""What the commands print: texts as they are, tables through rich, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.checks import shown
from gradcheck_rnn.cli import output
from gradcheck_rnn.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

# A pipe has no width; rich would take 80 columns and fold what a reader could have whole.
PIPE_WIDTH = 120
#: Names of what is stdout for whoever calls: while a command runs, file descriptor 1 is another.
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
#: A size from 1 on, in ASCII digits.
_WHOLE = re.compile(r"0*[1-9][0-9]{0,29}")

__all__ = [
    "console",
    "emit",
    "emit_json",
    "flat",
    "read_sizes",
    "show_cell",
    "show_layouts",
    "show_zoo",
]


def console(*, stderr: bool = False) -> Console:
    """A rich console; rich itself drops colour for NO_COLOR, pipes and dumb terminals."""
    from rich.console import Console

    class Strict(Console):
        def on_broken_pipe(self) -> None:
            raise  # Rich would leave the process; what becomes of the error is `main`'s to say

    made = Strict(file=sys.stderr if stderr else output.stream(), highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PIPE_WIDTH
    return made


def emit(text: str, path: Path | None) -> int:
    """Write a text to `path` whole, or to the terminal as it is (no wrapping, no colour)."""
    if path is None or str(path) in STDOUT:
        output.stream().write(text)
        return 0
    from gradcheck_rnn.files import write_text

    write_text(path, text)
    return 0


def read_sizes(texts: Sequence[str]) -> dict[str, int]:
    """``p=64`` of the command line, each as name and number.

    Raises
    ------
    UsageError
        One is not of this form.
    """
    sizes: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if not equals or not name.isidentifier() or not _WHOLE.fullmatch(number):
            raise UsageError(f"--size {shown(text)} is not of the form p=64")
        if name in sizes:
            raise UsageError(f"--size gives {name} twice")
        sizes[name] = int(number)
    return sizes


def flat(name: str) -> str:
    """A name that somebody chose, with line breaks and other control characters escaped.

    A line of a log that begins with ``::`` is a command to GitHub.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def emit_json(value: Any) -> None:
    """Print a value as JSON."""
    output.stream().write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def show_zoo(as_json: bool) -> int:
    """Print the catalogue of the zoo."""
    from gradcheck_rnn import api

    rows = api.catalogue()
    if as_json:
        emit_json(rows)
        return 0
    families = {row["family"]: [r for r in rows if r["family"] == row["family"]] for row in rows}
    width = max(len(row["name"]) for row in rows)
    for family, members in families.items():
        _show_rows("what, and which equations", "source", members, family, width)
    return 0


def _show_rows(
    heading: str,
    second: str,
    rows: Sequence[Mapping[str, str]],
    title: str | None = None,
    width: int | None = None,
) -> None:
    """A name a row; beside it what it is, and under that `second`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.title_style = "bold"
    table.add_column("name", no_wrap=True, style="bold", min_width=width)
    table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row["name"], Text.assemble(row["what"], "\n", (row[second], "dim")))
    console().print(table)


def show_cell(target: str, as_json: bool) -> int:
    """Print one cell: its equations, and the arrays that code with it takes and returns."""
    from gradcheck_rnn import api

    shown = api.describe_cell(target)
    if as_json:
        emit_json(shown)
        return 0
    lines = [shown["text"], "Arrays", "------"]
    for key in ("parameters", "inputs", "outputs"):
        arrays = [f"{n} ({', '.join(dims)})" for n, dims in shown[key].items()]
        lines.append(f"{key}: {', '.join(arrays) or 'none'}")
    if any("T" in dims for key in ("inputs", "outputs") for dims in shown[key].values()):
        lines.append("T steps, B sequences.")
    fitting = [row["name"] for row in api.layouts() if row["cell"] == target]
    if fitting:
        lines.append(f"ready layouts: {', '.join(fitting)} (`gradcheck-rnn layouts NAME`)")
    return emit("\n".join(lines) + "\n", None)


def show_layouts(name: str | None, as_json: bool, definition: str | None = None) -> int:
    """Print the ready layouts, or the text of one, of a definition where it is of any."""
    from gradcheck_rnn import api

    if name is not None:
        text = api.layout_source(name, definition)
        if as_json:
            emit_json({"name": name, "python": text})
            return 0
        return emit(text, None)
    from gradcheck_rnn.verify.harness.ready import COMMON

    rows = api.layouts()
    if as_json:
        emit_json(rows)
        return 0
    told = [{**row, "cell": f"definition: {row['cell']}"} for row in rows]
    _show_rows("what, and the cell of the zoo that it is a layout of", "cell", told)
    console().print(f"every layout, too: {COMMON}")
    return 0
