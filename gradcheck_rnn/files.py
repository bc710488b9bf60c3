"""Write a file whole or not at all.

A derivation or a kernel that is half-written looks like one that is finished, so nothing is ever
written in place: the text goes to a temporary name in the same folder and is renamed at the end.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from gradcheck_rnn.errors import UsageError

__all__ = ["check_writable", "write_bytes", "write_text"]


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text`, as UTF-8 with its line ends unchanged; see `write_bytes`."""
    return write_bytes(path, text.encode("utf-8"))


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Say before any work that a file cannot be written there.

    Parameters
    ----------
    path : str or os.PathLike
        Where a file is to be written; a symbolic link is followed.

    Returns
    -------
    pathlib.Path
        The file that will be made or replaced.

    Raises
    ------
    UsageError
        It is a folder, its folder is missing or write-protected, its name cannot be one.
    """
    asked = Path(path)
    if "\0" in str(asked):
        raise UsageError("cannot write there: a path has no null character")
    try:
        target = Path(os.path.realpath(asked))  # from the current folder, which may be gone
        if target.is_symlink():  # what is left of a link that was followed to its end
            raise UsageError(f"cannot write {asked}: it is a link that leads to itself")
        if target.is_dir():
            raise UsageError(f"cannot write {asked}: it is a folder; give a file name")
        if not target.parent.is_dir():
            raise UsageError(
                f"cannot write {asked}: there is no folder {target.parent}; make it first"
            )
        if target.exists() and not os.access(target, os.W_OK):
            raise UsageError(f"cannot write {asked}: the file is write-protected")
        if not target.exists() and not os.access(target.parent, os.W_OK):
            raise UsageError(f"cannot write {asked}: the folder is write-protected")
    except OSError as error:
        raise UsageError(f"cannot write {asked}: {error.strerror or error}") from None
    return target


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to `path` in one step; an existing file is replaced or left as it was.

    Parameters
    ----------
    path : str or os.PathLike
        Where to write. The folder must exist; a symbolic link is followed.
    content : bytes
        All of it.

    Returns
    -------
    pathlib.Path
        `path` as given.

    Raises
    ------
    UsageError
        As `check_writable`, and when the system refuses to write.
    """
    asked, target = Path(path), check_writable(path)
    if target.exists() and not target.is_file():
        # A device or a pipe (/dev/stdout) has no content to protect and must not be renamed over.
        return _write_through(asked, content)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(f"cannot write {asked}: {error.strerror or error}") from error
    finally:
        # Gone after a successful rename; anything left is ours and half-written.
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return asked


def _write_through(path: Path, content: bytes) -> Path:
    try:
        with path.open("wb") as stream:
            stream.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _mode(target: Path) -> int:
    """Permissions of the file replaced, or those a new file would get (mkstemp gives 0600)."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
