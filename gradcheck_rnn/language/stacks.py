"""Arrays of a cell with matrices per sequence: the batch axis in front while a definition runs.

Outside, sequences are the last axis of everything: vectors ``(…, n, B)``, matrices
``(…, n, m, B)``. Inside such a definition they are the axis before the last two: columns
``(…, B, n, 1)`` and matrices ``(…, B, n, m)``, so that ``@`` and ``.T`` mean what they mean for
NumPy's stacks of matrices; what all sequences share is ``(…, 1, n, m)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .dims import Shape

__all__ = ["entries_of", "flat", "to_back", "to_front", "unflat"]

Array = np.ndarray[Any, Any]


def to_front(array: Any, shape: Shape) -> Array:
    """From the layout outside to the one inside; a view. What lacks an axis stays as it is."""
    a = np.asarray(array)
    if a.ndim < 2 + shape.stack:
        return a
    if not shape.batch:
        return a[..., None, :, :]
    front = np.moveaxis(a, -1, -3 if shape.stack else -2)
    return front if shape.stack else front[..., None]


def to_back(array: Array, matrix: bool) -> Array:
    """From the layout inside to the one outside; a view. ``matrix``: not a column."""
    if array.ndim < 3:  # a constant that no sequence has a part in
        array = array[(None,) * (3 - array.ndim)]
    back = np.moveaxis(array, -3, -1)
    return back if matrix else back[..., 0, :]


def entries_of(shape: Shape, sizes: Mapping[str, int]) -> int:
    """How many numbers a value has for one sequence."""
    return shape.rows.size(sizes) * shape.cols.size(sizes)


def flat(array: Any, shape: Shape) -> Array:
    """A matrix per sequence as a column of its entries, row by row; anything else as it is."""
    a = np.asarray(array)
    return a.reshape(*a.shape[:-3], a.shape[-3] * a.shape[-2], a.shape[-1]) if shape.stack else a


def unflat(array: Any, shape: Shape, sizes: Mapping[str, int]) -> Array:
    """The matrix whose entries a column has; anything else as it is."""
    a = np.asarray(array)
    if not shape.stack:
        return a
    return a.reshape(*a.shape[:-2], shape.rows.size(sizes), shape.cols.size(sizes), a.shape[-1])
