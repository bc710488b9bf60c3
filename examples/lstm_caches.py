"""An LSTM step by step: every forward step leaves a cache, every backward step takes one back.

This is how the LSTM is written in courses: rows are sequences, the four gates are packed as
columns in the order i, f, o, g. N sequences, D inputs, H units, T steps.

    gradcheck-rnn verify examples/lstm_caches.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import gradient_case, load


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    """One step: x (N, D), prev_h and prev_c (N, H), Wx (D, 4H), Wh (H, 4H), b (4H,)."""
    H = prev_h.shape[1]
    a = x @ Wx + prev_h @ Wh + b
    i = sigmoid(a[:, 0 * H : 1 * H])
    f = sigmoid(a[:, 1 * H : 2 * H])
    o = sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H : 4 * H])
    next_c = f * prev_c + i * g
    tanh_c = np.tanh(next_c)
    next_h = o * tanh_c
    cache = (x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c)
    return next_h, next_c, cache


def lstm_step_backward(dnext_h, dnext_c, cache):
    """Gradients of one step from those of its two results."""
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c = cache
    dc = dnext_c + dnext_h * o * (1 - tanh_c**2)
    do = dnext_h * tanh_c
    df = dc * prev_c
    di = dc * g
    dg = dc * i
    dprev_c = dc * f
    da = np.concatenate(
        [di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)], axis=1
    )
    dx = da @ Wx.T
    dprev_h = da @ Wh.T
    dWx = x.T @ da
    dWh = prev_h.T @ da
    db = da.sum(axis=0)
    return dx, dprev_h, dprev_c, dWx, dWh, db


def lstm_forward(x, h0, c0, Wx, Wh, b):
    """All steps: x (N, T, D) to h (N, T, H), the last c (N, H), and the caches."""
    h, c, hs, caches = h0, c0, [], []
    for t in range(x.shape[1]):
        h, c, cache = lstm_step_forward(x[:, t], h, c, Wx, Wh, b)
        hs.append(h)
        caches.append(cache)
    return np.stack(hs, axis=1), c, caches


def lstm_backward(dh, dc_last, caches):
    """Gradients of all arguments of `lstm_forward`; dh (N, T, H), dc_last (N, H)."""
    x, prev_h, _, Wx, Wh, *_ = caches[-1]
    dx = np.zeros((dh.shape[0], dh.shape[1], x.shape[1]))
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wx.shape[1])
    dprev_h, dprev_c = np.zeros_like(prev_h), dc_last
    for t in reversed(range(dh.shape[1])):
        step = lstm_step_backward(dh[:, t] + dprev_h, dprev_c, caches[t])
        dx[:, t], dprev_h, dprev_c = step[:3]
        dWx += step[3]
        dWh += step[4]
        db += step[5]
    return dx, dprev_h, dprev_c, dWx, dWh, db


@gradient_case
def lstm_with_caches():
    """Squared error of every h_t, and of the last c: the path through c_T is often forgotten."""
    rng = np.random.default_rng(1)
    N, T, D, H = 2, 5, 3, 4
    shapes = {"x": (N, T, D), "h0": (N, H), "c0": (N, H), "Wx": (D, 4 * H), "Wh": (H, 4 * H)}
    arguments = {k: rng.standard_normal(s) for k, s in shapes.items()}
    arguments["b"] = rng.standard_normal(4 * H)
    want_h, want_c = rng.standard_normal((N, T, H)), rng.standard_normal((N, H))

    def loss(a):
        h, c, _ = lstm_forward(**a)
        return 0.5 * np.sum((h - want_h) ** 2) + 0.5 * np.sum((c - want_c) ** 2)

    def gradient(a):
        h, c, caches = lstm_forward(**a)
        grads = lstm_backward(h - want_h, c - want_c, caches)
        return dict(zip(("x", "h0", "c0", "Wx", "Wh", "b"), grads, strict=True))

    return loss, gradient, arguments


@gradient_case(model=load("lstm"), layout="lecture lstm")
def lstm_term_by_term():
    """The same code beside the equations of the LSTM: when it is wrong, the wrong term is named."""

    def forward(x, h0, c0, Wx, Wh, b):
        h, c, caches = lstm_forward(x, h0, c0, Wx, Wh, b)
        return (h, h[:, -1], c), caches

    def backward(cotangents, caches):
        dh = cotangents["h"].copy()
        dh[:, -1] += cotangents["h_T"]
        grads = lstm_backward(dh, cotangents["c_T"], caches)
        return dict(zip(("x", "h0", "c0", "Wx", "Wh", "b"), grads, strict=True))

    return forward, backward
