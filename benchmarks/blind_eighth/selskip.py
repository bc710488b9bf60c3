"""A selective diagonal recurrence with gated output and skip: batch first, one loop backwards."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import exp, silu, softplus


@cell(
    inputs="x: d",
    states="h: p",
    params="W B: p d; b A: p; C: d p; D: d; G: d d",
    outputs="y",
)
def selskip(x, h, W, B, b, A, C, D, G):
    delta = softplus(W @ x + b)
    a = exp(-delta * exp(A))
    h = a * h + delta * (B @ x)
    y = (C @ h + D * x) * silu(G @ x)
    return {"h": h, "y": y}


def forward(x, h0, W, B, b, A, C, D, G):
    k = x @ W.T + b
    delta = np.logaddexp(0, k)
    a = np.exp(-delta * np.exp(A))
    v = x @ B.T
    h, hs = h0, [h0]
    for t in range(x.shape[1]):
        h = a[:, t] * h + delta[:, t] * v[:, t]
        hs.append(h)
    hs = np.stack(hs, axis=1)
    u = x @ G.T
    m = hs[:, 1:] @ C.T + D * x
    y = m * u * sigmoid(u)
    return {"y": y, "h_T": h}, (x, k, delta, a, v, hs, u, m, W, B, A, C, D, G)


def backward(cot, saved):
    x, k, delta, a, v, hs, u, m, W, B, A, C, D, G = saved
    dy = cot["y"]
    gate = sigmoid(u)
    dm = dy * u * gate
    du = dy * m * (gate + u * gate * (1 - gate))
    dD = (dm * x).sum(axis=(0, 1))
    dC = np.einsum("bti,btj->ij", dm, hs[:, 1:])
    direct = dm @ C
    dh, dhs = cot["h_T"], np.zeros_like(direct)
    for t in range(x.shape[1] - 1, -1, -1):
        dh = direct[:, t] + dh
        dhs[:, t] = dh
        dh = a[:, t] * dh
    da = dhs * hs[:, :-1]
    dlog = da * a
    ddelta = dhs * v - dlog * np.exp(A)
    dA = -(dlog * delta * np.exp(A)).sum(axis=(0, 1))
    dv = dhs * delta
    dk = ddelta * sigmoid(k)
    dW = np.einsum("bti,btj->ij", dk, x)
    dB = np.einsum("bti,btj->ij", dv, x)
    dG = np.einsum("bti,btj->ij", du, x)
    db = dk.sum(axis=(0, 1))
    dx = dk @ W + dv @ B + du @ G
    dx += dm * D
    grads = {"x": dx, "h0": dh, "W": dW, "B": dB, "b": db, "A": dA}
    return grads | {"C": dC, "D": dD, "G": dG}


MODEL = (
    selskip,
    Layout(
        {k: k for k in "WBbACDG"},
        {"x": "x: B T n", "h0": "h0: B n"},
        {"y": "y: B T n", "h_T": "h_final: B n"},
    ),
)
