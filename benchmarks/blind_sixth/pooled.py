"""Elman network, its states averaged over time, and a readout of two layers: units first."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, Network, cell, load
from gradcheck_rnn.language import dim, ones, relu


@cell(inputs="H: k n", params="V1: r n; c1: r; V2: q r; c2: q", outputs="y")
def head(H, V1, c1, V2, c2):
    m = H.T @ ones("k") / dim("k")
    r = relu(V1 @ m + c1)
    y = V2 @ r + c2
    return {"y": y}


def network():
    made = Network("pooled")
    x = made.input("x", "d")
    run = made.scan(load("elman_hidden"), x=x, dims={"p": "n"})
    made.output(made.scan(head, axis=None, H=run.h.whole("H")).y, run.final("h"))
    return made


def forward(x, h0, Wx, Wh, b, V1, c1, V2, c2):
    hs = [h0]
    for t in range(x.shape[2]):
        hs.append(np.tanh(Wx @ x[:, :, t] + Wh @ hs[-1] + b))
    m = sum(hs[1:]) / x.shape[2]
    a = V1 @ m + c1
    r = np.maximum(a, 0)
    y = V2 @ r + c2
    return {"y": y, "h_T": hs[-1]}, (x, hs, m, a, r, Wx, Wh, V1, V2)


def backward(cot, saved):
    x, hs, m, a, r, Wx, Wh, V1, V2 = saved
    dy, T = cot["y"], x.shape[2]
    dV2 = dy @ r.T
    dc2 = dy.sum(axis=1, keepdims=True)
    dr = V2.T @ dy
    da = dr * (a > 0)
    dV1 = da @ m.T
    dc1 = da.sum(axis=1, keepdims=True)
    dm = V1.T @ da
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), 0
    dh_next = cot["h_T"]
    for t in reversed(range(T)):
        dh = dm / T + dh_next
        dz = dh * (1 - hs[t + 1] ** 2)
        dWx += dz @ x[:, :, t].T
        dWh += dz @ hs[t].T
        db += dz.sum(axis=1, keepdims=True)
        dx[:, :, t] = Wx.T @ dz
        dh_next = Wh.T @ dz
    grads = {"x": dx, "h0": dh_next, "Wx": dWx, "Wh": dWh, "b": db}
    return grads | {"V1": dV1, "c1": dc1, "V2": dV2, "c2": dc2}


MODEL = (
    network(),
    Layout(
        {"Wx": "U", "Wh": "W", "b": "b_i as column", "V1": "V1", "c1": "c1 as column"}
        | {"V2": "V2", "c2": "c2 as column"},
        {"x": "x: n B T", "h0": "h0: n B"},
        {"y": "y: n B", "h_T": "h_final: n B"},
    ),
)
