"""An encoder, then a decoder that starts from its last state and reads its own last output."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, Network, cell, load
from gradcheck_rnn.language import tanh


@cell(inputs="v: n", params="P: p n; q: p", outputs="r")
def bridge(v, P, q):
    return {"r": tanh(P @ v + q)}


@cell(
    inputs="e: d",
    states="s: p; y: o",
    params="R: p p; F: p o; E: p d; b: p; V: o p; c: o",
)
def decode(e, s, y, R, F, E, b, V, c):
    s = tanh(R @ s + F @ y + E @ e + b)
    y = V @ s + c
    return {"s": s, "y": y}


def network():
    made = Network("feedback")
    x = made.input("x", "m", axis="S")
    run = made.scan(load("elman_hidden"), axis="S", x=x, dims={"p": "n", "d": "m"})
    start = made.scan(bridge, axis=None, v=run.final("h")).r
    out = made.scan(decode, initial={"s": start})
    made.output(out.y, out.final("s"))
    return made


def forward(x, e, h0, y0, W, U, bi, P, q, R, F, E, b, V, c):
    hs = [h0]
    for xt in x:
        hs.append(np.tanh(hs[-1] @ W.T + xt @ U.T + bi))
    r = np.tanh(hs[-1] @ P.T + q)
    ss, ys = [r], [y0]
    for et in e:
        ss.append(np.tanh(ss[-1] @ R.T + ys[-1] @ F.T + et @ E.T + b))
        ys.append(ss[-1] @ V.T + c)
    return {"y": np.stack(ys[1:]), "s_T": ss[-1]}, (x, e, hs, r, ss, ys, W, U, P, R, F, E, V)


def backward(cot, saved):
    x, e, hs, r, ss, ys, W, U, P, R, F, E, V = saved
    dW, dU, dP, dR, dF, dE, dV = (np.zeros_like(w) for w in (W, U, P, R, F, E, V))
    dbi, dq, db, dc = 0, 0, 0, 0
    dx, de = np.zeros_like(x), np.zeros_like(e)
    ds_next, dy_next = cot["s_T"], np.zeros_like(ys[0])
    for t in reversed(range(len(e))):
        dy = cot["y"][t] + dy_next
        dV += dy.T @ ss[t + 1]
        dc += dy.sum(axis=0)
        ds = ds_next + dy @ V
        da = ds * (1 - ss[t + 1] ** 2)
        dR += da.T @ ss[t]
        dF += da.T @ ys[t]
        dE += da.T @ e[t]
        db += da.sum(axis=0)
        de[t] = da @ E
        ds_next = da @ R
        dy_next = da @ F
    dv = ds_next * (1 - r**2)
    dP += dv.T @ hs[-1]
    dq += dv.sum(axis=0)
    dh = dv @ P
    for t in reversed(range(len(x))):
        di = dh * (1 - hs[t + 1] ** 2)
        dW += di.T @ hs[t]
        dU += di.T @ x[t]
        dbi += di.sum(axis=0)
        dx[t] = di @ U
        dh = di @ W
    grads = {"x": dx, "e": de, "h0": dh, "y0": dy_next, "W": dW, "U": dU, "bi": dbi, "P": dP}
    return grads | {"q": dq, "R": dR, "F": dF, "E": dE, "b": db, "V": dV, "c": dc}


MODEL = (
    network(),
    Layout(
        {k: k for k in ("W", "U", "P", "q", "R", "F", "E", "b", "V", "c")} | {"bi": "b_i"},
        {"x": "x: S B n", "e": "e: T B n", "h0": "h0: B n", "y0": "y0: B n"},
        {"y": "y: T B n", "s_T": "s_final: B n"},
    ),
)
