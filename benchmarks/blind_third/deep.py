"""Two LSTM layers and a readout: one pass over time a layer, batch first, weights as x @ W."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import fused, sigmoid
from gradcheck_rnn import Layout


def layer_forward(x, h, c, Wx, Wh, b):
    p, hs, saved = h.shape[1], [], []
    for t in range(x.shape[1]):
        z = x[:, t] @ Wx + h @ Wh + b
        f, i, o = (sigmoid(z[:, k * p : (k + 1) * p]) for k in range(3))
        n, h_in, c_in = np.tanh(z[:, 3 * p :]), h, c
        c = f * c + i * n
        h = o * np.tanh(c)
        hs.append(h)
        saved.append((h_in, c_in, f, i, o, n, c))
    return np.stack(hs, axis=1), h, c, saved


def layer_backward(dy, dh, dc, x, Wx, Wh, saved, layer):
    dWx, dWh, db, dx = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wx.shape[1]), []
    for t in range(len(saved) - 1, -1, -1):
        h_in, c_in, f, i, o, n, c = saved[t]
        dh = dh + dy[:, t]
        u = np.tanh(c)
        dc = dc + dh * o * (1 - u**2)
        dzf = dc * c_in * f * (1 - f)
        dzi = dc * n * i * (1 - i)
        dzo = dh * u * o * (1 - o)
        dzn = dc * i * (1 - n**2)
        dz = np.concatenate((dzf, dzi, dzo, dzn), axis=1)
        dWx += x[:, t].T @ dz
        dWh += h_in.T @ dz
        db += dz.sum(axis=0)
        dx.append(dz @ Wx.T)
        dh = dz @ Wh.T
        dc = dc * f
    return np.stack(dx[::-1], axis=1), dh, dc, dWx, dWh, db


def forward(x, h1, c1, h2, c2, Wx1, Wh1, b1, Wx2, Wh2, b2, Wy, by):
    y1, h1, c1, saved1 = layer_forward(x, h1, c1, Wx1, Wh1, b1)
    y2, h2, c2, saved2 = layer_forward(y1, h2, c2, Wx2, Wh2, b2)
    out = {"y": y2 @ Wy + by, "h1_T": h1, "c1_T": c1, "h2_T": h2, "c2_T": c2}
    return out, (x, y1, y2, saved1, saved2, Wx1, Wh1, Wx2, Wh2, Wy)


def backward(cot, cache):
    x, y1, y2, saved1, saved2, Wx1, Wh1, Wx2, Wh2, Wy = cache
    dy = cot["y"]
    dWy = np.einsum("btp,btq->pq", y2, dy)
    dby = dy.sum(axis=(0, 1))
    dy2 = dy @ Wy.T
    dy1, dh2, dc2, dWx2, dWh2, db2 = layer_backward(
        dy2, cot["h2_T"], cot["c2_T"], y1, Wx2, Wh2, saved2, 2
    )
    dx, dh1, dc1, dWx1, dWh1, db1 = layer_backward(
        dy1, cot["h1_T"], cot["c1_T"], x, Wx1, Wh1, saved1, 1
    )
    grads = {"Wx1": dWx1, "Wh1": dWh1, "b1": db1, "Wx2": dWx2, "Wh2": dWh2, "b2": db2}
    grads |= {"Wy": dWy, "by": dby, "x": dx, "h1": dh1, "c1": dc1, "h2": dh2, "c2": dc2}
    return grads


LAYERS = {
    name + layer: fused(kind, "fioc", "_" + layer) + end
    for name, kind, end in (("Wx", "U", ".T"), ("Wh", "W", ".T"), ("b", "b", ""))
    for layer in "12"
}
MODEL = (
    "stacked_lstm",
    Layout(
        LAYERS | {"Wy": "V.T", "by": "b_y"},
        {"x": "x: B T n"} | {kind + layer: f"{kind}_{layer}0" for kind in "hc" for layer in "12"},
        {"y": "y: B T n"}
        | {f"{kind}{layer}_T": f"{kind}_{layer}_final" for kind in "hc" for layer in "12"},
    ),
)
