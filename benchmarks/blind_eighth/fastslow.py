"""A fast state whose recurrence a slow, gated state multiplies: units first, time last."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import sigmoid as gate
from gradcheck_rnn.language import tanh


@cell(
    inputs="x: d",
    states="h: p; s: k",
    params="V A: k p; Z: k d; b_z b_s: k; M: p k; W: p p; U: p d; b_h: p",
)
def fastslow(x, h, s, V, A, Z, b_z, b_s, M, W, U, b_h):
    z = gate(V @ h + Z @ x + b_z)
    n = tanh(A @ h + b_s)
    s = (1 - z) * s + z * n
    h = tanh((M @ s) * (W @ h) + U @ x + b_h)
    return {"h": h, "s": s}


def forward(x, h0, s0, V, A, Z, bz, bs, M, W, U, bh):
    T = x.shape[2]
    h, s, hs, zs, ns, ss = h0, s0, [h0], [], [], [s0]
    for t in range(T):
        z = sigmoid(V @ h + Z @ x[:, :, t] + bz)
        n = np.tanh(A @ h + bs)
        s = (1 - z) * s + z * n
        h = np.tanh((M @ s) * (W @ h) + U @ x[:, :, t] + bh)
        zs.append(z)
        ns.append(n)
        ss.append(s)
        hs.append(h)
    saved = (x, hs, ss, zs, ns, V, A, Z, M, W, U)
    return {"h": np.stack(hs[1:], axis=2), "s_T": s, "h_T": h}, saved


def backward(cot, saved):
    x, hs, ss, zs, ns, V, A, Z, M, W, U = saved
    dV, dA, dZ, dM, dW, dU = (np.zeros_like(w) for w in (V, A, Z, M, W, U))
    dbz, dbs, dbh = np.zeros((len(V), 1)), np.zeros((len(V), 1)), np.zeros((len(W), 1))
    dx, dh_next, ds_next = np.zeros_like(x), cot["h_T"], cot["s_T"]
    for t in range(x.shape[2] - 1, -1, -1):
        z, n, xt = zs[t], ns[t], x[:, :, t]
        dh = cot["h"][:, :, t] + dh_next
        dj = dh * (1 - hs[t + 1] ** 2)
        m, w = M @ ss[t + 1], W @ hs[t]
        dm = dj * w
        dw = dj * m
        dM += dm @ ss[t + 1].T
        dW += dw @ hs[t].T
        dU += dj @ xt.T
        dbh += dj.sum(axis=1, keepdims=True)
        ds = ds_next + M.T @ dm
        dz = ds * (n - ss[t]) * z * (1 - z)
        dn = ds * z * (1 - n**2)
        dV += dz @ hs[t].T
        dZ += dz @ xt.T
        dA += dn @ hs[t].T
        dbz += dz.sum(axis=1, keepdims=True)
        dbs += dn.sum(axis=1, keepdims=True)
        dx[:, :, t] = U.T @ dj + Z.T @ dz
        dh_next = W.T @ dw + V.T @ dz + A.T @ dn
        ds_next = (1 - z) * ds
    grads = {"x": dx, "h0": dh_next, "s0": ds_next, "V": dV, "A": dA, "Z": dZ, "M": dM}
    return grads | {"W": dW, "U": dU, "bz": dbz, "bs": dbs, "bh": dbh}


MODEL = (
    fastslow,
    Layout(
        {k: k for k in "VAZMWU"}
        | {"bz": "b_z as column", "bs": "b_s as column", "bh": "b_h as column"},
        {"x": "x: n B T", "h0": "h0: n B", "s0": "s0: n B"},
        {"h": "h: n B T", "s_T": "s_final: n B", "h_T": "h_final: n B"},
    ),
)
