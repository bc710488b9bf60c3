"""GRU-D, for inputs with gaps: batch first, what a step saves in one namespace."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout


def forward(x, mask, delta, h0, xl0, x_mean, **p):
    h, xl, hs, tape = h0, xl0, [], []
    for t in range(x.shape[1]):
        s = SimpleNamespace(x=x[:, t], m=mask[:, t], d=delta[:, t], h=h, xl=xl)
        s.ax = s.d * p["w_gx"] + p["b_gx"]
        s.ah = s.d @ p["W_gh"].T + p["b_gh"]
        s.gx, s.gh = np.exp(-np.maximum(s.ax, 0)), np.exp(-np.maximum(s.ah, 0))
        s.xh = s.m * s.x + (1 - s.m) * (s.gx * xl + (1 - s.gx) * x_mean)
        s.hh = s.gh * h
        s.z = sigmoid(s.xh @ p["Wz"].T + s.hh @ p["Uz"].T + s.m @ p["Vz"].T + p["bz"])
        s.r = sigmoid(s.xh @ p["Wr"].T + s.hh @ p["Ur"].T + s.m @ p["Vr"].T + p["br"])
        s.rh = s.r * s.hh
        s.ht = np.tanh(s.xh @ p["W"].T + s.rh @ p["U"].T + s.m @ p["V"].T + p["b"])
        h = (1 - s.z) * s.hh + s.z * s.ht
        xl = s.m * s.x + (1 - s.m) * xl
        hs.append(h)
        tape.append(s)
    return {"h": np.stack(hs, axis=1), "h_T": h, "xl_T": xl}, (tape, p, x_mean)


def backward(cot, cache):
    tape, p, x_mean = cache
    g = {k: np.zeros_like(w) for k, w in p.items()}
    dh, dxl, dx = cot["h_T"], cot["xl_T"], np.zeros((*cot["h"].shape[:2], tape[0].x.shape[1]))
    for t in reversed(range(len(tape))):
        s = tape[t]
        dh = dh + cot["h"][:, t]
        da = dh * s.z * (1 - s.ht**2)
        daz = dh * (s.ht - s.hh) * s.z * (1 - s.z)
        drh = da @ p["U"]
        dar = drh * s.hh * s.r * (1 - s.r)
        for k, v in (("z", daz), ("r", dar), ("", da)):
            g["W" + k] += v.T @ s.xh
            g["V" + k] += v.T @ s.m
            g["b" + k] += v.sum(axis=0)
        g["Uz"] += daz.T @ s.hh
        g["Ur"] += dar.T @ s.hh
        g["U"] += da.T @ s.rh
        dhh = dh * (1 - s.z) + drh * s.r + daz @ p["Uz"] + dar @ p["Ur"]
        dxh = da @ p["W"] + daz @ p["Wz"] + dar @ p["Wr"]
        dgh = dhh * s.h
        dah = -dgh * s.gh * (s.ah > 0)
        g["W_gh"] += dah.T @ s.d
        g["b_gh"] += dah.sum(axis=0)
        dgx = dxh * (1 - s.m) * (s.xl - x_mean)
        dax = -dgx * s.gx * (s.ax > 0)
        g["w_gx"] += (dax * s.d).sum(axis=0)
        g["b_gx"] += dax.sum(axis=0)
        dx[:, t] = dxh * s.m + dxl * s.m
        dxl = dxl * (1 - s.m) + dxh * (1 - s.m) * s.gx
        dh = dhh * s.gh
    return g | {"x": dx, "h0": dh, "xl0": dxl}


MODEL = (
    "gru_d",
    Layout(
        {"w_gx": "w_x", "b_gx": "b_x", "W_gh": "W_g", "b_gh": "b_g", "x_mean": "x_mean"}
        | {"Wz": "U_z", "Wr": "U_r", "W": "U_c", "Uz": "W_z", "Ur": "W_r", "U": "W_c"}
        | {"Vz": "V_z", "Vr": "V_r", "V": "V_c", "bz": "b_z", "br": "b_r", "b": "b_c"},
        {"x": "x: B T n", "mask": "seen: B T n", "delta": "elapsed: B T n"}
        | {"h0": "h0", "xl0": "x_last0"},
        {"h": "h: B T n", "h_T": "h_final", "xl_T": "x_last_final"},
    ),
)
