"""How long a target may run and how much memory it may take."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass

from ..errors import UsageError

__all__ = ["Limits"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
          "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}  # fmt: skip
#: An interpreter with NumPy does not start in less.
LEAST_MEMORY = 10**8


@dataclass(frozen=True)
class Limits:
    """Limits of one piece of work: a gradient case, a kernel, or the loading of a file.

    Attributes
    ----------
    timeout : float or None
        Seconds of wall-clock time.
    memory : int or None
        Bytes of private memory (``RLIMIT_DATA`` on Linux, ``RLIMIT_AS`` elsewhere).
    text : str
        The memory as the user wrote it.
    """

    timeout: float | None = None
    memory: int | None = None
    text: str = ""

    @classmethod
    def parse(cls, timeout: float | str | None = None, memory: str | None = None) -> Limits:
        """Read the values of ``--timeout`` (seconds, ``60`` or ``60s``) and ``--memory`` (``4GB``).

        Raises
        ------
        UsageError
            One is not of this form, or not positive.
        """
        return cls(_seconds(timeout), _bytes(memory), memory or "")

    def apply(self) -> None:
        """Limit the memory of this process; the time is its parent's to keep."""
        if self.memory is None:
            return
        import resource

        what = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
        _, hard = resource.getrlimit(what)
        most = self.memory if hard == resource.RLIM_INFINITY else min(self.memory, hard)
        resource.setrlimit(what, (most, most))


def _seconds(timeout: float | str | None) -> float | None:
    if timeout is None:
        return None
    try:
        seconds = float(str(timeout).strip().removesuffix("s"))
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"timeout {timeout!r} is no positive number of seconds, like 60")
    return seconds


def _bytes(memory: str | None) -> int | None:
    if memory is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?", memory.strip().lower())
    if match is None:
        raise UsageError(f"memory {memory!r} is no size, like 4GB or 500MB")
    number = int(float(match[1]) * _UNITS[match[2]])
    if number < LEAST_MEMORY:
        raise UsageError(f"memory {memory!r} is too little to start in; give at least 100MB")
    if sys.platform == "win32":
        raise UsageError("memory cannot be limited on this system")
    return number
