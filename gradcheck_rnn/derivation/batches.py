"""Where the batch is in arrays that terms are evaluated on.

It is the last axis of a column, or, in a network with a matrix for every sequence or with heads,
in front of the last two axes (see `language.stacks`). There every array has the batch, and with
heads also the heads, in front, of length one where they share it: parameters are ``(1, n, m)``, or
``(1, H, n, m)`` and ``(1, 1, n, m)``. So an adjoint of what all sequences share keeps the axis too,
and the axis of several cotangents at once is never taken for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sympy import Integer

from ..calculus.terms import Term
from ..language.dims import Dim
from ..language.network import Network, Ref
from ..language.stacks import to_back, to_front

__all__ = ["Batches", "OverSequences", "turned", "vec"]

Array = Any


class OverSequences(Term):
    """The sum over all sequences, or their mean, of a term that each has; shape of the term.

    No right gradient of one sequence has it: mistaken ones do, which take the batch for the units.
    """

    def __new__(cls, x: Term, mean: bool = False) -> Any:
        """Take the operand's shape."""
        return cls._make((x, Integer(mean)), x.shape)

    @property
    def x(self) -> Term:
        """The summand, that of one sequence."""
        return self.args[0]

    def of(self, value: Array, axis: int) -> Array:
        """Its array from that of the summand, with the batch along an axis from the end."""
        if value.ndim < -axis:
            return value
        reduced = value.mean if self.args[1] else value.sum
        return reduced(axis=axis, keepdims=True)


def _of_sequences(ref: Ref) -> bool:
    return ref.shape.batch or ref.kind in ("sequence", "final", "once")


class Batches:
    """The axes in front in arrays of one network.

    Attributes
    ----------
    front : bool
        Whether the batch is in front.
    heads : bool
        Whether the heads follow it.
    """

    def __init__(self, network: Network) -> None:
        self.front, self.heads = network.front, network.heads

    @property
    def axis(self) -> int:
        """The axis of the batch."""
        return -4 if self.heads else -3 if self.front else -1

    def inward(self, ref: Ref, array: Array) -> Array:
        """An array with the batch last, as terms take it."""
        a = np.asarray(array)
        return to_front(a, ref.shape, self.heads) if self.front else a

    def outward(self, ref: Ref, array: Array) -> Array:
        """An array of terms with the batch last."""
        if not self.front:
            return array
        if _of_sequences(ref):
            return to_back(array, ref.shape.stack, self.heads, ref.shape.headed)
        array = array[..., 0, :, :, :] if self.heads else array[..., 0, :, :]
        return array[..., 0, :, :] if self.heads and not ref.shape.headed else array

    def shape(self, ref: Any, size: Callable[[Dim], int], batch: int) -> tuple[int, ...]:
        """The array of a state of so many sequences."""
        rows, cols = size(ref.shape.rows), size(ref.shape.cols)
        if self.heads:
            return (batch, size(ref.shape.heads), rows, cols)
        return (batch, rows, cols) if self.front else (rows, batch)

    def spread(self, array: Array, batch: int) -> Array:
        """What all sequences share, for each of them."""
        if self.heads:
            return np.broadcast_to(array, (batch, *array.shape[-3:]))
        if self.front:
            return np.broadcast_to(array, (batch, *array.shape[-2:]))
        return np.broadcast_to(array, (*array.shape[:-1], batch))

    def fit(self, value: Array, like: Array) -> Array:
        """Sum over the batch what belongs to something that is the same for all sequences.

        What every head is given alike is there for each of them.
        """
        axis = self.axis
        one = like.ndim < -axis or like.shape[axis] == 1  # a constant has no axes in front
        value = value[(None,) * (-axis - value.ndim)]  # made of constants alone
        if one and value.shape[axis] != 1:
            value = value.sum(axis=axis, keepdims=True)
        if not self.heads:
            return value
        heads = np.broadcast_shapes(value.shape[-3:-2], like.shape[-3:-2])
        return np.broadcast_to(value, (*value.shape[:-3], *heads, *value.shape[-2:]))

    def single(self, value: Array) -> Array:
        """The value of the only sequence, without the axis that a batch in front has."""
        return value[0] if value.ndim == 3 + self.heads else value


def turned(x: Array) -> Array:
    """The last two axes exchanged."""
    return np.swapaxes(x, -1, -2)


def vec(x: Array) -> Array:
    """The columns of the last two axes, one below the other."""
    return turned(x).reshape(*x.shape[:-2], -1, 1)
