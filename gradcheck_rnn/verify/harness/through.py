"""Derivatives of a step through its products, without the matrix of all units by all units.

What a state or an input v enters by weights W_k @ u_k(v), and else unit by unit, has the derivative
D + Σ_k J_k W_k ∂u_k/∂v: D with the products held, J_k by the product's own units, and ∂u_k/∂v with
the products held again, so that every path is counted by the first product that it goes through.
Where D and ∂u_k/∂v are diagonal an adjoint is pulled back by one product with W_k a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Jacobian", "Pullback", "Summand", "Through", "diagonal_of", "pull_step"]

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


class Pullback:
    """What a thing that is read is handed by all outputs of a step.

    Outputs that read it by the same product share it: their adjoints are added up in front of the
    weight, which is then multiplied once for all of them and all sequences.

    Parameters
    ----------
    parts : sequence of (output, Jacobian)
        Jacobians of all steps.
    """

    def __init__(self, parts: Sequence[tuple[str, Jacobian]]) -> None:
        self.plain: list[tuple[str, Array]] = []
        self.products: dict[tuple[int, int], tuple[Array, Array, list[tuple[str, Array]]]] = {}
        for name, jacobian in parts:
            if not isinstance(jacobian, Through):
                self.plain.append((name, jacobian))
                continue
            if jacobian.direct is not None:
                self.plain.append((name, jacobian.direct))
            for t in jacobian.terms:
                key = id(t.weight), id(t.inner)
                self.products.setdefault(key, (t.weight, t.inner, []))[2].append((name, t.outer))

    def at(self, step: int, bars: Mapping[str, Array]) -> Array:
        """The adjoint (B, K, in) from those of all outputs (T, B, K, out) at a step."""
        found = [pull_step(bars[n][step], j[step]) for n, j in self.plain]
        for weight, inner, outers in self.products.values():
            before = [pull_step(bars[n][step], o[step]) for n, o in outers]
            summed = sum(before[1:], start=before[0])
            moved = summed.reshape(-1, summed.shape[-1]) @ weight
            found.append(moved.reshape(*summed.shape[:-1], -1) * inner[step][..., None, :])
        return np.asarray(sum(found[1:], start=found[0]))


def diagonal_of(row: Array, other: Array, v: Array) -> bool:
    """Whether D 1 and D v, (T, n, B), are those of a diagonal D."""
    gap = np.abs(other - v[:, None] * row)
    unit = 16 * np.finfo(row.dtype).eps
    return not bool(np.any(gap > unit * np.abs(row) * np.abs(v)[:, None]))
