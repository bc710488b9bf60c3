"""A quasi-recurrent network: all gates of a batch at once, a loop for the memory only."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import fused, sigmoid
from gradcheck_rnn import Layout


def forward(x, c0, x0, W, V):
    p = c0.shape[1]
    xp = np.concatenate([x0[:, None], x[:, :-1]], axis=1)
    a = x @ W.T + xp @ V.T
    z, f, o = np.tanh(a[..., :p]), sigmoid(a[..., p : 2 * p]), sigmoid(a[..., 2 * p :])
    c = np.zeros((x.shape[0], x.shape[1] + 1, p))
    c[:, 0] = c0
    for t in range(x.shape[1]):
        c[:, t + 1] = f[:, t] * c[:, t] + (1 - f[:, t]) * z[:, t]
    return {"h": o * c[:, 1:], "c_T": c[:, -1], "x_T": x[:, -1]}, (x, xp, z, f, o, c, W, V)


def backward(cot, saved):
    x, xp, z, f, o, c, W, V = saved
    dh = cot["h"]
    dout = dh * c[:, 1:]
    dcs = dh * o
    dc = cot["c_T"]
    grads_c = np.zeros_like(dcs)
    for t in reversed(range(x.shape[1])):
        dc = dc + dcs[:, t]
        grads_c[:, t] = dc
        dc = dc * f[:, t]
    dforget = grads_c * (c[:, :-1] - z)
    dz = grads_c * (1 - f)
    da_z = dz * (1 - z**2)
    da_f = dforget * f * (1 - f)
    da_o = dout * o * (1 - o)
    da = np.concatenate([da_z, da_f, da_o], axis=2)
    dW = np.einsum("btp,btd->pd", da, x)
    dV = np.einsum("btp,btd->pd", da, xp)
    dxp = da @ V
    dx = da @ W
    dx[:, :-1] += dxp[:, 1:]
    dx[:, -1] += cot["x_T"]
    return {"W": dW, "V": dV, "x": dx, "c0": dc, "x0": dxp[:, 0]}


MODEL = (
    "qrnn",
    Layout(
        {"W": fused("W", "zfo"), "V": fused("V", "zfo")},
        {"x": "x: B T n", "c0": "c0", "x0": "x_last0"},
        {"h": "h: B T n", "c_T": "c_final", "x_T": "x_last_final"},
    ),
)
