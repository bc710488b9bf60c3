"""erfc for arrays of floating point, which NumPy does not have.

It is Python's for what float64 holds; wider numbers have a series and a continued fraction of
their own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["complementary_error_function", "with_slope"]

Array = np.ndarray[Any, Any]

#: Terms of the series below 2, and levels of the continued fraction above: enough for 1e-24.
_TERMS, _LEVELS = 60, 100
_erfc = np.frompyfunc(math.erfc, 1, 1)


def complementary_error_function(x: Array) -> Array:
    """erfc of real numbers in their own precision."""
    if np.finfo(x.dtype).nmant <= 52:
        return np.asarray(_erfc(x.astype(np.float64)), dtype=x.dtype)
    size = np.abs(x)
    near, far = np.minimum(size, 2), np.maximum(size, 2)
    pi = 4 * np.arctan(np.ones((), x.dtype))
    term = total = near
    for k in range(1, _TERMS):  # erf = 2 exp(−x²) / √π · Σ 2ᵏ x²ᵏ⁺¹ / (2k + 1)!!, no term negative
        term = term * (2 * near * near) / (2 * k + 1)
        total = total + term
    series = 1 - 2 * total * np.exp(-near * near) / np.sqrt(pi)
    rest = far
    for k in range(_LEVELS, 0, -1):  # erfc = exp(−x²) / √π / (x + ½ / (x + 1 / (x + …)))
        rest = far + (k * far.dtype.type(0.5)) / rest
    value = np.where(size < 2, series, np.exp(-far * far) / (np.sqrt(pi) * rest))
    return np.where(x < 0, 2 - value, value)


def with_slope(value: Array, slope: Array, x: Array) -> Array:
    """f(a + ib) as f(a) + ib f′(a), to first order in b: what a complex step asks for."""
    if x.dtype.kind != "c":
        return value
    return np.asarray(value + 1j * x.imag * slope, dtype=x.dtype)
