"""Notebooks: their cells, read from the file itself, and their code run in one namespace.

A cell is a file of its own for Python, ``notes.ipynb:cell 3``, so that errors have a cell and line.
"""

from __future__ import annotations

import json
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.reading import read_text

__all__ = ["NOTEBOOK", "CodeCell", "cells_of", "file_of", "run_cells"]

NOTEBOOK = ".ipynb"
#: A line for IPython alone: a magic or a command of the shell.
_MAGIC = re.compile(r"^(\s*)(?:%(?!%)|!|\?)|^\s*[\w.]+\?{1,2}\s*$")
_PLACE = re.compile(rf"^(.*{re.escape(NOTEBOOK)}):cell \d+$", re.S)


@dataclass(frozen=True)
class CodeCell:
    """A cell: its number in the notebook from 1 on, its kind (code, markdown, raw), its text."""

    number: int
    kind: str
    text: str


def cells_of(path: str | Path) -> Iterator[CodeCell]:
    """The cells of a notebook (format 4), in order.

    Raises
    ------
    UsageError
        The file cannot be read or is no notebook.
    """
    text = read_text(Path(path), "notebook")
    try:
        made: Any = json.loads(text)
        found = made["cells"]
        for number, cell in enumerate(found, start=1):
            source = cell["source"]
            lines = source if isinstance(source, str) else "".join(source)
            yield CodeCell(number, str(cell["cell_type"]), lines)
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise UsageError(
            f"{path} is no notebook of format 4 ({type(problem).__name__}); save it again with "
            "Jupyter"
        ) from None


def file_of(place: str) -> str:
    """The notebook of ``notes.ipynb:cell 3``; other names as they are."""
    match = _PLACE.match(place)
    return match[1] if match else place


def run_cells(path: str, resolved: str, namespace: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Run the code cells in turn; before each, the name its code has, and the name to show.

    Magics and commands of the shell are left out, as are cells that begin with ``%%``.

    Parameters
    ----------
    path, resolved : str
        The notebook as the user names it, and where it lies.
    namespace : dict
        Of the module that the cells make.
    """
    for cell in cells_of(path):
        if cell.kind != "code" or cell.text.lstrip().startswith("%%"):
            continue
        lines = [_MAGIC.sub(r"\1pass  # ", x, count=1) for x in cell.text.splitlines()]
        text = "\n".join(lines) + "\n"
        name, shown = f"{resolved}:cell {cell.number}", f"{path}:cell {cell.number}"
        yield name, shown
        # so that tracebacks and inspect show its lines
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), namespace)
