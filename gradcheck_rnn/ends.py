"""How processes end: with their parent, and what the exit status of one means."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

__all__ = ["end_with", "named_signal"]

PR_SET_PDEATHSIG = 1
#: What a signal usually means.
HINTS = {
    "SIGKILL": ": killed from outside, or not enough memory",
    "SIGABRT": ": abort in compiled code",
    "SIGSEGV": ": a fault in compiled code, or recursion too deep",
}


def end_with(parent: int, number: int, code: int) -> None:
    """Have the kernel end this process when its parent ends.

    Parameters
    ----------
    parent : int
        Its process number, taken before the fork.
    number : int
        The signal that this process then gets (Linux; other systems send none).
    code : int
        Exit code if the parent is gone already.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(code)


def named_signal(code: int) -> str:
    """The signal behind a negative exit code, and what it usually means."""
    name = signal.Signals(-code).name
    return f"{name}{HINTS.get(name, '')}"
