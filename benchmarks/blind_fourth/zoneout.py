"""An Elman network with zoneout, masks given: units keep their state where the mask is one."""

from __future__ import annotations

import numpy as np

MODEL = ("elman_zoneout", None)


def forward(W, U, b_i, x, z, h0):
    hs, acts = [h0], []
    for t in range(len(x)):
        acts.append(np.tanh(hs[-1] @ W.T + x[t] @ U.T + b_i))
        hs.append(z[t] * hs[-1] + (1 - z[t]) * acts[-1])
    return {"h": np.stack(hs[1:]), "h_final": hs[-1]}, (W, U, x, z, hs, acts)


def backward(cotangents, saved):
    W, U, x, z, hs, acts = saved
    dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W))
    dx, dh_next = np.zeros_like(x), cotangents["h_final"]
    for t in reversed(range(len(x))):
        dh = cotangents["h"][t] + dh_next
        da = dh * (1 - z[t]) * (1 - acts[t] ** 2)
        dW += da.T @ hs[t]
        dU += da.T @ x[t]
        db += da.sum(axis=0)
        dx[t] = da @ U
        dh_next = da @ W + dh * z[t]
    return {"W": dW, "U": dU, "b_i": db, "x": dx, "h0": dh_next}
