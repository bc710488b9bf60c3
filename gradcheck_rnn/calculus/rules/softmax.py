"""Softmax, its logarithm, and the cross-entropy of logits."""

from __future__ import annotations

from ..terms import (
    Broadcast,
    CrossEntropy,
    Diag,
    Dot,
    Eye,
    Hadamard,
    LogSoftmax,
    Neg,
    Ones,
    Plus,
    Scale,
    Softmax,
    Term,
    Times,
    Transpose,
    UnitSum,
)
from .base import Rule, product

__all__ = ["RULES"]


def _softmax_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    # A weighted mean is taken off: dy = y ⊙ (dx − (yᵀdx)1) = (diag y − y yᵀ) dx.
    return Times(Plus(Diag(out), Neg(Times(out, Transpose(out)))), d)


def _softmax_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    return Hadamard(out, Plus(bar, Neg(Broadcast(Dot(out, bar), *node.shape))))


def _softmax_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    spread = product(Diag(out), tangent)
    return Plus(spread, Neg(product(out, Times(Transpose(out), tangent))))


def _log_softmax_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    n = node.shape[0]
    return Times(Plus(Eye(n), Neg(Times(Ones(n), Transpose(Softmax(node.operands[0]))))), d)


def _log_softmax_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    return Plus(bar, Neg(Scale(UnitSum(bar), Softmax(node.operands[0]))))


def _log_softmax_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    weights = Transpose(Softmax(node.operands[0]))
    return Plus(tangent, Neg(product(Ones(node.shape[0]), Times(weights, tangent))))


def _residual(node: Term) -> Term:
    """(1ᵀtarget) softmax(y) − target: ŷ − target for targets that sum to one."""
    y, target = node.operands
    return Plus(Scale(UnitSum(target), Softmax(y)), Neg(target))


def _cross_entropy_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    y, _ = node.operands
    return Dot(_residual(node), d) if i == 0 else Neg(Dot(LogSoftmax(y), d))


def _cross_entropy_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    y, _ = node.operands
    return Scale(bar, _residual(node) if i == 0 else Neg(LogSoftmax(y)))


def _cross_entropy_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    y, _ = node.operands
    row = Transpose(_residual(node) if i == 0 else Neg(LogSoftmax(y)))
    return Times(row, tangent)


RULES = (
    Rule(
        "softmax",
        Softmax,
        differential=_softmax_differential,
        pullback=_softmax_pullback,
        pushforward=_softmax_pushforward,
        citation="Bridle 1990: ∂y/∂x = diag(y) − y yᵀ for y = softmax(x)",
    ),
    Rule(
        "log softmax",
        LogSoftmax,
        differential=_log_softmax_differential,
        pullback=_log_softmax_pullback,
        pushforward=_log_softmax_pushforward,
        citation="∂/∂x (x − log Σ exp x) = I − 1 softmax(x)ᵀ",
    ),
    Rule(
        "cross-entropy of logits",
        CrossEntropy,
        differential=_cross_entropy_differential,
        pullback=_cross_entropy_pullback,
        pushforward=_cross_entropy_pushforward,
        citation="Bridle 1990: ∂(−tᵀ log softmax(y))/∂y = (1ᵀt) softmax(y) − t",
    ),
)
