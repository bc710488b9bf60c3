"""Mamba-2 in chunks: attention within a chunk, states from chunk to chunk, as in kernels."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid

MODEL = ("mamba2", None)
CHUNK = 4


def decays(la):
    """exp of the sums of logarithms between two steps, and from both ends of a chunk."""
    cum = np.cumsum(la, axis=0)
    L = np.tril(np.exp(np.minimum((cum[:, None] - cum[None]).transpose(2, 0, 1), 0)))
    return L, np.exp(cum), np.exp(cum[-1] - cum)


def forward(A_log, dt_bias, D, x, B, C, dt, S0):
    raw = dt + dt_bias
    step = np.log1p(np.exp(raw))
    la, S, ys, starts = -np.exp(A_log) * step, S0, [], []
    for s in range(0, len(x), CHUNK):
        e = slice(s, s + CHUNK)
        starts.append(S)
        L, since, until = decays(la[e])
        xs = step[e, :, None] * x[e]
        scores = np.einsum("tbn,sbn->bts", C[e], B[e]) * L
        y = np.einsum("bts,sbm->tbm", scores, xs) + D * x[e]
        ys.append(y + since[:, :, None] * np.einsum("bmn,tbn->tbm", S, C[e]))
        S = since[-1][:, None, None] * S + np.einsum("tb,tbm,tbn->bmn", until, xs, B[e])
    saved = (A_log, D, x, B, C, raw, step, la, starts, S)
    return {"y": np.concatenate(ys), "S_final": S}, saved


def backward(cotangents, saved):
    A_log, D, x, B, C, raw, step, la, starts, S_end = saved
    dx, dB, dC, dstep, dla = (np.zeros_like(z) for z in (x, B, C, step, la))
    dD, dS, S_next = 0.0, cotangents["S_final"], S_end
    for n in reversed(range(len(starts))):
        e, S = slice(n * CHUNK, (n + 1) * CHUNK), starts[n]
        L, since, until = decays(la[e])
        dy, xs = cotangents["y"][e], step[e, :, None] * x[e]
        # within the chunk
        dP = np.einsum("tbm,sbm->bts", dy, xs) * L
        scores = np.einsum("tbn,sbn->bts", C[e], B[e]) * L
        dxs = np.einsum("bts,tbm->sbm", scores, dy)
        dC[e] = np.einsum("bts,sbn->tbn", dP, B[e])
        dB[e] = np.einsum("bts,tbn->sbn", dP, C[e])
        # from the state at the start, and to the one at the end
        dC[e] += since[:, :, None] * np.einsum("bmn,tbm->tbn", S, dy)
        dxs += until[:, :, None] * np.einsum("bmn,tbn->tbm", dS, B[e])
        dB[e] += until[:, :, None] * np.einsum("bmn,tbm->tbn", dS, xs)
        # what a row reads minus what a column is read for
        dcum = (dC[e] * C[e]).sum(axis=-1) - (dB[e] * B[e]).sum(axis=-1)
        dcum[-1] += np.einsum("bmn,bmn->b", dS, S_next)
        dla[e] = np.cumsum(dcum[::-1], axis=0)[::-1]
        dx[e] = step[e, :, None] * dxs + D * dy
        dstep[e] = (dxs * x[e]).sum(axis=-1)
        dD += (dy * x[e]).sum()
        dS = since[-1][:, None, None] * dS + np.einsum("tb,tbm,tbn->bmn", since, dy, C[e])
        S_next = S
    dA_log = -(dla * step).sum() * np.exp(A_log)
    dstep += dla * -np.exp(A_log)
    ddt = dstep * sigmoid(raw)
    d = {"A_log": dA_log, "dt_bias": ddt.sum(), "D": dD, "x": dx, "B": dB, "C": dC}
    return d | {"dt": ddt, "S0": dS}
