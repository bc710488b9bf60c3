"""Files that users name, read whole: plain files only, and only as large as makes sense."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.memory_limits import check_memory, readable

__all__ = ["check_file", "read_bytes", "read_text"]


def check_file(path: Path, what: str, most: int | None = None, *, empty: bool = False) -> int:
    """The size of a file in bytes, before anything of it is read.

    A device or a pipe has no end, or nobody who writes to it; it is refused like a folder.

    Parameters
    ----------
    path : Path
        The file; a symbolic link is followed.
    what : str
        What it is to be: ``"notation file"``.
    most : int, optional
        Bytes that such a file may have.
    empty : bool
        Whether it may have none.

    Raises
    ------
    UsageError
        There is no such file, it is no plain file, it is empty, or larger than `most`.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise UsageError(f"there is no {what} {path}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the {what} {path}: {reason}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise UsageError(f"cannot read the {what} {path}: it is {kind}, not a plain file")
    if not found.st_size and not empty:
        raise UsageError(f"cannot read the {what} {path}: it is empty")
    if most is not None and found.st_size > most:
        raise UsageError(
            f"cannot read the {what} {path}: it has {readable(found.st_size)}, at most "
            f"{readable(most)} make sense"
        )
    return found.st_size


def read_bytes(path: Path, what: str, most: int | None = None, factor: int = 2) -> bytes:
    """The content of a file; see `check_file`.

    Parameters
    ----------
    factor : int
        Bytes of memory that a byte of the file needs once it is understood.
    """
    size = check_file(path, what, most, empty=True)
    check_memory(factor * size, f"the {what} {path}", "give a smaller file")
    try:
        # What the system makes as it is read (/proc) may have no end, or wait for it.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as stream:
            content = stream.read(size + 1) or b""  # None: there is nothing now
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror or error}") from None
    if len(content) > size:
        raise UsageError(f"cannot read the {what} {path}: it grows while it is read")
    return content


def read_text(path: Path, what: str, most: int | None = None, factor: int = 8) -> str:
    """The content of a UTF-8 text; see `read_bytes`."""
    try:
        return read_bytes(path, what, most, factor).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"cannot read the {what} {path}: it is not UTF-8 text (byte {error.start})"
        ) from None
