"""Arrays of an npz by name, with every size compared before anything is allocated or unpacked.

An archive may come from anybody: nothing is unpickled, and neither a header nor the archive's
directory is believed. A header's shape must fill its member exactly, and all members together must
fit into memory.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.memory_limits import check_memory
from gradcheck_rnn.reading import check_file

__all__ = ["Header", "read_npz"]

#: Shape and number format that a member's header declares.
Header = tuple[tuple[int, ...], np.dtype[Any]]
_DAMAGED = (
    ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError,
    NotImplementedError, TypeError, SyntaxError, OverflowError, IndexError, MemoryError,
    tokenize.TokenError,
)  # fmt: skip
_MOST_DIMS = 32


def read_npz(
    path: Path, what: str, check: Callable[[str, Header], None] = lambda name, header: None
) -> dict[str, NDArray[Any]]:
    """All arrays of an archive.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is to be: ``"weight file"``.
    check : callable, optional
        Called with the name and the header of every member before the first one is read; it raises
        for what is not wanted.

    Raises
    ------
    UsageError
        It is no npz, is damaged, holds objects, or declares more than there is.
    """
    check_file(path, what)
    with _damage(path, what):
        if not zipfile.is_zipfile(path):
            raise ValueError(_no_archive(path))
        with zipfile.ZipFile(path) as archive:
            headers: dict[str, Header] = {}
            members = [i for i in archive.infolist() if i.filename.endswith(".npy")]
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in headers:
                    raise ValueError(f"it holds {name!r} twice")
                headers[name] = _header(archive, member)
            total = sum(math.prod(s) * d.itemsize for s, d in headers.values())
            check_memory(3 * total, f"the {what} {path}", "give a smaller file")
            for name, header in headers.items():
                check(name, header)
            return {n: _array(archive, m) for n, m in zip(headers, members, strict=True)}


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except _DAMAGED as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UsageError(f"cannot read the {what} {path}: {reason}") from None


def _no_archive(path: Path) -> str:
    with path.open("rb") as stream:
        single = stream.read(6) == b"\x93NUMPY"
    return "it is a single array, an npz names its arrays" if single else "it is no npz file"


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    """Read a member's header and compare it with the member's size."""
    with archive.open(member) as stream:
        shape, dtype = _declared(stream, member.filename)
        data = member.file_size - stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds pickled objects, which are never loaded")
    if len(shape) > _MOST_DIMS or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{member.filename} declares the shape {str(shape)[:60]}, which is none")
    need = math.prod(shape) * dtype.itemsize
    if need != data:
        raise ValueError(
            f"{member.filename} declares {need} bytes (shape {str(shape)[:60]}, {dtype}), "
            f"there are {data}"
        )
    return shape, dtype


def _declared(stream: IO[bytes], name: str) -> tuple[Any, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"{name} has version {version} of the npy format, not 1.0 or 2.0")
    shape, _, dtype = readers[version](stream)
    return shape, dtype


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        made: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"{member.filename} is longer than its header declares")
    return made
