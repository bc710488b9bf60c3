"""Arrays of a cell with matrices per sequence or with heads: the batch axis in front.

Outside, sequences are the last axis of everything: vectors ``(…, n, B)``, matrices
``(…, n, m, B)``. Inside such a definition they are the axis before the last two: columns
``(…, B, n, 1)`` and matrices ``(…, B, n, m)``, so that ``@`` and ``.T`` mean what they mean for
NumPy's stacks of matrices; what all sequences share is ``(…, 1, n, m)``.

In a cell with heads these have one axis more: outside ``(…, H, n, m, B)`` of what every head has
for itself, inside ``(…, B, H, n, m)``, and ``(…, B, 1, n, m)`` of what the heads share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .dims import Shape

__all__ = ["entries_of", "flat", "to_back", "to_front", "unflat"]

Array = np.ndarray[Any, Any]


def to_front(array: Any, shape: Shape, heads: bool = False) -> Array:
    """From the layout outside to the one inside; a view. What lacks an axis stays as it is.

    ``heads``: whether the cell has heads, so that everything inside has their axis.
    """
    a = np.asarray(array)
    if a.ndim < 2 + shape.stack + shape.headed:
        return a
    if shape.batch:
        a = np.moveaxis(a, -1, -(2 + shape.stack + shape.headed))
        a = a if shape.stack else a[..., None]
    else:
        a = np.expand_dims(a, -(3 + shape.headed))
    return a[..., None, :, :] if heads and not shape.headed else a


def to_back(array: Array, matrix: bool, heads: bool = False, headed: bool = False) -> Array:
    """From the layout inside to the one outside; a view.

    ``matrix``: not a column; ``heads``, ``headed``: whether the cell has heads, and whether each
    of them has such a value.
    """
    axes = 3 + heads
    if array.ndim < axes:  # a constant that no sequence has a part in
        array = array[(None,) * (axes - array.ndim)]
    if heads and not headed:
        array = array[..., 0, :, :]
    back = np.moveaxis(array, -(3 + headed), -1)
    return back if matrix else back[..., 0, :]


def _axes(shape: Shape) -> int:
    """Axes of a value of the sequences in the layout outside, without the batch."""
    return 1 + shape.stack + shape.headed


def entries_of(shape: Shape, sizes: Mapping[str, int]) -> int:
    """How many numbers a value has for one sequence."""
    return shape.heads.size(sizes) * shape.rows.size(sizes) * shape.cols.size(sizes)


def flat(array: Any, shape: Shape) -> Array:
    """A matrix, or one value a head, as a column of its entries; anything else as it is."""
    a, axes = np.asarray(array), _axes(shape)
    if not shape.batch or axes == 1:
        return a
    return a.reshape(*a.shape[: -axes - 1], math.prod(a.shape[-axes - 1 : -1]), a.shape[-1])


def unflat(array: Any, shape: Shape, sizes: Mapping[str, int]) -> Array:
    """The value whose entries a column has; anything else as it is."""
    a = np.asarray(array)
    if not shape.batch or _axes(shape) == 1:
        return a
    dims = [shape.rows, shape.cols] if shape.stack else [shape.rows]
    wanted = [d.size(sizes) for d in ([shape.heads, *dims] if shape.headed else dims)]
    return a.reshape(*a.shape[:-2], *wanted, a.shape[-1])
