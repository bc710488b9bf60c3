"""A kernel in C as files in a folder, with test vectors beside it if they are wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gradcheck_rnn.checks import check_flag, check_path
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.files import check_writable, write_bytes

from .definitions import derive, origin_of
from .exchange import vectors as make_vectors

if TYPE_CHECKING:
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network

__all__ = ["write_c"]


def write_c(
    target: str | os.PathLike[str] | Cell | Network,
    folder: str | os.PathLike[str],
    *,
    loss: str | None = None,
    python: bool = False,
    vectors: bool = False,
) -> list[Path]:
    """Write a kernel in C99: a source file and a header, all of them or none.

    Parameters
    ----------
    target, loss
        As in `load`.
    folder : str or os.PathLike
        Where to; it is made if its own folder is there.
    python : bool
        Add a module for NumPy arrays that compiles the C file on first use.
    vectors : bool
        Add test vectors (``NAME_vectors.json``, see docs/vectors.md).

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    UnsupportedOperation
        The definition has an operation for which C has no text; nothing is written.
    UsageError
        The files cannot be written there.
    """
    from gradcheck_rnn.codegen.backends.c import print_files

    check_flag(python, "python")
    check_flag(vectors, "vectors")
    where = check_path(folder, "folder")
    if os.path.exists(where) and not os.path.isdir(where):
        raise UsageError(f"{where} is no folder; a kernel in C is several files")
    check_writable(where / "kernel.c" if os.path.isdir(where) else where)
    texts = print_files(derive(target, loss=loss), origin_of(target), python)
    files = {name: text.encode() for name, text in texts.items()}
    if vectors:
        from gradcheck_rnn.verify.vectorfiles import dump

        stem = next(iter(files)).removesuffix(".c")
        files[f"{stem}_vectors.json"] = dump(make_vectors(target, loss=loss), ".json")
    where.mkdir(exist_ok=True)
    for name in files:
        check_writable(where / name)
    return [write_bytes(where / name, content) for name, content in files.items()]
