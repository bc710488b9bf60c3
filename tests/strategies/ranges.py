"""Interval bounds of expressions: what keeps random cells inside their domains and finite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["APPLIED", "Range"]


@dataclass(frozen=True)
class Range:
    """All values lie in [lo, hi]."""

    lo: float
    hi: float

    @property
    def size(self) -> float:
        return max(abs(self.lo), abs(self.hi))

    @property
    def divisor(self) -> bool:
        """Away from zero, so that it may be divided by."""
        return self.lo >= 0.2 or self.hi <= -0.2

    def __add__(self, other: Range) -> Range:
        return Range(self.lo + other.lo, self.hi + other.hi)

    def __neg__(self) -> Range:
        return Range(-self.hi, -self.lo)

    def __mul__(self, other: Range) -> Range:
        ends = [a * b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return Range(min(ends), max(ends))

    def __truediv__(self, other: Range) -> Range:
        return self * Range(1 / other.hi, 1 / other.lo)

    def times(self, n: int) -> Range:
        """The sum of n of them."""
        return Range(n * self.lo, n * self.hi)

    def power(self, n: Fraction) -> Range:
        """Bounds of x**n; n is a whole number at least 0, or the range is positive."""
        if n.denominator == 1 and n >= 0 and self.lo < 0:
            k = int(n)
            ends = [self.lo**k, self.hi**k]
            low = 0.0 if k % 2 == 0 and self.lo < 0 < self.hi else min(ends)
            return Range(low, max(ends))
        ends = [self.lo ** float(n), self.hi ** float(n)]
        return Range(min(ends), max(ends))

    def absolute(self) -> Range:
        low = 0.0 if self.lo < 0 < self.hi else min(abs(self.lo), abs(self.hi))
        return Range(low, self.size)

    def hull(self, other: Range) -> Range:
        return Range(min(self.lo, other.lo), max(self.hi, other.hi))

    def larger(self, other: Range) -> Range:
        return Range(max(self.lo, other.lo), max(self.hi, other.hi))

    def smaller(self, other: Range) -> Range:
        return -((-self).larger(-other))


def _soft(x: float) -> float:
    return x if x > 30 else math.log1p(math.exp(x))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, x))))


def _rising(f: object) -> object:
    return lambda r: Range(f(r.lo), f(r.hi))  # type: ignore[operator]


#: Bounds of the elementwise functions; log and sqrt need a positive range, exp one below 4.
APPLIED = {
    "tanh": _rising(math.tanh),
    "sigmoid": _rising(_logistic),
    "relu": _rising(lambda x: max(x, 0.0)),
    "softplus": _rising(_soft),
    "exp": _rising(math.exp),
    "log": _rising(math.log),
    "sqrt": _rising(math.sqrt),
    "sin": lambda r: Range(-1.0, 1.0),
    "cos": lambda r: Range(-1.0, 1.0),
}
