"""A value of one sequence as a column of its entries, as transition Jacobians order them.

Jacobians are those of vec: the columns of a matrix one below the other, head after head. Arrays of
the public layout has heads, rows and columns as axes; definitions and terms take them as
`language.stacks` says, with the steps of a segment in place of the sequences of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..language.dims import Shape

__all__ = ["as_blocks", "as_defined", "as_terms", "from_blocks"]

Array = Any


def _block(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    return shape.heads.size(sizes), shape.rows.size(sizes), shape.cols.size(sizes)


def from_blocks(array: Array, shape: Shape, sizes: Mapping[str, int]) -> Array:
    """Columns ``(size, m)`` of m arrays in the public layout, ``(m, …)`` with one value each."""
    a = np.asarray(array)
    heads, rows, cols = _block(shape, sizes)
    return a.reshape(-1, heads, rows, cols).transpose(1, 3, 2, 0).reshape(-1, len(a))


def as_blocks(columns: Array, shape: Shape, sizes: Mapping[str, int]) -> Array:
    """Heads, rows and columns of a value from columns ``(size, m)``: ``(m, heads, rows, cols)``."""
    heads, rows, cols = _block(shape, sizes)
    return columns.reshape(heads, cols, rows, -1).transpose(3, 0, 2, 1)


def as_defined(column: Array, shape: Shape, sizes: Mapping[str, int]) -> Array:
    """One value as a definition's step takes it, ``(n, 1)``, ``(n, m, 1)`` or ``(H, n, m, 1)``."""
    heads, rows, cols = _block(shape, sizes)
    axes = ((heads,) if shape.headed else ()) + ((rows, cols) if shape.stack else (rows,))
    return as_blocks(column, shape, sizes).reshape(*axes, 1)


def as_terms(columns: Array, shape: Shape, sizes: Mapping[str, int], heads: bool) -> Array:
    """Values as terms of a network with the batch in front take them: ``(m, rows, cols)``.

    ``heads``: whether the network has heads, whose axis then follows the first one.
    """
    made = as_blocks(columns, shape, sizes)
    return made if heads else made[:, 0]
