"""Derivatives of a step through its products, without the matrix of all units by all units.

What a state or an input v enters by weights W_k @ u_k(v), and else unit by unit, has the derivative
D + Σ_k J_k W_k ∂u_k/∂v: D with the products held, J_k by the product's own units, and ∂u_k/∂v with
the products held again, so that every path is counted by the first product that it goes through.
Where D and ∂u_k/∂v are diagonal an adjoint is pulled back by one product with W_k a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Jacobian", "Summand", "Through", "diagonal_of", "pull_step"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Summand:
    """One product: J_k (T, B, out, rows) or its diagonal, W_k, and the diagonal of ∂u_k/∂v."""

    outer: Array
    weight: Array
    inner: Array


@dataclass(frozen=True)
class Through:
    """D + Σ_k J_k W_k ∂u_k/∂v; ``direct`` is the diagonal of D (T, B, n), None if it is zero;
    there is one term at least."""

    direct: Array | None
    terms: Sequence[Summand]

    def __getitem__(self, at: int) -> Through:
        return Through(
            None if self.direct is None else self.direct[at],
            [Summand(t.outer[at], t.weight, t.inner[at]) for t in self.terms],
        )

    @property
    def size(self) -> int:
        """How many weights there are in all products."""
        return sum(t.weight.size for t in self.terms)

    @property
    def mixes(self) -> bool:
        """Whether units reach others."""
        return any(
            t.weight.shape[0] != t.weight.shape[1]
            or bool((t.weight - np.diag(np.diag(t.weight))).any())
            for t in self.terms
        )

    def any(self) -> bool:
        """Whether anything is not zero: what is, is left out."""
        return bool(self.terms)

    def pull(self, bar: Array) -> Array:
        """(…, B, K, out) to (…, B, K, in)."""
        parts = [
            np.matmul(pull_step(bar, t.outer), t.weight) * t.inner[..., None, :] for t in self.terms
        ]
        if self.direct is not None:
            parts.append(bar * self.direct[..., None, :])
        return np.asarray(sum(parts[1:], start=parts[0]))

    def dense(self) -> Array:
        """The matrices (T, B, out, in)."""
        first = self.terms[0].outer if self.direct is None else self.direct
        eye = np.eye(first.shape[2], dtype=first.dtype)
        return self.pull(np.broadcast_to(eye, (*first.shape[:2], *eye.shape)))


Jacobian = Array | Through


def pull_step(bar: Array, jacobian: Jacobian) -> Array:
    """(…, B, K, out) through a dense (…, B, out, in), diagonal (…, B, n) or factored Jacobian."""
    if isinstance(jacobian, Through):
        return jacobian.pull(bar)
    if jacobian.ndim == bar.ndim - 1:
        return np.asarray(bar * jacobian[..., None, :])
    return np.asarray(np.matmul(bar, jacobian))


def diagonal_of(row: Array, other: Array, v: Array) -> bool:
    """Whether D 1 and D v, (T, n, B), are those of a diagonal D."""
    gap = np.abs(other - v[:, None] * row)
    unit = 16 * np.finfo(row.dtype).eps
    return not bool(np.any(gap > unit * np.abs(row) * np.abs(v)[:, None]))
