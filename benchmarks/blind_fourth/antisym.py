"""An antisymmetric network; batch first, the gradients of weights after the loop."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout

MODEL = (
    "antisymmetric",
    Layout(
        {"W": "W", "U": "U", "b": "b_i", "eps": "epsilon", "gam": "gamma"},
        {"x": "x: B T n", "h0": "h0"},
        {"h": "h: B T n", "h_T": "h_final"},
    ),
)


def forward(W, U, b, eps, gam, x, h0):
    M = W - W.T - gam * np.eye(len(W))
    h = np.zeros((x.shape[0], x.shape[1] + 1, len(W)))
    h[:, 0] = h0
    s = np.zeros_like(h[:, 1:])
    for t in range(x.shape[1]):
        s[:, t] = np.tanh(h[:, t] @ M.T + x[:, t] @ U.T + b)
        h[:, t + 1] = h[:, t] + eps * s[:, t]
    return {"h": h[:, 1:], "h_T": h[:, -1]}, (M, U, eps, x, h, s)


def backward(cot, saved):
    M, U, eps, x, h, s = saved
    da = np.zeros_like(s)
    dhs = np.zeros_like(s)
    g = cot["h_T"]
    for t in reversed(range(x.shape[1])):
        g = g + cot["h"][:, t]
        dhs[:, t] = g
        da[:, t] = eps * g * (1 - s[:, t] ** 2)
        g = g + da[:, t] @ M
    dM = np.einsum("btp,btq->pq", da, h[:, :-1])
    dW = dM - dM.T
    dgam = -np.trace(dM)
    dU = np.einsum("btp,btd->pd", da, x)
    db = da.sum(axis=(0, 1))
    deps = (dhs * s).sum()
    dx = da @ U
    return {"W": dW, "U": dU, "b": db, "eps": deps, "gam": dgam, "x": dx, "h0": g}
