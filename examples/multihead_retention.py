"""A layer of retention with heads, as its code is written: projections, a scan, a norm a head.

Arrays are (B, T, …); the weights of all heads are one matrix a projection, (H·n, d), and the output
is one product with the heads side by side, (d, H·m). The scan keeps all states.

    gradcheck-rnn verify examples/multihead_retention.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load

EPS = 1e-5


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


def heads_of(x, w, H):
    """(B, T, d) to (B, T, H, n) by a weight (H·n, d)."""
    return (x @ w.T).reshape(*x.shape[:2], H, -1)


def retention_forward(x, state, wq, wk, wv, wg, wo, gamma):
    """x (B, T, d), state (B, H, n, m) to y (B, T, d) and the last state."""
    H = len(gamma)
    q, k, v, g = (heads_of(x, w, H) for w in (wq, wk, wv, wg))
    states = [state]
    for t in range(x.shape[1]):
        kv = k[:, t, :, :, None] * v[:, t, :, None, :]
        states.append(gamma[:, None, None] * states[-1] + kv)
    S = np.stack(states, 1)  # (B, T + 1, H, n, m)
    o = np.einsum("bthn,bthnm->bthm", q, S[:, 1:])
    rstd = 1 / np.sqrt(o.var(-1, keepdims=True) + EPS)
    normed = (o - o.mean(-1, keepdims=True)) * rstd
    z = (g * sigmoid(g) * normed).reshape(*x.shape[:2], -1)
    y = z @ wo.T
    weights = (wq, wk, wv, wg, wo)
    return {"y": y, "last": S[:, -1]}, (x, q, k, v, g, S, normed, rstd, z, gamma, weights)


def retention_backward(cotangents, cache):
    """Gradients of all arguments but the decays."""
    x, q, k, v, g, S, normed, rstd, z, gamma, (wq, wk, wv, wg, wo) = cache
    dy, dS = cotangents["y"], cotangents["last"].copy()
    dz = (dy @ wo).reshape(normed.shape)
    dwo = np.einsum("btd,bte->de", dy, z)
    s = sigmoid(g)
    dg = dz * normed * s * (1 + g * (1 - s))
    dn = dz * g * s
    do = rstd * (dn - dn.mean(-1, keepdims=True) - normed * (dn * normed).mean(-1, keepdims=True))
    dq = np.einsum("bthnm,bthm->bthn", S[:, 1:], do)
    dk, dv = np.empty_like(k), np.empty_like(v)
    for t in reversed(range(x.shape[1])):
        dS += q[:, t, :, :, None] * do[:, t, :, None, :]
        dk[:, t] = np.einsum("bhnm,bhm->bhn", dS, v[:, t])
        dv[:, t] = np.einsum("bhnm,bhn->bhm", dS, k[:, t])
        dS = gamma[:, None, None] * dS
    flat = [d.reshape(*x.shape[:2], -1) for d in (dq, dk, dv, dg)]
    dx = sum(d @ w for d, w in zip(flat, (wq, wk, wv, wg), strict=True))
    dwq, dwk, dwv, dwg = (np.einsum("bte,btd->ed", d, x) for d in flat)
    return {
        "x": dx, "state": dS, "wq": dwq, "wk": dwk, "wv": dwv, "wg": dwg, "wo": dwo
    }  # fmt: skip


LAYOUT = Layout(
    parameters={
        "wq": "W_q: H*n d", "wk": "W_k: H*n d", "wv": "W_v: H*m d", "wg": "W_g: H*m d",
        "wo": "W_o: d H*m", "gamma": "gamma",
    },
    inputs={"x": "x: B T n", "state": "S0: B H n m"},
    outputs={"y": "y: B T n", "last": "S_final: B H n m"},
)  # fmt: skip


@gradient_case(model=load("multihead_retention"), layout=LAYOUT)
def retention_in_heads():
    """The layer beside its definition."""
    return retention_forward, retention_backward
