"""Gated cells with projections, normalisation, exponential gates or missing inputs."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, exp, layer_norm, maximum, relu, sigmoid, split, tanh

__all__ = [
    "ZOO",
    "gru_d",
    "lstm_layer_norm",
    "lstm_projected",
    "minimal_rnn",
    "slstm",
]


@cell(
    inputs="x: d",
    states="h: k; c: p",
    params="W_i W_f W_o W_c: p k; U_i U_f U_o U_c: p d; b_i b_f b_o b_c: p; P: k p",
    outputs="h",
    source="Sak et al. 2014, LSTM with a recurrent projection layer, eqs. (7)–(13), no peepholes",
)
def lstm_projected(x, h, c, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c, P):
    """Long short-term memory whose state of k units is a projection of the p cell outputs."""
    i = sigmoid(W_i @ h + U_i @ x + b_i)
    f = sigmoid(W_f @ h + U_f @ x + b_f)
    o = sigmoid(W_o @ h + U_o @ x + b_o)
    c_tilde = tanh(W_c @ h + U_c @ x + b_c)
    c = f * c + i * c_tilde
    m = o * tanh(c)
    h = P @ m
    return h, c


@cell(
    inputs="x: d",
    states="h c: p",
    params="W: 4*p p; U: 4*p d; b g_h d_h g_x d_x: 4*p; g_c d_c: p",
    outputs="h",
    source="Ba et al. 2016, Layer Normalization, eqs. (20)–(22)",
)
def lstm_layer_norm(x, h, c, W, U, b, g_h, d_h, g_x, d_x, g_c, d_c):
    """Layer-normalised LSTM: both packed products and the memory are normalised over units."""
    s_h = W @ h
    s_x = U @ x
    a = layer_norm(s_h, g_h, d_h) + layer_norm(s_x, g_x, d_x) + b
    a_f, a_i, a_o, a_g = split(a, 4)
    f = sigmoid(a_f)
    i = sigmoid(a_i)
    o = sigmoid(a_o)
    g = tanh(a_g)
    c = f * c + i * g
    h = o * tanh(layer_norm(c, g_c, d_c))
    return h, c


@cell(
    inputs="x: d",
    states="h c n m: p",
    params="W_z W_i W_f W_o: p d; R_z R_i R_f R_o: p p; b_z b_i b_f b_o: p",
    outputs="h",
    domains={"n": ">= 1"},
    source="Beck et al. 2024, xLSTM, eqs. (8)–(17), with exponential input and forget gates",
)
def slstm(x, h, c, n, m, W_z, W_i, W_f, W_o, R_z, R_i, R_f, R_o, b_z, b_i, b_f, b_o):
    """sLSTM: exponential gates, a normaliser state n > 0 and a stabiliser state m."""
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
    return h, c, n, m


@cell(
    inputs="x: d",
    states="h: p",
    params="W_x: p d; U_h U_z: p p; b_z b_u: p",
    source="Chen 2017, MinimalRNN, arXiv:1711.06788, with Φ(x) = tanh(W_x x + b_z)",
)
def minimal_rnn(x, h, W_x, U_h, U_z, b_z, b_u):
    """MinimalRNN: h = u ⊙ h₋ + (1 − u) ⊙ z, the input embedded once and then only mixed in."""
    z = tanh(W_x @ x + b_z)
    u = sigmoid(U_h @ h + U_z @ z + b_u)
    h = u * h + (1 - u) * z
    return h


@cell(
    inputs="x: d",
    data="seen elapsed: d",
    states="h: p; x_last: d",
    params=(
        "w_x b_x: d; W_g: p d; b_g: p; W_r W_z W_c: p p; U_r U_z U_c: p d; V_r V_z V_c: p d; "
        "b_r b_z b_c: p"
    ),
    fixed="x_mean: d",
    outputs="h",
    domains={"seen": "0/1", "elapsed": ">= 0"},
    source="Che et al. 2018, RNNs for Multivariate Time Series with Missing Values, GRU-D",
)
def gru_d(
    x, seen, elapsed, h, x_last, w_x, b_x, W_g, b_g, W_r, W_z, W_c, U_r, U_z, U_c, V_r, V_z, V_c,
    b_r, b_z, b_c, x_mean,
):  # fmt: skip
    """GRU-D: missing inputs (seen = 0) and the state decay with the elapsed time."""
    gamma_x = exp(-relu(w_x * elapsed + b_x))
    gamma_h = exp(-relu(W_g @ elapsed + b_g))
    x_hat = seen * x + (1 - seen) * (gamma_x * x_last + (1 - gamma_x) * x_mean)
    h_hat = gamma_h * h
    r = sigmoid(W_r @ h_hat + U_r @ x_hat + V_r @ seen + b_r)
    z = sigmoid(W_z @ h_hat + U_z @ x_hat + V_z @ seen + b_z)
    h_tilde = tanh(W_c @ (r * h_hat) + U_c @ x_hat + V_c @ seen + b_c)
    h_new = (1 - z) * h_hat + z * h_tilde
    last = seen * x + (1 - seen) * x_last
    return h_new, last


ZOO = (lstm_projected, lstm_layer_norm, slstm, minimal_rnn, gru_d)
