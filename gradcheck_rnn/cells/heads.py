"""Layers with heads: the heads share the input, each has weights and a state of its own."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import cell, dot, exp, maximum, mean, minimum, outer, sigmoid, sqrt, sum_heads

__all__ = ["ZOO", "multihead_linear_attention", "multihead_retention"]


@cell(
    heads="H",
    inputs="x: d",
    states="S: H n m; z: H n",
    params="W_q W_k: H n d; W_v: H m d; W_o: H d m",
    outputs="y",
    source="Katharopoulos et al. 2020, Transformers are RNNs, eqs. (7), (16)–(20), in heads",
    domains={"z": "> 0"},
)
def multihead_linear_attention(x, S, z, W_q, W_k, W_v, W_o):
    """Linear attention in heads: S = S₋ + φ(k) vᵀ, y = Σ_h W_o (Sᵀφ(q) / zᵀφ(q)), φ = elu + 1."""
    q, k, v = W_q @ x, W_k @ x, W_v @ x
    f = maximum(q, 0) + exp(minimum(q, 0))
    g = maximum(k, 0) + exp(minimum(k, 0))
    S = S + outer(g, v)
    z = z + g
    o = S.T @ f / dot(z, f)
    y = sum_heads(W_o @ o)
    return {"S": S, "z": z, "y": y}


@cell(
    heads="H",
    inputs="x: d",
    states="S: H n m",
    params="W_q W_k: H n d; W_v W_g: H m d; W_o: H d m",
    fixed="gamma: H",
    outputs="y",
    source="Sun et al. 2023, Retentive Network, eqs. (6)–(8), without rotation of q and k",
    domains={"gamma": "(0, 1)"},
)
def multihead_retention(x, S, W_q, W_k, W_v, W_g, W_o, gamma):
    """Retention in heads: S = γ S₋ + k vᵀ, y = Σ_h W_o (swish(W_g x) ⊙ norm(Sᵀ q)), γ a head."""
    q, k, v = W_q @ x, W_k @ x, W_v @ x
    S = gamma * S + outer(k, v)
    o = S.T @ q
    centred = o - mean(o)
    scale = sqrt(mean(centred**2) + 1e-5)
    a = W_g @ x
    g = a * sigmoid(a)
    y = sum_heads(W_o @ (g * centred / scale))
    return {"S": S, "y": y}


ZOO = (multihead_linear_attention, multihead_retention)
