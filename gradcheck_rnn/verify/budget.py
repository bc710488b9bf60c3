"""How much a check may cost, and the end of it."""

from __future__ import annotations

import math
import re
import time

import numpy as np

from ..checks import check_whole, shown
from ..errors import UsageError

__all__ = ["Budget", "OutOfBudget"]

#: What may be spent beyond a count, relative, to finish the entry or direction in hand; and the
#: number of evaluations below which no count stops a check, because nothing could be said then.
OVERRUN, LEAST = 1.2, 200


#: A decimal number of seconds; neither a sign nor the words that Python takes for numbers.
_SECONDS = re.compile(r"[0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+")


def _seconds(text: str) -> float:
    number = text.strip().removesuffix("s")
    seconds = float(number) if _SECONDS.fullmatch(number) else math.nan
    if not text.strip().endswith("s") or not 0 < seconds < math.inf:
        raise UsageError(f"budget {shown(text)} is neither a count nor seconds like '10s'")
    return seconds


class OutOfBudget(Exception):
    """Raised from the call that would exceed the budget; what was done until then stands."""


class Budget:
    """How much a check may cost: a number of loss evaluations, or seconds as ``"10s"``.

    Counts may be exceeded by a fifth to finish an entry or direction; seconds end the check with
    the call of a function during which they run out. One budget is shared by all that belongs to
    a check.
    """

    def __init__(self, limit: int | str | None) -> None:
        """Parse the limit; None is no limit.

        Raises
        ------
        UsageError
            It is no positive, finite count or time.
        """
        self.evaluations = np.inf
        self.seconds = np.inf
        self.used = 0
        if isinstance(limit, str):
            self.seconds = _seconds(limit)
        elif limit is not None:
            self.evaluations = check_whole(limit, "budget", 1)
        self.unlimited = limit is None
        self.started = time.perf_counter()

    @property
    def overrun(self) -> str:
        """What to say of a count that was too small to be kept, '' for one that was kept."""
        if self.used <= OVERRUN * self.evaluations:
            return ""
        return (
            f"the budget was not kept: with fewer than about {LEAST} losses for every output and "
            "point nothing could be said"
        )

    def left(self, used: int = 0) -> float:
        """Loss evaluations that may still be spent after `used`, possibly infinite."""
        if self.unlimited:
            return math.inf
        used = max(used, self.used)
        left = self.evaluations - used
        if np.isfinite(self.seconds):
            spent = time.perf_counter() - self.started
            left = min(left, max(self.seconds - spent, 0.0) * max(used, 1) / max(spent, 1e-6))
        return left

    def spend(self, evaluations: int = 0) -> None:
        """Count evaluations about to be made.

        Raises
        ------
        OutOfBudget
            The budget does not allow them.
        """
        self.used += evaluations
        if self.unlimited:
            return
        over = self.used > max(OVERRUN * self.evaluations, LEAST)
        if over or time.perf_counter() - self.started > self.seconds:
            raise OutOfBudget
