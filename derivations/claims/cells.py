"""Cells of publications that are not in the zoo."""

# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from gradcheck_rnn.language import cell, sigmoid, softmax, tanh


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d", source="R package rnn, RNN units")
def rnn_sigmoid(x, h, W, U):
    """Sigmoid state without bias: h = σ(W h₋ + U x)."""
    i = W @ h + U @ x
    h = sigmoid(i)
    return h


@cell(
    inputs="u: d",
    states="x: p",
    params="W: p p; W_in: p d; b: p",
    source="Pascanu, Mikolov & Bengio 2013, eq. (2)",
)
def activated_state(u, x, W, W_in, b):
    """The state is a pre-activation: x = W σ(x₋) + W_in u + b."""
    s = sigmoid(x)
    x = W @ s + W_in @ u + b
    return x


@cell(
    inputs="x: d",
    states="h: p",
    params="W_r W_u W_c: p p; U_r U_u U_c: p d; b_r b_u b_c: p",
    source="TensorFlow, GRUBlockCell",
)
def gru_keep(x, h, W_r, W_u, W_c, U_r, U_u, U_c, b_r, b_u, b_c):
    """Gated recurrent unit whose gate u keeps the old state: h = u ⊙ h₋ + (1 − u) ⊙ c."""
    r = sigmoid(W_r @ h + U_r @ x + b_r)
    u = sigmoid(W_u @ h + U_u @ x + b_u)
    c = tanh(W_c @ (r * h) + U_c @ x + b_c)
    h = u * h + (1 - u) * c
    return h


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U: p d; b_i: p; V: q p; b_y: q",
    outputs="h y_hat",
    source="Ghojogh & Ghodsi 2023, eqs. (3)–(6)",
)
def elman_softmax(x, h, W, U, b_i, V, b_y):
    """Elman network with softmax at its output."""
    i = W @ h + U @ x + b_i
    h = tanh(i)
    y = V @ h + b_y
    y_hat = softmax(y)
    return h, y_hat


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U: p d; V: q p",
    outputs="h o",
    source="Zhang et al., Dive into Deep Learning, Backpropagation Through Time",
)
def linear_readout(x, h, W, U, V):
    """Linear network with a linear readout: h = W h₋ + U x, o = V h."""
    h = W @ h + U @ x
    o = V @ h
    return h, o
