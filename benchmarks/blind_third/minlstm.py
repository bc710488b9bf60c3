"""A minLSTM whose recurrence is an associative scan, forwards and, reversed in time, backwards."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid


def scan(decay, value):
    """All h_t = decay_t h_{t−1} + value_t from h_0 = 0, by doubling of strides."""
    decay, value, stride = decay.copy(), value.copy(), 1
    while stride < len(value):
        value[stride:] = value[stride:] + decay[stride:] * value[:-stride]
        decay[stride:] = decay[stride:] * decay[:-stride]
        stride *= 2
    return value


def forward(x, h0, W_f, W_i, W_h, b_f, b_i, b_h):
    f, i = sigmoid(x @ W_f.T + b_f), sigmoid(x @ W_i.T + b_i)
    ht = x @ W_h.T + b_h
    total = f + i
    keep, put = f / total, i / total
    first = np.concatenate([h0[None], put * ht])
    hs = scan(np.concatenate([np.ones_like(h0)[None], keep]), first)
    h = hs[1:]
    return {"h": h, "h_final": hs[-1]}, (x, hs[:-1], f, i, ht, total, keep, put, W_f, W_i, W_h)


def backward(cotangents, saved):
    x, before, f, i, ht, total, keep, put, W_f, W_i, W_h = saved
    last = cotangents["h_final"][None]
    g = np.concatenate([cotangents["h"][:-1], cotangents["h"][-1:] + last])
    later = np.concatenate([keep[1:], np.zeros_like(last)])
    dh = scan(later[::-1], g[::-1])[::-1]
    dkeep, dput = dh * before, dh * ht
    dht = dh * put
    df = dkeep / total - (dkeep * keep + dput * put) / total
    di = dput / total - (dkeep * keep + dput * put) / total
    daf = df * f * (1 - f)
    dai = di * i * (1 - i)
    d = {
        "W_f": np.einsum("tbp,tbd->pd", daf, x),
        "W_i": np.einsum("tbp,tbd->pd", dai, x),
        "W_h": np.einsum("tbp,tbd->pd", dht, x),
        "b_f": daf.sum(axis=(0, 1)),
        "b_i": dai.sum(axis=(0, 1)),
        "b_h": dht.sum(axis=(0, 1)),
    }
    dx = daf @ W_f + dai @ W_i + dht @ W_h
    return d | {"x": dx, "h0": dh[0] * keep[0]}


MODEL = ("min_lstm", None)
