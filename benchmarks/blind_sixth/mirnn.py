"""Recurrent network with multiplicative integration, weights as in x @ W: time first."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import tanh


@cell(
    inputs="x: d",
    states="h: n",
    params="W: n d; U: n n; alpha beta1 beta2 b: n",
    source="Wu et al. 2016, On Multiplicative Integration with Recurrent Neural Networks, eq. (4)",
)
def mirnn(x, h, W, U, alpha, beta1, beta2, b):
    wx = W @ x
    uh = U @ h
    return tanh(alpha * wx * uh + beta1 * uh + beta2 * wx + b)


def forward(x, h0, W, U, alpha, beta1, beta2, b):
    hs = np.zeros((len(x) + 1, *h0.shape))
    hs[0] = h0
    for t in range(len(x)):
        wx, uh = x[t] @ W, hs[t] @ U
        hs[t + 1] = np.tanh(alpha * wx * uh + beta1 * uh + beta2 * wx + b)
    return {"h": hs[1:], "h_T": hs[-1]}, (x, hs, W, U, alpha, beta1, beta2)


def backward(cot, saved):
    x, hs, W, U, alpha, beta1, beta2 = saved
    dx, dW, dU = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U)
    dalpha, dbeta1, dbeta2, db = (np.zeros_like(alpha) for _ in range(4))
    dh_next = cot["h_T"]
    for t in range(len(x) - 1, -1, -1):
        wx, uh = x[t] @ W, hs[t] @ U
        dh = cot["h"][t] + dh_next
        da = dh * (1 - hs[t + 1] ** 2)
        dalpha += (da * wx * uh).sum(axis=0)
        dbeta1 += (da * uh).sum(axis=0)
        dbeta2 += (da * wx).sum(axis=0)
        db += da.sum(axis=0)
        dwx = da * (alpha * uh + beta2)
        duh = da * (alpha * wx + beta1)
        dW += x[t].T @ dwx
        dU += hs[t].T @ duh
        dx[t] = dwx @ W.T
        dh_next = duh @ U.T
    grads = {"alpha": dalpha, "beta1": dbeta1, "beta2": dbeta2, "b": db}
    return grads | {"x": dx, "h0": dh_next, "W": dW, "U": dU}


MODEL = (
    mirnn,
    Layout(
        {"W": "W.T", "U": "U.T"} | {k: k for k in ("alpha", "beta1", "beta2", "b")},
        {"x": "x: T B n", "h0": "h0: B n"},
        {"h": "h: T B n", "h_T": "h_final: B n"},
    ),
)
