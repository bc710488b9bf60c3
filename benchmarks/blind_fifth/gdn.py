"""Gated DeltaNet with normalised queries and keys, as a loop over steps: batch first."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout

EPS = 1e-6


def forward(q, k, v, a, b, S0, A_log, dt_bias):
    S, out, tape = S0, [], []
    for t in range(q.shape[1]):
        q_t, k_t, v_t = q[:, t], k[:, t], v[:, t]
        rq = np.sqrt((q_t**2).sum(axis=1, keepdims=True) + EPS)
        rk = np.sqrt((k_t**2).sum(axis=1, keepdims=True) + EPS)
        qh, kh = q_t / rq, k_t / rk
        s = a[:, t] + dt_bias
        g = -np.exp(A_log) * np.logaddexp(0, s)
        al, be = np.exp(g), sigmoid(b[:, t])
        Sk = np.einsum("bmn,bn->bm", S, kh)
        err = v_t - al[:, None] * Sk
        before = S
        S = al[:, None, None] * S + be[:, None, None] * err[:, :, None] * kh[:, None, :]
        out.append(np.einsum("bmn,bn->bm", S, qh))
        tape.append((before, S, qh, kh, rq, rk, v_t, s, g, al, be, Sk, err))
    return {"o": np.stack(out, axis=1), "S_T": S}, (A_log, tape)


def backward(cot, saved):
    A_log, tape = saved
    dq, dk, dv, da, db = [], [], [], [], []
    dA, ddt, dS = 0.0, 0.0, cot["S_T"]
    for t in reversed(range(len(tape))):
        before, S, qh, kh, rq, rk, v, s, g, al, be, Sk, err = tape[t]  # noqa: RUF059 (a fault reads v)
        do = cot["o"][:, t]
        dqh = np.einsum("bmn,bm->bn", S, do)
        dS = dS + do[:, :, None] * qh[:, None, :]
        # S = al * before + be * err khᵀ
        derr = be[:, None] * np.einsum("bmn,bn->bm", dS, kh)
        dbe = np.einsum("bmn,bm,bn->b", dS, err, kh)
        dkh = be[:, None] * np.einsum("bmn,bm->bn", dS, err)
        dal = (dS * before).sum(axis=(1, 2))
        # err = v - al * before kh
        dal = dal - (derr * Sk).sum(axis=1)
        dkh = dkh - al[:, None] * np.einsum("bmn,bm->bn", before, derr)
        dS = al[:, None, None] * (dS - derr[:, :, None] * kh[:, None, :])
        # gates
        dg = dal * al
        dA += (dg * g).sum()
        ds = -dg * np.exp(A_log) * sigmoid(s)
        ddt += ds.sum()
        da.insert(0, ds)
        db.insert(0, dbe * be * (1 - be))
        dv.insert(0, derr)
        # normalisation
        dq.insert(0, (dqh - qh * (qh * dqh).sum(axis=1, keepdims=True)) / rq)
        dk.insert(0, (dkh - kh * (kh * dkh).sum(axis=1, keepdims=True)) / rk)
    grads = {"q": dq, "k": dk, "v": dv, "a": da, "b": db}
    grads = {name: np.stack(rows, axis=1) for name, rows in grads.items()}
    return grads | {"S0": dS, "A_log": np.array(dA), "dt_bias": np.array(ddt)}


MODEL = (
    "gated_delta_net",
    Layout(
        {"A_log": "A_log", "dt_bias": "dt_bias"},
        {k: f"{k}: B T n" for k in "qkv"} | {"a": "a: B T", "b": "b: B T", "S0": "S0: B m n"},
        {"o": "o: B T n", "S_T": "S_final: B m n"},
    ),
)
