"""Sizes of parameters: how far a function of them is expected to go before it varies.

And norms of arrays of any size. In small checks most of the time is that of calls: one sum of
squares tells here what else takes several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Sizes", "all_finite", "norm_of", "reach_of", "root_mean_square", "scale_of", "squares_of"
]  # fmt: skip

Floats = NDArray[np.float64]
#: Share of a leaf's size below which an entry has a size of its own.
APART = 1e-6
#: Entries up to which calls cost more than what they do; products of more may take threads.
FEW = 4096
#: Sums of squares between these have lost nothing to over- or underflow.
SMALL, LARGE = 1e-200, 1e300


def all_finite(x: NDArray[np.floating]) -> bool:
    """Whether no entry is infinite or not a number."""
    return (x.size < FEW and math.isfinite(np.vdot(x, x))) or bool(np.isfinite(x).all())


def squares_of(x: Floats) -> float:
    """The sum of squares; of long arrays without BLAS, whose threads wait for one another."""
    flat = x.reshape(-1)
    return float(np.vdot(flat, flat) if x.size < FEW else np.einsum("i,i", flat, flat))


def norm_of(x: Floats) -> float:
    """The Euclidean norm of numbers whose squares may overflow; infinite or no number as they."""
    squares = squares_of(x)
    if SMALL < squares < LARGE:
        return math.sqrt(squares)
    top = float(np.max(np.abs(x), initial=0.0))
    return top * float(np.linalg.norm(x / top)) if 0 < top < np.inf else top


def root_mean_square(x: Floats) -> float:
    """Of the entries; 0 where one is not finite."""
    norm = norm_of(x)
    return norm / math.sqrt(x.size) if 0 < norm < np.inf else 0.0


def scale_of(leaf: NDArray[np.floating]) -> float:
    """Size on which a function of the leaf is first expected to vary: its root mean square, or 1.

    Only a start: ladders move from it as far as the function asks.
    """
    return root_mean_square(leaf.astype(np.float64, copy=False)) or 1.0


def reach_of(leaf: NDArray[np.floating], scale: float | None = None) -> Floats:
    """Size on which a function of each entry is expected to vary, in the leaf's shape.

    That of the leaf, or the entry's own where it is smaller by orders of magnitude: parameters in
    different units do not move by each other's size.
    """
    scale = scale_of(leaf) if scale is None else scale
    own = np.abs(leaf).astype(np.float64, copy=False)
    small = own < APART * scale
    if not small.any():
        return np.broadcast_to(np.float64(scale), leaf.shape)  # read alone: no memory is taken
    return np.where(small & (own > 0), own, scale)


class Sizes:
    """Sizes of several leaves by their positions, each measured once."""

    def __init__(self, leaves: Sequence[NDArray[np.floating]]) -> None:
        self._leaves = leaves
        self._scales: dict[int, float] = {}
        self._reaches: dict[int, Floats] = {}
        self._alike: dict[int, bool] = {}

    def scale(self, i: int) -> float:
        """Size of a leaf (`scale_of`)."""
        if i not in self._scales:
            self._scales[i] = scale_of(self._leaves[i])
        return self._scales[i]

    def reach(self, i: int) -> Floats:
        """Sizes of a leaf's entries (`reach_of`)."""
        if i not in self._reaches:
            self._reaches[i] = reach_of(self._leaves[i], self.scale(i))
        return self._reaches[i]

    def alike(self, i: int) -> bool:
        """Whether all entries of a leaf have one size."""
        if i not in self._alike:
            reach = self.reach(i)
            self._alike[i] = not any(reach.strides) or bool((reach == self.scale(i)).all())
        return self._alike[i]
