"""The command `report`: a derivation as a chapter to read, in HTML or PDF."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gradcheck_rnn.cli.codes import PASS
from gradcheck_rnn.cli.printing import console

__all__ = ["report", "stages"]


def report(
    cell: str,
    paths: Sequence[Path],
    *,
    notation: Path | None,
    loss: str | None,
    slides: bool = False,
) -> int:
    """Write the report of a cell to every path and say where it is.

    Raises
    ------
    UsageError
        A path that cannot be written, another suffix, missing packages; before any work.
    """
    from gradcheck_rnn import api

    with stages(cell) as tell:
        made = api.report(cell, *paths, notation=notation, loss=loss, slides=slides, progress=tell)
    for path in made:
        console(stderr=True).print(f"wrote {path}", markup=False, soft_wrap=True)
    return PASS


@contextlib.contextmanager
def stages(name: str) -> Iterator[Callable[[str], None]]:
    """A line on the terminal that names the stage at work; nothing in a pipe."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield lambda stage: None
        return
    with err.status(name) as line:
        yield lambda stage: line.update(f"{name}: {stage}")
