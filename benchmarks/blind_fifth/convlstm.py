"""A convolutional LSTM over positions on a line, width 3, by patches: (time, batch, channel, n)."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import sigmoid as gate
from gradcheck_rnn.language import tanh

TAPS = "; ".join(f"W_{g}1 W_{g}2 W_{g}3: k k; U_{g}1 U_{g}2 U_{g}3: k d; b_{g}: k" for g in "ifog")


@cell(
    inputs="X: d n",
    states="H C: k n",
    params=TAPS,
    fixed={"L": ("n n", partial(np.eye, k=-1))},
    outputs="H",
)
def line_lstm(X, H, C, L, **given):
    def convolved(g):
        of_h = given[f"W_{g}1"] @ H @ L.T + given[f"W_{g}2"] @ H + given[f"W_{g}3"] @ H @ L
        of_x = given[f"U_{g}1"] @ X @ L.T + given[f"U_{g}2"] @ X + given[f"U_{g}3"] @ X @ L
        return of_h + of_x + given[f"b_{g}"]

    i = gate(convolved("i"))
    f = gate(convolved("f"))
    o = gate(convolved("o"))
    g = tanh(convolved("g"))
    C = f * C + i * g
    H = o * tanh(C)
    return {"H": H, "C": C}


def patches(v):
    p = np.pad(v, ((0, 0), (0, 0), (1, 1)))
    return np.concatenate([p[:, :, :-2], p[:, :, 1:-1], p[:, :, 2:]], axis=1)


def fold(d):
    before, here, after = np.split(d, 3, axis=1)
    out = np.zeros((*here.shape[:2], here.shape[2] + 2))
    out[:, :, :-2] += before
    out[:, :, 1:-1] += here
    out[:, :, 2:] += after
    return out[:, :, 1:-1]


def forward(x, h0, c0, **p):
    h, c, hs, tape = h0, c0, [], []
    for x_t in x:
        xp, hp = patches(x_t), patches(h)
        pre = {k: p["W" + k] @ hp + p["U" + k] @ xp + p["b" + k][:, None] for k in "ifog"}
        i, f, o = (sigmoid(pre[k]) for k in "ifo")
        g = np.tanh(pre["g"])
        c_prev, c = c, f * c + i * g
        tc = np.tanh(c)
        h = o * tc
        hs.append(h)
        tape.append((xp, hp, c_prev, c, i, f, o, g, tc))
    return {"h": np.stack(hs), "h_T": h, "c_T": c}, (x, p, tape)


def backward(cot, saved):
    x, p, tape = saved
    grads = {k: np.zeros_like(v) for k, v in p.items()}
    dx, dh, dc = np.zeros_like(x), cot["h_T"], cot["c_T"]
    for t in reversed(range(len(tape))):
        xp, hp, c_prev, c, i, f, o, g, tc = tape[t]  # noqa: RUF059 (faults read c)
        dh = dh + cot["h"][t]
        do = dh * tc
        dc = dc + dh * o * (1 - tc**2)
        di = dc * g
        df = dc * c_prev
        dg = dc * i
        da = {"i": di * i * (1 - i), "f": df * f * (1 - f), "o": do * o * (1 - o)}
        da["g"] = dg * (1 - g**2)
        dhp, dxp = np.zeros_like(hp), np.zeros_like(xp)
        for k, d in da.items():
            grads["W" + k] += np.einsum("bkn,bmn->km", d, hp)
            grads["U" + k] += np.einsum("bkn,bmn->km", d, xp)
            grads["b" + k] += d.sum(axis=(0, 2))
            dhp += p["W" + k].T @ d
            dxp += p["U" + k].T @ d
        dx[t] = fold(dxp)
        dh = fold(dhp)
        dc = dc * f
    return grads | {"x": dx, "h0": dh, "c0": dc}


MODEL = (
    line_lstm,
    Layout(
        {f"{a}{g}": f"[{a}_{g}1, {a}_{g}2, {a}_{g}3]" for a in "WU" for g in "ifog"}
        | {f"b{g}": f"b_{g}" for g in "ifog"},
        {"x": "X: T B d n", "h0": "H0: B k n", "c0": "C0: B k n"},
        {"h": "H: T B k n", "h_T": "H_final: B k n", "c_T": "C_final: B k n"},
    ),
)
