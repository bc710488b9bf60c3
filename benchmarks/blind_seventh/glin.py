"""Linear attention with a scalar decay and a normaliser, projections within: time first."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import dot, outer, softmax, softplus, sqrt
from gradcheck_rnn.language import sigmoid as gate


@cell(
    inputs="x: d",
    states="S: m n; z: n",
    params="W_q W_k: n d; W_v: m d; w: d; b:",
    outputs="o",
)
def glin(x, S, z, W_q, W_k, W_v, w, b):
    q = softmax(W_q @ x)
    k = softplus(W_k @ x)
    v = W_v @ x
    a = gate(dot(w, x) + b)
    S = a * S + outer(v, k)
    z = a * z + k
    s = dot(z, q)
    den = sqrt(1 + s**2)
    o = (S @ q) / den
    return {"S": S, "z": z, "o": o}


def forward(x, S0, z0, Wq, Wk, Wv, w, b):
    S, z, out, tape = S0, z0, [], []
    for x_t in x:
        aq, ak = x_t @ Wq.T, x_t @ Wk.T
        e = np.exp(aq - aq.max(axis=1, keepdims=True))
        q, k, v = e / e.sum(axis=1, keepdims=True), np.logaddexp(0, ak), x_t @ Wv.T
        a = sigmoid(x_t @ w + b)
        S_in, z_in = S, z
        S = a[:, None, None] * S + v[:, :, None] * k[:, None, :]
        z = a[:, None] * z + k
        s = (z * q).sum(axis=1)
        den = np.sqrt(1 + s**2)
        o = np.einsum("bmn,bn->bm", S, q) / den[:, None]
        out.append(o)
        tape.append((a, S_in, z_in, S, z, q, k, v, ak, s, den, o))
    return {"o": np.stack(out), "S_T": S, "z_T": z}, (x, Wq, Wk, Wv, w, tape)


def backward(cot, saved):
    x, Wq, Wk, Wv, w, tape = saved
    dWq, dWk, dWv, dw = (np.zeros_like(p) for p in (Wq, Wk, Wv, w))
    dx, db = np.zeros_like(x), 0.0
    dS, dz = cot["S_T"], cot["z_T"]
    for t in reversed(range(len(tape))):
        a, S_in, z_in, S, z, q, k, v, ak, s, den, o = tape[t]
        do = cot["o"][t]
        dnum = do / den[:, None]
        dden = -(do * o).sum(axis=1) / den
        ds = dden * s / den
        dq = np.einsum("bmn,bm->bn", S, dnum) + ds[:, None] * z
        dS = dS + dnum[:, :, None] * q[:, None, :]
        dz = dz + ds[:, None] * q
        dv = np.einsum("bmn,bn->bm", dS, k)
        dk = np.einsum("bmn,bm->bn", dS, v)
        dk += dz
        da = (dS * S_in).sum(axis=(1, 2))
        da += (dz * z_in).sum(axis=1)
        dS = a[:, None, None] * dS
        dz = a[:, None] * dz
        dg = da * a * (1 - a)
        daq = q * (dq - (q * dq).sum(axis=1, keepdims=True))
        dak = dk * sigmoid(ak)
        dWq += daq.T @ x[t]
        dWk += dak.T @ x[t]
        dWv += dv.T @ x[t]
        dw += dg @ x[t]
        db += dg.sum()
        dx[t] = daq @ Wq + dak @ Wk + dv @ Wv + dg[:, None] * w
    grads = {"x": dx, "S0": dS, "z0": dz, "Wq": dWq, "Wk": dWk, "Wv": dWv}
    return grads | {"w": dw, "b": np.array(db)}


MODEL = (
    glin,
    Layout(
        {f"W{k}": f"W_{k}" for k in "qkv"} | {"w": "w", "b": "b"},
        {"x": "x: T B n", "S0": "S0: B m n", "z0": "z0: B n"},
        {"o": "o: T B n", "S_T": "S_final: B m n", "z_T": "z_final: B n"},
    ),
)
