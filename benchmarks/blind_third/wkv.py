"""RWKV-6 time mixing of one head: a matrix state a sequence, loops over steps and sequences."""

from __future__ import annotations

import numpy as np

MODEL = ("rwkv6", None)


def forward(u, r, k, d, v, S0):
    T, B, _ = r.shape
    w, o = np.exp(-np.exp(d)), np.zeros_like(v)
    S = np.zeros((T + 1, *S0.shape))
    S[0] = S0
    for t in range(T):
        for b in range(B):
            kv = np.outer(k[t, b], v[t, b])
            o[t, b] = r[t, b] @ (S[t, b] + u[:, None] * kv)
            S[t + 1, b] = w[t, b][:, None] * S[t, b] + kv
    return {"o": o, "S_final": S[T]}, (u, r, k, d, v, w, S)


def backward(cotangents, saved):
    u, r, k, d, v, w, S = saved
    gr, gk, gd, gv = (np.zeros_like(z) for z in (r, k, d, v))
    gu, gS0 = np.zeros_like(u), np.zeros_like(S[0])
    for b in range(r.shape[1]):
        gS = cotangents["S_final"][b]
        for t in reversed(range(len(r))):
            go = cotangents["o"][t, b]
            rt, kt, vt, wt, St = r[t, b], k[t, b], v[t, b], w[t, b], S[t, b]
            along = vt @ go
            gr[t, b] = St @ go + u * kt * along
            gu += rt * kt * along
            gk[t, b] = rt * u * along
            gk[t, b] += gS @ vt
            gv[t, b] = (rt * u * kt).sum() * go
            gv[t, b] += kt @ gS
            gw = (gS * St).sum(axis=1)
            gd[t, b] = -gw * wt * np.exp(d[t, b])
            gS = wt[:, None] * gS + np.outer(rt, go)
        gS0[b] = gS
    return {"u": gu, "r": gr, "k": gk, "d": gd, "v": gv, "S0": gS0}
