"""Solutions of linear systems, X = A⁻¹ B."""

from __future__ import annotations

from ..terms import Eye, Kron, Neg, Solve, Term, Times, Transpose
from .base import Rule, product

__all__ = ["RULES"]


def _differential(node: Term, i: int, d: Term, out: Term) -> Term:
    a = node.operands[0]
    return Neg(Solve(a, Times(d, out))) if i == 0 else Solve(a, d)


def _pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    back = Solve(Transpose(node.operands[0]), bar)
    return Neg(Times(back, Transpose(out))) if i == 0 else back


def _pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    a, b = node.operands
    inverse = Solve(a, Eye(a.shape[0]))
    if i == 0:
        return Neg(product(Kron(Transpose(out), inverse), tangent))
    if b.shape[1] == 1:
        return Solve(a, tangent)
    return product(Kron(Eye(b.shape[1]), inverse), tangent)


RULES = (
    Rule(
        "solution of a linear system",
        Solve,
        differential=_differential,
        pullback=_pullback,
        pushforward=_pushforward,
        citation="Magnus & Neudecker 2019, ch. 8: d(U⁻¹) = −U⁻¹ (dU) U⁻¹",
    ),
)
