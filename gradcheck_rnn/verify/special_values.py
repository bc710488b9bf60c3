"""Values at which a wrong gradient may be right: where usual starts hide a term or a transpose.

Ones hide a missing factor, zeros a missing term, an identity a missing transpose. Arrays at such
values are moved by amounts of their own size, within what their values show of a domain: signs are
kept, and shares that add up to one still do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scales import scale_of

__all__ = ["moved_off", "shares_of_one", "symmetric"]

Array = NDArray[Any]
#: Factors on entries that are not zero; units in the last place that shares may be off one.
FACTORS, SHARES = (0.5, 1.5), 16.0


def symmetric(leaf: Array) -> bool:
    """Whether an array is a square matrix (a stack of them) that is its own transpose."""
    if leaf.ndim < 2 or not leaf.shape[-1] == leaf.shape[-2] > 1:
        return False
    turned = np.swapaxes(leaf, -1, -2)
    return np.array_equal(leaf[..., 0, :], turned[..., 0, :]) and np.array_equal(leaf, turned)


def _constant(leaf: Array) -> bool:
    """Whether all entries are equal."""
    return bool(leaf.flat[0] == leaf.flat[-1] and np.all(leaf == leaf.flat[0]))


def moved_off(
    leaf: Array, gradient: Array, rng: np.random.Generator, *, positive: bool
) -> Array | None:
    """The array off its special values; None if it has none, or if nothing depends on it.

    Special are entries 0, 1 and −1, and all of an array whose entries are equal or which is a
    symmetric matrix. What has a gradient of zero stays: a mask that is compared, a one-hot row.

    Parameters
    ----------
    leaf
        An array of floating-point numbers.
    gradient
        Of it, right at the point, in its shape.
    positive
        Move zeros up alone, and by less.
    """
    exact = (leaf == 0) | (leaf == 1) | (leaf == -1)
    if leaf.size > 1 and (symmetric(leaf) or _constant(leaf)):
        exact = np.ones_like(exact)
    if not exact.any():
        return None
    exact &= np.asarray(gradient) != 0
    if not exact.any():
        return None
    axis = shares_of_one(leaf)
    if axis is not None:
        other = rng.exponential(size=leaf.shape)
        moved = 0.5 * (leaf + other / other.sum(axis, keepdims=True))
    else:
        size = scale_of(leaf) if leaf.any() else 1 / np.sqrt(leaf.shape[-1] if leaf.ndim else 1)
        amounts = size * rng.uniform(*FACTORS, leaf.shape)
        amounts *= 0.25 if positive else rng.choice([-1.0, 1.0], leaf.shape)
        moved = np.where(leaf == 0, amounts, leaf * rng.uniform(*FACTORS, leaf.shape))
        moved = np.where(exact, moved, leaf)
    return np.asarray(moved.astype(leaf.dtype))


def shares_of_one(leaf: Array) -> int | None:
    """The axis along which entries are shares of one: one-hot, probabilities, the identity."""
    if np.any(leaf < 0):
        return None
    off = SHARES * float(np.finfo(leaf.dtype).eps)
    for axis in range(leaf.ndim - 1, -1, -1):
        if leaf.shape[axis] > 1 and np.all(np.abs(leaf.sum(axis) - 1) <= off):
            return axis
    return None
