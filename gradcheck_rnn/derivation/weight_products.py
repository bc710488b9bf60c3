"""Σₜ δₜ vₜᵀ of a weight as one product over all steps, where arrays are large.

Adding a matrix a step goes through all entries of the weight each time; one product of the
columns of all steps does so once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..calculus.terms import Sym, Term, Times, Transpose
from .batches import turned
from .editing import Adjoints
from .program import Derivation, Edge

__all__ = ["SampledProducts", "WeightProducts", "products_only"]

Array = Any
Values = Callable[[Sym], Array]
Run = Any  # of `evaluate`, which imports this module


class WeightProducts:
    """δ and v of the weights of a scan, kept until all steps are taken."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.kept: dict[str, list[tuple[Array, Array]]] = {}

    def took(self, edge: Edge, values: Values, sums: Adjoints) -> bool:
        """Whether the contribution of an edge is such a product; then it is kept."""
        factors = self._factors(edge)
        if factors is None:
            return False
        left, right = (self.run.terms(f, values) for f in factors)
        self._take(edge.operand.name, left, right, sums)
        return True

    def _factors(self, edge: Edge) -> tuple[Term, Term] | None:
        if edge.kind != "param" or self.run.batches.front:
            return None
        return _outer(edge.pullback)

    def _take(self, name: str, left: Array, right: Array, sums: Adjoints) -> None:
        self.kept.setdefault(name, []).append((left, right))

    def add_to(self, sums: Adjoints) -> None:
        """One product a weight: the columns of all steps side by side."""
        for name, pairs in self.kept.items():
            left, right = (_beside(a) for a in zip(*pairs, strict=True))
            like = self.run.series[name][0]
            sums.add(name, 0, self.run.batches.fit(np.matmul(left, turned(right)), like))


class SampledProducts(WeightProducts):
    """Some rows and columns of the gradients of large weights, step by step as ever.

    ``chosen`` has by weight the numbers of its rows and of its columns.
    """

    def __init__(self, run: Run, chosen: Mapping[str, tuple[Array, Array]]) -> None:
        super().__init__(run)
        self.chosen = chosen

    def _factors(self, edge: Edge) -> tuple[Term, Term] | None:
        return super()._factors(edge) if edge.operand.name in self.chosen else None

    def _take(self, name: str, left: Array, right: Array, sums: Adjoints) -> None:
        rows, columns = self.chosen[name]
        part = self.run.terms.product(left[..., rows, :], turned(right[..., columns, :]))
        sums.add(name, 0, part)


def products_only(derivation: Derivation) -> set[str]:
    """Parameters whose gradient is a sum of products δ vᵀ, and nothing else."""
    if derivation.network.front:
        return set()
    starts = {
        i.ref.name
        for scan in derivation.network.scans for state in scan.states
        for i in state.initial if i.ref is not None
    }  # fmt: skip
    edges = [e for p in derivation.scans for q in p.equations for e in q.edges]
    mine = {e.operand.name for e in edges if e.kind == "param"}
    return mine - starts - {e.operand.name for e in edges if _outer(e.pullback) is None}


def _beside(arrays: Sequence[Array]) -> Array:
    """Columns of several arrays side by side; axes in front are repeated."""
    front = np.broadcast_shapes(*(a.shape[:-2] for a in arrays))
    return np.concatenate([np.broadcast_to(a, (*front, *a.shape[-2:])) for a in arrays], axis=-1)


@lru_cache(maxsize=4096)
def _outer(term: Term) -> tuple[Term, Term] | None:
    """δ and v of a product δ vᵀ."""
    if not isinstance(term, Times) or not isinstance(term.operands[-1], Transpose):
        return None
    return Times(*term.operands[:-1]), term.operands[-1].operands[0]
