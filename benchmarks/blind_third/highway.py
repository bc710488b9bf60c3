"""A recurrent highway network with two layers in a step: columns are sequences, time comes last."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout


def forward(x, s0, Uc, Uz, Rc1, Rz1, Rc2, Rz2, bc1, bz1, bc2, bz2):
    s, states, tape = s0, [], []
    for t in range(x.shape[2]):
        s_prev = s
        c1 = np.tanh(Uc @ x[:, :, t] + Rc1 @ s + bc1)
        z1 = sigmoid(Uz @ x[:, :, t] + Rz1 @ s + bz1)
        m = c1 * z1 + s * (1 - z1)
        c2, z2 = np.tanh(Rc2 @ m + bc2), sigmoid(Rz2 @ m + bz2)
        s = c2 * z2 + m * (1 - z2)
        states.append(s)
        tape.append((s_prev, c1, z1, m, c2, z2))
    return {"s": np.stack(states, axis=2), "s_T": s}, (x, Uc, Uz, Rc1, Rz1, Rc2, Rz2, tape)


def backward(cot, saved):
    x, Uc, Uz, Rc1, Rz1, Rc2, Rz2, tape = saved
    names = ("Uc", "Uz", "Rc1", "Rz1", "Rc2", "Rz2")
    d = {n: np.zeros_like(w) for n, w in zip(names, saved[1:7], strict=True)}
    d |= {b: np.zeros((len(Uc), 1)) for b in ("bc1", "bz1", "bc2", "bz2")}
    dx, ds = np.zeros_like(x), cot["s_T"]
    for t in reversed(range(len(tape))):
        s_prev, c1, z1, m, c2, z2 = tape[t]
        ds = ds + cot["s"][:, :, t]
        # second layer
        ac2 = ds * z2 * (1 - c2 * c2)
        az2 = ds * (c2 - m) * z2 * (1 - z2)
        d["Rc2"] += ac2 @ m.T
        d["Rz2"] += az2 @ m.T
        d["bc2"] += ac2.sum(1, keepdims=True)
        d["bz2"] += az2.sum(1, keepdims=True)
        dm = ds * (1 - z2)
        dm = dm + Rc2.T @ ac2 + Rz2.T @ az2
        # first layer
        ac1 = dm * z1 * (1 - c1 * c1)
        az1 = dm * (c1 - s_prev) * z1 * (1 - z1)
        d["Rc1"] += ac1 @ s_prev.T
        d["Rz1"] += az1 @ s_prev.T
        d["Uc"] += ac1 @ x[:, :, t].T
        d["Uz"] += az1 @ x[:, :, t].T
        d["bc1"] += ac1.sum(1, keepdims=True)
        d["bz1"] += az1.sum(1, keepdims=True)
        dx[:, :, t] = Uc.T @ ac1 + Uz.T @ az1
        ds = dm * (1 - z1) + Rc1.T @ ac1 + Rz1.T @ az1
    return d | {"x": dx, "s0": ds}


MODEL = (
    "recurrent_highway",
    Layout(
        {k: f"{k[0]}_{k[1:]}" for k in ("Uc", "Uz", "Rc1", "Rz1", "Rc2", "Rz2")}
        | {k: f"b_{k[1:]} as column" for k in ("bc1", "bz1", "bc2", "bz2")},
        {"x": "x: n B T", "s0": "h0: n B"},
        {"s": "h: n B T", "s_T": "h_final: n B"},
    ),
)
