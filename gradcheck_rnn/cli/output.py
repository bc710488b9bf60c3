"""Whose stdout it is: a command's result goes there, what the user's code prints goes to stderr.

While a command runs, file descriptor 1 and `sys.stdout` are those of stderr, so that a `print` of a
user's file, a write below Python, and a program that it starts keep what is piped clean; the
command itself writes to `stream`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

__all__ = ["claimed", "stream"]

_stream: TextIO | None = None
_saved: int | None = None


def stream() -> TextIO:
    """Where a command writes its result."""
    return sys.stdout if _stream is None else _stream


@contextlib.contextmanager
def claimed() -> Iterator[None]:
    """Keep stdout for `stream`.

    Raises
    ------
    OSError
        What was written cannot be delivered: stdout is closed, or a disk is full.
    """
    global _stream, _saved
    before = sys.stdout
    if before is None:  # closed from the start; whoever writes is told
        sys.stdout, _stream = sys.stderr, _Closed()
        try:
            yield
        finally:
            sys.stdout, _stream = before, None
        return
    before.flush()
    ours: Any = before
    if _number(before) == 1:
        _saved = os.dup(1)
        ours = open(  # noqa: SIM115
            _saved, "w", encoding=before.encoding, errors="replace", closefd=False
        )
        os.dup2(2, 1)
    _stream, sys.stdout = ours, sys.stderr
    try:
        yield
        ours.flush()
    finally:
        sys.stdout, _stream = before, None
        if _saved is not None:
            with contextlib.suppress(OSError):
                ours.close()
            os.dup2(_saved, 1)
            os.close(_saved)
            _saved = None


class _Closed(io.StringIO):
    """Stands for a stdout that was closed before the program began."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.EBADF, "stdout is closed")


def _number(opened: TextIO) -> int | None:
    try:
        return opened.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _forget() -> None:
    """In a fork: stdout is the parent's, and whoever reads it waits until nobody has it."""
    if _saved is not None:
        with contextlib.suppress(OSError):
            os.close(_saved)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
