"""A batched GRU in row vectors with packed weights, the layout GPU libraries use.

Rows are sequences, (T, B, n) in time. The three gates are packed as columns in the order r, z, n;
the reset gate acts after the matrix product, so that one product serves all three, and it has its
own bias on the recurrent side. All products with x are taken at once, before the loop, and all
weight gradients at once, after it.

    gradcheck-rnn verify examples/batched_gru.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import gradient_case


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


def gru_forward(x, h0, Wx, Wh, bx, bh):
    """x (T, B, d), h0 (B, p), Wx (d, 3p), Wh (p, 3p), bx and bh (3p,) to h (T, B, p)."""
    T, B, p = x.shape[0], *h0.shape
    ax = x @ Wx + bx  # every step's input product in one
    hs = np.empty((T + 1, B, p), dtype=h0.dtype)
    gates = np.empty((T, B, 4 * p), dtype=h0.dtype)  # r, z, n and the recurrent part of n
    hs[0] = h0
    for t in range(T):
        ah = hs[t] @ Wh + bh
        r, z = np.split(sigmoid(ax[t, :, : 2 * p] + ah[:, : 2 * p]), 2, axis=1)
        m = ah[:, 2 * p :]
        n = np.tanh(ax[t, :, 2 * p :] + r * m)
        hs[t + 1] = z * hs[t] + (1 - z) * n
        gates[t] = np.concatenate([r, z, n, m], axis=1)
    return hs[1:], (x, hs, gates, Wx, Wh)


def gru_backward(dhs, saved):
    """Gradients of all arguments of `gru_forward` from dhs (T, B, p)."""
    x, hs, gates, Wx, Wh = saved
    T, B, p = dhs.shape
    dax = np.empty((T, B, 3 * p), dtype=dhs.dtype)
    dah = np.empty((T, B, 3 * p), dtype=dhs.dtype)
    dh = np.zeros((B, p), dtype=dhs.dtype)
    for t in reversed(range(T)):
        r, z, n, m = np.split(gates[t], 4, axis=1)
        dh = dh + dhs[t]
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (hs[t] - n) * z * (1 - z)
        dr = dn * m * r * (1 - r)
        dax[t] = np.concatenate([dr, dz, dn], axis=1)
        dah[t] = np.concatenate([dr, dz, dn * r], axis=1)
        dh = dh * z + dah[t] @ Wh.T
    dax2, dah2 = dax.reshape(T * B, -1), dah.reshape(T * B, -1)
    return {
        "x": dax @ Wx.T,
        "h0": dh,
        "Wx": x.reshape(T * B, -1).T @ dax2,
        "Wh": hs[:-1].reshape(T * B, -1).T @ dah2,
        "bx": dax2.sum(axis=0),
        "bh": dah2.sum(axis=0),
    }


@gradient_case
def batched_gru():
    """A fixed random cotangent on every h_t: each path has its own weight."""
    rng = np.random.default_rng(2)
    T, B, d, p = 6, 2, 3, 5
    shapes = {"x": (T, B, d), "h0": (B, p), "Wx": (d, 3 * p), "Wh": (p, 3 * p)}
    arguments = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    arguments |= {"bx": rng.standard_normal(3 * p), "bh": rng.standard_normal(3 * p)}
    cotangent = rng.standard_normal((T, B, p))

    def loss(a):
        return np.sum(cotangent * gru_forward(**a)[0])

    return loss, lambda a: gru_backward(cotangent, gru_forward(**a)[1]), arguments
