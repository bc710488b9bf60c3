"""Arrays of a cell with matrices per sequence: the batch axis in front while a definition runs.

Outside, sequences are the last axis of everything: vectors ``(…, n, B)``, matrices
``(…, n, m, B)``. Inside such a definition they are the axis before the last two: columns
``(…, B, n, 1)`` and matrices ``(…, B, n, m)``, so that ``@`` and ``.T`` mean what they mean for
NumPy's stacks of matrices; what all sequences share is ``(…, 1, n, m)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .dims import Shape

__all__ = ["to_back", "to_front"]

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
