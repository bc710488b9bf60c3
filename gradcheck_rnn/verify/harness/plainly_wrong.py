"""Arrays that are wrong by more than rounding could explain, which need no careful bounds.

The bound of an entry costs five calls of the gradient beside the first, and what fails is run again
with rounding and in extended precision. Where an array was off, in two cases judged with all of
that, by half the digits of the format beyond its bounds, the cases of later points are judged by
one call, as long as it leaves no doubt: every value of the definition within its bounds, or off by
that much again. The noise of a point is that of its first case, which has all six calls everywhere.

The margin is of error ÷ bound, never of error ÷ gradient: where units saturate, rounding is as
large as what is left of a gradient. At the point that is there for it, what is wrong is run with
rounding in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..points import Role
from .aggregates import COARSE
from .arrays import Precision
from .modelpoint import ModelPoint
from .records import SPREADS, Comparison, Record, ratio_of

__all__ = ["PlainlyWrong"]

Array = NDArray[Any]
#: Cases that must show it.
CASES = 2
#: Error ÷ bound that is no chance in a value of which other entries are off by far.
CLOSE = 10.0
#: Units of noise in a sum up to which a point's first case tells what is right in its others.
NOISY = 64.0


class PlainlyWrong:
    """What the points so far have shown of the arrays of one check.

    Attributes
    ----------
    margin : float
        Error ÷ bound that is beyond doubt.
    users : set of str
        Arrays that are wrong beyond doubt.
    """

    def __init__(self, form: Precision, inner: Precision) -> None:
        self.margin = inner.eps**-0.5
        self.users: set[str] = set()
        self._cases: dict[str, int] = {}
        self._noise: dict[str, float] = {}
        # In coarse formats, and with a bound that is computed, all samples count.
        self._able = inner is form and form.eps <= COARSE
        self._most = NOISY * form.eps

    def begin(self, records: Sequence[Record]) -> None:
        """Take a point's noise, relative to the terms of sums, from records of its first case."""
        self._noise = {}
        for r in records:
            noise = np.asarray(r.noise)
            with np.errstate(all="ignore"):
                share = np.where(noise > 0, noise / np.asarray(r.sums), 0.0)
            self._noise[r.user] = float(np.max(share, initial=0.0))

    def judges(self, point: ModelPoint, records: Sequence[Record]) -> bool:
        """Whether a case needs no further call; if so, its bounds get the noise of the point."""
        if not self._able or not self.users or any(r.user not in self._noise for r in records):
            return False
        noise = [self._noise[r.user] * np.asarray(r.sums) for r in records]
        if not all(self._is_clear(point, r, n) for r, n in zip(records, noise, strict=True)):
            return False
        for r, own in zip(records, noise, strict=True):
            r.noise, r.bound = own, r.bound + SPREADS * own
            r.ratio = ratio_of(r.got, r.want, r.bound)
        return True

    def _is_clear(self, point: ModelPoint, record: Record, noise: Array) -> bool:
        """Whether another sample of noise would not change which entries are wrong."""
        little = np.minimum(noise, self._most * np.asarray(record.sums))
        right = ratio_of(record.got, record.want, record.bound + SPREADS * little) <= 1
        wide = ratio_of(record.got, record.want, record.bound + SPREADS * noise)
        return self._is_beyond_doubt(point, record.user, right, wide)

    def is_settled(self, point: ModelPoint, record: Record) -> bool:
        """Whether no second look could change what is wrong in a record."""
        if record.user not in self.users or point.role is Role.SATURATED:
            return False
        return self._is_beyond_doubt(point, record.user, record.ratio <= 1, record.ratio)

    def _is_beyond_doubt(self, point: ModelPoint, user: str, right: Array, ratio: Array) -> bool:
        """Whether all is right but, in an array known to be wrong, what is off by far."""
        if right.all():
            return True
        if user not in self.users:
            return False
        clear = (right | (ratio >= CLOSE)).reshape(-1)
        far = (right | (ratio >= self.margin)).reshape(-1)
        wrong = (ratio >= self.margin).reshape(-1)
        return all(
            far[at].all() or (wrong[at].any() and clear[at].all())
            for at in point.parts(user).values()
        )

    def learn(self, found: Comparison) -> None:
        """Take what a point has shown when all is settled."""
        if not self._able or found.point.role in (Role.SATURATED, Role.ZEROS):
            return
        noisy = {e.user for e in found.excess}
        for r in found.wrong:
            if np.max(r.ratio) >= self.margin and r.user not in noisy:
                self._cases[r.user] = self._cases.get(r.user, 0) + 1
                if self._cases[r.user] >= CASES:
                    self.users.add(r.user)
