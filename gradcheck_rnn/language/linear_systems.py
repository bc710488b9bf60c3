"""A⁻¹ B on arrays of any dtype; `numpy.linalg` has float64 and float32 alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["solve"]

Array = np.ndarray[Any, Any]
_LAPACK = frozenset("fdFD")


def solve(a: Array, b: Array) -> Array:
    """A⁻¹ B for square matrices (…, n, n) and right-hand sides (…, n, m), leading axes broadcast.

    Elimination with pivoting; exact objects and recorded scalars have no size to choose a pivot
    by, and take the first that is not zero.

    Raises
    ------
    numpy.linalg.LinAlgError
        A matrix is singular.
    """
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    dtype = np.result_type(a, b)
    a, b = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    if dtype.char in _LAPACK:
        return np.asarray(np.linalg.solve(a, b))
    out = np.empty(b.shape, dtype=dtype)
    for where in np.ndindex(lead):
        out[where] = _eliminated(_own(a[where], dtype), _own(b[where], dtype))
    return out


def _own(x: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind != "O":
        return np.array(x, dtype=dtype)
    # Whole numbers among objects must not divide to floats.
    exact = np.frompyfunc(lambda v: Fraction(v) if isinstance(v, int) else v, 1, 1)
    return np.array(exact(x), dtype=object)


def _pivot(column: Array) -> int:
    if column.dtype.kind != "O":
        return int(np.argmax(np.abs(column)))
    if all(hasattr(v, "_mpf_") or hasattr(v, "_mpc_") for v in column):
        return max(range(len(column)), key=lambda i: abs(column[i]))
    return next((i for i, v in enumerate(column) if not _zero(v)), 0)


def _zero(value: Any) -> bool:
    return isinstance(value, Fraction | int | float) and value == 0


def _eliminated(a: Array, b: Array) -> Array:
    n = len(a)
    for k in range(n):
        p = k + _pivot(a[k:, k])
        if _zero(a[p, k]) or (a.dtype.kind != "O" and a[p, k] == 0):
            raise np.linalg.LinAlgError("Singular matrix")
        if p != k:
            a[[k, p]], b[[k, p]] = a[[p, k]], b[[p, k]]
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            a[i, k + 1 :] = a[i, k + 1 :] - factor * a[k, k + 1 :]
            b[i] = b[i] - factor * b[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            b[k] = b[k] - a[k, j] * b[j]
        b[k] = b[k] / a[k, k]
    return b
