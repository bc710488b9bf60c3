"""Large arrays that functions under test are given: memory of earlier calls is used again.

New memory costs more than what is written into it. It is used again only where nothing but the
check holds the array any more: a function may have kept what it was given.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reused", "moved_array", "same_or_copy"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
#: Bytes of an array from which its memory is worth to be kept.
LARGE = 2**17


def _taken(arrays: dict[int, Array], i: int) -> tuple[Array, int]:
    """An array out of a dict, and how many references there are to it."""
    array = arrays.pop(i)
    return array, sys.getrefcount(array)


#: References that Python itself has to an array that nothing else holds.
ALONE = _taken({0: np.zeros(1)}, 0)[1]


class Reused:
    """Arrays of earlier calls by position."""

    def __init__(self) -> None:
        self._arrays: dict[int, Array] = {}

    def keep(self, i: int, array: Array) -> Array:
        """The array, remembered if it is large."""
        if array.nbytes >= LARGE:
            self._arrays[i] = array
        return array

    def free(self, i: int) -> Array | None:
        """The array of an earlier call, where nothing else holds it, or a view of it."""
        if i not in self._arrays:
            return None
        array, holders = _taken(self._arrays, i)
        return array if holders == ALONE else None

    def copy(self, i: int, array: Array) -> Array:
        """A copy, in the memory of an earlier one where that is free."""
        out = self.free(i)
        if out is None or out.dtype != array.dtype or out.shape != array.shape:
            return self.keep(i, array.copy())
        out[...] = array
        return self.keep(i, out)


def same_or_copy(known: Floats | None, gradient: Array) -> Floats:
    """What is known already, where a gradient is the same, and else a copy."""
    if known is not None and np.array_equal(known, gradient):
        return known
    return np.array(gradient, dtype=np.float64)


def moved_array(leaf: Array, step: float, direction: Floats, out: Array | None = None) -> Array:
    """A leaf moved along a direction: an array of its format, in the memory of `out` if it fits."""
    if out is not None and (out.dtype != np.float64 or direction.dtype != np.float64):
        out = None
    moved = np.multiply(direction, step, out=out)
    if moved.ndim == 0 or np.result_type(moved, leaf) != moved.dtype:
        return np.asarray(leaf + moved).astype(leaf.dtype, copy=False)
    moved += leaf
    return moved.astype(leaf.dtype, copy=False)
