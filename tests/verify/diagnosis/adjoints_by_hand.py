"""An LSTM by hand that hands its adjoints over, with faults to order."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import record

Arrays = dict[str, Any]
GATES = "ifoc"


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def forward(x: Any, h0: Any, c0: Any, **P: Any) -> tuple[Arrays, Any]:
    h, c, saved, hs = h0, c0, [], []
    for x_t in x:
        a = {g: h @ P[f"W_{g}"].T + x_t @ P[f"U_{g}"].T + P[f"b_{g}"] for g in GATES}
        v = {g: sigmoid(a[g]) for g in "ifo"} | {"c": np.tanh(a["c"])}
        new = v["f"] * c + v["i"] * v["c"]
        saved.append((h, c, v, new))
        h, c = v["o"] * np.tanh(new), new
        hs.append(h)
    return {"h": np.stack(hs), "h_final": h, "c_final": c}, (x, saved, P)


def backward(cotangents: Arrays, cache: Any, faults: frozenset[str] = frozenset()) -> Arrays:
    x, saved, P = cache
    g: Arrays = {n: np.zeros_like(a) for n, a in P.items()} | {"x": np.empty_like(x)}
    dh = cotangents["h_final"]
    dc = cotangents["c_final"]
    T = len(x)
    for t in reversed(range(T)):
        h, c, v, new = saved[t]
        dh = dh + cotangents["h"][t]
        y = np.tanh(new)
        if "h twice" in faults:
            dh = dh + cotangents["h"][t]
        dc = dc + dh * v["o"] * (1 - (new if "slope of c" in faults else y) ** 2)
        d = {"i": dc * v["c"], "f": dc * c, "o": dh * y, "c": dc * v["i"]}
        if "other gate" in faults:
            d["c"] = dc * v["f"]
        da = {k: d[k] * v[k] * (1 - v[k]) for k in "ifo"} | {"c": d["c"] * (1 - v["c"] ** 2)}
        if "gate of no slope" in faults:
            da["f"] = d["f"]
        if "tanh slope" in faults:
            da["i"] = d["i"] * (1 - v["i"] ** 2)
        record(dh=dh, dc=dc, t=t, **{f"da_{k}": a for k, a in da.items()})
        for k in GATES:
            g[f"W_{k}"] += da[k].T @ (new if "state of now" in faults and k == "o" else h)
            g[f"U_{k}"] += da[k].T @ x[t]
            g[f"b_{k}"] += da["i" if "bias of i" in faults and k == "f" else k].sum(0)
        g["x"][t] = sum(da[k] @ P[f"U_{k}"] for k in GATES)
        dh = sum(
            da[k] @ (P[f"W_{k}"].T if "transposed" in faults and k == "o" else P[f"W_{k}"])
            for k in GATES
        )
        dc = dc * (v["i"] if "carry" in faults else v["f"])
    return g | {"h0": dh, "c0": dc}


#: Fault → the lines that are wrong.
FAULTS = {
    "h twice": {"δh_t"},
    "slope of c": {"δc_t"},
    "other gate": {"δa_{c,t}"},
    "gate of no slope": {"δa_{f,t}"},
    "tanh slope": {"δa_{i,t}"},
    "state of now": {"dW_o"},
    "bias of i": {"db_f"},
    "transposed": {"δh_t", "dh0"},
    "carry": {"δc_t", "dc0"},
}
