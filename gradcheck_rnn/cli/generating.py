"""The command `generate`: one module, or the files of a kernel in C."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gradcheck_rnn.cli import printing
from gradcheck_rnn.cli.codes import PASS
from gradcheck_rnn.errors import UsageError

__all__ = ["generate"]


def generate(
    cell: str, backend: Literal["numpy", "cupy", "c"], *, loss: str | None, output: Path | None,
    python: bool, vectors: bool,
) -> int:  # fmt: skip
    """Write the kernel of a cell.

    Raises
    ------
    UsageError
        ``--python`` or ``--vectors`` for another backend than C; C without a folder.
    """
    from gradcheck_rnn import api

    if backend != "c":
        for given, option in ((python, "--python"), (vectors, "--vectors")):
            if given:
                raise UsageError(f"{option} goes with --backend c only")
        return printing.emit(api.generate(cell, backend, loss=loss), output)
    if output is None:
        raise UsageError("--backend c writes several files: give a folder with -o")
    for path in api.write_c(cell, output, loss=loss, python=python, vectors=vectors):
        printing.console(stderr=True).print(f"wrote {path}", markup=False, soft_wrap=True)
    return PASS
