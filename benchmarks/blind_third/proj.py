"""An LSTM with a projection, as a class that keeps a dict a step; packed gates, time first."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import fused, sigmoid
from gradcheck_rnn import Layout


class ProjectedLSTM:
    def __init__(self, Wx, Wh, b, Wr):
        self.Wx, self.Wh, self.b, self.Wr = Wx, Wh, b, Wr
        self.cache = []

    def forward(self, x, h, c):
        p, hs = c.shape[1], []
        for x_t in x:
            a = x_t @ self.Wx.T + h @ self.Wh.T + self.b
            s = sigmoid(a[:, : 3 * p])
            k = {"x": x_t, "h_prev": h, "c_prev": c, "g": np.tanh(a[:, 3 * p :])}
            k |= {"i": s[:, :p], "f": s[:, p : 2 * p], "o": s[:, 2 * p :], "net": a}
            c = k["f"] * c + k["i"] * k["g"]
            k |= {"c": c, "tanh_c": np.tanh(c)}
            k["m"] = k["o"] * k["tanh_c"]
            h = k["m"] @ self.Wr.T
            hs.append(h)
            self.cache.append(k)
        return {"hs": np.stack(hs), "h_T": h, "c_T": c}

    def backward(self, dhs, dh_T, dc_T):
        dWx, dWh, dWr = (np.zeros_like(w) for w in (self.Wx, self.Wh, self.Wr))
        db, dx = np.zeros_like(self.b), []
        dh_next, dc_next = dh_T, dc_T
        for t in reversed(range(len(self.cache))):
            k = self.cache[t]
            i, f, o, g = k["i"], k["f"], k["o"], k["g"]
            dh = dhs[t] + dh_next
            dWr += dh.T @ k["m"]
            dm = dh @ self.Wr
            do = dm * k["tanh_c"]
            dc = dm * o * (1 - k["tanh_c"] ** 2) + dc_next
            di = dc * g
            df = dc * k["c_prev"]
            dg = dc * i
            dai = di * i * (1 - i)
            daf = df * f * (1 - f)
            dao = do * o * (1 - o)
            dag = dg * (1 - g**2)
            da = np.hstack([dai, daf, dao, dag])
            dWx += da.T @ k["x"]
            dWh += da.T @ k["h_prev"]
            db += da.sum(axis=0)
            dx.insert(0, da @ self.Wx)
            dh_next = da @ self.Wh
            dc_next = dc * f
        d = {"Wx": dWx, "Wh": dWh, "b": db, "Wr": dWr, "x": np.stack(dx)}
        return d | {"h0": dh_next, "c0": dc_next}


def forward(x, h0, c0, **weights):
    net = ProjectedLSTM(**weights)
    return net.forward(x, h0, c0), net


def backward(cotangents, net):
    return net.backward(cotangents["hs"], cotangents["h_T"], cotangents["c_T"])


MODEL = (
    "lstm_projected",
    Layout(
        {"Wx": fused("U", "ifoc"), "Wh": fused("W", "ifoc"), "b": fused("b", "ifoc"), "Wr": "P"},
        {"x": "x", "h0": "h0", "c0": "c0"},
        {"hs": "h", "h_T": "h_final", "c_T": "c_final"},
    ),
)
