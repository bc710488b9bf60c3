"""erf and erfc for arrays of floating point, which NumPy does not have.

They are Python's for what float64 holds; wider numbers have a series and a continued fraction of
their own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["complementary_error_function", "error_function", "with_slope"]

Array = np.ndarray[Any, Any]

#: Terms of the series below 2, and levels of the continued fraction above: enough for 1e-24.
_TERMS, _LEVELS = 60, 100
_erf, _erfc = np.frompyfunc(math.erf, 1, 1), np.frompyfunc(math.erfc, 1, 1)


def error_function(x: Array) -> Array:
    """erf of real numbers in their own precision, that of small ones relative to them."""
    if np.finfo(x.dtype).nmant <= 52:
        return np.asarray(_erf(x.astype(np.float64)), dtype=x.dtype)
    size = np.abs(x)
    return np.copysign(np.where(size < 2, _series(size), 1 - _fraction(size)), x)


def complementary_error_function(x: Array) -> Array:
    """erfc of real numbers in their own precision."""
    if np.finfo(x.dtype).nmant <= 52:
        return np.asarray(_erfc(x.astype(np.float64)), dtype=x.dtype)
    size = np.abs(x)
    value = np.where(size < 2, 1 - _series(size), _fraction(size))
    return np.where(x < 0, 2 - value, value)


def _root_of_pi(x: Array) -> Array:
    return np.sqrt(4 * np.arctan(np.ones((), x.dtype)))


def _series(size: Array) -> Array:
    """erf below 2: 2 exp(−x²) / √π · Σ 2ᵏ x²ᵏ⁺¹ / (2k + 1)!!, no term negative."""
    near = np.minimum(size, 2)
    term = total = near
    for k in range(1, _TERMS):
        term = term * (2 * near * near) / (2 * k + 1)
        total = total + term
    return 2 * total * np.exp(-near * near) / _root_of_pi(size)


def _fraction(size: Array) -> Array:
    """erfc from 2 on: exp(−x²) / √π / (x + ½ / (x + 1 / (x + …)))."""
    far = rest = np.maximum(size, 2)
    for k in range(_LEVELS, 0, -1):
        rest = far + (k * far.dtype.type(0.5)) / rest
    return np.exp(-far * far) / (_root_of_pi(size) * rest)


def with_slope(value: Array, slope: Array, x: Array) -> Array:
    """f(a + ib) as f(a) + ib f′(a), to first order in b: what a complex step asks for."""
    if x.dtype.kind != "c":
        return value
    return np.asarray(value + 1j * x.imag * slope, dtype=x.dtype)
