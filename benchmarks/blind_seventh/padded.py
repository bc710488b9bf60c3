"""An LSTM with peepholes over padded sequences, outputs zero where padded: time first, packed."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import fused, sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import sigmoid as gate
from gradcheck_rnn.language import tanh


@cell(
    inputs="x: d",
    data="m:",
    states="h c: p",
    params="U_i U_f U_g U_o: p d; W_i W_f W_g W_o: p p; b_i b_f b_g b_o P_i P_f P_o: p",
    outputs="y",
    domains={"m": "0/1"},
)
def padded(x, m, h, c, U_i, U_f, U_g, U_o, W_i, W_f, W_g, W_o, b_i, b_f, b_g, b_o, P_i, P_f, P_o):
    i = gate(U_i @ x + W_i @ h + P_i * c + b_i)
    f = gate(U_f @ x + W_f @ h + P_f * c + b_f)
    g = tanh(U_g @ x + W_g @ h + b_g)
    k = f * c + i * g
    o = gate(U_o @ x + W_o @ h + P_o * k + b_o)
    r = o * tanh(k)
    return {"h": m * r + (1 - m) * h, "c": m * k + (1 - m) * c, "y": m * r}


def forward(x, mask, h0, c0, U, W, b, Pi, Pf, Po):
    h, c, ys, tape = h0, c0, [], []
    for x_t, m_t in zip(x, mask, strict=True):
        m = m_t[:, None]
        ai, af, ag, ao = np.split(x_t @ U.T + h @ W.T + b, 4, axis=1)
        i, f, g = sigmoid(ai + Pi * c), sigmoid(af + Pf * c), np.tanh(ag)
        k = f * c + i * g
        o, tk = sigmoid(ao + Po * k), np.tanh(k)
        tape.append((h, c, i, f, g, o, k, tk, m))
        ys.append(m * o * tk)
        h = m * o * tk + (1 - m) * h
        c = m * k + (1 - m) * c
    return {"y": np.stack(ys), "h_T": h, "c_T": c}, (x, U, W, Pi, Pf, Po, tape)


def backward(cot, saved):
    x, U, W, Pi, Pf, Po, tape = saved
    dU, dW, db = np.zeros_like(U), np.zeros_like(W), np.zeros(len(U))
    dPi, dPf, dPo = (np.zeros_like(w) for w in (Pi, Pf, Po))
    dx, dh, dc = np.zeros_like(x), cot["h_T"], cot["c_T"]
    for t in reversed(range(len(tape))):
        h, c, i, f, g, o, k, tk, m = tape[t]
        dr = m * dh + m * cot["y"][t]
        dao = dr * tk * o * (1 - o)
        dk_in = m * dc
        dk = dk_in + dr * o * (1 - tk**2) + dao * Po
        dai = dk * g * i * (1 - i)
        daf = dk * c * f * (1 - f)
        dag = dk * i * (1 - g**2)
        dPi += (dai * c).sum(axis=0)
        dPf += (daf * c).sum(axis=0)
        dPo += (dao * k).sum(axis=0)
        da = np.concatenate([dai, daf, dag, dao], axis=1)
        dU += da.T @ x[t]
        dW += da.T @ h
        db += da.sum(axis=0)
        dx[t] = da @ U
        dh = (1 - m) * dh + da @ W
        dc = (1 - m) * dc + dk * f + dai * Pi + daf * Pf
    grads = {"x": dx, "h0": dh, "c0": dc, "U": dU, "W": dW, "b": db}
    return grads | {"Pi": dPi, "Pf": dPf, "Po": dPo}


MODEL = (
    padded,
    Layout(
        {k: fused(k, "ifgo") for k in "UWb"} | {f"P{g}": f"P_{g}" for g in "ifo"},
        {"x": "x: T B n", "mask": "m: T B", "h0": "h0: B n", "c0": "c0: B n"},
        {"y": "y: T B n", "h_T": "h_final: B n", "c_T": "c_final: B n"},
    ),
)
