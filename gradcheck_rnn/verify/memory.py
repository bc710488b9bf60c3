"""Large arrays that functions under test are given: memory of earlier calls is used again.

New memory costs more than what is written into it. It is used again only where nothing but the
check holds the array any more: a function may have kept what it was given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reused", "laid_out", "moved_array", "same_or_copy", "same_values", "viewed_in_part"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
#: Bytes of an array from which its memory is worth to be kept.
LARGE = 2**17


def _taken(arrays: list[Array]) -> tuple[Array, int]:
    """The first array of a list, which loses it, and how many references there are to it."""
    array = arrays.pop(0)
    return array, sys.getrefcount(array)


#: References that Python itself has to an array that nothing else holds.
ALONE = _taken([np.zeros(1)])[1]


class Reused:
    """Arrays of earlier calls by position: two of each, since modules hold on to the last one."""

    def __init__(self) -> None:
        self._arrays: dict[int, list[Array]] = {}

    def keep(self, i: int, array: Array) -> Array:
        """The array, remembered if it is large."""
        if array.nbytes >= LARGE:
            held = self._arrays.setdefault(i, [])
            held.append(array)
            del held[:-2]
        return array

    def free(self, i: int) -> Array | None:
        """The array of an earlier call, where nothing else holds it, or a view of it."""
        held = self._arrays.get(i, [])
        for _ in range(len(held)):
            array, holders = _taken(held)
            if holders == ALONE:
                return array
            held.append(array)
        return None

    def copy(self, i: int, array: Array) -> Array:
        """A copy in the same layout and class, in the memory of an earlier one where that is free.

        Arrays of other classes get memory of their own, which no plain ones are given later.
        """
        if array.nbytes < LARGE or type(array) is not np.ndarray:
            return array.copy("K")
        out = self.free(i)
        if out is None or out.dtype != array.dtype or out.strides != array.strides:
            return self.keep(i, array.copy("K"))
        out[...] = array
        return self.keep(i, out)

    def moved(self, i: int, leaf: Array, step: float, direction: Floats) -> Array:
        """As `moved_array`, in the memory of an earlier one where that is free."""
        if leaf.nbytes < LARGE:
            return moved_array(leaf, step, direction)
        return self.keep(i, moved_array(leaf, step, direction, self.free(i)))


def laid_out(leaves: Sequence[Array], own: Sequence[Array]) -> list[Array]:
    """Arrays in the layouts of `own`: what was given transposed comes to the functions as such."""
    found = list(leaves)
    for i, (a, b) in enumerate(zip(leaves, own, strict=True)):
        if a is not b and not b.flags.c_contiguous:
            made = np.empty_like(b, dtype=a.dtype)
            made[...] = a
            found[i] = made if type(a) is type(b) else _as_subclass(made, a)
    return found


def _as_subclass(array: Array, like: Array) -> Array:
    """A view of an array in the class of another one, with the attributes of that."""
    view = array.view(type(like))
    view.__array_finalize__(like)
    return view


def same_values(a: Array, b: Array) -> bool:
    """Whether two arrays have one shape and equal entries, of which none is not a number."""
    return a.shape == b.shape and bool((a == b).all())


def same_or_copy(known: Floats | None, gradient: Array) -> Floats:
    """What is known already, where a gradient is the same, and else a copy."""
    if known is not None and same_values(known, gradient):
        return known
    return np.array(gradient, dtype=np.float64)


def moved_array(leaf: Array, step: float, direction: Floats, out: Array | None = None) -> Array:
    """A leaf moved along a direction: an array of its format, in the memory of `out` if it fits."""
    if out is not None and (out.dtype != np.float64 or direction.dtype != np.float64):
        out = None
    moved = np.multiply(direction, step, out=out)
    same = moved.dtype == leaf.dtype
    if moved.ndim == 0 or not (same or np.result_type(moved, leaf) == moved.dtype):
        return np.asarray(leaf + moved).astype(leaf.dtype, copy=False)
    moved += leaf
    return moved if same else moved.astype(leaf.dtype)


def viewed_in_part(array: Array) -> Array:
    """The same numbers as a view: its axes lie in the reverse order, and only in part of memory."""
    around = np.zeros((*array.shape[::-1], 2), array.dtype)
    around[..., 0] = array.T
    return around[..., 0].T
