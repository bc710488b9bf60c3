"""Gated linear attention with one decay a head: batch first, heads second last, loops over both."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import api

MODEL = (api.load("kernel_simple_gla"), "linear-attention simple_gla")


def head_forward(q, k, v, g, S):
    """One head of one sequence: q, k (T, n), v (T, m), g (T,)."""
    outs, states = [], [S]
    for t in range(len(q)):
        S = np.exp(g[t]) * S + np.outer(k[t], v[t])
        outs.append(S.T @ q[t] / np.sqrt(q.shape[1]))
        states.append(S)
    return np.stack(outs), states


def head_backward(do, dS, q, k, v, g, states):
    dq, dk, dv, dg = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), np.zeros_like(g)
    scale = 1 / np.sqrt(q.shape[1])
    for t in reversed(range(len(q))):
        alpha = np.exp(g[t])
        dq[t] = states[t + 1] @ do[t] * scale
        dS = dS + np.outer(q[t], do[t]) * scale
        dk[t] = dS @ v[t]
        dv[t] = dS.T @ k[t]
        dalpha = (dS * states[t]).sum()
        dg[t] = dalpha * alpha
        dS = alpha * dS
    return dq, dk, dv, dg, dS


def forward(q, k, v, g, initial_state):
    o, last, saved = np.zeros_like(v), np.zeros_like(initial_state), {}
    for b in range(q.shape[0]):
        for h in range(q.shape[2]):
            a = q[b, :, h], k[b, :, h], v[b, :, h], g[b, :, h]
            o[b, :, h], states = head_forward(*a, initial_state[b, h])
            last[b, h], saved[b, h] = states[-1], (*a, states)
    return {"o": o, "final_state": last}, (saved, q, k, v, g)


def backward(cotangents, cache):
    saved, q, k, v, g = cache
    dq, dk, dv, dg = (np.zeros_like(z) for z in (q, k, v, g))
    dS0 = np.zeros_like(cotangents["final_state"])
    for b, h in saved:
        do, dS = cotangents["o"][b, :, h], cotangents["final_state"][b, h]
        dq[b, :, h], dk[b, :, h], dv[b, :, h], dg[b, :, h], dS0[b, h] = head_backward(
            do, dS, *saved[b, h]
        )
    return {"q": dq, "k": dk, "v": dv, "g": dg, "initial_state": dS0}
