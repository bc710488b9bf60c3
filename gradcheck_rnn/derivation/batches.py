"""Where the batch is in arrays that terms are evaluated on.

It is the last axis of a column, or, in a network with a matrix for every sequence, in front of the
last two axes (see `language.stacks`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..language.network import Ref
from ..language.stacks import to_back, to_front

__all__ = ["fit", "inward", "outward", "single"]

Array = Any


def _of_sequences(ref: Ref) -> bool:
    return ref.shape.batch or ref.kind in ("sequence", "final", "once")


def inward(ref: Ref, array: Array) -> Array:
    """From the batch last to the batch in front."""
    a = np.asarray(array)
    return to_front(a, ref.shape) if _of_sequences(ref) else a


def outward(ref: Ref, array: Array) -> Array:
    """From the batch in front to the batch last."""
    return to_back(array, ref.shape.stack) if _of_sequences(ref) else array


def fit(front: bool, value: Array, like: Array) -> Array:
    """Sum over the batch what belongs to something that is the same for all sequences."""
    if front:
        return value.sum(axis=-3) if value.ndim > 2 and like.ndim == 2 else value
    if value.shape[-1] != like.shape[-1] and like.shape[-1] == 1:
        return value.sum(axis=-1, keepdims=True)
    return value


def single(value: Array) -> Array:
    """The value of the only sequence, without the axis that a batch in front has."""
    return value[0] if value.ndim == 3 else value
