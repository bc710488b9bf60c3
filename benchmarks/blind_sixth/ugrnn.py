"""Update-gate recurrent network (UGRNN) with its two products packed: batch first."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import fused, sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import sigmoid as logistic
from gradcheck_rnn.language import tanh


@cell(
    inputs="x: d",
    states="h: n",
    params="W_c W_g: n d; U_c U_g: n n; b_c b_g: n",
    source="Collins et al. 2017, Capacity and Trainability in Recurrent Neural Networks",
)
def ugrnn(x, h, W_c, W_g, U_c, U_g, b_c, b_g):
    c = tanh(W_c @ x + U_c @ h + b_c)
    g = logistic(W_g @ x + U_g @ h + b_g)
    return g * h + (1 - g) * c


def forward(x, h0, W, U, b):
    h, hs, cs, gs = h0, [h0], [], []
    n = h0.shape[1]
    for t in range(x.shape[1]):
        z = x[:, t] @ W.T + h @ U.T + b
        c, g = np.tanh(z[:, :n]), sigmoid(z[:, n:])
        h = g * h + (1 - g) * c
        hs.append(h)
        cs.append(c)
        gs.append(g)
    return {"h": np.stack(hs[1:], axis=1), "h_T": h}, (x, hs, cs, gs, W, U)


def backward(cot, saved):
    x, hs, cs, gs, W, U = saved
    dx, dW, dU, db = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U), np.zeros(len(W))
    dh_next = cot["h_T"]
    for t in reversed(range(x.shape[1])):
        h_prev, c, g = hs[t], cs[t], gs[t]
        dh = cot["h"][:, t] + dh_next
        dc = dh * (1 - g)
        dg = dh * (h_prev - c)
        dzc = dc * (1 - c**2)
        dzg = dg * g * (1 - g)
        dz = np.concatenate([dzc, dzg], axis=1)
        dW += dz.T @ x[:, t]
        dU += dz.T @ h_prev
        db += dz.sum(axis=0)
        dx[:, t] = dz @ W
        dh_next = dz @ U + dh * g
    return {"x": dx, "h0": dh_next, "W": dW, "U": dU, "b": db}


MODEL = (
    ugrnn,
    Layout(
        {"W": fused("W", "cg"), "U": fused("U", "cg"), "b": fused("b", "cg")},
        {"x": "x: B T n", "h0": "h0: B n"},
        {"h": "h: B T n", "h_T": "h_final: B n"},
    ),
)
