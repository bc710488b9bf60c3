"""Recurrences unit by unit: gates that read the input, or the own unit alone, and no full matrix.

All products with the input can be taken for all steps at once; over time only elementwise work is
left, which a parallel scan may do.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, relu, sigmoid, tanh

__all__ = ["ZOO", "indrnn", "min_gru", "min_lstm", "qrnn", "sru"]


@cell(
    inputs="x: d",
    states="h: p",
    params="w: p; U: p d; b_i: p",
    source="Li et al. 2018, Independently Recurrent Neural Network, eq. (2)",
)
def indrnn(x, h, w, U, b_i):
    """Independently recurrent network: h = relu(w ⊙ h₋ + U x + b_i), one weight a unit."""
    i = w * h + U @ x + b_i
    h = relu(i)
    return h


@cell(
    inputs="x: d",
    states="c: p; x_last: d",
    params="V_z V_f V_o W_z W_f W_o: p d",
    outputs="h",
    source="Bradbury et al. 2017, Quasi-Recurrent Neural Networks, width 2, fo-pooling",
)
def qrnn(x, c, x_last, V_z, V_f, V_o, W_z, W_f, W_o):
    """Quasi-recurrent network: c = f ⊙ c₋ + (1 − f) ⊙ z, all from x and the x before."""
    z = tanh(V_z @ x_last + W_z @ x)
    f = sigmoid(V_f @ x_last + W_f @ x)
    o = sigmoid(V_o @ x_last + W_o @ x)
    c = f * c + (1 - f) * z
    h = o * c
    return {"c": c, "x_last": x, "h": h}


@cell(
    inputs="x: p",
    states="c: p",
    params="W W_f W_r: p p; v_f v_r b_f b_r: p",
    outputs="h",
    source="Lei et al. 2018, Simple Recurrent Units for Highly Parallelizable Recurrence",
)
def sru(x, c, W, W_f, W_r, v_f, v_r, b_f, b_r):
    """Simple recurrent unit: gates read their own unit of c₋, and x passes by the memory."""
    f = sigmoid(W_f @ x + v_f * c + b_f)
    r = sigmoid(W_r @ x + v_r * c + b_r)
    c = f * c + (1 - f) * (W @ x)
    h = r * c + (1 - r) * x
    return {"c": c, "h": h}


@cell(
    inputs="x: d",
    states="h: p",
    params="W_z W_h: p d; b_z b_h: p",
    source="Feng et al. 2024, Were RNNs All We Needed?, section 3.1",
)
def min_gru(x, h, W_z, W_h, b_z, b_h):
    """minGRU: h = (1 − z) ⊙ h₋ + z ⊙ h̃, gate and candidate of the input alone."""
    z = sigmoid(W_z @ x + b_z)
    h_tilde = W_h @ x + b_h
    h = (1 - z) * h + z * h_tilde
    return h


@cell(
    inputs="x: d",
    states="h: p",
    params="W_f W_i W_h: p d; b_f b_i b_h: p",
    source="Feng et al. 2024, Were RNNs All We Needed?, section 3.2, with normalised gates",
)
def min_lstm(x, h, W_f, W_i, W_h, b_f, b_i, b_h):
    """minLSTM: h = f / (f + i) ⊙ h₋ + i / (f + i) ⊙ h̃, gates of the input alone."""
    f = sigmoid(W_f @ x + b_f)
    i = sigmoid(W_i @ x + b_i)
    h_tilde = W_h @ x + b_h
    total = f + i
    h = (f / total) * h + (i / total) * h_tilde
    return h


ZOO = (indrnn, qrnn, sru, min_gru, min_lstm)
