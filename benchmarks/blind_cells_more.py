"""More hand-written code for the blind corpus: layers, normalisation, modern cells, a decoder.

Every pair is right as it stands, as in `benchmarks.blind_cells`.
"""

from __future__ import annotations

import numpy as np

from benchmarks.blind_cells import sigmoid
from gradcheck_rnn import cell
from gradcheck_rnn.language import layer_norm, tanh


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; gain bias: p")
def normed(h, x, W, U, gain, bias):
    a = W @ h + U @ x
    return tanh(layer_norm(a, gain, bias))


def normed_forward(x, h0, W, U, gain, bias):
    h, hs, cache = h0, [], []
    for x_t in x:
        a = h @ W.T + x_t @ U.T
        rstd = 1 / np.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
        xhat = (a - a.mean(axis=1, keepdims=True)) * rstd
        h_prev, h = h, np.tanh(gain * xhat + bias)
        cache.append((x_t, h_prev, xhat, rstd, h))
        hs.append(h)
    return {"h": np.stack(hs), "h_final": h}, (cache, W, U, gain)


def normed_backward(cotangents, saved):
    cache, W, U, gain = saved
    dW, dU = np.zeros_like(W), np.zeros_like(U)
    dgain, dbias = np.zeros_like(gain), np.zeros_like(gain)
    dx = np.zeros((len(cache), *cache[0][0].shape))
    dh = cotangents["h_final"]
    for t in reversed(range(len(cache))):
        x, h_prev, xhat, rstd, h = cache[t]
        dh = dh + cotangents["h"][t]
        dy = dh * (1 - h**2)
        dgain += (dy * xhat).sum(axis=0)
        dbias += dy.sum(axis=0)
        dxhat = dy * gain
        c1 = dxhat.mean(axis=1, keepdims=True)
        c2 = (dxhat * xhat).mean(axis=1, keepdims=True)
        da = (dxhat - c1 - xhat * c2) * rstd
        dW += da.T @ h_prev
        dU += da.T @ x
        dx[t] = da @ U
        dh = da @ W
    return {"W": dW, "U": dU, "gain": dgain, "bias": dbias, "x": dx, "h0": dh}


def stack_forward(h_0, c_0, **w):
    """Two LSTM layers with PyTorch's arrays: gates i, f, g, o as rows."""
    below, caches, h_n, c_n = w.pop("input"), [], [], []
    for layer in range(2):
        h, c, hs, cache = h_0[layer], c_0[layer], [], []
        for x in below:
            a = x @ w[f"weight_ih_l{layer}"].T + w[f"bias_ih_l{layer}"]
            a = a + h @ w[f"weight_hh_l{layer}"].T + w[f"bias_hh_l{layer}"]
            ai, af, ag, ao = np.split(a, 4, axis=1)
            i, f, g, o = sigmoid(ai), sigmoid(af), np.tanh(ag), sigmoid(ao)
            h_prev, c_prev, c = h, c, f * c + i * g
            h = o * np.tanh(c)
            cache.append((x, h_prev, c_prev, i, f, g, o, c))
            hs.append(h)
        below = np.stack(hs)
        caches.append(cache)
        h_n.append(h)
        c_n.append(c)
    return {"output": below, "h_n": np.stack(h_n), "c_n": np.stack(c_n)}, (caches, w)


def stack_backward(cotangents, saved):
    caches, w = saved
    d = {k: np.zeros_like(v) for k, v in w.items()}
    dh0, dc0 = np.zeros_like(cotangents["h_n"]), np.zeros_like(cotangents["c_n"])
    dabove = cotangents["output"]
    for layer in reversed(range(2)):
        w_ih, w_hh = w[f"weight_ih_l{layer}"], w[f"weight_hh_l{layer}"]
        dh, dc = cotangents["h_n"][layer], cotangents["c_n"][layer]
        dbelow = []
        for t in reversed(range(len(dabove))):
            x, h_prev, c_prev, i, f, g, o, c = caches[layer][t]
            dh = dh + dabove[t]
            do = dh * np.tanh(c)
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            di = dc * g
            df = dc * c_prev
            dg = dc * i
            dc = dc * f
            gates = di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)
            da = np.concatenate(gates, axis=1)
            d[f"weight_ih_l{layer}"] += da.T @ x
            d[f"weight_hh_l{layer}"] += da.T @ h_prev
            d[f"bias_ih_l{layer}"] += da.sum(axis=0)
            d[f"bias_hh_l{layer}"] += da.sum(axis=0)
            dbelow.append(da @ w_ih)
            dh = da @ w_hh
        dh0[layer], dc0[layer] = dh, dc
        dabove = np.stack(dbelow[::-1])
    return d | {"input": dabove, "h_0": dh0, "c_0": dc0}


def bi_forward(x, h_fwd0, h_bwd0, W_fwd, U_fwd, b_i_fwd, W_bwd, U_bwd, b_i_bwd, V_fwd, V_bwd, b_y):
    T = len(x)
    hf, hb = {-1: h_fwd0}, {T: h_bwd0}
    for t in range(T):
        hf[t] = np.tanh(hf[t - 1] @ W_fwd.T + x[t] @ U_fwd.T + b_i_fwd)
    for t in reversed(range(T)):
        hb[t] = np.tanh(hb[t + 1] @ W_bwd.T + x[t] @ U_bwd.T + b_i_bwd)
    y = np.stack([hf[t] @ V_fwd.T + hb[t] @ V_bwd.T + b_y for t in range(T)])
    outputs = {"y": y, "h_fwd_final": hf[T - 1], "h_bwd_final": hb[0]}
    return outputs, (x, hf, hb, W_fwd, U_fwd, W_bwd, U_bwd, V_fwd, V_bwd)


def bi_backward(cotangents, saved):
    x, hf, hb, W_fwd, U_fwd, W_bwd, U_bwd, V_fwd, V_bwd = saved
    T, dy = len(x), cotangents["y"]
    dWf, dUf, dWb, dUb = (np.zeros_like(w) for w in (W_fwd, U_fwd, W_bwd, U_bwd))
    dbf, dbb = np.zeros(len(W_fwd)), np.zeros(len(W_bwd))
    dVf, dVb, dby = np.zeros_like(V_fwd), np.zeros_like(V_bwd), np.zeros(len(V_fwd))
    dx = np.zeros_like(x)
    dh = cotangents["h_fwd_final"]
    for t in reversed(range(T)):
        dVf += dy[t].T @ hf[t]
        dVb += dy[t].T @ hb[t]
        dby += dy[t].sum(axis=0)
        dh = dh + dy[t] @ V_fwd
        da = dh * (1 - hf[t] ** 2)
        dWf += da.T @ hf[t - 1]
        dUf += da.T @ x[t]
        dbf += da.sum(axis=0)
        dx[t] += da @ U_fwd
        dh = da @ W_fwd
    dh_back = cotangents["h_bwd_final"]
    for t in range(T):
        dh_back = dh_back + dy[t] @ V_bwd
        da = dh_back * (1 - hb[t] ** 2)
        dWb += da.T @ hb[t + 1]
        dUb += da.T @ x[t]
        dbb += da.sum(axis=0)
        dx[t] += da @ U_bwd
        dh_back = da @ W_bwd
    d = {"W_fwd": dWf, "U_fwd": dUf, "b_i_fwd": dbf, "W_bwd": dWb, "U_bwd": dUb, "b_i_bwd": dbb}
    d |= {"V_fwd": dVf, "V_bwd": dVb, "b_y": dby}
    return d | {"x": dx, "h_fwd0": dh, "h_bwd0": dh_back}


def min_gru_forward(x, h0, W_z, W_h, b_z, b_h):
    z, cand = sigmoid(x @ W_z.T + b_z), x @ W_h.T + b_h
    hs = [h0]
    for t in range(len(x)):
        hs.append((1 - z[t]) * hs[-1] + z[t] * cand[t])
    return {"h": np.stack(hs[1:]), "h_final": hs[-1]}, (x, z, cand, np.stack(hs), W_z, W_h)


def min_gru_backward(cotangents, saved):
    x, z, cand, hs, W_z, W_h = saved
    T = len(x)
    dz, dcand = np.zeros_like(z), np.zeros_like(z)
    dh = cotangents["h_final"]
    for t in reversed(range(T)):
        dh = dh + cotangents["h"][t]
        dz[t] = dh * (cand[t] - hs[t])
        dcand[t] = dh * z[t]
        dh = dh * (1 - z[t])
    da = dz * z * (1 - z)
    dW_z = np.einsum("tbp,tbd->pd", da, x)
    dW_h = np.einsum("tbp,tbd->pd", dcand, x)
    db_z, db_h = da.sum(axis=(0, 1)), dcand.sum(axis=(0, 1))
    dx = da @ W_z + dcand @ W_h
    return {"W_z": dW_z, "W_h": dW_h, "b_z": db_z, "b_h": db_h, "x": dx, "h0": dh}


def sru_forward(x, c0, W, W_f, W_r, v_f, v_r, b_f, b_r):
    c, cache, hs = c0, [], []
    for x_t in x:
        u = x_t @ W.T
        f, r = sigmoid(x_t @ W_f.T + v_f * c + b_f), sigmoid(x_t @ W_r.T + v_r * c + b_r)
        c_prev, c = c, f * c + (1 - f) * u
        hs.append(r * c + (1 - r) * x_t)
        cache.append((x_t, u, f, r, c_prev, c))
    return {"h": np.stack(hs), "c_final": c}, (cache, W, W_f, W_r, v_f, v_r)


def sru_backward(cotangents, saved):
    cache, W, W_f, W_r, v_f, v_r = saved
    dW, dW_f, dW_r = np.zeros_like(W), np.zeros_like(W), np.zeros_like(W)
    dv_f, dv_r, db_f, db_r = (np.zeros_like(v_f) for _ in range(4))
    dx = np.zeros((len(cache), *cache[0][0].shape))
    cur = cotangents["c_final"]
    for t in reversed(range(len(cache))):
        x, u, f, r, c_prev, c = cache[t]
        gh = cotangents["h"][t]
        gr = gh * (c - x) * r * (1 - r)
        gc = cur + gh * r
        gf = gc * (c_prev - u) * f * (1 - f)
        gu = gc * (1 - f)
        cur = gc * f + gf * v_f + gr * v_r
        dW += gu.T @ x
        dW_f += gf.T @ x
        dW_r += gr.T @ x
        dv_f += (gf * c_prev).sum(axis=0)
        dv_r += (gr * c_prev).sum(axis=0)
        db_f += gf.sum(axis=0)
        db_r += gr.sum(axis=0)
        dx[t] = gu @ W + gf @ W_f + gr @ W_r + gh * (1 - r)
    d = {"W": dW, "W_f": dW_f, "W_r": dW_r, "v_f": dv_f, "v_r": dv_r, "b_f": db_f, "b_r": db_r}
    return d | {"x": dx, "c0": cur}


def gla_forward(q, k, v, alpha, S0):
    S, o = [S0], []
    for t in range(len(q)):
        S.append(alpha[t][:, :, None] * S[-1] + k[t][:, :, None] * v[t][:, None, :])
        o.append(np.einsum("bnm,bn->bm", S[-1], q[t]))
    return {"o": np.stack(o), "S_final": S[-1]}, (q, k, v, alpha, S)


def gla_backward(cotangents, saved):
    q, k, v, alpha, S = saved
    do = cotangents["o"]
    dq, dk, dv, dalpha = map(np.zeros_like, (q, k, v, alpha))
    dS = cotangents["S_final"]
    for t in reversed(range(len(q))):
        dq[t] = np.einsum("bnm,bm->bn", S[t + 1], do[t])
        dS = dS + q[t][:, :, None] * do[t][:, None, :]
        dk[t] = np.einsum("bnm,bm->bn", dS, v[t])
        dv[t] = np.einsum("bnm,bn->bm", dS, k[t])
        dalpha[t] = (dS * S[t]).sum(axis=2)
        dS = alpha[t][:, :, None] * dS
    return {"q": dq, "k": dk, "v": dv, "alpha": dalpha, "S0": dS}


def delta_forward(q, k, v, alpha, beta, S0):
    """Gated delta rule; the state is (values, keys), a step writes what the key does not read."""
    S, o, errors = [S0], [], []
    for t in range(len(q)):
        kept = alpha[t][:, None, None] * S[-1]
        e = v[t] - np.einsum("bmn,bn->bm", kept, k[t])
        S.append(kept + beta[t][:, None, None] * e[:, :, None] * k[t][:, None, :])
        errors.append(e)
        o.append(np.einsum("bmn,bn->bm", S[-1], q[t]))
    return {"o": np.stack(o), "S_final": S[-1]}, (q, k, v, alpha, beta, S, errors)


def delta_backward(cotangents, saved):
    q, k, v, alpha, beta, S, errors = saved
    do = cotangents["o"]
    dq, dk, dv, dalpha, dbeta = map(np.zeros_like, (q, k, v, alpha, beta))
    dS = cotangents["S_final"]
    for t in reversed(range(len(q))):
        e, kept = errors[t], alpha[t][:, None, None] * S[t]
        dq[t] = np.einsum("bmn,bm->bn", S[t + 1], do[t])
        dS = dS + do[t][:, :, None] * q[t][:, None, :]
        dSk = np.einsum("bmn,bn->bm", dS, k[t])
        dbeta[t] = (dSk * e).sum(axis=1)
        de = beta[t][:, None] * dSk
        dk[t] = beta[t][:, None] * np.einsum("bmn,bm->bn", dS, e)
        dk[t] -= np.einsum("bmn,bm->bn", kept, de)
        dv[t] = de
        dkept = dS - de[:, :, None] * k[t][:, None, :]
        dalpha[t] = (dkept * S[t]).sum(axis=(1, 2))
        dS = alpha[t][:, None, None] * dkept
    return {"q": dq, "k": dk, "v": dv, "alpha": dalpha, "beta": dbeta, "S0": dS}


def attention_forward(q, k, v, S0, z0):
    S, z, o, dens = [S0], [z0], [], []
    for t in range(len(q)):
        S.append(S[-1] + k[t][:, :, None] * v[t][:, None, :])
        z.append(z[-1] + k[t])
        dens.append((z[-1] * q[t]).sum(axis=1, keepdims=True))
        o.append(np.einsum("bnm,bn->bm", S[-1], q[t]) / dens[-1])
    return {"o": np.stack(o), "S_final": S[-1], "z_final": z[-1]}, (q, k, v, S, z, o, dens)


def attention_backward(cotangents, saved):
    q, k, v, S, z, o, dens = saved
    dq, dk, dv = map(np.zeros_like, (q, k, v))
    dS, dz = cotangents["S_final"], cotangents["z_final"]
    for t in reversed(range(len(q))):
        dnum = cotangents["o"][t] / dens[t]
        dden = -(cotangents["o"][t] * o[t]).sum(axis=1, keepdims=True) / dens[t]
        dq[t] = np.einsum("bnm,bm->bn", S[t + 1], dnum) + dden * z[t + 1]
        dS = dS + q[t][:, :, None] * dnum[:, None, :]
        dz = dz + dden * q[t]
        dk[t] = np.einsum("bnm,bm->bn", dS, v[t]) + dz
        dv[t] = np.einsum("bnm,bn->bm", dS, k[t])
    return {"q": dq, "k": dk, "v": dv, "S0": dS, "z0": dz}


def decoder_loss(a):
    """An encoder's last state is the context of every step of a decoder with cross-entropy."""
    hs, loss = [a["h_src0"]], 0.0
    for x in a["x_src"]:
        hs.append(np.tanh(hs[-1] @ a["W_src"].T + x @ a["U_src"].T + a["b_i_src"]))
    ctx = hs[-1]
    ht, ps = [ctx], []
    for x, target in zip(a["x"], a["target"], strict=True):
        ht.append(np.tanh(ht[-1] @ a["W"].T + x @ a["U"].T + ctx @ a["C"].T + a["b_i"]))
        e = np.exp(ht[-1] @ a["V"].T + a["b_y"])
        ps.append(e / e.sum(axis=1, keepdims=True))
        loss -= np.sum(target * np.log(ps[-1]))
    return loss, hs, ctx, ht, ps


def decoder_gradient(a):
    _, hs, ctx, ht, ps = decoder_loss(a)
    d = {k: np.zeros_like(v) for k, v in a.items() if k not in ("target", "h_src0")}
    dh, dctx = np.zeros_like(ctx), np.zeros_like(ctx)
    for t in reversed(range(len(ps))):
        dy = ps[t] - a["target"][t]
        d["V"] += dy.T @ ht[t + 1]
        d["b_y"] += dy.sum(axis=0)
        dh = dh + dy @ a["V"]
        da = dh * (1 - ht[t + 1] ** 2)
        d["W"] += da.T @ ht[t]
        d["U"] += da.T @ a["x"][t]
        d["C"] += da.T @ ctx
        d["b_i"] += da.sum(axis=0)
        d["x"][t] = da @ a["U"]
        dctx = dctx + da @ a["C"]
        dh = da @ a["W"]
    dh = dh + dctx
    for t in reversed(range(len(hs) - 1)):
        da = dh * (1 - hs[t + 1] ** 2)
        d["W_src"] += da.T @ hs[t]
        d["U_src"] += da.T @ a["x_src"][t]
        d["b_i_src"] += da.sum(axis=0)
        d["x_src"][t] = da @ a["U_src"]
        dh = da @ a["W_src"]
    return d | {"h_src0": dh}
