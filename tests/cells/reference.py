"""Every system of the zoo once more, by hand: row vectors, batch first, plain NumPy.

Shares nothing with the package. Arrays are ``(T, B, n)``; a function gets the arrays by name and
gives the outputs by name (and ``loss``, summed over time and batch).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Values = dict[str, Any]


def sig(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


def pre(v: Values, x: Any, h: Any, gate: str, bias: str = "b_") -> Any:
    """x Uᵀ + h Wᵀ + b of one gate."""
    return x @ v["U_" + gate].T + h @ v["W_" + gate].T + v[bias + gate]


def recur(
    starts: Values, step: Callable[[int, Values], Values], T: int, reverse: bool = False
) -> tuple[Values, Values]:
    """Sequences of what the step makes, and the last states."""
    state, made = dict(starts), []
    for t in reversed(range(T)) if reverse else range(T):
        new = step(t, state)
        state = {k: new[k] for k in starts}
        made.append(new)
    if reverse:
        made.reverse()
    return {k: np.stack([m[k] for m in made]) for k in made[0]}, state


def outputs(seq: Values, last: Values, *names: str) -> Values:
    return {**{n: seq[n] for n in names}, **{f"{s}_final": a for s, a in last.items()}}


def elman_like(v: Values, T: int, new: Callable[[Values, Any, Any, Any], Any]) -> Values:
    def step(t: int, s: Values) -> Values:
        h = new(v, v["x"][t] if "x" in v else None, s["h"], None)
        return {"h": h, "y": h @ v["V"].T + v["b_y"]}

    return outputs(*recur({"h": v["h0"]}, step, T), "h", "y")


def elman_step(v: Values, x: Any, h: Any, _: Any = None, tail: str = "") -> Any:
    return np.tanh(x @ v["U" + tail].T + h @ v["W" + tail].T + v["b_i" + tail])


def residual_step(v: Values, x: Any, h: Any, _: Any) -> Any:
    return np.tanh(h + h @ v["W"].T + x @ v["U"].T + v["b_i"])


def leaky_step(v: Values, x: Any, h: Any, _: Any) -> Any:
    return h + (elman_step(v, x, h) - h) / v["tau"]


def driven_step(v: Values, x: Any, h: Any, _: Any) -> Any:
    hidden = np.clip(h @ v["W"].T + x @ v["U"].T + v["b_i"], 0, None)
    return hidden @ v["A"].T + v["b_h"]


def only_h(v: Values, T: int, new: Callable[[int, Any], Any]) -> Values:
    seq, last = recur({"h": v["h0"]}, lambda t, s: {"h": new(t, s["h"])}, T)
    return outputs(seq, last, "h")


def elman_general(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        h = sig(v["x"][t] @ v["U"].T + s["h"] @ v["W"].T + v["b_h"])
        return {"h": h, "y": np.tanh(h @ v["V"].T + v["b_o"])}

    return outputs(*recur({"h": v["h0"]}, step, T), "h", "y")


def elman_delayed(v: Values, T: int) -> Values:
    line = [v["h0_3"], v["h0_2"], v["h0_1"]]
    for t in range(T):
        a = line[-1] @ v["W_1"].T + line[-3] @ v["W_3"].T + v["x"][t] @ v["U"].T + v["b_i"]
        line.append(np.tanh(a))
    h = np.stack(line[3:])
    return {"h": h, "y": h @ v["V"].T + v["b_y"], "h_final": h[-1]}


def elman_tied(v: Values, T: int) -> Values:
    seq, last = recur({"h": v["h0"]}, lambda t, s: {"h": elman_step(v, v["x"][t], s["h"])}, T)
    return {"h": seq["h"], "y": seq["h"] @ v["U"] + v["b_y"], "h_final": last["h"]}


def elman_multihead(v: Values, T: int) -> Values:
    p = len(v["W_1"])
    block = np.zeros((2 * p, 2 * p))
    block[:p, :p], block[p:, p:] = v["W_1"], v["W_2"]
    return only_h(v, T, lambda t, h: np.tanh(h @ block.T + v["x"][t] @ v["U"].T + v["b_i"]))


def autonomous(v: Values, T: int) -> Values:
    return elman_like(v, T, lambda v, x, h, _: np.tanh(h @ v["W"].T + v["b_i"]))


def lstm_step(v: Values, x: Any, s: Values, tail: str = "") -> Values:
    i, f, o = (sig(pre(v, x, s["h"], g + tail)) for g in "ifo")
    c = f * s["c"] + i * np.tanh(pre(v, x, s["h"], "c" + tail))
    return {"c": c, "h": o * np.tanh(c)}


def states(v: Values, names: str, tail: str = "") -> Values:
    return {n: v[f"{n}{tail}0"] for n in names.split()}


def lstm(v: Values, T: int) -> Values:
    return outputs(*recur(states(v, "h c"), lambda t, s: lstm_step(v, v["x"][t], s), T), "h")


def lstm_packed(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        f, i, o, g = np.split(s["h"] @ v["W"].T + v["x"][t] @ v["U"].T, 4, axis=-1)
        c = sig(f) * s["c"] + sig(i) * np.tanh(g)
        return {"c": c, "h": sig(o) * np.tanh(c)}

    return outputs(*recur(states(v, "h c"), step, T), "h")


def lstm_1997(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        i, o = (sig(pre(v, v["x"][t], s["h"], g)) for g in "io")
        c = s["c"] + i * np.tanh(pre(v, v["x"][t], s["h"], "c"))
        return {"c": c, "h": o * np.tanh(c)}

    return outputs(*recur(states(v, "h c"), step, T), "h")


def peephole(v: Values, T: int) -> Values:
    def look(gate: str, c: Any) -> Any:
        weight = v["p_" + gate]
        return c @ weight.T if weight.ndim == 2 else c * weight

    def step(t: int, s: Values) -> Values:
        x = v["x"][t]
        i, f = (sig(pre(v, x, s["h"], g) + look(g, s["c"])) for g in "if")
        c = f * s["c"] + i * np.tanh(pre(v, x, s["h"], "c"))
        return {"c": c, "h": sig(pre(v, x, s["h"], "o") + look("o", c)) * np.tanh(c)}

    return outputs(*recur(states(v, "h c"), step, T), "h")


def gate_recurrent(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        def gate(g: str, c: Any) -> Any:
            back = sum(s[k] @ v[f"R_{g}{k}"].T for k in "ifo")
            return sig(pre(v, v["x"][t], s["h"], g) + back + v["p_" + g] * c)

        i, f = gate("i", s["c"]), gate("f", s["c"])
        c = f * s["c"] + i * np.tanh(pre(v, v["x"][t], s["h"], "c"))
        o = gate("o", c)
        return {"h": o * np.tanh(c), "c": c, "i": i, "f": f, "o": o}

    return outputs(*recur(states(v, "h c i f o"), step, T), "h")


def gru(v: Values, T: int, after: bool = False) -> Values:
    def new(t: int, h: Any) -> Any:
        x = v["x"][t]
        r, z = sig(pre(v, x, h, "r")), sig(pre(v, x, h, "z"))
        inner = r * (h @ v["W_c"].T + v["d_c"]) if after else (r * h) @ v["W_c"].T
        return h + z * (np.tanh(inner + x @ v["U_c"].T + v["b_c"]) - h)

    return only_h(v, T, new)


def mgu(v: Values, T: int) -> Values:
    def new(t: int, h: Any) -> Any:
        f = sig(pre(v, v["x"][t], h, "f"))
        return h + f * (np.tanh(pre(v, v["x"][t], f * h, "c")) - h)

    return only_h(v, T, new)


def lstm_projected(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        new = lstm_step(v, v["x"][t], s)
        return {"h": new["h"] @ v["P"].T, "c": new["c"]}

    return outputs(*recur(states(v, "h c"), step, T), "h")


def normal(a: Any, gain: Any, bias: Any) -> Any:
    centred = a - a.mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) + bias


def lstm_layer_norm(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        a = normal(s["h"] @ v["W"].T, v["g_h"], v["d_h"]) + v["b"]
        a = a + normal(v["x"][t] @ v["U"].T, v["g_x"], v["d_x"])
        f, i, o, g = np.split(a, 4, axis=-1)
        c = sig(f) * s["c"] + sig(i) * np.tanh(g)
        return {"c": c, "h": sig(o) * np.tanh(normal(c, v["g_c"], v["d_c"]))}

    return outputs(*recur(states(v, "h c"), step, T), "h")


def slstm(v: Values, T: int) -> Values:
    """Without a stabiliser: c and n are carried unscaled, which is the same h."""

    def step(t: int, s: Values) -> Values:
        a = {g: v["x"][t] @ v["W_" + g].T + s["h"] @ v["R_" + g].T + v["b_" + g] for g in "zifo"}
        c = np.exp(a["f"]) * s["c"] + np.exp(a["i"]) * np.tanh(a["z"])
        n = np.exp(a["f"]) * s["n"] + np.exp(a["i"])
        return {"c": c, "n": n, "m": np.maximum(a["f"] + s["m"], a["i"]), "h": sig(a["o"]) * c / n}

    scale = np.exp(v["m0"])
    starts = {"h": v["h0"], "c": v["c0"] * scale, "n": v["n0"] * scale, "m": v["m0"]}
    seq, last = recur(starts, step, T)
    back = np.exp(-last["m"])
    last = {**last, "c": last["c"] * back, "n": last["n"] * back}
    return outputs(seq, last, "h")


def multihead_slstm(v: Values, T: int) -> Values:
    """One head after the other; the norm a head of h, put side by side."""
    made = []
    for h in range(len(v["R_z"])):
        own = {n: a if n == "x" else a[:, h] if n[-1] == "0" else a[h] for n, a in v.items()}
        head = slstm(own, T)
        off = head["h"] - head["h"].mean(-1, keepdims=True)
        y = own["gamma"] * off / np.sqrt(off.var(-1, keepdims=True) + 1e-5) @ own["W_y"].T
        made.append({**{n: a for n, a in head.items() if n != "h"}, "y": y})
    out = {n: np.stack([one[n] for one in made], -2) for n in made[0]}
    return {**out, "y": out["y"].sum(-2)}


def minimal_rnn(v: Values, T: int) -> Values:
    def new(t: int, h: Any) -> Any:
        z = np.tanh(v["x"][t] @ v["W_x"].T + v["b_z"])
        u = sig(h @ v["U_h"].T + z @ v["U_z"].T + v["b_u"])
        return z + u * (h - z)

    return only_h(v, T, new)


def gru_d(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        x, m, gap = v["x"][t], v["seen"][t], v["elapsed"][t]
        fade_x = np.exp(-np.maximum(v["w_x"] * gap + v["b_x"], 0))
        fade_h = np.exp(-np.maximum(gap @ v["W_g"].T + v["b_g"], 0))
        x_hat = m * x + (1 - m) * (fade_x * s["x_last"] + (1 - fade_x) * v["x_mean"])
        h = fade_h * s["h"]
        r, z = (sig(pre(v, x_hat, h, g) + m @ v["V_" + g].T) for g in "rz")
        new = np.tanh(pre(v, x_hat, r * h, "c") + m @ v["V_c"].T)
        return {"h": h + z * (new - h), "x_last": s["x_last"] + m * (x - s["x_last"])}

    return outputs(*recur(states(v, "h x_last"), step, T), "h")


def lstm_dropout(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        x = v["r_x"][t] * v["x"][t]
        i, f, o = (sig(pre(v, x, s["h"], g)) for g in "ifo")
        c = f * s["c"] + i * v["r_c"][t] * np.tanh(pre(v, x, s["h"], "c"))
        return {"c": c, "h": o * np.tanh(c)}

    return outputs(*recur(states(v, "h c"), step, T), "h")


def elman_zoneout(v: Values, T: int) -> Values:
    def new(t: int, h: Any) -> Any:
        z = v["z"][t]
        return z * h + (1 - z) * elman_step(v, v["x"][t], h)

    return only_h(v, T, new)


def scores(v: Values, h: Any) -> Any:
    return h @ v["V"].T + v["b_y"]


def soft(y: Any) -> Any:
    weights = np.exp(y)
    return weights / weights.sum(axis=-1, keepdims=True)


def entropy(y: Any, target: Any) -> Any:
    return -(target * np.log(soft(y))).sum()


def both(v: Values) -> Any:
    return v["h_fwd"] @ v["V_fwd"].T + v["h_bwd"] @ v["V_bwd"].T


def deep_readout(v: Values, T: int) -> Values:
    return {"y": np.tanh(both(v) + v["b_a"]) @ v["V"].T + v["b_y"]}


def elman_layer(v: Values, x: Any, tail: str, reverse: bool = False) -> tuple[Any, Values]:
    seq, last = recur(
        {"h": v[f"h{tail}0"]},
        lambda t, s: {"h": elman_step(v, x[t], s["h"], None, tail)},
        len(x),
        reverse,
    )
    return seq["h"], {f"h{tail}_final": last["h"]}


def lstm_layer(v: Values, x: Any, tail: str, reverse: bool = False) -> tuple[Any, Values]:
    start = states(v, "h c", tail)
    seq, last = recur(start, lambda t, s: lstm_step(v, x[t], s, tail), len(x), reverse)
    return seq["h"], {f"{k}{tail}_final": a for k, a in last.items()}


def stacked(v: Values, layer: Callable[..., Any]) -> Values:
    low, last_low = layer(v, v["x"], "_1")
    high, last_high = layer(v, low, "_2")
    return {"y": scores(v, high), **last_low, **last_high}


def stacked_tied(v: Values, T: int) -> Values:
    B = v["x"].shape[1]
    tied = {**v, "W_1": v["W"], "W_2": v["W"]}
    tied["h_10"] = tied["h_20"] = np.tile(v["h0"], (B, 1))
    return stacked(tied, elman_layer)


def two_ways(v: Values, layer: Callable[..., Any], x: Any, tail: str = "") -> tuple[Any, Any, Any]:
    forwards, last_f = layer(v, x, "_fwd" + tail)
    backwards, last_b = layer(v, x, "_bwd" + tail, reverse=True)
    return forwards, backwards, {**last_f, **last_b}


def bidirectional(v: Values, layer: Callable[..., Any], deep: bool = False) -> Values:
    forwards, backwards, last = two_ways(v, layer, v["x"])
    made = {**v, "h_fwd": forwards, "h_bwd": backwards}
    return {"y": deep_readout(made, 0)["y"] if deep else both(made) + v["b_y"], **last}


def bidirectional_stack(v: Values, T: int) -> Values:
    f1, b1, last1 = two_ways(v, elman_layer, v["x"], "_1")
    f2, b2, last2 = two_ways(v, elman_layer, np.concatenate([f1, b1], axis=-1), "_2")
    return {"y": both({**v, "h_fwd": f2, "h_bwd": b2}) + v["b_y"], **last1, **last2}


def elmo(v: Values, T: int) -> Values:
    below, mixed, finals = v["x"], 0, {}
    for n in "12":
        f, b, last = two_ways(v, lstm_layer, below, "_" + n)
        below = np.concatenate([f, b], axis=-1)
        mixed = mixed + v["s_" + n] * below
        finals.update(last)
    return {"y": v["gamma"] * mixed, **finals}


def one_to_many(v: Values, T: int) -> Values:
    def step(t: int, s: Values) -> Values:
        h = np.tanh(s["h"] @ v["W"].T + s["y"] @ v["R"].T + v["b_i"])
        return {"h": h, "y": scores(v, h)}

    h = np.tanh(v["x"] @ v["A"].T + v["b_a"])
    seq, last = recur({"h": h, "y": np.zeros((len(h), len(v["b_y"])))}, step, T)
    return {"y": seq["y"], "h_final": last["h"], "loss": entropy(seq["y"], v["target"])}


def many_to_one(v: Values, T: int) -> Values:
    _, last = elman_layer(v, v["x"], "")
    y = scores(v, last["h_final"])
    return {"y": y, **last, "loss": entropy(y, v["target"])}


def many_to_many(v: Values, T: int) -> Values:
    made = elman_like(v, T, elman_step)
    return {**made, "loss": entropy(made["y"], v["target"])}


def encoder_decoder(v: Values, T: int) -> Values:
    _, last = elman_layer({**v, "h_src0": v["h_src0"]}, v["x_src"], "_src")
    summary = last["h_src_final"]

    def step(t: int, s: Values) -> Values:
        a = v["x"][t] @ v["U"].T + s["h"] @ v["W"].T + summary @ v["C"].T + v["b_i"]
        return {"h": np.tanh(a)}

    seq, last = recur({"h": summary}, step, T)
    y = scores(v, seq["h"])
    return {"y": y, "h_final": last["h"], "loss": entropy(y, v["target"])}


def language_model(v: Values, layer: Callable[..., Any]) -> Values:
    h, last = layer(v, v["x"], "")
    return {"y": scores(v, h), **last, "loss": entropy(scores(v, h), v["target"])}


def binary(y: Any, target: Any) -> Any:
    chance = sig(y)
    return -(target * np.log(chance) + (1 - target) * np.log(1 - chance)).sum()


def fast_weights(
    v: Values, T: int, new: Callable[[int, int, Values], Values], read: str, *starts: str
) -> Values:
    """A recurrence of matrices, one sequence after the other."""
    batch = len(v[starts[0] + "0"])
    runs = [
        recur(
            {n: v[n + "0"][b] for n in starts},
            lambda t, s, b=b: new(t, b, s),
            T,  # type: ignore[misc]
        )
        for b in range(batch)
    ]
    out = {read: np.stack([seq[read] for seq, _ in runs], 1)}
    return {**out, **{n + "_final": np.stack([last[n] for _, last in runs]) for n in starts}}


def attention(v: Values, decay: Callable[[int, int, Any], Any]) -> Callable[..., Values]:
    def new(t: int, b: int, s: Values) -> Values:
        S = decay(t, b, s["S"]) + np.outer(v["k"][t, b], v["v"][t, b])
        made = {"S": S, "o": v["q"][t, b] @ S}
        if "z" in s:
            made["z"] = s["z"] + v["k"][t, b]
            made["o"] = made["o"] / (made["z"] @ v["q"][t, b])
        return made

    return new


def delta_net(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        k, kept = v["k"][t, b], v["alpha"][t, b] * s["S"]
        S = kept + v["beta"][t, b] * np.outer(v["v"][t, b], k)
        S = S - v["beta"][t, b] * np.outer(kept @ k, k)
        return {"S": S, "o": S @ v["q"][t, b]}

    return fast_weights(v, T, new, "o", "S")


def selective_scan(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        u, delta = v["u"][t, b], v["delta"][t, b]
        rows = [
            np.exp(delta[i] * v["A"][i]) * s["S"][i] + delta[i] * u[i] * v["B"][t, b]
            for i in range(len(u))
        ]
        return {"S": np.array(rows), "y": np.array(rows) @ v["C"][t, b] + v["D"] * u}

    return fast_weights(v, T, new, "y", "S")


def in_heads(v: Values, T: int, new: Callable[[int, Any, Values], Values], *starts: str) -> Values:
    """One head after the other, each with its block of weights; their outputs are summed."""
    y: Any = 0
    last: dict[str, list[Any]] = {n: [] for n in starts}
    blocks = [n for n, a in v.items() if n.startswith("W_") or n == "gamma"]
    for h in range(len(v["W_q"])):
        head = {n: v[n][h] for n in blocks}
        one = {n + "0": v[n + "0"][:, h] for n in starts}
        made = fast_weights(
            one, T, lambda t, b, s, head=head: new(t, v["x"][t, b], {**head, **s}), "y", *starts
        )
        y = y + made["y"]
        for n in starts:
            last[n].append(made[n + "_final"])
    return {"y": y, **{n + "_final": np.stack(a, 1) for n, a in last.items()}}


def attention_head(t: int, x: Any, s: Values) -> Values:
    def phi(u: Any) -> Any:
        return np.where(u > 0, u + 1, np.exp(np.minimum(u, 0)))

    f, g = phi(s["W_q"] @ x), phi(s["W_k"] @ x)
    S, z = s["S"] + np.outer(g, s["W_v"] @ x), s["z"] + g
    return {"S": S, "z": z, "y": s["W_o"] @ (f @ S) / (f @ z)}


def retention_head(t: int, x: Any, s: Values) -> Values:
    S = s["gamma"] * s["S"] + np.outer(s["W_k"] @ x, s["W_v"] @ x)
    o, a = S.T @ (s["W_q"] @ x), s["W_g"] @ x
    norm = (o - o.mean()) / np.sqrt(o.var() + 1e-5)
    return {"S": S, "y": s["W_o"] @ (a * sig(a) * norm)}


REFERENCE: dict[str, Callable[[Values, int], Values]] = {
    "elman": lambda v, T: elman_like(v, T, elman_step),
    "elman_hidden": lambda v, T: only_h(v, T, lambda t, h: elman_step(v, v["x"][t], h)),
    "elman_general": elman_general,
    "elman_residual": lambda v, T: elman_like(v, T, residual_step),
    "elman_delayed": elman_delayed,
    "elman_leaky": lambda v, T: elman_like(v, T, leaky_step),
    "elman_tied": elman_tied,
    "elman_multihead": elman_multihead,
    "autonomous": autonomous,
    "driven": lambda v, T: elman_like(v, T, driven_step),
    "linear": lambda v, T: only_h(v, T, lambda t, h: h @ v["W"].T + v["x"][t] @ v["U"].T),
    "constant_error_carousel": lambda v, T: only_h(
        v, T, lambda t, h: h + v["x"][t] @ v["U"].T + v["b_h"]
    ),
    "echo_state": lambda v, T: elman_like(v, T, elman_step),
    "lstm": lstm,
    "lstm_packed": lstm_packed,
    "lstm_1997": lstm_1997,
    "lstm_1997_truncated": lstm_1997,
    "lstm_peephole": peephole,
    "lstm_peephole_full": peephole,
    "lstm_gate_recurrent": gate_recurrent,
    "gru": gru,
    "gru_reset_after": lambda v, T: gru(v, T, after=True),
    "mgu": mgu,
    "indrnn": lambda v, T: only_h(
        v, T, lambda t, h: np.maximum(v["w"] * h + v["x"][t] @ v["U"].T + v["b_i"], 0)
    ),
    "lstm_projected": lstm_projected,
    "lstm_layer_norm": lstm_layer_norm,
    "slstm": slstm,
    "minimal_rnn": minimal_rnn,
    "gru_d": gru_d,
    "linear_attention": lambda v, T: fast_weights(
        v, T, attention(v, lambda t, b, S: S), "o", "S", "z"
    ),
    "gated_linear_attention": lambda v, T: fast_weights(
        v, T, attention(v, lambda t, b, S: v["alpha"][t, b][:, None] * S), "o", "S"
    ),
    "delta_net": delta_net,
    "multihead_linear_attention": lambda v, T: in_heads(v, T, attention_head, "S", "z"),
    "multihead_retention": lambda v, T: in_heads(v, T, retention_head, "S"),
    "multihead_slstm": multihead_slstm,
    "selective_scan": selective_scan,
    "lstm_dropout": lstm_dropout,
    "elman_zoneout": elman_zoneout,
    "readout": lambda v, T: {"y": scores(v, v["h"])},
    "softmax_readout": lambda v, T: {"y_hat": soft(scores(v, v["h"]))},
    "sigmoid_readout": lambda v, T: {"y_hat": sig(scores(v, v["h"]))},
    "two_readout": lambda v, T: {"y": both(v) + v["b_y"]},
    "deep_readout": deep_readout,
    "stacked_elman": lambda v, T: stacked(v, elman_layer),
    "stacked_lstm": lambda v, T: stacked(v, lstm_layer),
    "stacked_tied": stacked_tied,
    "bidirectional_elman": lambda v, T: bidirectional(v, elman_layer),
    "bidirectional_lstm": lambda v, T: bidirectional(v, lstm_layer),
    "bidirectional_stack": bidirectional_stack,
    "bidirectional_deep_output": lambda v, T: bidirectional(v, elman_layer, deep=True),
    "elmo": elmo,
    "one_to_many": one_to_many,
    "many_to_one": many_to_one,
    "many_to_many": many_to_many,
    "encoder_decoder": encoder_decoder,
    "char_rnn": lambda v, T: language_model(v, elman_layer),
    "char_lstm": lambda v, T: language_model(v, lstm_layer),
    "softmax_cross_entropy": lambda v, T: {"loss": entropy(v["y"], v["target"])},
    "squared_error": lambda v, T: {"loss": 0.5 * ((v["target"] - v["y"]) ** 2).sum()},
    "logistic_cross_entropy": lambda v, T: {"loss": binary(v["y"], v["target"])},
    "given_gradient": lambda v, T: {"loss": (v["y"] * v["target"]).sum()},
}
