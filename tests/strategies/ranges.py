"""Interval bounds of expressions: what keeps random cells inside their domains and finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["APPLIED", "USER_FUNCTIONS", "Range"]


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


#: Bounds of the elementwise functions; log, log1p and sqrt need a positive range, exp one below 4.
APPLIED = {
    "tanh": _rising(math.tanh),
    "sigmoid": _rising(_logistic),
    "relu": _rising(lambda x: max(x, 0.0)),
    "softplus": _rising(_soft),
    "silu": lambda r: Range(-0.3, max(r.hi, 0.0)),
    "exp": _rising(math.exp),
    "expm1": _rising(math.expm1),
    "log1p": _rising(math.log1p),
    "log": _rising(math.log),
    "sqrt": _rising(math.sqrt),
    "sin": lambda r: Range(-1.0, 1.0),
    "cos": lambda r: Range(-1.0, 1.0),
    "softsign": _rising(lambda x: x / (1 + abs(x))),
    "erf": _rising(math.erf),
    "erf_slope": lambda r: Range(0.0, 1.2),
    "normal_pdf": lambda r: Range(0.0, 0.4),
    "normal_cdf": _rising(lambda x: math.erfc(-x / math.sqrt(2)) / 2),
    "gelu": lambda r: Range(-0.2, max(r.hi, 0.0)),
    "floor": _rising(math.floor),
    "elu": _rising(lambda x: x if x > 0 else math.expm1(x)),
}

#: Users' own elementwise functions: name → (SymPy text, bounds from the argument's bounds).
USER_FUNCTIONS: dict[str, tuple[str, Callable[[Range], Range]]] = {
    "soft_sign": ("x / (1 + abs(x))", lambda r: Range(-1, 1)),
    "bell": ("exp(-x**2)", lambda r: Range(0, 1)),
    "swish": ("x * sigmoid(x)", lambda r: Range(-0.3, max(r.hi, 0.0))),
    "squared_relu": ("Max(x, 0)**2", lambda r: Range(0, max(r.hi, 0.0) ** 2)),
    "log_cosh_like": ("log(1 + x**2) / 2", lambda r: Range(0, math.log1p(r.size**2) / 2)),
    "hill": ("1 / (1 + x**2)", lambda r: Range(0, 1)),
    "bent": ("(sqrt(x**2 + 1) - 1) / 2 + x", lambda r: Range(-1.5 * r.size, 1.5 * r.size)),
    "wave": ("sin(2*x) * cos(x) / 3", lambda r: Range(-0.34, 0.34)),
    "hard_step": ("Max(x, -1) - Max(x - 1, 0)", lambda r: Range(-1, 1)),
    "shifted_tanh": ("tanh(x)**3 - softplus(x)/4", lambda r: Range(-1 - r.size, 1)),
}  # fmt: skip
