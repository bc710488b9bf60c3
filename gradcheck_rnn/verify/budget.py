"""How much a check may cost, and the end of it."""

from __future__ import annotations

import time

import numpy as np

from ..errors import UsageError

__all__ = ["Budget", "OutOfBudget"]

#: What may be spent beyond a count, relative, to finish the entry or direction in hand; and the
#: number of evaluations below which no count stops a check, because nothing could be said then.
OVERRUN, LEAST = 1.2, 200


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
        try:
            if isinstance(limit, str):
                self.seconds = float(limit.strip().removesuffix("s"))
            elif limit is not None:
                self.evaluations = float(limit)
        except (TypeError, ValueError):
            raise UsageError(
                f"budget {limit!r} is neither a count nor seconds like '10s'"
            ) from None
        given = self.seconds if isinstance(limit, str) else self.evaluations
        if not given > 0:
            raise UsageError(f"budget {limit!r} must be positive")
        if limit is not None and not np.isfinite(given):
            raise UsageError(f"budget {limit!r} is no limit; leave it out for none")
        self.started = time.perf_counter()

    def left(self, used: int = 0) -> float:
        """Loss evaluations that may still be spent after `used`, possibly infinite."""
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
        over = self.used > max(OVERRUN * self.evaluations, LEAST)
        if over or time.perf_counter() - self.started > self.seconds:
            raise OutOfBudget
