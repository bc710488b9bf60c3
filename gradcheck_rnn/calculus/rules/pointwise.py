"""Elementwise products, quotients, powers and functions."""

from __future__ import annotations

from ..derivatives import derivative
from ..terms import (
    Abs,
    Apply,
    Divide,
    Hadamard,
    Neg,
    Num,
    Power,
    Scale,
    Sign,
    Term,
)
from .base import Rule, diagonal, product

__all__ = ["RULES"]


def _others(node: Term, i: int) -> tuple[Term, ...]:
    return node.operands[:i] + node.operands[i + 1 :]


def _hadamard_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    return Hadamard(*node.operands[:i], d, *node.operands[i + 1 :])


def _hadamard_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    return Hadamard(bar, *_others(node, i))


def _hadamard_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    return product(diagonal(*_others(node, i)), tangent)


def _divide_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    _, y = node.operands
    return Divide(d, y) if i == 0 else Neg(Divide(Hadamard(out, d), y))


def _divide_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    _, y = node.operands
    return Divide(bar, y) if i == 0 else Neg(Divide(Hadamard(bar, out), y))


def _divide_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    _, y = node.operands
    if i == 0:
        return product(diagonal(Power(y, -1)), tangent)
    return Neg(product(diagonal(Divide(out, y)), tangent))


def power_derivative(node: Term) -> tuple[Num, Term | None]:
    """The factors of d(xⁿ)/dx: n, and xⁿ⁻¹ unless that is 1."""
    x, n = node.args
    if n == 1:
        return Num(1), None
    return Num(n), x if n == 2 else Power(x, n - 1)


def _power_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    n, rest = power_derivative(node)
    return Scale(n, Hadamard(rest, d)) if rest is not None else d


def _power_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    n, rest = power_derivative(node)
    return Scale(n, Hadamard(bar, rest)) if rest is not None else bar


def _power_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    n, rest = power_derivative(node)
    return Scale(n, product(diagonal(rest), tangent)) if rest is not None else tangent


def _slope(node: Term, out: Term) -> tuple[Term, ...]:
    name, x = node.args
    return derivative(str(name.name), x, out)


RULES = (
    Rule(
        "elementwise product",
        Hadamard,
        differential=_hadamard_differential,
        pullback=_hadamard_pullback,
        pushforward=_hadamard_pushforward,
        citation="Magnus & Neudecker 2019, ch. 8: d(U ⊙ V) = dU ⊙ V + U ⊙ dV",
    ),
    Rule(
        "elementwise quotient",
        Divide,
        differential=_divide_differential,
        pullback=_divide_pullback,
        pushforward=_divide_pushforward,
        citation="quotient rule, entry by entry: d(u/v) = du/v − (u/v) dv/v",
    ),
    Rule(
        "elementwise power",
        Power,
        differential=_power_differential,
        pullback=_power_pullback,
        pushforward=_power_pushforward,
        citation="power rule, entry by entry: d(uⁿ) = n uⁿ⁻¹ du",
    ),
    Rule(
        "elementwise function",
        Apply,
        differential=lambda node, i, d, out: Hadamard(*_slope(node, out), d),
        pullback=lambda node, i, bar, out: Hadamard(bar, *_slope(node, out)),
        pushforward=lambda node, i, tangent, out: product(diagonal(*_slope(node, out)), tangent),
        citation="Petersen & Pedersen 2012, §2: d φ(u) = φ′(u) ⊙ du, entry by entry",
    ),
    Rule(
        "absolute value",
        Abs,
        differential=lambda node, i, d, out: Hadamard(Sign(node.operands[0]), d),
        pullback=lambda node, i, bar, out: Hadamard(bar, Sign(node.operands[0])),
        pushforward=lambda node, i, tangent, out: product(
            diagonal(Sign(node.operands[0])), tangent
        ),
        citation="d|u| = sign(u) du for u ≠ 0",
    ),
)
