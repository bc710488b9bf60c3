"""Products with the identity plus outer products: A (I − β u vᵀ) = A − β (A u) vᵀ.

What a careful author writes for a delta rule: products with vectors in place of a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ...calculus import terms as T

__all__ = ["expanded", "inner_products"]

#: What is done to a summand (its sign, its scalar), and its two vectors; none for the identity.
_Part: TypeAlias = tuple[Callable[[T.Term], T.Term], tuple[T.Term, T.Term] | None]


def expanded(term: T.Term) -> T.Term | None:
    """A product with such a sum as a sum of products, or None where there is none in it."""
    if not isinstance(term, T.Times):
        return None
    for i, x in enumerate(term.operands):
        before, after = term.operands[:i], term.operands[i + 1 :]
        parts = _parts(x, False)
        if parts is None or not (before or after):
            continue
        out: list[T.Term] = []
        for wrap, vectors in parts:
            middle = () if vectors is None else (vectors[0], T.Transpose(vectors[1]))
            factors = (*before, *middle, *after)
            out.append(wrap(T.Times(*factors) if len(factors) > 1 else factors[0]))
        return T.Plus(*out)
    return None


def inner_products(a: T.Term, b: T.Term) -> T.Term | None:
    """⟨A, B⟩ as a sum over the summands of A, where A is such a product."""
    sum_ = expanded(a)
    if sum_ is None:
        return None
    return T.Plus(*[_with(x, b) for x in sum_.operands])


def _with(x: T.Term, b: T.Term) -> T.Term:
    if isinstance(x, T.Neg):
        return T.Neg(_with(x.operands[0], b))
    if isinstance(x, T.Scale):
        return T.Scale(x.operands[0], _with(x.operands[1], b))
    return T.Dot(T.Vec(x), T.Vec(b))


def _parts(x: T.Term, turned: bool) -> list[_Part] | None:
    """The summands of the identity plus outer products, or None for anything else."""
    if isinstance(x, T.Transpose):
        return _parts(x.operands[0], not turned)
    if not isinstance(x, T.Plus) or not any(isinstance(a, T.Eye) for a in x.operands):
        return None
    found = [_part(a, turned) for a in x.operands]
    return None if any(p is None for p in found) else [p for p in found if p is not None]


def _part(x: T.Term, turned: bool) -> _Part | None:
    if isinstance(x, T.Eye):
        return (lambda term: term), None
    if isinstance(x, T.Neg | T.Scale):
        inner = _part(x.operands[-1], turned)
        if inner is None:
            return None
        wrap, vectors = inner
        if isinstance(x, T.Neg):
            return (lambda term: T.Neg(wrap(term))), vectors
        s = x.operands[0]
        return (lambda term: T.Scale(s, wrap(term))), vectors
    if isinstance(x, T.Times) and len(x.operands) == 2 and isinstance(x.operands[1], T.Transpose):
        u, v = x.operands[0], x.operands[1].operands[0]
        if u.shape[1] == 1 and v.shape[1] == 1:
            return (lambda term: term), ((v, u) if turned else (u, v))
    return None
