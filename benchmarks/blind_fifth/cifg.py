"""An LSTM whose input gate is 1 − f, with a softmax readout and integer labels: batch first."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, Network, cell, load
from gradcheck_rnn.language import sigmoid as gate
from gradcheck_rnn.language import tanh


@cell(
    inputs="x: d",
    states="h c: p",
    params="W_f W_o W_g: p p; U_f U_o U_g: p d; b_f b_o b_g: p",
)
def coupled(x, h, c, W_f, W_o, W_g, U_f, U_o, U_g, b_f, b_o, b_g):
    f = gate(W_f @ h + U_f @ x + b_f)
    o = gate(W_o @ h + U_o @ x + b_o)
    g = tanh(W_g @ h + U_g @ x + b_g)
    c = f * c + (1 - f) * g
    h = o * tanh(c)
    return {"h": h, "c": c}


def network():
    made = Network("cifg")
    states = made.scan(coupled, x=made.input("x", "d"))
    y = made.scan(load("readout"), h=states.h).y
    score = made.scan(load("softmax_cross_entropy"), domains={"target": "one-hot"}, y=y)
    made.loss(score.loss)
    return made


def run(a):
    h, c, loss, tape = a["h0"], a["c0"], 0.0, []
    rows = np.arange(len(h))
    for t in range(a["x"].shape[1]):
        z = np.hstack([h, a["x"][:, t]])
        f = sigmoid(z @ a["Wf"].T + a["bf"])
        o = sigmoid(z @ a["Wo"].T + a["bo"])
        g = np.tanh(z @ a["Wg"].T + a["bg"])
        c_prev, c = c, f * c + (1 - f) * g
        tc = np.tanh(c)
        h = o * tc
        y = h @ a["Wy"].T + a["by"]
        e = np.exp(y - y.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        loss -= np.log(p[rows, a["labels"][:, t]]).sum()
        tape.append((z, f, o, g, c_prev, tc, h, p))
    return loss, tape


def loss(a):
    return run(a)[0]


def gradient(a):
    tape = run(a)[1]
    n, size = a["h0"].shape
    d = {k: np.zeros_like(v) for k, v in a.items() if k[0] in "Wb"}
    dx = np.zeros_like(a["x"])
    dh_next, dc_next = np.zeros_like(a["h0"]), np.zeros_like(a["c0"])
    for t in reversed(range(len(tape))):
        z, f, o, g, c_prev, tc, h, p = tape[t]
        dy = p.copy()
        dy[np.arange(n), a["labels"][:, t]] -= 1
        d["Wy"] += dy.T @ h
        d["by"] += dy.sum(axis=0)
        dh = dy @ a["Wy"] + dh_next
        do = dh * tc
        dc = dh * o * (1 - tc**2) + dc_next
        df = dc * (c_prev - g)
        dg = dc * (1 - f)
        daf = df * f * (1 - f)
        dao = do * o * (1 - o)
        dag = dg * (1 - g**2)
        for k, da in (("f", daf), ("o", dao), ("g", dag)):
            d["W" + k] += da.T @ z
            d["b" + k] += da.sum(axis=0)
        dz = daf @ a["Wf"] + dao @ a["Wo"] + dag @ a["Wg"]
        dh_next = dz[:, :size]
        dx[:, t] = dz[:, size:]
        dc_next = dc * f
    return d | {"x": dx, "h0": dh_next, "c0": dc_next}


MODEL = (
    network(),
    Layout(
        {f"W{k}": f"[W_{k}, U_{k}]" for k in "fog"}
        | {f"b{k}": f"b_{k}" for k in "fog"}
        | {"Wy": "V", "by": "b_y"},
        {"x": "x: B T n", "labels": "labels of target: B T", "h0": "h0", "c0": "c0"},
    ),
)
