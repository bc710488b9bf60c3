"""The minimal recurrent network: an update gate between the state and an encoded input."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid

MODEL = ("minimal_rnn", None)


def step(x, h, p):
    z = np.tanh(x @ p["W_x"].T + p["b_z"])
    u = sigmoid(h @ p["U_h"].T + z @ p["U_z"].T + p["b_u"])
    return z, u, u * h + (1 - u) * z


def forward(x, h0, **p):
    cache, h = [], h0
    for x_t in x:
        z, u, new = step(x_t, h, p)
        cache.append((x_t, h, z, u))
        h = new
    states = [c[1] for c in cache[1:]] + [h]
    return {"h": np.stack(states), "h_final": h}, (cache, p)


def step_backward(dh, x_t, h, z, u, p, grads):
    du = dh * (h - z)
    dau = du * u * (1 - u)
    dz = dh * (1 - u) + dau @ p["U_z"]
    daz = dz * (1 - z**2)
    grads["U_h"] += dau.T @ h
    grads["U_z"] += dau.T @ z
    grads["b_u"] += dau.sum(axis=0)
    grads["W_x"] += daz.T @ x_t
    grads["b_z"] += daz.sum(axis=0)
    return daz @ p["W_x"], dh * u + dau @ p["U_h"]


def backward(cot, saved):
    cache, p = saved
    grads = {k: np.zeros_like(w) for k, w in p.items()}
    dxs, carry = [], cot["h_final"]
    for t, kept in reversed(list(enumerate(cache))):
        dh = cot["h"][t] + carry
        dx, carry = step_backward(dh, *kept, p, grads)
        dxs.insert(0, dx)
    return grads | {"x": np.stack(dxs), "h0": carry}
