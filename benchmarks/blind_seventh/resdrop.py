"""Two recurrent layers with dropout between and after, a skip and an RMS norm: batch first."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import mean, sqrt, tanh

KEEP, EPS = 0.75, 1e-5


@cell(
    inputs="x: d",
    data="m_1 m_2: p",
    states="h_1 h_2: p",
    params="U_1: p d; W_1 U_2 W_2: p p; b_1 b_2 gain: p",
    outputs="y",
    domains={"m_1": "0/1", "m_2": "0/1"},
)
def resdrop(x, m_1, m_2, h_1, h_2, U_1, W_1, U_2, W_2, b_1, b_2, gain):
    h_1 = tanh(U_1 @ x + W_1 @ h_1 + b_1)
    u = m_1 * h_1 / 0.75
    h_2 = tanh(U_2 @ u + W_2 @ h_2 + b_2)
    r = h_1 + m_2 * h_2 / 0.75
    y = gain * (r / sqrt(mean(r**2) + 1e-5))
    return {"h_1": h_1, "h_2": h_2, "y": y}


def forward(x, m1, m2, h1, h2, U1, W1, U2, W2, b1, b2, gain):
    ys, tape = [], []
    for t in range(x.shape[1]):
        p1, p2 = h1, h2
        h1 = np.tanh(x[:, t] @ U1.T + p1 @ W1.T + b1)
        u = m1[:, t] * h1 / KEEP
        h2 = np.tanh(u @ U2.T + p2 @ W2.T + b2)
        r = h1 + m2[:, t] * h2 / KEEP
        s = np.sqrt((r**2).mean(axis=1, keepdims=True) + EPS)
        ys.append(gain * r / s)
        tape.append((p1, p2, h1, h2, u, r, s))
    out = {"y": np.stack(ys, axis=1), "h1_T": h1, "h2_T": h2}
    return out, (x, m1, m2, U1, W1, U2, W2, gain, tape)


def backward(cot, saved):
    x, m1, m2, U1, W1, U2, W2, gain, tape = saved
    dU1, dW1, dU2, dW2 = (np.zeros_like(w) for w in (U1, W1, U2, W2))
    db1, db2, dgain = (np.zeros_like(gain) for _ in range(3))
    dx, dh1_next, dh2_next = np.zeros_like(x), cot["h1_T"], cot["h2_T"]
    for t in reversed(range(len(tape))):
        p1, p2, h1, h2, u, r, s = tape[t]
        dy, hat = cot["y"][:, t], r / s
        dgain += (dy * hat).sum(axis=0)
        dhat = dy * gain
        dr = (dhat - hat * (hat * dhat).mean(axis=1, keepdims=True)) / s
        dh2 = dr * m2[:, t] / KEEP + dh2_next
        da2 = dh2 * (1 - h2**2)
        dU2 += da2.T @ u
        dW2 += da2.T @ p2
        db2 += da2.sum(axis=0)
        du = da2 @ U2
        dh1 = dr + du * m1[:, t] / KEEP + dh1_next
        da1 = dh1 * (1 - h1**2)
        dU1 += da1.T @ x[:, t]
        dW1 += da1.T @ p1
        db1 += da1.sum(axis=0)
        dx[:, t] = da1 @ U1
        dh1_next, dh2_next = da1 @ W1, da2 @ W2
    grads = {"x": dx, "h1": dh1_next, "h2": dh2_next, "U1": dU1, "W1": dW1}
    return grads | {"U2": dU2, "W2": dW2, "b1": db1, "b2": db2, "gain": dgain}


MODEL = (
    resdrop,
    Layout(
        {f"{k}{n}": f"{k}_{n}" for k in "UWb" for n in "12"} | {"gain": "gain"},
        {"x": "x: B T n", "m1": "m_1: B T n", "m2": "m_2: B T n"}
        | {"h1": "h_10: B n", "h2": "h_20: B n"},
        {"y": "y: B T n", "h1_T": "h_1_final: B n", "h2_T": "h_2_final: B n"},
    ),
)
