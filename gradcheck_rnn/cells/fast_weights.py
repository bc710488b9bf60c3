"""Cells whose state is a matrix for every sequence: an association of keys with values.

They take queries, keys, values and gates as a layer computes them, as the kernels do.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import cell, dot, exp, eye, outer

__all__ = [
    "ZOO",
    "delta_net",
    "gated_linear_attention",
    "linear_attention",
    "selective_scan",
]


@cell(
    inputs="q k: n; v: m",
    states="S: n m; z: n",
    outputs="o",
    source="Katharopoulos et al. 2020, Transformers are RNNs, eqs. (16)–(20), with features q, k",
    domains={"q": "> 0", "k": "> 0", "z": ">= 0"},
)
def linear_attention(q, k, v, S, z):
    """Linear attention: S = S₋ + k vᵀ, z = z₋ + k, o = Sᵀ q / (zᵀ q) with features q, k > 0."""
    S = S + outer(k, v)
    z = z + k
    o = S.T @ q / dot(z, q)
    return {"S": S, "z": z, "o": o}


@cell(
    inputs="q k alpha: n; v: m",
    states="S: n m",
    outputs="o",
    source="Yang et al. 2024, Gated Linear Attention Transformers, eq. (3)",
)
def gated_linear_attention(q, k, alpha, v, S):
    """Gated linear attention: S = diag(α) S₋ + k vᵀ, o = Sᵀ q."""
    S = alpha * S + outer(k, v)
    o = S.T @ q
    return {"S": S, "o": o}


@cell(
    inputs="q k: n; v: m; alpha beta:",
    states="S: m n",
    outputs="o",
    source="Yang et al. 2025, Gated Delta Networks, eq. (10); α = 1: Schlag et al. 2021",
)
def delta_net(q, k, v, alpha, beta, S):
    """Gated delta rule: S = α S₋ (I − β k kᵀ) + β v kᵀ, o = S q."""
    S = alpha * (S @ (eye("n") - beta * outer(k, k))) + beta * outer(v, k)
    o = S @ q
    return {"S": S, "o": o}


@cell(
    inputs="u delta: n; B C: m",
    states="S: n m",
    params="A: n m; D: n",
    outputs="y",
    source="Gu & Dao 2023, Mamba, algorithm 2 (S6): exp(Δ A) for A, Δ B for B",
)
def selective_scan(u, delta, B, C, S, A, D):
    """Selective state space: S = exp(δ ⊙ A) ⊙ S₋ + (δ ⊙ u) Bᵀ, y = S C + D ⊙ u."""
    S = exp(delta * A) * S + outer(delta * u, B)
    y = S @ C + D * u
    return {"S": S, "y": y}


ZOO = (
    linear_attention,
    gated_linear_attention,
    delta_net,
    selective_scan,
)
