"""The later cells of the zoo once more, by hand: row vectors, one sequence after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cells.reference import Values, fast_weights, outputs, pre, recur, sig


def affine(v: Values, x: Any, gate: str) -> Any:
    return x @ v["W_" + gate].T + v["b_" + gate]


def stepped(v: Values, T: int, new: Callable[[int, Values], Values], *names: str) -> Values:
    """What a recurrence hands out; states start from what is called like them with a 0."""
    starts = [n.removesuffix("0") for n in v if n.endswith("0")]
    return outputs(*recur({n: v[n + "0"] for n in starts}, new, T), *names)


# -- gates of the input ------------------------------------------------------------------------


def qrnn(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        x = v["x"][t]
        z, f, o = (s["x_last"] @ v["V_" + g].T + x @ v["W_" + g].T for g in "zfo")
        c = s["c"] + (1 - sig(f)) * (np.tanh(z) - s["c"])
        return {"x_last": x, "c": c, "h": sig(o) * c}

    return stepped(v, T, new, "h")


def sru(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        x, c = v["x"][t], s["c"]
        f, r = (sig(affine(v, x, g) + c * v["v_" + g]) for g in "fr")
        c = (1 - f) * (x @ v["W"].T) + f * c
        return {"c": c, "h": x + r * (c - x)}

    return stepped(v, T, new, "h")


def min_gru(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        z, fresh = sig(affine(v, v["x"][t], "z")), affine(v, v["x"][t], "h")
        return {"h": s["h"] + z * (fresh - s["h"])}

    return stepped(v, T, new, "h")


def min_lstm(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        f, i = sig(affine(v, v["x"][t], "f")), sig(affine(v, v["x"][t], "i"))
        return {"h": (f * s["h"] + i * affine(v, v["x"][t], "h")) / (f + i)}

    return stepped(v, T, new, "h")


# -- state spaces ------------------------------------------------------------------------------


def diagonal(v: Values, T: int, eigenvalue: Any, write: Any, read: Any) -> Values:
    """A complex diagonal recurrence in complex numbers."""
    x, made = v["x_re0"] + 1j * v["x_im0"], []
    for t in range(T):
        x = eigenvalue * x + write(v["u"][t])
        made.append(read(x, v["u"][t]))
    return {"y": np.stack(made), "x_re_final": x.real, "x_im_final": x.imag}


def lru(v: Values, T: int) -> Values:
    B, C = v["B_re"] + 1j * v["B_im"], v["C_re"] + 1j * v["C_im"]
    return diagonal(
        v,
        T,
        np.exp(-np.exp(v["nu"]) + 1j * np.exp(v["theta"])),
        lambda u: np.exp(v["log_gamma"]) * (u @ B.T),
        lambda x, u: (x @ C.T).real + u @ v["D"].T,
    )


def s4d(v: Values, T: int) -> Values:
    A, C = -np.exp(v["log_a"]) + 1j * v["a_im"], v["C_re"] + 1j * v["C_im"]
    step = np.exp(A * np.exp(v["log_dt"]))
    return diagonal(
        v,
        T,
        step,
        lambda u: u[:, None] * (step - 1) / A,
        lambda x, u: 2 * (x @ C).real + u * v["D"],
    )


def rg_lru(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        x = v["x"][t]
        a = sig(v["lam"]) ** (8 * sig(affine(v, x, "a")))
        return {"h": a * s["h"] + np.sqrt((1 - a) * (1 + a)) * sig(affine(v, x, "x")) * x}

    return stepped(v, T, new, "h")


def mamba2(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        x, delta = v["x"][t, b], np.log(1 + np.exp(v["dt"][t, b] + v["dt_bias"]))
        kept = np.exp(-delta * np.exp(v["A_log"])) * s["S"]
        S = kept + np.outer(delta * x, v["B"][t, b])
        return {"S": S, "y": S @ v["C"][t, b] + v["D"] * x}

    return fast_weights(v, T, new, "y", "S")


# -- fast weights ------------------------------------------------------------------------------


def hgrn2(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        f = v["f"][t, b][:, None]
        S = v["v"][t, b] + f * (s["S"] - v["v"][t, b])
        return {"S": S, "o": v["q"][t, b] @ S}

    return fast_weights(v, T, new, "o", "S")


def retention(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        S = v["gamma"] * s["S"] + np.outer(v["k"][t, b], v["v"][t, b])
        return {"S": S, "o": v["q"][t, b] @ S}

    return fast_weights(v, T, new, "o", "S")


def gated_delta_net(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        k, q = (v[n][t, b] / np.sqrt(1e-6 + v[n][t, b] @ v[n][t, b]) for n in "kq")
        alpha = (1 + np.exp(v["a"][t, b] + v["dt_bias"])) ** -np.exp(v["A_log"])
        S = alpha * s["S"] @ (np.eye(len(k)) - sig(v["b"][t, b]) * np.outer(k, k))
        S = S + sig(v["b"][t, b]) * np.outer(v["v"][t, b], k)
        return {"S": S, "o": S @ q}

    return fast_weights(v, T, new, "o", "S")


def mlstm(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        q, k, i = v["q"][t, b], v["k"][t, b], v["i"][t, b]
        kept = np.log(sig(v["f"][t, b])) + s["s"]
        top = max(kept, i)
        C = np.exp(kept - top) * s["C"] + np.exp(i - top) * np.outer(v["v"][t, b], k)
        z = np.exp(kept - top) * s["z"] + np.exp(i - top) * k
        return {"C": C, "z": z, "s": top, "h": C @ q / max(abs(z @ q), np.exp(-top))}

    return fast_weights(v, T, new, "h", "C", "z", "s")


def rwkv4(v: Values, T: int) -> Values:
    """Sums that are not kept as multiples of e^m."""
    a, b, m, made = v["a0"] * np.exp(v["m0"]), v["b0"] * np.exp(v["m0"]), v["m0"], []
    for r, k, x in zip(v["r"], v["k"], v["v"], strict=True):
        now = np.exp(k + v["u"])
        made.append(sig(r) * (a + now * x) / (b + now))
        a, b = (np.exp(-v["w"]) * s + np.exp(k) * y for s, y in ((a, x), (b, 1)))
        m = np.maximum(m - v["w"], k)
    last = {"a_final": a * np.exp(-m), "b_final": b * np.exp(-m), "m_final": m}
    return {"o": np.stack(made), **last}


def rwkv6(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        r, k, x = v["r"][t, b], v["k"][t, b], v["v"][t, b]
        o = r @ s["S"] + np.sum(r * v["u"] * k) * x
        return {"S": np.diag(np.exp(-np.exp(v["d"][t, b]))) @ s["S"] + np.outer(k, x), "o": o}

    return fast_weights(v, T, new, "o", "S")


def rwkv7(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        unit = v["kappa"][t, b] / np.linalg.norm(v["kappa"][t, b])
        change = np.diag(np.exp(-np.exp(v["d"][t, b]))) - np.outer(unit, v["a"][t, b] * unit)
        S = s["S"] @ change + np.outer(v["v"][t, b], v["k"][t, b])
        return {"S": S, "o": S @ v["r"][t, b]}

    return fast_weights(v, T, new, "o", "S")


# -- memories ----------------------------------------------------------------------------------


def titans(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        k, x = v["k"][t, b], v["v"][t, b]
        slope = 2 * (s["M"] @ np.outer(k, k) - np.outer(x, k))
        S = v["eta"][t, b] * s["S"] - v["theta"][t, b] * slope
        M = s["M"] - v["alpha"][t, b] * s["M"] + S
        return {"M": M, "S": S, "y": M @ v["q"][t, b]}

    return fast_weights(v, T, new, "y", "M", "S")


def ntm_head(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        M, g, k = s["M"], v["g"][t, b], v["k"][t, b]
        alike = M @ k / np.sqrt(((M**2).sum(1) + 1e-6) * (k @ k + 1e-6))
        focus = np.exp(v["beta"][t, b] * alike)
        w = (1 - g) * s["w"] + g * focus / focus.sum()
        w = sum(v["s"][t, b, j] * np.roll(w, j - 1) for j in range(3)) ** v["gamma"][t, b]
        w = w / w.sum()
        erased = M - w[:, None] * M * v["e"][t, b]
        return {"M": erased + np.outer(w, v["a"][t, b]), "w": w, "r": w @ M}

    return fast_weights(v, T, new, "r", "M", "w")


# -- sequences and trees that are read -----------------------------------------------------------


def read(scores: Any, there: Any) -> Any:
    """Weights of a softmax over the positions that are there; of all alike, if none is."""
    if not there.any():
        return np.full(len(scores), 1 / len(scores))
    weights = np.zeros(len(scores))
    weights[there > 0] = np.exp(scores[there > 0]) / np.exp(scores[there > 0]).sum()
    return weights


def attention_decoder(v: Values, T: int) -> Values:
    h, rows = v["h_src0"], []
    for x in v["x"]:
        h = np.tanh(h @ v["W_src"].T + x @ v["U_src"].T + v["b_i_src"])
        rows.append(h)
    H = np.stack(rows, axis=1)

    def new(t: int, b: int, s: Values) -> Values:
        old, y = s["s"], v["y"][t, b]
        scores = [v["v"] @ np.tanh(v["W_a"] @ old + v["U_a"] @ row) for row in H[b]]
        c = read(np.array(scores), v["there"][:, b]) @ H[b]
        z, r = (sig(v[f"W_{g}"] @ y + v[f"U_{g}"] @ old + v[f"C_{g}"] @ c) for g in "zr")
        fresh = np.tanh(v["W"] @ y + v["U"] @ (r * old) + v["C"] @ c)
        return {"s": old + z * (fresh - old), "c": c}

    made = fast_weights(v, T, new, "s", "s")
    return {**made, "c": fast_weights(v, T, new, "c", "s")["c"]}


def causal_attention(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        K, V, row = s["K"].copy(), s["V"].copy(), v["place"][t, b].argmax()
        K[row] += v["k"][t, b]
        V[row] += v["v"][t, b]
        return {"K": K, "V": V, "o": read(K @ v["q"][t, b], v["past"][t, b]) @ V}

    return fast_weights(v, T, new, "o", "K", "V")


def tree_lstm(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        H, C, x = s["H"].copy(), s["C"].copy(), v["x"][t, b]
        below = [n for n in range(len(H)) if v["children"][t, b, n]]
        i, o, u = (
            affine(v, x, g) + v[f"U_{g}"] @ sum((H[n] for n in below), 0 * H[0]) for g in "iou"
        )
        c = sig(i) * np.tanh(u)
        for n in below:
            c = c + sig(affine(v, x, "f") + v["U_f"] @ H[n]) * C[n]
        h = sig(o) * np.tanh(c)
        row = v["place"][t, b].argmax()
        H[row] += h
        C[row] += c
        return {"H": H, "C": C, "h": h, "c": c}

    made = fast_weights(v, T, new, "h", "H", "C")
    return {**made, "c": fast_weights(v, T, new, "c", "H", "C")["c"]}


# -- orthogonal, continuous-time, multi-rate, convolutional ------------------------------------


def clockwork(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        fresh = np.tanh(s["h"] @ (v["M"] * v["W"]).T + v["x"][t] @ v["U"].T + v["b_i"])
        return {"h": s["h"] + v["on"][t] * (fresh - s["h"])}

    return stepped(v, T, new, "h")


def phased_lstm(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        i, f, o, g = (pre(v, v["x"][t], s["h"], gate) for gate in "ifoc")
        phase = (v["time"][t][:, None] - v["s"]) / v["tau"] - v["cycle"][t]
        up, down = 2 * phase / v["r_on"], 2 - 2 * phase / v["r_on"]
        open_ = np.where(phase < v["r_on"], np.minimum(up, down), v["alpha"] * phase)
        c = sig(f) * s["c"] + sig(i) * np.tanh(g)
        h = sig(o) * np.tanh(c)
        return {"h": s["h"] + open_ * (h - s["h"]), "c": s["c"] + open_ * (c - s["c"])}

    return stepped(v, T, new, "h")


def recurrent_highway(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        h = s["h"]
        for k, x in ((1, v["x"][t]), (2, 0 * v["x"][t])):
            a, b = (h @ v[f"R_{g}{k}"].T + v[f"b_{g}{k}"] + x @ v[f"U_{g}"].T for g in "cz")
            h = h + sig(b) * (np.tanh(a) - h)
        return {"h": h}

    return stepped(v, T, new, "h")


def reflected(u: Any) -> Any:
    return np.eye(len(u)) - 2 * np.outer(u, u) / (u @ u)


def householder(v: Values, T: int) -> Values:
    W = reflected(v["u_1"]) @ reflected(v["u_2"])
    return stepped(
        v, T, lambda t, s: {"h": np.tanh(s["h"] @ W.T + v["x"][t] @ v["U"].T + v["b_i"])}, "h"
    )


def antisymmetric(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        a = s["h"] @ (v["W"].T - v["W"]) - v["gamma"] * s["h"] + v["x"][t] @ v["U"].T + v["b_i"]
        return {"h": s["h"] + v["epsilon"] * np.tanh(a)}

    return stepped(v, T, new, "h")


def cornn(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        y, z = s["y"], s["z"]
        force = np.tanh(y @ v["W"].T + z @ v["W_z"].T + v["u"][t] @ v["V"].T + v["b"])
        z = z + v["dt"] * (force - v["gamma"] * y - v["epsilon"] * z)
        return {"y": y + v["dt"] * z, "z": z}

    return stepped(v, T, new, "y", "z")


def ltc(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        h = s["h"]
        for _ in range(2):
            f = sig(h @ v["W"].T + v["x"][t] @ v["U"].T + v["b"])
            h = (h / v["dt"] + f * v["A"]) / (1 / v["dt"] + 1 / v["tau"] + f)
        return {"h": h}

    return stepped(v, T, new, "h")


def cfc(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        a = np.tanh(s["h"] @ v["W"].T + v["x"][t] @ v["U"].T + v["b"])
        f, g, k = (affine(v, a, head) for head in "fgk")
        gate = sig(f * v["elapsed"][t][:, None])
        return {"h": np.tanh(g) + gate * (np.tanh(k) - np.tanh(g))}

    return stepped(v, T, new, "h")


def lif(v: Values, T: int) -> Values:
    def new(t: int, s: Values) -> Values:
        drive = s["s"] @ v["W"].T + v["x"][t] @ v["U"].T + v["b"]
        V = v["beta"] * s["v"] + drive - s["s"]
        return {"v": V, "s": np.where(V > 1, 1.0, 0.0)}

    return stepped(v, T, new, "s")


def conv_lstm(v: Values, T: int) -> Values:
    def new(t: int, b: int, s: Values) -> Values:
        H, X, L = s["H"], v["X"][t, b], v["L"]
        i, f, o, g = (
            sum(
                v[f"{w}_{gate}{j}"] @ x @ move
                for w, x in (("W", H), ("U", X))
                for j, move in ((1, L.T), (2, np.eye(len(L))), (3, L))
            )
            + v[f"b_{gate}"][:, None]
            for gate in "ifoc"
        )
        C = sig(f) * s["C"] + sig(i) * np.tanh(g)
        H = sig(o) * np.tanh(C)
        return {"H": H, "C": C}

    made = fast_weights(v, T, new, "H", "H", "C")
    return {**made, "y": made["H"].sum(-1)}


LATER: dict[str, Callable[[Values, int], Values]] = {
    made.__name__: made
    for made in (
        qrnn, sru, min_gru, min_lstm, lru, s4d, rg_lru, mamba2, hgrn2, retention, gated_delta_net,
        mlstm, rwkv4, rwkv6, rwkv7, titans, ntm_head, clockwork, phased_lstm, recurrent_highway,
        householder, antisymmetric, cornn, ltc, cfc, lif, conv_lstm,
        attention_decoder, causal_attention, tree_lstm,
    )
}  # fmt: skip
