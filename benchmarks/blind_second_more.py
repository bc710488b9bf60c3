"""More code that the second blind corpus edits: matrix states, two sequences, normed gates.

Each pair is right as it stands, as in `blind_second`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import Layout

from .blind_second import BOTH_STATES, SIMPLE, fused, sigmoid
from .decoder_by_place import decoder_by_place


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


ATTEND = {"Ws": "W_src", "Us": "U_src", "bs": "b_src", "Wa": "W_a", "Ua": "U_a", "v": "v"} | {
    "W": "[W_z; W_r; W]",
    "U": "[U_z; U_r; U]",
    "C": "[C_z; C_r; C]",
}
MODELS: dict[str, tuple[Any, Any]] = {
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
