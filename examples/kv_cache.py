"""Attention over the own past with a cache of keys and values, batch first.

Keys and values of a step go to a row of the cache that an integer names; which rows a query may
read comes as a mask. Backward runs through the steps in reverse with the gradients of the caches:
row by row they sum what every later query asked of it.

    gradcheck-rnn verify examples/kv_cache.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load


def cached_attention_forward(q, k, v, rows, mask, k_cache, v_cache):
    """q, k (B, T, M), v (B, T, P), rows (B, T) whole numbers, mask (B, T, N), caches (B, N, ·)."""
    every = np.arange(len(q))
    keys, values, weights = [k_cache], [v_cache], []
    o = np.empty_like(v)
    for t in range(q.shape[1]):
        keys.append(keys[-1].copy())
        values.append(values[-1].copy())
        keys[-1][every, rows[:, t]] += k[:, t]
        values[-1][every, rows[:, t]] += v[:, t]
        scores = np.where(mask[:, t], (keys[-1] @ q[:, t, :, None])[..., 0], -1e30)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights.append(p / p.sum(axis=1, keepdims=True))
        o[:, t] = (weights[-1][:, None] @ values[-1])[:, 0]
    return o, keys[-1], values[-1], (q, k, v, rows, mask, keys, values, weights)


def cached_attention_backward(do, dkeys, dvalues, saved):
    """Gradients of q, k, v and the caches as they were."""
    q, k, v, rows, mask, keys, values, weights = saved
    every = np.arange(len(q))
    dq, dk, dv = map(np.zeros_like, (q, k, v))
    dkeys, dvalues = dkeys.copy(), dvalues.copy()
    for t in reversed(range(q.shape[1])):
        p = weights[t]
        dvalues += p[:, :, None] * do[:, t, None]
        dp = (values[t + 1] @ do[:, t, :, None])[..., 0]
        dscores = p * (dp - (p * dp).sum(axis=1, keepdims=True)) * mask[:, t]
        dq[:, t] = (dscores[:, None] @ keys[t + 1])[:, 0]
        dkeys += dscores[:, :, None] * q[:, t, None]
        dk[:, t] = dkeys[every, rows[:, t]]
        dv[:, t] = dvalues[every, rows[:, t]]
    return {"q": dq, "k": dk, "v": dv, "k_cache": dkeys, "v_cache": dvalues}


LAYOUT = Layout(
    parameters={},
    inputs={
        "q": "q: B T n",
        "k": "k: B T n",
        "v": "v: B T n",
        "rows": "labels of place: B T",
        "mask": "past: B T n as bool",
        "k_cache": "K0: B n m",
        "v_cache": "V0: B n p",
    },
    outputs={"o": "o: B T n", "keys": "K_final: B n m", "values": "V_final: B n p"},
)


@gradient_case(model=load("causal_attention"), layout=LAYOUT)
def kv_cache():
    """The cache beside the equations of the zoo, where a row is named by a one-hot vector."""

    def forward(**arrays):
        o, keys, values, saved = cached_attention_forward(**arrays)
        return {"o": o, "keys": keys, "values": values}, saved

    def backward(cotangents, saved):
        return cached_attention_backward(
            cotangents["o"], cotangents["keys"], cotangents["values"], saved
        )

    return forward, backward
