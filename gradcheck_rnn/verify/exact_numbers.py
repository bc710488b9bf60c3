"""Numbers of many digits, as JSON has them: to one double each, or to two."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["floats", "parse"]

Array = NDArray[Any]


def floats(nested: Any) -> Array:
    """Nested lists of numbers (as text), null for none, to doubles."""
    return np.array(nested, dtype=object).astype(np.float64)


def parse(nested: Any) -> tuple[Array, Array]:
    """Numbers of many digits to two doubles each."""
    text = np.asarray(nested, dtype=object)
    high = np.asarray(text, dtype=np.float64)
    rest = np.frompyfunc(lambda s, h: float(_fraction(s) - _fraction(h)), 2, 1)
    return high, np.asarray(rest(text, high), dtype=np.float64)


def _fraction(number: str | float) -> Fraction:
    """A number exactly; one that no double comes near would take any time and memory."""
    decimal = Decimal(number)
    if not decimal:
        return Fraction(0)
    if not decimal.is_finite() or abs(decimal.adjusted()) > 400:
        raise ValueError(f"{str(number)[:40]} is no double")
    return Fraction(decimal)
