"""The real-gated linear recurrent unit, its recurrence backwards as one linear scan."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid

MODEL = ("rg_lru", None)


def linear_scan(decay, value, start):
    out, state = np.zeros_like(value), start
    for t in range(len(value)):
        state = decay[t] * state + value[t]
        out[t] = state
    return out


def forward(W_a, W_x, b_a, b_x, lam, x, h0):
    r, i = sigmoid(x @ W_a.T + b_a), sigmoid(x @ W_x.T + b_x)
    soft = np.log1p(np.exp(-lam))
    a = np.exp(-8 * r * soft)
    root = np.sqrt(1 - a**2)
    h = linear_scan(a, root * i * x, h0)
    return {"h": h, "h_final": h[-1]}, (W_a, W_x, lam, x, h0, r, i, soft, a, root, h)


def backward(cot, saved):
    W_a, W_x, lam, x, h0, r, i, soft, a, root, h = saved
    g = cot["h"].copy()
    g[-1] += cot["h_final"]
    later = np.concatenate([a[1:], np.zeros_like(a[:1])])
    dh = linear_scan(later[::-1], g[::-1], 0 * h0)[::-1]
    before = np.concatenate([h0[None], h[:-1]])
    da = dh * before - dh * i * x * a / root
    di = dh * root * x
    dlog = da * a
    dr = -8 * dlog * soft
    dsoft = (-8 * dlog * r).sum(axis=(0, 1))
    dzr = dr * r * (1 - r)
    dzi = di * i * (1 - i)
    dx = dh * root * i
    dx += dzr @ W_a + dzi @ W_x
    dW_a = np.einsum("tbp,tbq->pq", dzr, x)
    dW_x = np.einsum("tbp,tbq->pq", dzi, x)
    dlam = -dsoft * sigmoid(-lam)
    out = {"W_a": dW_a, "W_x": dW_x, "b_a": dzr.sum((0, 1)), "b_x": dzi.sum((0, 1)), "lam": dlam}
    return out | {"x": dx, "h0": a[0] * dh[0]}
