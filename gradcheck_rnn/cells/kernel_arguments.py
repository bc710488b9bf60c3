"""What kernels of published packages compute, by their arguments; not cells of the zoo.

Each is the definition of ready layouts (`verify.harness.packages`) and loads by its name. Decays
come as logarithms, queries are scaled by 1 / sqrt(n), heads or groups are an axis of all arguments.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import cell, exp, ones, outer, sigmoid, softplus, sqrt, tanh
from ..language import sum as total

__all__ = ["KERNELS"]

GATES_FIRST = "Pöppel et al. 2025, FlashRNN, section 3: inputs W x are handed in"


@cell(
    heads="H",
    inputs="q k: H n; v: H m",
    states="S: H n m",
    outputs="o",
    source="Katharopoulos et al. 2020, Transformers are RNNs, eqs. (16)–(20), not normalised",
)
def kernel_linear_attention(q, k, v, S):
    """Linear attention: S = S₋ + k vᵀ, o = Sᵀ q / sqrt(n)."""
    S = S + outer(k, v)
    o = S.T @ q / sqrt(total(ones("n")))
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k: H n; v: H m; g: H",
    states="S: H n m",
    outputs="o",
    domains={"g": "< 0"},
    source="Dao & Gu 2024, Transformers are SSMs; Yang et al. 2024, with one decay a head and step",
)
def kernel_simple_gla(q, k, v, g, S):
    """Linear attention with a decay: S = e^g S₋ + k vᵀ, o = Sᵀ q / sqrt(n), g a head and step."""
    S = exp(g) * S + outer(k, v)
    o = S.T @ q / sqrt(total(ones("n")))
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k g: H n; v: H m",
    states="S: H n m",
    outputs="o",
    domains={"g": "< 0"},
    source="Yang et al. 2024, Gated Linear Attention Transformers, eq. (3), α = e^g",
)
def kernel_gla(q, k, v, g, S):
    """Gated linear attention: S = diag(e^g) S₋ + k vᵀ, o = Sᵀ q / sqrt(n)."""
    S = exp(g) * S + outer(k, v)
    o = S.T @ q / sqrt(total(ones("n")))
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k: H n; v: H m; beta: H",
    states="S: H n m",
    outputs="o",
    domains={"beta": "(0, 1)"},
    source="Schlag et al. 2021, Linear Transformers are secretly fast weight programmers, eq. (24)",
)
def kernel_delta_rule(q, k, v, beta, S):
    """Delta rule: S = S₋ + β k (v − S₋ᵀ k)ᵀ, o = Sᵀ q / sqrt(n)."""
    S = S + outer(beta * k, v - S.T @ k)
    o = S.T @ q / sqrt(total(ones("n")))
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k: H n; v: H m; g beta: H",
    states="S: H n m",
    outputs="o",
    domains={"g": "< 0", "beta": "(0, 1)"},
    source="Yang et al. 2025, Gated Delta Networks, eq. (10), α = e^g",
)
def kernel_gated_delta_rule(q, k, v, g, beta, S):
    """Gated delta rule: P = e^g S₋, S = P + β k (v − Pᵀ k)ᵀ, o = Sᵀ q / sqrt(n)."""
    P = exp(g) * S
    S = P + outer(beta * k, v - P.T @ k)
    o = S.T @ q / sqrt(total(ones("n")))
    return {"S": S, "o": o}


@cell(
    inputs="u delta z: d; B C: n",
    states="S: d n",
    params="A: d n; D delta_bias: d",
    outputs="y",
    domains={"A": "< 0"},
    source="Gu & Dao 2023, Mamba, algorithm 2 with the gate of its block",
)
def kernel_selective_scan(u, delta, z, B, C, S, A, D, delta_bias):
    """Selective scan: S = exp(Δ A) S₋ + Δ u Bᵀ, y = (S C + D u) z σ(z), Δ = softplus(δ + bias)."""
    step = softplus(delta + delta_bias)
    S = exp(step * A) * S + outer(step * u, B)
    y = (S @ C + D * u) * (z * sigmoid(z))
    return {"S": S, "y": y}


@cell(
    heads="G",
    inputs="u delta z: G d; B C: G n",
    states="S: G d n",
    params="A: G d n; D delta_bias: G d",
    outputs="y",
    domains={"A": "< 0"},
    source="Gu & Dao 2023, Mamba, algorithm 2 with the gate of its block; a group shares B and C",
)
def kernel_selective_scan_groups(u, delta, z, B, C, S, A, D, delta_bias):
    """Selective scan in groups of channels, each with B and C of its own."""
    step = softplus(delta + delta_bias)
    S = exp(step * A) * S + outer(step * u, B)
    y = (S @ C + D * u) * (z * sigmoid(z))
    return {"S": S, "y": y}


@cell(
    heads="H",
    inputs="x_i x_f x_z x_o: H n",
    states="h c: H n",
    params="R_i R_f R_z R_o: H n n; b_i b_f b_z b_o: H n",
    outputs="h c",
    source=GATES_FIRST,
)
def kernel_flashrnn_lstm(x_i, x_f, x_z, x_o, h, c, R_i, R_f, R_z, R_o, b_i, b_f, b_z, b_o):
    """LSTM in heads: c = f ⊙ c₋ + i ⊙ z, h = o ⊙ tanh(c), gates of x + R h₋ + b."""
    i = sigmoid(x_i + R_i @ h + b_i)
    f = sigmoid(x_f + R_f @ h + b_f)
    z = tanh(x_z + R_z @ h + b_z)
    o = sigmoid(x_o + R_o @ h + b_o)
    c = f * c + i * z
    h = o * tanh(c)
    return {"h": h, "c": c}


@cell(
    heads="H",
    inputs="x: H n",
    states="h: H n",
    params="R: H n n; b: H n",
    outputs="h",
    source=GATES_FIRST,
)
def kernel_flashrnn_elman(x, h, R, b):
    """Elman network in heads: h = tanh(x + R h₋ + b)."""
    h = tanh(x + R @ h + b)
    return {"h": h}


KERNELS = (
    kernel_linear_attention,
    kernel_simple_gla,
    kernel_gla,
    kernel_delta_rule,
    kernel_gated_delta_rule,
    kernel_selective_scan,
    kernel_selective_scan_groups,
    kernel_flashrnn_lstm,
    kernel_flashrnn_elman,
)
