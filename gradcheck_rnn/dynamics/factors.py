"""Jacobian terms on arrays with time first, as diag(s) M: a row scaling of a matrix.

The transition Jacobians of recurrent cells are sums of products such as diag(φ′) W. Kept as a
pair (s, M) with M shared by all steps, such a product costs p numbers a step instead of p², and
bounds can read off what is γ and what is W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..calculus import terms as T
from ..derivation.numeric_terms import TermEvaluator
from ..errors import DimensionError

__all__ = ["Factor", "LeadingEvaluator", "factor_of"]

Array = Any
Lookup = Callable[[T.Sym], Array]


@dataclass(frozen=True, eq=False)
class Factor:
    """diag(scale) · matrix over the steps of a segment of time.

    Attributes
    ----------
    rows, cols : int
        Shape of one step.
    scale : array ``(m, rows, 1)`` or ``(rows, 1)``, or None
        None is all ones; without a leading axis it is the same at every step.
    matrix : array ``(m, rows, cols)`` or ``(rows, cols)``, or None
        None is the identity.
    """

    rows: int
    cols: int
    scale: Array | None = None
    matrix: Array | None = None

    def dense(self) -> Array:
        """The product itself, ``(m, rows, cols)`` or ``(rows, cols)``."""
        if self.matrix is None:
            eye = np.eye(self.rows)
            return eye if self.scale is None else self.scale * eye
        return self.matrix if self.scale is None else self.scale * self.matrix

    def __matmul__(self, other: Factor) -> Factor:
        if self.matrix is None:
            return Factor(self.rows, other.cols, _mul(self.scale, other.scale), other.matrix)
        if other.matrix is None:
            if other.scale is None:
                return self
            columns = np.swapaxes(other.scale, -1, -2)
            return Factor(self.rows, other.cols, self.scale, self.matrix * columns)
        return Factor(self.rows, other.cols, self.scale, np.matmul(self.matrix, other.dense()))

    def __add__(self, other: Factor) -> Factor:
        if self.matrix is other.matrix:
            one = np.ones((self.rows, 1))
            a = one if self.scale is None else self.scale
            b = one if other.scale is None else other.scale
            return Factor(self.rows, self.cols, a + b, self.matrix)
        return Factor(self.rows, self.cols, None, self.dense() + other.dense())

    def over_heads(self, rows: int, cols: int) -> Factor:
        """The Jacobian of all heads from that of one, whose arrays have their axis before the last.

        Parameters
        ----------
        rows, cols : int
            How many heads have a result, and an operand, of their own; 0 where they share it.
        """
        heads = rows or cols or 1
        if rows == cols and self.matrix is None:
            scale = None if self.scale is None else _each(self.scale, heads)
            stacked = None if scale is None else scale.reshape(*scale.shape[:-3], -1, 1)
            return Factor(heads * self.rows, heads * self.cols, stacked)
        one = _each(self.dense(), heads)
        lead = one.shape[:-3]
        if rows != cols or heads == 1:
            # What the heads share is read by each of them, or is a sum over all.
            one = np.swapaxes(one, -3, -2) if cols else one
            shape = (self.rows * (rows or 1), self.cols * (cols or 1))
            return Factor(*shape, None, one.reshape(*lead, *shape))
        out = np.zeros((*lead, heads, self.rows, heads, self.cols))
        each = np.arange(heads)
        out[..., each, :, each, :] = np.moveaxis(one, -3, 0)
        shape = (heads * self.rows, heads * self.cols)
        return Factor(*shape, None, out.reshape(*lead, *shape))

    def scaled(self, s: Array) -> Factor:
        """Multiplied by a scalar, or by one scalar a step, ``(m, 1, 1)``."""
        s = np.asarray(s)
        if s.ndim >= 2:
            s = np.broadcast_to(s, (*s.shape[:-2], self.rows, 1))
        elif s.ndim == 0:
            s = np.full((self.rows, 1), s)
        return Factor(self.rows, self.cols, _mul(s, self.scale), self.matrix)


def _mul(a: Array | None, b: Array | None) -> Array | None:
    if a is None:
        return b
    return a if b is None else a * b


def _each(a: Array, heads: int) -> Array:
    """An array ``(m, H, …)`` or ``(H, …)``, without the steps where it is the same at each."""
    lead = a.shape[:-3] if a.ndim > 3 and len(a) > 1 else ()
    a = a if lead or a.ndim < 4 else a[0]
    return np.broadcast_to(a, (*lead, heads, *a.shape[-2:]))


class LeadingEvaluator(TermEvaluator):
    """Evaluates terms on columns ``(m, n, 1)``: one leading time axis, no batch."""

    def __call__(self, term: T.Term, lookup: Lookup) -> Array:
        if isinstance(term, T.Diag):
            x = self(term.operands[0], lookup)
            return x * np.eye(x.shape[-2], dtype=x.dtype)
        if isinstance(term, T.Kron):
            a, b = (self(x, lookup) for x in term.operands)
            out = a[..., :, None, :, None] * b[..., None, :, None, :]
            rows, cols = a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1]
            return out.reshape(*out.shape[:-4], rows, cols)
        if isinstance(term, T.Slice):
            x = self(term.operands[0], lookup)
            return x[..., self.size(term.args[1]) : self.size(term.args[2]), :]
        return super().__call__(term, lookup)


def factor_of(ev: LeadingEvaluator, term: T.Term, lookup: Lookup) -> Factor:
    """The value of a Jacobian term over a segment of time.

    Parameters
    ----------
    term : Term
        A matrix in numerator layout.
    lookup : callable
        Values of the variables: ``(m, n, 1)`` for what moves, ``(n, k)`` for parameters.

    Raises
    ------
    DimensionError
        The value has not the shape that the term declares.
    """
    if isinstance(term, T.Eye):
        n = ev.size(term.shape[0])
        return Factor(n, n)
    if isinstance(term, T.Diag):
        x = ev(term.operands[0], lookup)
        return Factor(x.shape[-2], x.shape[-2], x)
    if isinstance(term, T.Neg):
        return factor_of(ev, term.operands[0], lookup).scaled(np.float64(-1.0))
    if isinstance(term, T.Scale):
        s = ev(term.operands[0], lookup)
        return factor_of(ev, term.operands[1], lookup).scaled(s)
    if isinstance(term, T.Times):
        # From the right, where the matrix is: then the diagonals in front of it stay vectors.
        factors = [factor_of(ev, x, lookup) for x in term.operands]
        out = factors[-1]
        for f in reversed(factors[:-1]):
            out = f @ out
        return out
    if isinstance(term, T.Plus):
        parts = [factor_of(ev, x, lookup) for x in term.operands]
        out = parts[0]
        for p in parts[1:]:
            out = out + p
        return out
    value = ev(term, lookup)
    rows, cols = ev.size(term.shape[0]), ev.size(term.shape[1])
    if value.shape[-2:] != (rows, cols):
        raise DimensionError(f"{term} is declared {rows}×{cols} but its value is {value.shape}")
    return Factor(rows, cols, None, value)
