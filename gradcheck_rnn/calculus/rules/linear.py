"""Sums, matrix products, transposes, scalar multiples: what is linear in each operand."""

from __future__ import annotations

from ..terms import (
    Broadcast,
    Commutation,
    Dot,
    Eye,
    Kron,
    Neg,
    Ones,
    Plus,
    Scale,
    Term,
    Times,
    Transpose,
    UnitSum,
)
from .base import Rule, as_column, product

__all__ = ["RULES"]


def _around(node: Term, i: int) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    return node.operands[:i], node.operands[i + 1 :]


def _times_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    before, after = _around(node, i)
    return product(
        *(Transpose(a) for a in reversed(before)), bar, *(Transpose(b) for b in reversed(after))
    )


def _times_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    before, after = _around(node, i)
    return Times(*before, d, *after)


def _times_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    before, after = _around(node, i)
    x = node.operands[i]
    if x.shape[1] == 1 and not after:
        return product(*before, tangent)
    right = Transpose(Times(*after)) if after else Eye(x.shape[1])
    left = Times(*before) if before else Eye(x.shape[0])
    return product(Kron(right, left), tangent)


def _scale_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    s, x = node.operands
    return Scale(d, x) if i == 0 else Scale(s, d)


def _scale_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    s, x = node.operands
    return Dot(as_column(x), as_column(bar)) if i == 0 else Scale(s, bar)


def _scale_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    s, x = node.operands
    return product(as_column(x), tangent) if i == 0 else Scale(s, tangent)


RULES = (
    Rule(
        "sum",
        Plus,
        differential=lambda node, i, d, out: d,
        pullback=lambda node, i, bar, out: bar,
        pushforward=lambda node, i, tangent, out: tangent,
        citation="Magnus & Neudecker 2019, ch. 8: d(U + V) = dU + dV",
    ),
    Rule(
        "negation",
        Neg,
        differential=lambda node, i, d, out: Neg(d),
        pullback=lambda node, i, bar, out: Neg(bar),
        pushforward=lambda node, i, tangent, out: Neg(tangent),
        citation="Magnus & Neudecker 2019, ch. 8: d(αU) = α dU",
    ),
    Rule(
        "matrix product",
        Times,
        differential=_times_differential,
        pullback=_times_pullback,
        pushforward=_times_pushforward,
        citation="Magnus & Neudecker 2019, ch. 8: d(UV) = (dU)V + U(dV)",
    ),
    Rule(
        "transpose",
        Transpose,
        differential=lambda node, i, d, out: Transpose(d),
        pullback=lambda node, i, bar, out: Transpose(bar),
        pushforward=lambda node, i, tangent, out: product(
            Commutation(*node.operands[0].shape), tangent
        ),
        citation="Magnus & Neudecker 2019, ch. 8: d(Uᵀ) = (dU)ᵀ",
    ),
    Rule(
        "scalar multiple",
        Scale,
        differential=_scale_differential,
        pullback=_scale_pullback,
        pushforward=_scale_pushforward,
        citation="Magnus & Neudecker 2019, ch. 8: d(φU) = (dφ)U + φ dU",
    ),
    Rule(
        "repetition of a scalar",
        Broadcast,
        differential=lambda node, i, d, out: Scale(d, Ones(*node.shape)),
        pullback=lambda node, i, bar, out: UnitSum(as_column(bar)),
        pushforward=lambda node, i, tangent, out: product(
            Ones(node.shape[0] * node.shape[1]), tangent
        ),
        citation="s·1 is linear in s; ⟨bar, s·1⟩ = s·(1ᵀ bar)",
    ),
)
