"""HGRN2: gated linear attention whose key is one minus the gate; a list of states is kept."""

from __future__ import annotations

import numpy as np

MODEL = ("hgrn2", None)


def forward(q, f, v, S0):
    S, o = [S0], []
    for t in range(len(q)):
        S.append(f[t][:, :, None] * S[-1] + (1 - f[t])[:, :, None] * v[t][:, None])
        o.append(np.einsum("bnm,bn->bm", S[-1], q[t]))
    return {"o": np.stack(o), "S_final": S[-1]}, (q, f, v, S)


def backward(cot, saved):
    q, f, v, S = saved
    dq, df, dv = np.zeros_like(q), np.zeros_like(f), np.zeros_like(v)
    dS = cot["S_final"]
    for t in range(len(q) - 1, -1, -1):
        do = cot["o"][t]
        dq[t] = np.einsum("bnm,bm->bn", S[t + 1], do)
        dS = dS + np.einsum("bn,bm->bnm", q[t], do)
        dv[t] = np.einsum("bnm,bn->bm", dS, 1 - f[t])
        dk = np.einsum("bnm,bm->bn", dS, v[t])
        df[t] = (dS * S[t]).sum(axis=-1) - dk
        dS = f[t][:, :, None] * dS
    return {"q": dq, "f": df, "v": dv, "S0": dS}
