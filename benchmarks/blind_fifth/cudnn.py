"""A GRU with the reset after the product, packed gates in the order r, z, n, and masked steps."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import fused, sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import sigmoid as gate
from gradcheck_rnn.language import tanh


@cell(
    inputs="x: d",
    data="m:",
    states="h: p",
    params="W_r W_z W_n: p p; U_r U_z U_n: p d; b_r b_z b_n d_r d_z d_n: p",
    domains={"m": "0/1"},
)
def masked_gru(x, m, h, W_r, W_z, W_n, U_r, U_z, U_n, b_r, b_z, b_n, d_r, d_z, d_n):
    r = gate(U_r @ x + b_r + W_r @ h + d_r)
    z = gate(U_z @ x + b_z + W_z @ h + d_z)
    s = W_n @ h + d_n
    n = tanh(U_n @ x + b_n + r * s)
    h_new = (1 - z) * n + z * h
    h = m * h_new + (1 - m) * h
    return h  # noqa: RET504


def forward(x, mask, h0, wi, wh, bi, bh):
    h, out, tape = h0, [], []
    for t in range(x.shape[1]):
        ir, iz, i_n = np.split(x[:, t] @ wi.T + bi, 3, axis=1)
        hr, hz, hn = np.split(h @ wh.T + bh, 3, axis=1)
        r, z = sigmoid(ir + hr), sigmoid(iz + hz)
        n = np.tanh(i_n + r * hn)
        m = mask[:, t, None]
        tape.append((h, r, z, n, hn, m))
        h = m * ((1 - z) * n + z * h) + (1 - m) * h
        out.append(h)
    return {"out": np.stack(out, axis=1), "h_n": h}, (x, wi, wh, tape)


def backward(cot, saved):
    x, wi, wh, tape = saved
    dwi, dwh = np.zeros_like(wi), np.zeros_like(wh)
    dbi, dbh = np.zeros(len(wi)), np.zeros(len(wh))
    dx, dh = np.zeros_like(x), cot["h_n"]
    for t in reversed(range(len(tape))):
        h, r, z, n, hn, m = tape[t]
        dh = dh + cot["out"][:, t]
        dnew = dh * m
        dn = dnew * (1 - z) * (1 - n * n)
        dz = dnew * (h - n) * z * (1 - z)
        dr = dn * hn * r * (1 - r)
        dgi = np.concatenate([dr, dz, dn], axis=1)
        dgh = np.concatenate([dr, dz, dn * r], axis=1)
        dwi += dgi.T @ x[:, t]
        dwh += dgh.T @ h
        dbi += dgi.sum(axis=0)
        dbh += dgh.sum(axis=0)
        dx[:, t] = dgi @ wi
        dh = dh * (1 - m) + dnew * z + dgh @ wh
    return {"x": dx, "h0": dh, "wi": dwi, "wh": dwh, "bi": dbi, "bh": dbh}


MODEL = (
    masked_gru,
    Layout(
        {"wi": fused("U", "rzn"), "wh": fused("W", "rzn")}
        | {"bi": fused("b", "rzn"), "bh": fused("d", "rzn")},
        {"x": "x: B T n", "mask": "m: B T", "h0": "h0"},
        {"out": "h: B T n", "h_n": "h_final"},
    ),
)
