"""Maximum, where, comparisons and frozen values: branches and stopped gradients.

At a tie ``maximum(a, b)`` passes everything to ``b``; a comparison is piecewise constant and a
condition is never differentiated; a frozen value is a constant to the derivative by definition.
"""

from __future__ import annotations

from ...errors import MissingRule
from ..terms import (
    Broadcast,
    ChooseUnits,
    Frozen,
    Greater,
    Hadamard,
    Maximum,
    Neg,
    Num,
    Ones,
    Plus,
    Surrogate,
    Term,
    Where,
    Zeros,
)
from .base import Rule, diagonal, product

__all__ = ["RULES"]


def _chosen(node: Term, i: int) -> Term:
    """Indicator of the entries that come from operand ``i`` of a maximum."""
    first = Greater(*node.operands)
    return first if i == 0 else Plus(Broadcast(Num(1), *node.shape), Neg(first))


def _where_linear(node: Term, i: int, x: Term, out: Term) -> Term:
    zero = Zeros(*x.shape)
    condition = node.operands[0]
    return Where(condition, x, zero) if i == 1 else Where(condition, zero, x)


def _where_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    one, zero = Ones(*node.shape), Zeros(*node.shape)
    condition = node.operands[0]
    taken = Where(condition, one, zero) if i == 1 else Where(condition, zero, one)
    return product(diagonal(taken), tangent)


def _refuse(node: Term, i: int, x: Term, out: Term) -> Term:
    raise MissingRule(f"{node} carries no derivative; it must not be asked for one")


RULES = (
    Rule(
        "maximum",
        Maximum,
        differential=lambda node, i, d, out: Hadamard(_chosen(node, i), d),
        pullback=lambda node, i, bar, out: Hadamard(bar, _chosen(node, i)),
        pushforward=lambda node, i, tangent, out: product(diagonal(_chosen(node, i)), tangent),
        citation="max(a, b) is a where a > b, else b",
    ),
    Rule(
        "where",
        Where,
        differential=_where_linear,
        pullback=_where_linear,
        pushforward=_where_pushforward,
        citation="a selection is linear in what it selects",
        passive=(0,),
    ),
    Rule(
        "comparison",
        Greater,
        differential=_refuse,
        pullback=_refuse,
        pushforward=_refuse,
        citation="an indicator is locally constant",
        passive=(0, 1),
    ),
    Rule(
        "choice of units",
        ChooseUnits,
        differential=_refuse,
        pullback=_refuse,
        pushforward=_refuse,
        citation="a piecewise constant map is locally constant",
        passive=(0,),
    ),
    Rule(
        "declared derivative",
        Surrogate,
        differential=lambda node, i, d, out: Hadamard(node.operands[1], d),
        pullback=lambda node, i, bar, out: Hadamard(bar, node.operands[1]),
        pushforward=lambda node, i, tangent, out: product(diagonal(node.operands[1]), tangent),
        citation="by declaration: df = s ⊙ dx, whatever f is",
        passive=(0, 1),
    ),
    Rule(
        "frozen value",
        Frozen,
        differential=_refuse,
        pullback=_refuse,
        pushforward=_refuse,
        citation="stopped gradient: the value is held while parameters move",
        passive=(0,),
    ),
)
