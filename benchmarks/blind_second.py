"""Hand-written recurrent code that the second blind corpus edits, and the layouts of its arrays.

Each pair is right as it stands, in one of the styles of courses, blogs and kernels: columns with
time last, fused gates, state and input in one vector, one layer after the other, loops over steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import Layout


def fused(kind: str, names: str, suffix: str = "") -> str:
    return "[" + "; ".join(f"{kind}_{name}{suffix}" for name in names) + "]"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def vanilla_forward(x, a0, Wax, Waa, ba):
    a_next, caches = a0, []
    for t in range(x.shape[2]):
        a_prev, xt = a_next, x[:, :, t]
        a_next = np.tanh(Wax @ xt + Waa @ a_prev + ba)
        caches.append({"a_next": a_next, "a_prev": a_prev, "xt": xt, "Wax": Wax, "Waa": Waa})
    return {"a": np.stack([c["a_next"] for c in caches], axis=2), "a_T": a_next}, caches


def vanilla_backward(cotangents, caches):
    da, da_prevt = cotangents["a"], cotangents["a_T"]
    Wax, Waa = caches[0]["Wax"], caches[0]["Waa"]
    dx = np.zeros((Wax.shape[1], *da.shape[1:]))
    dWax, dWaa, dba = np.zeros_like(Wax), np.zeros_like(Waa), np.zeros((len(Waa), 1))
    for t in reversed(range(da.shape[2])):
        c = caches[t]
        da_next = da[:, :, t] + da_prevt
        dtanh = (1 - c["a_next"] ** 2) * da_next
        dx[:, :, t] = Wax.T @ dtanh
        dWax += dtanh @ c["xt"].T
        da_prevt = Waa.T @ dtanh
        dWaa += dtanh @ c["a_prev"].T
        dba += dtanh.sum(axis=1, keepdims=True)
    return {"Wax": dWax, "Waa": dWaa, "ba": dba, "x": dx, "a0": da_prevt}


def book_forward(xs, h0, Wx, Wh, b):
    H, h, steps, hs = h0.shape[1], h0, [], []
    for t in range(xs.shape[1]):
        x, ax = xs[:, t], xs[:, t] @ Wx + b
        z = sigmoid(ax[:, :H] + h @ Wh[:, :H])
        r = sigmoid(ax[:, H : 2 * H] + h @ Wh[:, H : 2 * H])
        h_hat = np.tanh(ax[:, 2 * H :] + (r * h) @ Wh[:, 2 * H :])
        steps.append((x, h, z, r, h_hat))
        h = (1 - z) * h + z * h_hat
        hs.append(h)
    return {"hs": np.stack(hs, axis=1), "h_T": h}, (Wx, Wh, steps)


def book_backward(cotangents, saved):
    Wx, Wh, steps = saved
    H, dxs = len(Wh), []
    Whz, Whr, Whh = Wh[:, :H], Wh[:, H : 2 * H], Wh[:, 2 * H :]
    Wxz, Wxr, Wxh = Wx[:, :H], Wx[:, H : 2 * H], Wx[:, 2 * H :]
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(3 * H)
    dh_next = cotangents["h_T"]
    for t in reversed(range(len(steps))):
        x, h_prev, z, r, h_hat = steps[t]
        dh_next = dh_next + cotangents["hs"][:, t]
        dh_hat = dh_next * z
        dh_prev = dh_next * (1 - z)
        dth = dh_hat * (1 - h_hat**2)
        dhr = dth @ Whh.T
        dWh[:, 2 * H :] += (r * h_prev).T @ dth
        dh_prev = dh_prev + r * dhr
        dz = dh_next * h_hat - dh_next * h_prev
        dtz = dz * z * (1 - z)
        dWh[:, :H] += h_prev.T @ dtz
        dr = dhr * h_prev
        dtr = dr * r * (1 - r)
        dWh[:, H : 2 * H] += h_prev.T @ dtr
        dh_prev = dh_prev + dtz @ Whz.T + dtr @ Whr.T
        dWx += x.T @ np.hstack([dtz, dtr, dth])
        db += np.hstack([dtz, dtr, dth]).sum(axis=0)
        dxs.append(dth @ Wxh.T + dtz @ Wxz.T + dtr @ Wxr.T)
        dh_next = dh_prev
    return {"Wx": dWx, "Wh": dWh, "b": db, "xs": np.stack(dxs[::-1], axis=1), "h0": dh_next}


def after_forward(x, h0, W, U, b, d):
    n, h, hs, saved = h0.shape[1], h0, [], []
    for x_t in x:
        i, s = x_t @ U.T + b, h @ W.T
        r, z = sigmoid(i[:, :n] + s[:, :n]), sigmoid(i[:, n : 2 * n] + s[:, n : 2 * n])
        m = s[:, 2 * n :] + d
        c = np.tanh(i[:, 2 * n :] + r * m)
        saved.append((h, r, z, m, c))
        h = (1 - z) * h + z * c
        hs.append(h)
    return {"hs": np.stack(hs), "h_T": h}, (x, W, U, d, saved)


def after_backward(cotangents, cache):
    x, W, U, _d, saved = cache
    dW, dU, db, dd = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W)), np.zeros(W.shape[1])
    dx, dh = np.zeros_like(x), cotangents["h_T"]
    for t in range(len(x) - 1, -1, -1):
        h, r, z, m, c = saved[t]
        dh = dh + cotangents["hs"][t]
        dac = dh * z * (1 - c * c)
        daz = dh * (c - h) * z * (1 - z)
        dm = dac * r
        dar = dac * m * r * (1 - r)
        di = np.concatenate([dar, daz, dac], axis=1)
        ds = np.concatenate([dar, daz, dm], axis=1)
        dU += di.T @ x[t]
        dW += ds.T @ h
        db += di.sum(axis=0)
        dd += dm.sum(axis=0)
        dx[t] = di @ U
        dh = dh * (1 - z) + ds @ W
    return {"W": dW, "U": dU, "b": db, "d": dd, "x": dx, "h0": dh}


def concat_forward(x, h0, c0, W_f, W_i, W_o, W_c, b_f, b_i, b_o, b_c):
    h, C, cache, hs = h0, c0, [], []
    for x_t in x:
        z, C_prev = np.vstack([h, x_t]), C
        f, i, o = sigmoid(W_f @ z + b_f), sigmoid(W_i @ z + b_i), sigmoid(W_o @ z + b_o)
        g = np.tanh(W_c @ z + b_c)
        C = f * C_prev + i * g
        h = o * np.tanh(C)
        hs.append(h)
        cache.append((z, f, i, g, C, o, C_prev, np.vstack([h, x_t])))
    return {"hs": np.stack(hs), "h_T": h, "C_T": C}, (cache, W_f, W_i, W_o, W_c)


def concat_backward(cotangents, saved):
    cache, W_f, W_i, W_o, W_c = saved
    p, dx = len(W_f), []
    W_f_d, W_i_d, W_o_d, W_c_d = (np.zeros_like(w) for w in (W_f, W_i, W_o, W_c))
    b_f_d, b_i_d, b_o_d, b_c_d = (np.zeros((p, 1)) for _ in range(4))
    dh_next, dC_next = cotangents["h_T"], cotangents["C_T"]
    for t in reversed(range(len(cache))):
        z, f, i, g, C, o, C_prev, _now = cache[t]
        dh = cotangents["hs"][t] + dh_next
        do = dh * np.tanh(C)
        do = o * (1 - o) * do
        W_o_d += do @ z.T
        b_o_d += do.sum(axis=1, keepdims=True)
        dC = dC_next + dh * o * (1 - np.tanh(C) ** 2)
        dg = dC * i
        dg = (1 - g**2) * dg
        W_c_d += dg @ z.T
        b_c_d += dg.sum(axis=1, keepdims=True)
        di = dC * g
        di = i * (1 - i) * di
        W_i_d += di @ z.T
        b_i_d += di.sum(axis=1, keepdims=True)
        df = dC * C_prev
        df = f * (1 - f) * df
        W_f_d += df @ z.T
        b_f_d += df.sum(axis=1, keepdims=True)
        dz = W_f.T @ df + W_i.T @ di + W_c.T @ dg + W_o.T @ do
        dx.append(dz[p:])
        dh_next = dz[:p]
        dC_next = f * dC
    grads = {"W_f": W_f_d, "W_i": W_i_d, "W_o": W_o_d, "W_c": W_c_d, "b_f": b_f_d, "b_i": b_i_d}
    grads |= {"b_o": b_o_d, "b_c": b_c_d, "x": np.stack(dx[::-1])}
    return grads | {"h0": dh_next, "c0": dC_next}


def graves_forward(x, h0, c0, W, U, b, P):
    n, h, c, hs, saved = h0.shape[1], h0, c0, [], []
    pi, pf, po = P[:n], P[n : 2 * n], P[2 * n :]
    for x_t in x:
        a, h_prev, c_prev = x_t @ U.T + h @ W.T + b, h, c
        i = sigmoid(a[:, :n] + pi * c)
        f = sigmoid(a[:, n : 2 * n] + pf * c)
        g = np.tanh(a[:, 3 * n :])
        c = f * c + i * g
        o = sigmoid(a[:, 2 * n : 3 * n] + po * c)
        h = o * np.tanh(c)
        hs.append(h)
        saved.append((h_prev, c_prev, i, f, o, g, c))
    return {"hs": np.stack(hs), "h_T": h, "c_T": c}, (x, W, U, (pi, pf, po), saved)


def graves_backward(cotangents, cache):
    x, W, U, (pi, pf, po), saved = cache
    dW, dU, db, dx = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W)), np.zeros_like(x)
    dpi, dpf, dpo = np.zeros_like(pi), np.zeros_like(pf), np.zeros_like(po)
    dh, dc = cotangents["h_T"], cotangents["c_T"]
    for t in reversed(range(len(x))):
        h_prev, c_prev, i, f, o, g, c = saved[t]
        dh = dh + cotangents["hs"][t]
        do = dh * np.tanh(c) * o * (1 - o)
        dc = dc + dh * o * (1 - np.tanh(c) ** 2) + do * po
        di = dc * g * i * (1 - i)
        df = dc * c_prev * f * (1 - f)
        dg = dc * i * (1 - g**2)
        da = np.concatenate([di, df, do, dg], axis=1)
        dW += da.T @ h_prev
        dU += da.T @ x[t]
        db += da.sum(axis=0)
        dpi += (di * c_prev).sum(axis=0)
        dpf += (df * c_prev).sum(axis=0)
        dpo += (do * c).sum(axis=0)
        dx[t] = da @ U
        dh = da @ W
        dc = dc * f + di * pi + df * pf
    dP = np.concatenate([dpi, dpf, dpo])
    return {"W": dW, "U": dU, "b": db, "P": dP, "x": dx, "h0": dh, "c0": dc}


def layers2_forward(x, h_10, h_20, W_1, U_1, b_i_1, W_2, U_2, b_i_2, V, b_y):
    h1, h2 = [h_10], [h_20]
    for x_t in x:
        h1.append(np.tanh(h1[-1] @ W_1.T + x_t @ U_1.T + b_i_1))
        h2.append(np.tanh(h2[-1] @ W_2.T + h1[-1] @ U_2.T + b_i_2))
    y = np.stack(h2[1:]) @ V.T + b_y
    saved = x, np.stack(h1), np.stack(h2), W_1, U_1, W_2, U_2, V
    return {"y": y, "h_1_final": h1[-1], "h_2_final": h2[-1]}, saved


def layers2_backward(cotangents, saved):
    x, h1, h2, W_1, U_1, W_2, U_2, V = saved
    dy, outer = cotangents["y"], "tbi,tbj->ij"
    d_out, d2, e2 = dy @ V, np.zeros_like(h2[1:]), np.zeros_like(h2[1:])
    carry2 = cotangents["h_2_final"]
    for t in reversed(range(len(x))):
        e2[t] = d_out[t] + carry2
        d2[t] = e2[t] * (1 - h2[t + 1] ** 2)
        carry2 = d2[t] @ W_2
    d_mid, d1, carry1 = d2 @ U_2, np.zeros_like(h1[1:]), cotangents["h_1_final"]
    for t in reversed(range(len(x))):
        e1 = d_mid[t] + carry1
        d1[t] = e1 * (1 - h1[t + 1] ** 2)
        carry1 = d1[t] @ W_1
    grads = {"V": np.einsum(outer, dy, h2[1:]), "b_y": dy.sum(axis=(0, 1))}
    grads |= {"W_2": np.einsum(outer, d2, h2[:-1]), "b_i_2": d2.sum(axis=(0, 1))}
    grads |= {"U_2": np.einsum(outer, d2, h1[1:]), "U_1": np.einsum(outer, d1, x)}
    grads |= {"W_1": np.einsum(outer, d1, h1[:-1]), "b_i_1": d1.sum(axis=(0, 1))}
    return grads | {"x": d1 @ U_1, "h_10": carry1, "h_20": carry2}


def bilstm_forward(x, hf, cf, hb, cb, Wf, Uf, bf, Wb, Ub, bb, Vf, Vb, by):
    def sweep(xs, h, c, W, U, b):
        n, steps = h.shape[1], []
        for x_t in xs:
            a, h_prev, c_prev = x_t @ U.T + h @ W.T + b, h, c
            s = sigmoid(a[:, : 3 * n])
            i, f, o, g = s[:, :n], s[:, n : 2 * n], s[:, 2 * n :], np.tanh(a[:, 3 * n :])
            c = f * c + i * g
            h = o * np.tanh(c)
            steps.append((x_t, h_prev, c_prev, i, f, o, g, c, h))
        return steps

    ahead, back = sweep(x, hf, cf, Wf, Uf, bf), sweep(x[::-1], hb, cb, Wb, Ub, bb)
    hs, rs = np.stack([s[-1] for s in ahead]), np.stack([s[-1] for s in back])[::-1]
    out = {"y": hs @ Vf.T + rs @ Vb.T + by, "hf_T": ahead[-1][-1], "cf_T": ahead[-1][-2]}
    out |= {"hb_T": back[-1][-1], "cb_T": back[-1][-2]}
    return out, (ahead, back, hs, rs, Wf, Uf, Wb, Ub, Vf, Vb)


def bilstm_backward(cot, saved):
    ahead, back, hs, rs, Wf, Uf, Wb, Ub, Vf, Vb = saved

    def sweep(dhs, dh, dc, steps, W, U):
        dW, dU, db, dxs = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W)), []
        for t in reversed(range(len(steps))):
            x_t, h_prev, c_prev, i, f, o, g, c, _ = steps[t]
            dh = dhs[t] + dh
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            gates = (dc * g * i * (1 - i), dc * c_prev * f * (1 - f))
            gates += (dh * np.tanh(c) * o * (1 - o), dc * i * (1 - g**2))
            da = np.concatenate(gates, axis=1)
            dW, dU, db = dW + da.T @ h_prev, dU + da.T @ x_t, db + da.sum(axis=0)
            dxs.append(da @ U)
            dh, dc = da @ W, dc * f
        return dW, dU, db, np.stack(dxs[::-1]), dh, dc

    dy, both = cot["y"], "tbq,tbp->qp"
    one = sweep(dy @ Vf, cot["hf_T"], cot["cf_T"], ahead, Wf, Uf)
    two = sweep((dy @ Vb)[::-1], cot["hb_T"], cot["cb_T"], back, Wb, Ub)
    dx = one[3] + two[3][::-1]
    out = {"Vf": np.einsum(both, dy, hs), "Vb": np.einsum(both, dy, rs), "by": dy.sum(axis=(0, 1))}
    out |= {"Wf": one[0], "Uf": one[1], "bf": one[2], "hf": one[4], "cf": one[5]}
    out |= {"Wb": two[0], "Ub": two[1], "bb": two[2], "hb": two[4], "cb": two[5]}
    return out | {"x": dx}


def mgu_forward(x, h0, W_f, W_c, U_f, U_c, b_f, b_c):
    h, cache = h0, {"x": x, "h": [h0], "f": [], "n": [], "W": (W_f, W_c, U_f, U_c)}
    for x_t in x:
        f = sigmoid(W_f @ h + U_f @ x_t + b_f)
        n = np.tanh(W_c @ (f * h) + U_c @ x_t + b_c)
        h = (1 - f) * h + f * n
        for name, value in (("h", h), ("f", f), ("n", n)):
            cache[name].append(value)
    return {"hs": np.stack(cache["h"][1:]), "h_T": h}, cache


def mgu_backward(cotangents, cache):
    W_f, W_c, U_f, U_c = cache["W"]
    d = {"W_f": 0, "W_c": 0, "U_f": 0, "U_c": 0, "b_f": 0, "b_c": 0, "x": np.zeros_like(cache["x"])}
    dh = cotangents["h_T"]
    for t in reversed(range(len(cache["x"]))):
        h, f, n, x_t = cache["h"][t], cache["f"][t], cache["n"][t], cache["x"][t]
        dh = dh + cotangents["hs"][t]
        dn = f * dh * (1 - n * n)
        dfh = W_c.T @ dn
        df = (dh * (n - h) + dfh * h) * f * (1 - f)
        d["W_f"] += df @ h.T
        d["W_c"] += dn @ (f * h).T
        d["U_f"] += df @ x_t.T
        d["U_c"] += dn @ x_t.T
        d["b_f"] += df.sum(axis=1, keepdims=True)
        d["b_c"] += dn.sum(axis=1, keepdims=True)
        d["x"][t] = U_f.T @ df + U_c.T @ dn
        dh = (1 - f) * dh + f * dfh + W_f.T @ df
    return d | {"h0": dh}


IFOC, RZC = "ifoc", "rzc"
STATES = {"hs": "h", "h_T": "h_final"}
BOTH_STATES = STATES | {"c_T": "c_final"}
SIMPLE = {"x": "x", "h0": "h0"}
BILSTM = {
    name + end: fused(kind, IFOC, "_fwd" if end == "f" else "_bwd")
    for name, kind in (("W", "W"), ("U", "U"), ("b", "b"))
    for end in "fb"
} | {"Vf": "V_fwd", "Vb": "V_bwd", "by": "b_y"}
MODELS: dict[str, tuple[Any, Any]] = {
    "vanilla": (
        "elman_hidden",
        Layout(
            {"Wax": "U", "Waa": "W", "ba": "b_i as column"},
            {"x": "x: n B T", "a0": "h0: n B"},
            {"a": "h: n B T", "a_T": "h_final: n B"},
        ),
    ),
    "book": (
        "gru",
        Layout(
            {
                "Wx": fused("U", "zrc") + ".T",
                "Wh": fused("W", "zrc") + ".T",
                "b": fused("b", "zrc"),
            },
            {"xs": "x: B T n", "h0": "h0: B n"},
            {"hs": "h: B T n", "h_T": "h_final"},
        ),
    ),
    "after": (
        "gru_reset_after",
        Layout({k: fused(k, RZC) for k in "WUb"} | {"d": "d_c"}, SIMPLE, STATES),
    ),
    "concat": (
        "lstm",
        Layout(
            {f"W_{k}": f"[W_{k}, U_{k}]" for k in IFOC}
            | {f"b_{k}": f"b_{k} as column" for k in IFOC},
            {"x": "x: T n B", "h0": "h0: n B", "c0": "c0: n B"},
            {"hs": "h: T n B", "h_T": "h_final: n B", "C_T": "c_final: n B"},
        ),
    ),
    "graves": (
        "lstm_peephole",
        Layout(
            {k: fused(k, IFOC) for k in "WUb"} | {"P": fused("p", "ifo")},
            SIMPLE | {"c0": "c0"},
            BOTH_STATES,
        ),
    ),
    "layers2": ("stacked_elman", None),
    "bilstm": (
        "bidirectional_lstm",
        Layout(
            BILSTM,
            {"x": "x", "hf": "h_fwd0", "cf": "c_fwd0", "hb": "h_bwd0", "cb": "c_bwd0"},
            {"y": "y", "hf_T": "h_fwd_final", "cf_T": "c_fwd_final"}
            | {"hb_T": "h_bwd_final", "cb_T": "c_bwd_final"},
        ),
    ),
    "mgu": (
        "mgu",
        Layout(
            {k: k for k in ("W_f", "W_c", "U_f", "U_c")}
            | {k: f"{k} as column" for k in ("b_f", "b_c")},
            {"x": "x: T n B", "h0": "h0: n B"},
            {"hs": "h: T n B", "h_T": "h_final: n B"},
        ),
    ),
}
