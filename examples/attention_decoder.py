"""An encoder, and a GRU decoder that reads the encoder's states by additive attention; time first.

Weights of the decoder are one matrix for what it is given, [y, c], and one for its state. The
gradient of the annotations gathers over the steps of the decoder, from the context and from the
scores, and goes through the encoder after that.

    gradcheck-rnn verify examples/attention_decoder.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load


def sigmoid(x):
    """1 / (1 + exp(−x))."""
    return 1 / (1 + np.exp(-x))


def forward_pass(x, there, y, h, s, encoder, scoring, reading):
    """x (S, B, E), there (B, S), y (T, B, D); the annotations H are (B, S, K)."""
    W, U, b = encoder
    Wa, Ua, va = scoring
    hs = [h]
    for x_t in x:
        hs.append(np.tanh(hs[-1] @ W.T + x_t @ U.T + b))
    H = np.stack(hs[1:], axis=1)
    keys, states, tape, contexts = H @ Ua.T, [s], [], []
    Wi, Wh = reading
    p = s.shape[1]
    for y_t in y:
        s = states[-1]
        e = np.tanh(keys + (s @ Wa.T)[:, None])
        scores = np.where(there, e @ va, -1e30)
        a = np.exp(scores - scores.max(axis=1, keepdims=True))
        a /= a.sum(axis=1, keepdims=True)
        given = np.concatenate([y_t, np.einsum("bn,bnk->bk", a, H)], axis=1)
        gates = given @ Wi.T
        zr = sigmoid(gates[:, : 2 * p] + s @ Wh[: 2 * p].T)
        z, r = zr[:, :p], zr[:, p:]
        n = np.tanh(gates[:, 2 * p :] + (r * s) @ Wh[2 * p :].T)
        states.append((1 - z) * s + z * n)
        contexts.append(given[:, y.shape[2] :])
        tape.append((e, a, given, z, r, n))
    saved = (x, there, y, hs, H, states, tape, encoder, scoring, reading)
    return np.array(states[1:]), np.array(contexts), saved


def backward_pass(ds, dc, dlast, saved):
    """Gradients of all arguments from those of the states, the contexts and the last state."""
    x, there, y, hs, H, states, tape, (W, U, b), (Wa, Ua, va), (Wi, Wh) = saved
    dWi, dWh, dWa, dUa, dva, dH = map(np.zeros_like, (Wi, Wh, Wa, Ua, va, H))
    dkeys, dy = np.zeros((*H.shape[:2], len(Ua))), np.zeros_like(y)
    d, p, carry = y.shape[2], dlast.shape[1], dlast.copy()
    for t in reversed(range(len(y))):
        e, a, given, z, r, n = tape[t]
        s, carry = states[t], carry + ds[t]
        dn = carry * z * (1 - n**2)
        drs = dn @ Wh[2 * p :]
        dz, dr = carry * (n - s) * z * (1 - z), drs * s * r * (1 - r)
        dgates, dzr = np.concatenate([dz, dr, dn], axis=1), np.concatenate([dz, dr], axis=1)
        dWi += dgates.T @ given
        dWh[: 2 * p] += dzr.T @ s
        dWh[2 * p :] += dn.T @ (r * s)
        carry = carry * (1 - z) + drs * r + dzr @ Wh[: 2 * p]
        dgiven = dgates @ Wi
        dy[t], dcontext = dgiven[:, :d], dgiven[:, d:] + dc[t]
        da = np.einsum("bk,bnk->bn", dcontext, H)
        dH += a[:, :, None] * dcontext[:, None]
        dscores = a * (da - (a * da).sum(axis=1, keepdims=True)) * there
        dva += np.einsum("bn,bnm->m", dscores, e)
        de = dscores[:, :, None] * va * (1 - e**2)
        dkeys += de
        dWa += de.sum(axis=1).T @ s
        carry += de.sum(axis=1) @ Wa
    dUa += np.einsum("bnm,bnk->mk", dkeys, H)
    dH += dkeys @ Ua
    dW, dU, db, dx = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b), np.zeros_like(x)
    dh = np.zeros_like(hs[0])
    for t in reversed(range(len(x))):
        draw = (dh + dH[:, t]) * (1 - hs[t + 1] ** 2)
        dW, dU, db = dW + draw.T @ hs[t], dU + draw.T @ x[t], db + draw.sum(axis=0)
        dx[t], dh = draw @ U, draw @ W
    return {
        "x": dx, "y": dy, "h": dh, "s": carry, "W": dW, "U": dU, "b": db, "Wa": dWa,
        "Ua": dUa, "va": dva, "Wi": dWi, "Wh": dWh,
    }  # fmt: skip


LAYOUT = Layout(
    parameters={
        "W": "W_src",
        "U": "U_src",
        "b": "b_i_src",
        "Wa": "W_a",
        "Ua": "U_a",
        "va": "v",
        "Wi": "[W_z C_z; W_r C_r; W C]",
        "Wh": "[U_z; U_r; U]",
    },
    inputs={
        "x": "x: S B n",
        "there": "there: B S as bool",
        "y": "y: T B n",
        "h": "h_src0: B n",
        "s": "s0: B n",
    },
    outputs={"states": "s: T B n", "contexts": "c: T B n", "last": "s_final: B n"},
)


@gradient_case(model=load("attention_decoder"), layout=LAYOUT)
def attention_decoder():
    """Both halves beside the equations of the zoo."""

    def forward(W, U, b, Wa, Ua, va, Wi, Wh, **arrays):
        states, contexts, saved = forward_pass(
            **arrays, encoder=(W, U, b), scoring=(Wa, Ua, va), reading=(Wi, Wh)
        )
        return {"states": states, "contexts": contexts, "last": states[-1]}, saved

    def backward(g, saved):
        return backward_pass(g["states"], g["contexts"], g["last"], saved)

    return forward, backward
