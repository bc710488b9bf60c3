"""Hand-written recurrent code that the second blind corpus edits, and the layouts of its arrays.

Each pair is right as it stands, in one of the styles of courses, blogs and kernels: columns with
time last, fused gates, state and input in one vector, one layer after the other, loops over steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import Layout

from .decoder_by_place import decoder_by_place


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


def kernel_forward(q, k, v, S0, z0):
    S, z, out, saved = S0, z0, [], []
    for t in range(len(q)):
        S = S + np.einsum("bn,bm->bnm", k[t], v[t])
        z = z + k[t]
        den = (z * q[t]).sum(axis=-1, keepdims=True)
        out.append(np.einsum("bnm,bn->bm", S, q[t]) / den)
        saved.append((S, z, den, out[-1]))
    return {"o": np.stack(out), "S_final": S, "z_final": z}, (q, k, v, saved)


def kernel_backward(cotangents, cache):
    q, k, v, saved = cache
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    dS, dz = cotangents["S_final"], cotangents["z_final"]
    for t in reversed(range(len(q))):
        S, z, den, o = saved[t]
        dnum = cotangents["o"][t] / den
        dden = -(dnum * o).sum(axis=-1, keepdims=True)
        dS = dS + np.einsum("bn,bm->bnm", q[t], dnum)
        dz = dz + dden * q[t]
        dq[t] = np.einsum("bnm,bm->bn", S, dnum) + dden * z
        dk[t] = np.einsum("bnm,bm->bn", dS, v[t]) + dz
        dv[t] = np.einsum("bnm,bn->bm", dS, k[t])
    return {"q": dq, "k": dk, "v": dv, "S0": dS, "z0": dz}


def rule_forward(q, k, v, alpha, beta, S0):
    S, out, saved = S0, [], []
    for t in range(len(q)):
        a, b, S_prev = alpha[t][:, None], beta[t][:, None], S
        Sk = np.einsum("bmn,bn->bm", S, k[t])
        u = v[t] - a * Sk
        S = a[..., None] * S + np.einsum("bm,bn->bmn", b * u, k[t])
        out.append(np.einsum("bmn,bn->bm", S, q[t]))
        saved.append((a, b, S_prev, Sk, u, S))
    return {"o": np.stack(out), "S_final": S}, (q, k, v, saved)


def rule_backward(cotangents, cache):
    q, k, v, saved = cache
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    dalpha, dbeta, dS = np.zeros(q.shape[:2]), np.zeros(q.shape[:2]), cotangents["S_final"]
    for t in reversed(range(len(q))):
        (a, b, S_prev, Sk, u, S), do = saved[t], cotangents["o"][t]
        dq[t] = np.einsum("bmn,bm->bn", S, do)
        dS = dS + np.einsum("bm,bn->bmn", do, q[t])
        dSk = np.einsum("bmn,bn->bm", dS, k[t])
        du = b * dSk
        dbeta[t] = (dSk * u).sum(axis=-1)
        dalpha[t] = (dS * S_prev).sum(axis=(1, 2)) - (du * Sk).sum(axis=-1)
        dk[t] = np.einsum("bmn,bm->bn", dS, b * u) - np.einsum("bmn,bm->bn", S_prev, a * du)
        dv[t] = du
        dS = a[..., None] * (dS - np.einsum("bm,bn->bmn", du, k[t]))
    return {"q": dq, "k": dk, "v": dv, "alpha": dalpha, "beta": dbeta, "S0": dS}


def gated_forward(q, k, alpha, v, S0):
    states, out = [S0], []
    for q_t, k_t, g_t, v_t in zip(q, k, alpha, v, strict=True):
        states.append(g_t[:, :, None] * states[-1] + k_t[:, :, None] * v_t[:, None, :])
        out.append((states[-1] * q_t[:, :, None]).sum(axis=1))
    return {"o": np.stack(out), "S_final": states[-1]}, (q, k, alpha, v, states)


def gated_backward(cotangents, cache):
    q, k, g, v, S = cache
    do, dS = cotangents["o"], cotangents["S_final"]
    dq, dk, dg, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(g), np.zeros_like(v)
    for t in reversed(range(len(q))):
        dS = dS + q[t][:, :, None] * do[t][:, None, :]
        dq[t] = (S[t + 1] * do[t][:, None, :]).sum(axis=2)
        dk[t] = (dS * v[t][:, None, :]).sum(axis=2)
        dv[t] = (dS * k[t][:, :, None]).sum(axis=1)
        dg[t] = (dS * S[t]).sum(axis=2)
        dS = dS * g[t][:, :, None]
    return {"q": dq, "k": dk, "alpha": dg, "v": dv, "S0": dS}


def scan_forward(u, delta, B, C, S0, A, D):
    S, ys, saved = S0, [], []
    for t in range(len(u)):
        dA, S_prev = np.exp(np.einsum("bn,nm->bnm", delta[t], A)), S
        S = dA * S + np.einsum("bn,bm->bnm", delta[t] * u[t], B[t])
        ys.append(np.einsum("bnm,bm->bn", S, C[t]) + D * u[t])
        saved.append((dA, S_prev, S))
    return {"y": np.stack(ys), "S_final": S}, (u, delta, B, C, A, D, saved)


def scan_backward(cotangents, cache):
    u, delta, B, C, A, D, saved = cache
    g = {"u": np.zeros_like(u), "delta": np.zeros_like(u), "A": 0, "D": 0}
    g |= {"B": np.zeros_like(B), "C": np.zeros_like(C)}
    dS = cotangents["S_final"]
    for t in reversed(range(len(u))):
        (dA, S_prev, S), dy = saved[t], cotangents["y"][t]
        g["D"] += (dy * u[t]).sum(axis=0)
        g["C"][t] = np.einsum("bnm,bn->bm", S, dy)
        dS = dS + np.einsum("bn,bm->bnm", dy, C[t])
        dx = dS * S_prev * dA
        dSB = np.einsum("bnm,bm->bn", dS, B[t])
        g["A"] += np.einsum("bnm,bn->nm", dx, delta[t])
        g["delta"][t] = (dx * A).sum(axis=-1) + dSB * u[t]
        g["u"][t] = dSB * delta[t] + dy * D
        g["B"][t] = np.einsum("bnm,bn->bm", dS, delta[t] * u[t])
        dS = dS * dA
    return g | {"S0": dS}


def expgate_forward(x, h0, c0, n0, m0, W, R, b):
    p, h, c, n, m, hs, saved = h0.shape[1], h0, c0, n0, m0, [], []
    for x_t in x:
        a, h_prev, c_prev, n_prev = x_t @ W.T + h @ R.T + b, h, c, n
        z, li, lf, o = (
            np.tanh(a[:, :p]),
            a[:, p : 2 * p],
            a[:, 2 * p : 3 * p],
            sigmoid(a[:, 3 * p :]),
        )
        kept, lf = lf + m > li, lf + m
        m = np.maximum(lf, li)
        i, f = np.exp(li - m), np.exp(lf - m)
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        hs.append(h)
        saved.append((h_prev, c_prev, n_prev, z, i, f, o, c, n, kept))
    return {"hs": np.stack(hs), "h_T": h, "c_T": c, "n_T": n, "m_T": m}, (x, W, R, saved)


def expgate_backward(cot, cache):
    x, W, R, saved = cache
    dW, dR, db, dx = np.zeros_like(W), np.zeros_like(R), np.zeros(len(W)), np.zeros_like(x)
    dh, dc, dn, dm = cot["h_T"], cot["c_T"], cot["n_T"], cot["m_T"]
    for t in reversed(range(len(x))):
        h_prev, c_prev, n_prev, z, i, f, o, c, n, kept = saved[t]
        dh = dh + cot["hs"][t]
        dc = dc + dh * o / n
        dn = dn - dh * o * c / n**2
        do = dh * c / n * o * (1 - o)
        di = (dc * z + dn) * i
        df = (dc * c_prev + dn * n_prev) * f
        dz = dc * i * (1 - z**2)
        dm = dm - di - df
        dlf = df + dm * kept
        dli = di + dm * ~kept
        da = np.concatenate([dz, dli, dlf, do], axis=1)
        dW += da.T @ x[t]
        dR += da.T @ h_prev
        db += da.sum(axis=0)
        dx[t] = da @ W
        dh, dm = da @ R, dlf
        dc = dc * f
        dn = dn * f
    return {"W": dW, "R": dR, "b": db, "x": dx, "h0": dh, "c0": dc, "n0": dn, "m0": dm}


def seq2seq_loss(a):
    """Cross-entropy of a decoder that reads the last state of an encoder at every step."""
    enc, dec, loss, probs = [a["h_src0"]], [], 0.0, []
    for x in a["x_src"]:
        enc.append(np.tanh(enc[-1] @ a["W_src"].T + x @ a["U_src"].T + a["b_i_src"]))
    dec.append(enc[-1])
    for x, target in zip(a["x"], a["target"], strict=True):
        i = dec[-1] @ a["W"].T + x @ a["U"].T + enc[-1] @ a["C"].T + a["b_i"]
        dec.append(np.tanh(i))
        y = dec[-1] @ a["V"].T + a["b_y"]
        e = np.exp(y - y.max(axis=1, keepdims=True))
        probs.append(e / e.sum(axis=1, keepdims=True))
        loss -= np.log((probs[-1] * target).sum(axis=1)).sum()
    return loss, enc, dec, probs


def seq2seq_gradient(a):
    _, enc, dec, probs = seq2seq_loss(a)
    g = {name: np.zeros_like(value) for name, value in a.items() if name != "target"}
    dh, dcontext = np.zeros_like(enc[0]), np.zeros_like(enc[0])
    for t in reversed(range(len(probs))):
        dlogits = probs[t] - a["target"][t]
        g["V"] += dlogits.T @ dec[t + 1]
        g["b_y"] += dlogits.sum(axis=0)
        dh = dh + dlogits @ a["V"]
        draw = dh * (1 - dec[t + 1] ** 2)
        g["W"] += draw.T @ dec[t]
        g["U"] += draw.T @ a["x"][t]
        g["C"] += draw.T @ enc[-1]
        g["b_i"] += draw.sum(axis=0)
        g["x"][t] = draw @ a["U"]
        dcontext += draw @ a["C"]
        dh = draw @ a["W"]
    denc = dh + dcontext
    for s in reversed(range(len(enc) - 1)):
        dsrc = denc * (1 - enc[s + 1] ** 2)
        g["W_src"] += dsrc.T @ enc[s]
        g["U_src"] += dsrc.T @ a["x_src"][s]
        g["b_i_src"] += dsrc.sum(axis=0)
        g["x_src"][s] = dsrc @ a["U_src"]
        denc = dsrc @ a["W_src"]
    return g | {"h_src0": denc}


def bahdanau_forward(x, place, h0, H0, there, y, s0, Ws, Us, bs, Wa, Ua, v, W, U, C):
    p, hs, H, s, out, steps = s0.shape[1], [h0], H0, s0, [], []
    for x_t, place_t in zip(x, place, strict=True):
        hs.append(np.tanh(x_t @ Us.T + hs[-1] @ Ws.T + bs))
        H = H + place_t[:, :, None] * hs[-1][:, None, :]
    for y_t in y:
        th = np.tanh(H @ Ua.T + (s @ Wa.T)[:, None, :])
        e = np.where(there > 0, th @ v, -1e30)
        w = np.exp(e - e.max(axis=1, keepdims=True))
        w /= w.sum(axis=1, keepdims=True)
        c = np.einsum("bn,bnk->bk", w, H)
        a = y_t @ W.T + c @ C.T
        z, r = sigmoid(a[:, :p] + s @ U[:p].T), sigmoid(a[:, p : 2 * p] + s @ U[p : 2 * p].T)
        n = np.tanh(a[:, 2 * p :] + (r * s) @ U[2 * p :].T)
        steps.append((s, th, w, c, z, r, n))
        s = (1 - z) * s + z * n
        out.append((s, c))
    outputs = {"s": np.stack([o[0] for o in out]), "c": np.stack([o[1] for o in out]), "s_T": s}
    return outputs, (x, place, y, there, hs, H, Ws, Us, Wa, Ua, v, W, U, C, steps)


def bahdanau_backward(cot, cache):
    x, place, y, there, hs, H, Ws, Us, Wa, Ua, v, W, U, C, steps = cache
    dWs, dUs, dWa, dUa, dv = (np.zeros_like(w) for w in (Ws, Us, Wa, Ua, v))
    dW, dU, dC, dx, dy = (np.zeros_like(w) for w in (W, U, C, x, y))
    p, dbs, dH, ds = U.shape[1], np.zeros(len(Ws)), np.zeros_like(H), cot["s_T"]
    for t in reversed(range(len(y))):
        s, th, w, c, z, r, n = steps[t]
        ds = ds + cot["s"][t]
        dan = ds * z * (1 - n**2)
        drs = dan @ U[2 * p :]
        daz = ds * (n - s) * z * (1 - z)
        dar = drs * s * r * (1 - r)
        da = np.concatenate([daz, dar, dan], axis=1)
        dW += da.T @ y[t]
        dC += da.T @ c
        dU += np.concatenate([daz.T @ s, dar.T @ s, dan.T @ (r * s)])
        dy[t] = da @ W
        dc = cot["c"][t] + da @ C
        dw = np.einsum("bk,bnk->bn", dc, H)
        de = w * (dw - (w * dw).sum(axis=1, keepdims=True)) * (there > 0)
        dth = de[:, :, None] * v * (1 - th**2)
        dv += np.einsum("bn,bnm->m", de, th)
        dUa += np.einsum("bnm,bnk->mk", dth, H)
        dWa += dth.sum(axis=1).T @ s
        dH = dH + w[:, :, None] * dc[:, None, :] + dth @ Ua
        ds = ds * (1 - z) + drs * r + daz @ U[:p] + dar @ U[p : 2 * p] + dth.sum(axis=1) @ Wa
    dh = np.zeros_like(hs[0])
    for t in reversed(range(len(x))):
        dh = dh + np.einsum("bn,bnk->bk", place[t], dH)
        draw = dh * (1 - hs[t + 1] ** 2)
        dWs, dUs, dbs = dWs + draw.T @ hs[t], dUs + draw.T @ x[t], dbs + draw.sum(axis=0)
        dx[t], dh = draw @ Us, draw @ Ws
    out = {"Ws": dWs, "Us": dUs, "bs": dbs, "Wa": dWa, "Ua": dUa, "v": dv, "W": dW, "U": dU}
    return out | {"C": dC, "x": dx, "h0": dh, "H0": dH, "y": dy, "s0": ds}


def lnlstm_forward(x, h0, c0, W, U, b, gh, dh, gx, dx, gc, dc):
    def norm(s):
        s = s - s.mean(axis=-1, keepdims=True)
        std = np.sqrt((s**2).mean(axis=-1, keepdims=True) + 1e-5)
        return s / std, std

    p, h, c, hs, saved = h0.shape[1], h0, c0, [], []
    for x_t in x:
        h_prev, c_prev, nh, nx = h, c, norm(h @ W.T), norm(x_t @ U.T)
        a = gh * nh[0] + dh + gx * nx[0] + dx + b
        s = sigmoid(a[:, : 3 * p])
        f, i, o, g = s[:, :p], s[:, p : 2 * p], s[:, 2 * p :], np.tanh(a[:, 3 * p :])
        c = f * c + i * g
        nc = norm(c)
        u = np.tanh(gc * nc[0] + dc)
        h = o * u
        hs.append(h)
        saved.append((h_prev, c_prev, nh, nx, nc, f, i, o, g, u))
    return {"hs": np.stack(hs), "h_T": h, "c_T": c}, (x, W, U, gh, gx, gc, saved)


def lnlstm_backward(cot, cache):
    def ln(dy, xhat, std, gamma):
        dxhat = dy * gamma
        along = xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)
        return (dxhat - dxhat.mean(axis=-1, keepdims=True) - along) / std

    x, W, U, gh, gx, gc, saved = cache
    d = {"W": 0, "U": 0, "b": 0, "gh": 0, "gx": 0, "gc": 0, "dc": 0, "x": np.zeros_like(x)}
    dh, dc = cot["h_T"], cot["c_T"]
    for t in reversed(range(len(x))):
        h_prev, c_prev, nh, nx, nc, f, i, o, g, u = saved[t]
        dh = dh + cot["hs"][t]
        dau = dh * o * (1 - u**2)
        d["gc"] += (dau * nc[0]).sum(axis=0)
        d["dc"] += dau.sum(axis=0)
        dc = dc + ln(dau, *nc, gc)
        gates = [dc * c_prev * f * (1 - f), dc * g * i * (1 - i), dh * u * o * (1 - o)]
        da = np.concatenate([*gates, dc * i * (1 - g**2)], axis=1)
        d["b"] += da.sum(axis=0)
        d["gh"] += (da * nh[0]).sum(axis=0)
        d["gx"] += (da * nx[0]).sum(axis=0)
        dsh, dsx = ln(da, *nh, gh), ln(da, *nx, gx)
        d["W"] += dsh.T @ h_prev
        d["U"] += dsx.T @ x[t]
        d["x"][t] = dsx @ U
        dh, dc = dsh @ W, dc * f
    return d | {"dh": d["b"], "dx": d["b"], "h0": dh, "c0": dc}


IFOC, RZC = "ifoc", "rzc"
STATES = {"hs": "h", "h_T": "h_final"}
BOTH_STATES = STATES | {"c_T": "c_final"}
SIMPLE = {"x": "x", "h0": "h0"}
BILSTM = {
    name + end: fused(kind, IFOC, "_fwd" if end == "f" else "_bwd")
    for name, kind in (("W", "W"), ("U", "U"), ("b", "b"))
    for end in "fb"
} | {"Vf": "V_fwd", "Vb": "V_bwd", "by": "b_y"}
ATTEND = {"Ws": "W_src", "Us": "U_src", "bs": "b_src", "Wa": "W_a", "Ua": "U_a", "v": "v"} | {
    "W": "[W_z; W_r; W]",
    "U": "[U_z; U_r; U]",
    "C": "[C_z; C_r; C]",
}
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
    "kernel": ("linear_attention", None),
    "rule": ("delta_net", None),
    "gated": ("gated_linear_attention", None),
    "scan": ("selective_scan", None),
    "expgate": (
        "slstm",
        Layout(
            {k: fused(k, "zifo") for k in "WRb"},
            {k: k for k in ("x", "h0", "c0", "n0", "m0")},
            BOTH_STATES | {"n_T": "n_final", "m_T": "m_final"},
        ),
    ),
    "seq2seq": ("encoder_decoder", None),
    "bahdanau": (
        decoder_by_place(),
        Layout(
            ATTEND,
            {"x": "x", "place": "place_src", "h0": "h_src0", "H0": "H_src0", "there": "there"}
            | {"y": "y", "s0": "s0"},
            {"s": "s", "c": "c", "s_T": "s_final"},
        ),
    ),
    "lnlstm": (
        "lstm_layer_norm",
        Layout(
            {"W": "W", "U": "U", "b": "b", "gh": "g_h", "dh": "d_h", "gx": "g_x", "dx": "d_x"}
            | {"gc": "g_c", "dc": "d_c"},
            SIMPLE | {"c0": "c0"},
            BOTH_STATES,
        ),
    ),
}
