"""Minimal gated unit, one gate for both uses, with a softmax at every step: batch first, x @ W."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import sigmoid as gate
from gradcheck_rnn.language import softmax, tanh


@cell(
    inputs="x: d",
    states="h: p",
    params="W_f W_n: p p; U_f U_n: p d; b_f b_n: p; V: q p; c: q",
    outputs="y",
    source="Zhou et al. 2016, Minimal Gated Unit for Recurrent Neural Networks",
)
def onegate(x, h, W_f, W_n, U_f, U_n, b_f, b_n, V, c):
    f = gate(W_f @ h + U_f @ x + b_f)
    n = tanh(W_n @ (f * h) + U_n @ x + b_n)
    h = (1 - f) * h + f * n
    y = softmax(V @ h + c)
    return {"h": h, "y": y}


def forward(x, h0, Wf, Wn, Uf, Un, bf, bn, V, c):
    h, ys, tape = h0, [], []
    for t in range(x.shape[1]):
        f = sigmoid(h @ Wf + x[:, t] @ Uf + bf)
        n = np.tanh((f * h) @ Wn + x[:, t] @ Un + bn)
        before, h = h, (1 - f) * h + f * n
        s = h @ V + c
        e = np.exp(s - s.max(axis=1, keepdims=True))
        y = e / e.sum(axis=1, keepdims=True)
        ys.append(y)
        tape.append((before, f, n, h, y))
    return {"y": np.stack(ys, axis=1), "h_T": h}, (x, Wf, Wn, Uf, Un, V, tape)


def backward(cot, saved):
    x, Wf, Wn, Uf, Un, V, tape = saved
    dWf, dWn, dUf, dUn, dV = (np.zeros_like(w) for w in (Wf, Wn, Uf, Un, V))
    dbf, dbn, dc = np.zeros(len(Wf)), np.zeros(len(Wn)), np.zeros(V.shape[1])
    dx, dh_next = np.zeros_like(x), cot["h_T"]
    for t in reversed(range(len(tape))):
        h, f, n, h_new, y = tape[t]
        dy = cot["y"][:, t]
        ds = y * (dy - (y * dy).sum(axis=1, keepdims=True))
        dV += h_new.T @ ds
        dc += ds.sum(axis=0)
        dh = ds @ V.T + dh_next
        dan = dh * f * (1 - n**2)
        dfh = dan @ Wn.T
        df = dh * (n - h)
        df += dfh * h
        daf = df * f * (1 - f)
        dWn += (f * h).T @ dan
        dWf += h.T @ daf
        dUn += x[:, t].T @ dan
        dUf += x[:, t].T @ daf
        dbn += dan.sum(axis=0)
        dbf += daf.sum(axis=0)
        dx[:, t] = dan @ Un.T + daf @ Uf.T
        dh_next = dh * (1 - f) + dfh * f + daf @ Wf.T
    grads = {"x": dx, "h0": dh_next, "Wf": dWf, "Wn": dWn, "Uf": dUf, "Un": dUn}
    return grads | {"bf": dbf, "bn": dbn, "V": dV, "c": dc}


MODEL = (
    onegate,
    Layout(
        {k + g: f"{k}_{g}.T" for k in "WU" for g in "fn"}
        | {"bf": "b_f", "bn": "b_n", "V": "V.T", "c": "c"},
        {"x": "x: B T n", "h0": "h0: B n"},
        {"y": "y: B T n", "h_T": "h_final: B n"},
    ),
)
