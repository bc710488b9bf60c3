"""An LSTM with coupled gates and a layer norm in its forget gate only: time first, packed."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import fused, sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import layer_norm, tanh
from gradcheck_rnn.language import sigmoid as gate


@cell(
    inputs="x: d",
    states="h c: p",
    params="W_f W_g W_o: p p; U_f U_g U_o: p d; gain shift b_g b_o: p",
)
def lngate(x, h, c, W_f, W_g, W_o, U_f, U_g, U_o, gain, shift, b_g, b_o):
    f = gate(U_f @ x + layer_norm(W_f @ h, gain, shift))
    g = tanh(W_g @ h + U_g @ x + b_g)
    o = gate(W_o @ h + U_o @ x + b_o)
    c = f * c + (1 - f) * g
    h = o * tanh(c)
    return {"h": h, "c": c}


def forward(x, h0, c0, Wh, Wx, gain, shift, b):
    p = h0.shape[1]
    h, c, hs, tape = h0, c0, [], []
    for t in range(len(x)):
        r, u = h @ Wh, x[t] @ Wx
        q = r[:, :p]
        rstd = 1 / np.sqrt(q.var(axis=1, keepdims=True) + 1e-5)
        n = (q - q.mean(axis=1, keepdims=True)) * rstd
        f = sigmoid(u[:, :p] + gain * n + shift)
        g = np.tanh(r[:, p : 2 * p] + u[:, p : 2 * p] + b[:p])
        o = sigmoid(r[:, 2 * p :] + u[:, 2 * p :] + b[p:])
        h_prev, c_prev = h, c
        c = f * c + (1 - f) * g
        h = o * np.tanh(c)
        hs.append(h)
        tape.append((h_prev, c_prev, f, g, o, c, n, rstd))
    return {"h": np.stack(hs), "h_T": h, "c_T": c}, (x, Wh, Wx, gain, tape)


def backward(cot, saved):
    x, Wh, Wx, gain, tape = saved
    p = len(gain)
    dWh, dWx, db = np.zeros_like(Wh), np.zeros_like(Wx), np.zeros(2 * p)
    dgain, dshift, dx = np.zeros(p), np.zeros(p), np.zeros_like(x)
    dh_next, dc_next = cot["h_T"], cot["c_T"]
    for t in reversed(range(len(x))):
        h_prev, c_prev, f, g, o, c, n, rstd = tape[t]
        dh = cot["h"][t] + dh_next
        do = dh * np.tanh(c) * o * (1 - o)
        dc = dh * o * (1 - np.tanh(c) ** 2) + dc_next
        df = dc * (c_prev - g)
        df = df * f * (1 - f)
        dg = dc * (1 - f) * (1 - g**2)
        dgain += (df * n).sum(axis=0)
        dshift += df.sum(axis=0)
        dn = df * gain
        mean_dn = dn.mean(axis=1, keepdims=True)
        mean_dn_n = (dn * n).mean(axis=1, keepdims=True)
        dq = rstd * (dn - mean_dn - n * mean_dn_n)
        dr = np.concatenate([dq, dg, do], axis=1)
        du = np.concatenate([df, dg, do], axis=1)
        dWh += h_prev.T @ dr
        dWx += x[t].T @ du
        db += du[:, p:].sum(axis=0)
        dx[t] = du @ Wx.T
        dh_next = dr @ Wh.T
        dc_next = dc * f
    grads = {"x": dx, "h0": dh_next, "c0": dc_next, "Wh": dWh, "Wx": dWx}
    return grads | {"gain": dgain, "shift": dshift, "b": db}


MODEL = (
    lngate,
    Layout(
        {"Wh": f"{fused('W', 'fgo')}.T", "Wx": f"{fused('U', 'fgo')}.T"}
        | {"gain": "gain", "shift": "shift", "b": fused("b", "go")},
        {"x": "x: T B n", "h0": "h0: B n", "c0": "c0: B n"},
        {"h": "h: T B n", "h_T": "h_final: B n", "c_T": "c_final: B n"},
    ),
)
