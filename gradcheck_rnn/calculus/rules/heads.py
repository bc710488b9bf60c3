"""The sum over heads, and its adjoint: what the heads share, taken by each of them."""

from __future__ import annotations

from ..terms import HeadSum, PerHead
from .base import Rule

__all__ = ["RULES"]

RULES = (
    Rule(
        "sum over heads",
        HeadSum,
        differential=lambda node, i, d, out: HeadSum(d, node.heads),
        pullback=lambda node, i, bar, out: PerHead(bar, node.heads),
        pushforward=lambda node, i, tangent, out: HeadSum(tangent, node.heads),
        citation="Σ_h u⁽ʰ⁾ is linear in each u⁽ʰ⁾; ⟨bar, Σ_h u⁽ʰ⁾⟩ = Σ_h ⟨bar, u⁽ʰ⁾⟩",
    ),
)
