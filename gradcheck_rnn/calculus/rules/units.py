"""Sums and inner products over units, concatenation, slicing and vec."""

from __future__ import annotations

from sympy import Expr, Integer

from ..terms import (
    Broadcast,
    Concat,
    Dot,
    Eye,
    Kron,
    MapUnits,
    Ones,
    Pad,
    Scale,
    Slice,
    Term,
    Times,
    Transpose,
    UnitSum,
    Unvec,
    Vec,
)
from .base import Rule, product

__all__ = ["RULES"]


def _bounds(node: Term, i: int) -> tuple[Expr, Expr]:
    start: Expr = Integer(0)
    for part in node.operands[:i]:
        start = start + part.shape[0]
    return start, start + node.operands[i].shape[0]


def _concat_differential(node: Term, i: int, d: Term, out: Term) -> Term:
    return Pad(d, _bounds(node, i)[0], node.shape[0])


def _concat_pullback(node: Term, i: int, bar: Term, out: Term) -> Term:
    return Slice(bar, *_bounds(node, i))


def _concat_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    x = node.operands[i]
    place = Pad(Eye(x.shape[0]), _bounds(node, i)[0], node.shape[0])
    return product(place if x.shape[1] == 1 else Kron(Eye(x.shape[1]), place), tangent)


def _slice_ends(node: Term) -> tuple[Expr, Expr]:
    return node.args[1], node.args[2]


def _slice_pushforward(node: Term, i: int, tangent: Term, out: Term) -> Term:
    x = node.operands[0]
    if x.shape[1] == 1:
        return Slice(tangent, *_slice_ends(node))
    pick = Slice(Eye(x.shape[0]), *_slice_ends(node))
    return product(Kron(Eye(x.shape[1]), pick), tangent)


def _other(node: Term, i: int) -> Term:
    return node.operands[1 - i]


RULES = (
    Rule(
        "sum over units",
        UnitSum,
        differential=lambda node, i, d, out: UnitSum(d),
        pullback=lambda node, i, bar, out: Broadcast(bar, *node.operands[0].shape),
        pushforward=lambda node, i, tangent, out: product(
            Transpose(Ones(node.operands[0].shape[0])), tangent
        ),
        citation="1ᵀu is linear in u; ⟨bar, 1ᵀu⟩ = ⟨bar·1, u⟩",
    ),
    Rule(
        "inner product",
        Dot,
        differential=lambda node, i, d, out: (
            Dot(d, node.operands[1]) if i == 0 else Dot(node.operands[0], d)
        ),
        pullback=lambda node, i, bar, out: Scale(bar, _other(node, i)),
        pushforward=lambda node, i, tangent, out: Times(Transpose(_other(node, i)), tangent),
        citation="Magnus & Neudecker 2019, ch. 8: d(uᵀv) = vᵀdu + uᵀdv",
    ),
    Rule(
        "concatenation",
        Concat,
        differential=_concat_differential,
        pullback=_concat_pullback,
        pushforward=_concat_pushforward,
        citation="a stack of blocks is linear in each block",
    ),
    Rule(
        "slice",
        Slice,
        differential=lambda node, i, d, out: Slice(d, *_slice_ends(node)),
        pullback=lambda node, i, bar, out: Pad(
            bar, _slice_ends(node)[0], node.operands[0].shape[0]
        ),
        pushforward=_slice_pushforward,
        citation="a selection of rows is linear; its adjoint puts the rows back among zeros",
    ),
    Rule(
        "linear map of units",
        MapUnits,
        differential=lambda node, i, d, out: MapUnits(d, node.map.name),
        pullback=lambda node, i, bar, out: MapUnits(bar, node.map.adjoint),
        pushforward=lambda node, i, tangent, out: MapUnits(tangent, node.map.name),
        citation="L x is linear in x; ⟨bar, L x⟩ = ⟨Lᵀ bar, x⟩",
    ),
    Rule(
        "vec",
        Vec,
        differential=lambda node, i, d, out: Vec(d),
        pullback=lambda node, i, bar, out: Unvec(bar, *node.operands[0].shape),
        pushforward=lambda node, i, tangent, out: tangent,
        citation="Magnus & Neudecker 2019, ch. 8: d vec U = vec dU; ⟨bar, vec U⟩ = ⟨unvec bar, U⟩",
    ),
    Rule(
        "unvec",
        Unvec,
        differential=lambda node, i, d, out: Unvec(d, *node.shape),
        pullback=lambda node, i, bar, out: Vec(bar),
        pushforward=lambda node, i, tangent, out: tangent,
        citation="the inverse of vec, which is linear; ⟨bar, unvec u⟩ = ⟨vec bar, u⟩",
    ),
)
