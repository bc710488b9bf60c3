"""A character-level LSTM with its loss, in dicts by step as in the short character models."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid

MODEL = ("char_lstm", None)
WITH_LOSS = True


def run(a):
    xs, hs, cs, acts, ps, loss = a["x"], {-1: a["h0"]}, {-1: a["c0"]}, {}, {}, 0.0
    for t in range(len(xs)):
        net = {k: xs[t] @ a["U_" + k].T + hs[t - 1] @ a["W_" + k].T + a["b_" + k] for k in "ifoc"}
        act = {k: sigmoid(net[k]) for k in "ifo"} | {"c": np.tanh(net["c"])}
        cs[t] = act["f"] * cs[t - 1] + act["i"] * act["c"]
        hs[t] = act["o"] * np.tanh(cs[t])
        y = hs[t] @ a["V"].T + a["b_y"]
        e = np.exp(y - y.max(axis=1, keepdims=True))
        acts[t], ps[t] = act, e / e.sum(axis=1, keepdims=True)
        loss -= np.sum(a["target"][t] * np.log(ps[t]))
    return loss, hs, cs, acts, ps


def loss(a):
    return run(a)[0]


def gradient(a):
    _, hs, cs, acts, ps = run(a)
    d = {k: np.zeros_like(v) for k, v in a.items() if k[0] in "WUVb"}
    dhnext, dcnext = np.zeros_like(a["h0"]), np.zeros_like(a["c0"])
    for t in reversed(range(len(ps))):
        act = acts[t]
        dy = ps[t] - a["target"][t]
        d["V"] += dy.T @ hs[t]
        d["b_y"] += dy.sum(axis=0)
        dh = dy @ a["V"] + dhnext
        th = np.tanh(cs[t])
        do = dh * th
        do = do * act["o"] * (1 - act["o"])
        dc = dh * act["o"] * (1 - th * th) + dcnext
        dc_ = dc * act["i"]
        dc_ = dc_ * (1 - act["c"] ** 2)
        di = dc * act["c"]
        di = di * act["i"] * (1 - act["i"])
        df = dc * cs[t - 1]
        df = df * act["f"] * (1 - act["f"])
        deltas = {"i": di, "f": df, "o": do, "c": dc_}
        for k in "ifoc":
            d["W_" + k] += deltas[k].T @ hs[t - 1]
            d["U_" + k] += deltas[k].T @ a["x"][t]
            d["b_" + k] += deltas[k].sum(axis=0)
        dhnext = sum(deltas[k] @ a["W_" + k] for k in "ifoc")
        dcnext = act["f"] * dc
    return d | {"h0": dhnext, "c0": dcnext}
