"""A gated delta rule of one head, batch first, the state held as (batch, keys, values).

Forward keeps the state of every step. Backward carries the gradient of the state; what a step
writes is a correction, v minus what the key reads, so k has a gradient from three places: where it
writes, where it reads, and where both meet.

    gradcheck-rnn verify examples/delta_rule.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load


def delta_rule_forward(q, k, v, alpha, beta, state):
    """q, k (B, T, K), v (B, T, V), alpha, beta (B, T), state (B, K, V) to o (B, T, V)."""
    states, o = [state], np.empty_like(v)
    for t in range(q.shape[1]):
        kept = alpha[:, t, None, None] * states[-1]
        error = v[:, t] - np.einsum("bk,bkv->bv", k[:, t], kept)
        states.append(kept + beta[:, t, None, None] * k[:, t, :, None] * error[:, None])
        o[:, t] = np.einsum("bk,bkv->bv", q[:, t], states[-1])
    return o, states[-1], (q, k, v, alpha, beta, states)


def delta_rule_backward(do, dlast, saved):
    """Gradients of all arguments from do (B, T, V) and the last state's dlast (B, K, V)."""
    q, k, v, alpha, beta, states = saved
    dq, dk, dv, dalpha, dbeta = map(np.zeros_like, (q, k, v, alpha, beta))
    dS = dlast.copy()
    for t in reversed(range(q.shape[1])):
        before = states[t]
        kept = alpha[:, t, None, None] * before
        error = v[:, t] - np.einsum("bk,bkv->bv", k[:, t], kept)
        dq[:, t] = np.einsum("bkv,bv->bk", states[t + 1], do[:, t])
        dS += q[:, t, :, None] * do[:, t, None]
        along = np.einsum("bk,bkv->bv", k[:, t], dS)
        dbeta[:, t] = (along * error).sum(axis=1)
        derror = beta[:, t, None] * along
        dv[:, t] = derror
        dk[:, t] = beta[:, t, None] * np.einsum("bkv,bv->bk", dS, error)
        dk[:, t] -= np.einsum("bkv,bv->bk", kept, derror)
        dkept = dS - k[:, t, :, None] * derror[:, None]
        dalpha[:, t] = (dkept * before).sum(axis=(1, 2))
        dS = alpha[:, t, None, None] * dkept
    return {"q": dq, "k": dk, "v": dv, "alpha": dalpha, "beta": dbeta, "state": dS}


LAYOUT = Layout(
    parameters={},
    inputs={
        "q": "q: B T n",
        "k": "k: B T n",
        "v": "v: B T n",
        "alpha": "alpha: B T",
        "beta": "beta: B T",
        "state": "S0: B n m",
    },
    outputs={"o": "o: B T n", "last": "S_final: B n m"},
)


@gradient_case(model=load("delta_net"), layout=LAYOUT)
def delta_rule():
    """The rule beside the equations of the zoo, whose state is (values, keys)."""

    def forward(**arrays):
        o, last, saved = delta_rule_forward(**arrays)
        return {"o": o, "last": last}, saved

    def backward(cotangents, saved):
        return delta_rule_backward(cotangents["o"], cotangents["last"], saved)

    return forward, backward
