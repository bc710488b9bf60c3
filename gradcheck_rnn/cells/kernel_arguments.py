"""What kernels of published packages compute, by their arguments; not cells of the zoo.

Each is the definition of ready layouts (`verify.harness.packages`) and loads by its name. Decays
come as logarithms, queries are scaled by 1 / sqrt(n) (those of RWKV by 1), heads or groups are an
axis of all arguments. ``NAME_scaled`` takes the scale as an argument.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from ..language import (
    cell,
    dot,
    exp,
    maximum,
    ones,
    outer,
    sigmoid,
    softplus,
    sqrt,
    tanh,
)
from ..language import sum as total
from ..language.cell import Cell

__all__ = ["KERNELS", "SEQUENCES"]

GATES_FIRST = "Pöppel et al. 2025, FlashRNN, section 3: inputs W x are handed in"


def _by(scale: Any, o: Any) -> Any:
    """Scaled by what is given; by 1 / sqrt(n) where nothing is."""
    if scale is None:
        return o / sqrt(total(ones("n")))
    return o if isinstance(scale, int) else scale * o


@cell(
    heads="H",
    inputs="q k: H n; v: H m",
    states="S: H n m",
    fixed="scale:",
    outputs="o",
    domains={"scale": "> 0"},
    source="Katharopoulos et al. 2020, Transformers are RNNs, eqs. (16)–(20), not normalised",
)
def kernel_linear_attention(q, k, v, S, scale):
    """Linear attention: S = S₋ + k vᵀ, o = Sᵀ q / sqrt(n)."""
    S = S + outer(k, v)
    o = _by(scale, S.T @ q)
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k: H n; v: H m; g: H",
    states="S: H n m",
    fixed="scale:",
    outputs="o",
    domains={"scale": "> 0", "g": "< 0"},
    source="Dao & Gu 2024, Transformers are SSMs; Yang et al. 2024, with one decay a head and step",
)
def kernel_simple_gla(q, k, v, g, S, scale):
    """Linear attention with a decay: S = e^g S₋ + k vᵀ, o = Sᵀ q / sqrt(n), g a head and step."""
    S = exp(g) * S + outer(k, v)
    o = _by(scale, S.T @ q)
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k g: H n; v: H m",
    states="S: H n m",
    fixed="scale:",
    outputs="o",
    domains={"scale": "> 0", "g": "< 0"},
    source="Yang et al. 2024, Gated Linear Attention Transformers, eq. (3), α = e^g",
)
def kernel_gla(q, k, v, g, S, scale):
    """Gated linear attention: S = diag(e^g) S₋ + k vᵀ, o = Sᵀ q / sqrt(n)."""
    S = exp(g) * S + outer(k, v)
    o = _by(scale, S.T @ q)
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k: H n; v: H m; beta: H",
    states="S: H n m",
    fixed="scale:",
    outputs="o",
    domains={"scale": "> 0", "beta": "(0, 1)"},
    source="Schlag et al. 2021, Linear Transformers are secretly fast weight programmers, eq. (24)",
)
def kernel_delta_rule(q, k, v, beta, S, scale):
    """Delta rule: S = S₋ + β k (v − S₋ᵀ k)ᵀ, o = Sᵀ q / sqrt(n)."""
    S = S + outer(beta * k, v - S.T @ k)
    o = _by(scale, S.T @ q)
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k: H n; v: H m; g beta: H",
    states="S: H n m",
    fixed="scale:",
    outputs="o",
    domains={"scale": "> 0", "g": "< 0", "beta": "(0, 1)"},
    source="Yang et al. 2025, Gated Delta Networks, eq. (10), α = e^g",
)
def kernel_gated_delta_rule(q, k, v, g, beta, S, scale):
    """Gated delta rule: P = e^g S₋, S = P + β k (v − Pᵀ k)ᵀ, o = Sᵀ q / sqrt(n)."""
    P = exp(g) * S
    S = P + outer(beta * k, v - P.T @ k)
    o = _by(scale, S.T @ q)
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="q k: H n; v: H m",
    states="S: H n m",
    fixed={"gamma": ("H", lambda H: 1 - 2.0 ** (-5 - np.arange(H))), "scale": ""},
    outputs="o",
    domains={"scale": "> 0"},
    source="Sun et al. 2023, Retentive Network, eqs. (6)–(8): γ = 1 − 2^(−5 − h), not normalised",
)
def kernel_retention(q, k, v, S, gamma, scale):
    """Retention: S = γ S₋ + k vᵀ, o = Sᵀ q / sqrt(n), γ a head."""
    S = gamma * S + outer(k, v)
    o = _by(scale, S.T @ q)
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="r k w: H n; v: H m",
    states="S: H n m",
    params="u: H n",
    fixed="scale:",
    outputs="o",
    domains={"scale": "> 0", "w": "< 0"},
    source="Peng et al. 2024, Eagle and Finch, RWKV-6 time mixing, decays e^w",
)
def kernel_rwkv6(r, k, w, v, S, u, scale):
    """RWKV-6: o = (S₋ + (u ⊙ k) vᵀ)ᵀ r, S = diag(e^w) S₋ + k vᵀ."""
    o = _by(scale, S.T @ r + dot(r, u * k) * v)
    S = exp(w) * S + outer(k, v)
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="r w k a b: H n; v: H m",
    states="S: H n m",
    fixed="scale:",
    outputs="o",
    domains={"scale": "> 0", "w": "< 0"},
    source="Peng et al. 2025, RWKV-7 Goose, with a = −κ, b = κ ⊙ a of the paper, decays e^w",
)
def kernel_rwkv7(r, w, k, a, b, v, S, scale):
    """RWKV-7: S = diag(e^w) S₋ + b (S₋ᵀ a)ᵀ + k vᵀ, o = Sᵀ r."""
    S = exp(w) * S + outer(b, S.T @ a) + outer(k, v)
    o = _by(scale, S.T @ r)
    return {"S": S, "o": o}


@cell(
    inputs="k v: n",
    states="a b m: n",
    params="w u: n",
    outputs="o",
    domains={"b": ">= 0"},
    source="Peng et al. 2023, RWKV, time mixing, stabilised as in its appendix, decays e^(−e^w)",
)
def kernel_rwkv4(k, v, a, b, m, w, u):
    """RWKV-4: o = (e^m a + e^(u + k) v) / (e^m b + e^(u + k)), m a running maximum."""
    top = maximum(m, u + k)
    past, now = exp(m - top), exp(u + k - top)
    o = (past * a + now * v) / (past * b + now)
    carried = m - exp(w)
    m = maximum(carried, k)
    keep, write = exp(carried - m), exp(k - m)
    return {"a": keep * a + write * v, "b": keep * b + write, "m": m, "o": o}


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


@cell(
    heads="H",
    inputs="x_i x_f x_z x_o: H n",
    states="h c s m: H n",
    params="R_i R_f R_z R_o: H n n; b_i b_f b_z b_o: H n",
    outputs="h c s m",
    domains={"s": ">= 1"},
    source=f"{GATES_FIRST}; Beck et al. 2024, xLSTM, eqs. (8)–(17), f = σ, s ≥ 1",
)
def kernel_flashrnn_slstm(
    x_i, x_f, x_z, x_o, h, c, s, m, R_i, R_f, R_z, R_o, b_i, b_f, b_z, b_o
):  # fmt: skip
    """sLSTM in heads: c = f ⊙ c₋ + i ⊙ z, s = max(f ⊙ s₋ + i, 1), h = o ⊙ c / s, gates of e^m."""
    log_i = x_i + R_i @ h + b_i
    carried = m - softplus(-(x_f + R_f @ h + b_f))
    z = tanh(x_z + R_z @ h + b_z)
    o = sigmoid(x_o + R_o @ h + b_o)
    m = maximum(log_i, carried)
    i = exp(log_i - m)
    f = exp(carried - m)
    c = f * c + i * z
    s = maximum(f * s + i, 1)
    h = o * c / s
    return {"h": h, "c": c, "s": s, "m": m}


@cell(
    heads="H",
    inputs="x_r x_z x_n: H n",
    states="h: H n",
    params="R_g R_r R_z: H n n; b_g b_r b_z b_n: H n",
    outputs="h",
    source=GATES_FIRST,
)
def kernel_flashrnn_gru(x_r, x_z, x_n, h, R_g, R_r, R_z, b_g, b_r, b_z, b_n):
    """GRU in heads: h = z ⊙ h₋ + (1 − z) ⊙ tanh(x + b_n + r ⊙ (R h₋ + b_g))."""
    r = sigmoid(x_r + R_r @ h + b_r)
    z = sigmoid(x_z + R_z @ h + b_z)
    n = tanh(x_n + b_n + r * (R_g @ h + b_g))
    h = z * h + (1 - z) * n
    return {"h": h}


def _bound(whole: Cell, scale: int | None) -> tuple[Cell, Cell]:
    """A kernel with its own scale, and the same with the scale as an argument."""
    kept = [n for n in whole.shapes if n != "scale"]

    @wraps(whole.function)
    def function(**given: Any) -> Any:
        return whole.function(**given, scale=scale)

    plain = replace(
        whole, function=function, shapes={n: whole.shapes[n] for n in kept},
        kinds={n: whole.kinds[n] for n in kept}, _seen={},
        domains={n: d for n, d in whole.domains.items() if n != "scale"},
    )  # fmt: skip
    told = whole.what.replace(" / sqrt(n)", "").removesuffix(".") + ", o times a scale."
    return plain, replace(whole, name=f"{whole.name}_scaled", what=told, _seen={})


#: Kernels of linear attention, which run backwards and take a scale too.
_BY_ROOT = (
    kernel_linear_attention, kernel_simple_gla, kernel_gla, kernel_delta_rule,
    kernel_gated_delta_rule, kernel_retention,
)  # fmt: skip
SEQUENCES = tuple(
    c for whole in (*_BY_ROOT, kernel_rwkv6, kernel_rwkv7)
    for c in _bound(whole, None if whole in _BY_ROOT else 1)
)  # fmt: skip
KERNELS = (
    *SEQUENCES, kernel_rwkv4, kernel_selective_scan, kernel_selective_scan_groups,
    kernel_flashrnn_lstm, kernel_flashrnn_slstm, kernel_flashrnn_gru, kernel_flashrnn_elman,
)  # fmt: skip
