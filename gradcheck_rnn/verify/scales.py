"""Sizes of parameters: how far a function of them is expected to go before it varies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["reach_of", "scale_of"]

Floats = NDArray[np.float64]
#: Share of a leaf's size below which an entry has a size of its own.
APART = 1e-6


def scale_of(leaf: NDArray[np.floating]) -> float:
    """Size on which a function of the leaf is first expected to vary: its root mean square, or 1.

    Only a start: ladders move from it as far as the function asks.
    """
    with np.errstate(all="ignore"):
        flat = np.abs(leaf.ravel()).astype(np.float64, copy=False)
        top = float(flat.max())
        if not 0 < top < np.inf:
            return 1.0
        flat /= top
        return top * float(np.sqrt(np.dot(flat, flat) / flat.size))


def reach_of(leaf: NDArray[np.floating]) -> Floats:
    """Size on which a function of each entry is expected to vary, in the leaf's shape.

    That of the leaf, or the entry's own where it is smaller by orders of magnitude: parameters in
    different units do not move by each other's size.
    """
    scale, own = scale_of(leaf), np.abs(leaf).astype(np.float64, copy=False)
    small = own < APART * scale
    return np.where(small & (own > 0), own, scale) if small.any() else np.full(leaf.shape, scale)
