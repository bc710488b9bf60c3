"""Layers with heads: the heads share the input, each has weights and a state of its own."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import (
    cell,
    dot,
    exp,
    maximum,
    mean,
    minimum,
    outer,
    sigmoid,
    sqrt,
    sum_heads,
    tanh,
)

__all__ = ["ZOO", "multihead_linear_attention", "multihead_retention", "multihead_slstm"]


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
    # elu(u) + 1 that keeps its digits far below 0; at u = 0 the exponential has the slope.
    f = maximum(q, 0) + exp(minimum(0, q))
    g = maximum(k, 0) + exp(minimum(0, k))
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


@cell(
    heads="H",
    inputs="x: d",
    states="h c n m: H p",
    params="W_z W_i W_f W_o: H p d; R_z R_i R_f R_o: H p p; b_z b_i b_f b_o gamma: H p; W_y: H q p",
    outputs="y",
    domains={"n": ">= 1"},
    source="Beck et al. 2024, xLSTM, section 2.2 in heads, group norm and output of its block",
)
def multihead_slstm(
    x, h, c, n, m, W_z, W_i, W_f, W_o, R_z, R_i, R_f, R_o, b_z, b_i, b_f, b_o, gamma, W_y
):  # fmt: skip
    """sLSTM in heads that read their own units only; y = Σ_h W_y norm(h), a group norm."""
    z = tanh(W_z @ x + R_z @ h + b_z)
    log_i = W_i @ x + R_i @ h + b_i
    log_f = W_f @ x + R_f @ h + b_f
    o = sigmoid(W_o @ x + R_o @ h + b_o)
    carried = log_f + m
    m = maximum(carried, log_i)
    i = exp(log_i - m)
    f = exp(carried - m)
    c = f * c + i * z
    n = f * n + i
    h = o * (c / n)
    centred = h - mean(h)
    y = sum_heads(W_y @ (gamma * centred / sqrt(mean(centred**2) + 1e-5)))
    return {"h": h, "c": c, "n": n, "m": m, "y": y}


ZOO = (multihead_linear_attention, multihead_retention, multihead_slstm)
