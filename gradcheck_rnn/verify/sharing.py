"""Which of many arrays share memory: about linear in their number where few do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["sharing"]

Array = NDArray[Any]


def _bounds(array: Array) -> tuple[int, int]:
    """The first and the last address of an array, the latter exclusive."""
    first = last = int(array.__array_interface__["data"][0])
    if not array.size:
        return first, first
    for length, stride in zip(array.shape, array.strides, strict=True):
        far = (length - 1) * stride
        first, last = first + min(far, 0), last + max(far, 0)
    return first, last + array.itemsize


def sharing(arrays: Sequence[Array]) -> list[tuple[int, int]]:
    """Positions of arrays of which the memory overlaps, the smaller one first.

    In order of their addresses only those that are still open are compared.
    """
    bounds = [_bounds(a) for a in arrays]
    found, still = [], list[int]()
    for i in sorted(range(len(arrays)), key=bounds.__getitem__):
        still = [j for j in still if bounds[j][1] > bounds[i][0]]
        found += [
            (min(i, j), max(i, j)) for j in still if np.may_share_memory(arrays[i], arrays[j])
        ]
        still.append(i)
    return sorted(found)
