"""Hand-written recurrent code that the blind corpus edits: Elman networks, LSTMs and GRUs.

Every pair is right as it stands; `benchmarks.blind_faults` changes lines of the backward ones.
Rows are sequences, time comes first, unless a docstring says otherwise.
"""

from __future__ import annotations

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def elman_forward(x, h0, W, U, b_i):
    hs = [h0]
    for x_t in x:
        hs.append(np.tanh(hs[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(hs[1:]), "h_final": hs[-1]}, (x, np.stack(hs), W, U)


def elman_backward(cotangents, saved):
    x, hs, W, U = saved
    T = len(x)
    dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W))
    dx = np.zeros_like(x)
    dhnext = cotangents["h_final"].copy()
    for t in reversed(range(T)):
        dh = cotangents["h"][t] + dhnext
        draw = (1 - hs[t + 1] ** 2) * dh
        dW += draw.T @ hs[t]
        dU += draw.T @ x[t]
        db += draw.sum(axis=0)
        dx[t] = draw @ U
        dhnext = draw @ W
    return {"W": dW, "U": dU, "b_i": db, "x": dx, "h0": dhnext}


def char_loss(a):
    """Cross-entropy of one-hot characters, and what the gradient needs."""
    xs, hs, ps, loss = a["x"], {-1: a["h0"]}, {}, 0.0
    for t in range(len(xs)):
        hs[t] = np.tanh(hs[t - 1] @ a["W"].T + xs[t] @ a["U"].T + a["b_i"])
        ys = hs[t] @ a["V"].T + a["b_y"]
        e = np.exp(ys - ys.max(axis=1, keepdims=True))
        ps[t] = e / e.sum(axis=1, keepdims=True)
        loss -= np.sum(a["target"][t] * np.log(ps[t]))
    return loss, xs, hs, ps


def char_gradient(a):
    _, xs, hs, ps = char_loss(a)
    d = {k: np.zeros_like(a[k]) for k in ("W", "U", "V", "b_i", "b_y")}
    dhnext = np.zeros_like(a["h0"])
    for t in reversed(range(len(xs))):
        dy = ps[t] - a["target"][t]
        d["V"] += dy.T @ hs[t]
        d["b_y"] += dy.sum(axis=0)
        dh = dy @ a["V"] + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        d["b_i"] += dhraw.sum(axis=0)
        d["U"] += dhraw.T @ xs[t]
        d["W"] += dhraw.T @ hs[t - 1]
        dhnext = dhraw @ a["W"]
    return d | {"h0": dhnext}


def lstm_forward(x, a0, c0, Wf, Wi, Wc, Wo, bf, bi, bc, bo):
    """Columns are sequences, x (n_x, m, T); every gate reads the state on top of the input."""
    a, c, caches, hidden = a0, c0, [], []
    for t in range(x.shape[2]):
        z = np.concatenate([a, x[:, :, t]])
        f, i, o = sigmoid(Wf @ z + bf), sigmoid(Wi @ z + bi), sigmoid(Wo @ z + bo)
        g = np.tanh(Wc @ z + bc)
        c_prev, c = c, f * c + i * g
        a = o * np.tanh(c)
        caches.append((z, f, i, g, o, c_prev, c))
        hidden.append(a)
    return {"a": np.stack(hidden, axis=2), "a_T": a, "c_T": c}, (caches, Wf, Wi, Wc, Wo)


def lstm_backward(cotangents, saved):
    caches, Wf, Wi, Wc, Wo = saved
    da_next, dc_next = cotangents["a_T"], cotangents["c_T"]
    n_a, m = da_next.shape
    dWf, dWi, dWc, dWo = (np.zeros_like(W) for W in (Wf, Wi, Wc, Wo))
    dbf, dbi, dbc, dbo = (np.zeros((n_a, 1)) for _ in range(4))
    dx = np.zeros((Wf.shape[1] - n_a, m, len(caches)))
    for t in reversed(range(len(caches))):
        z, f, i, g, o, c_prev, c = caches[t]
        dh = cotangents["a"][:, :, t] + da_next
        do = dh * np.tanh(c)
        do = o * (1 - o) * do
        dWo += do @ z.T
        dbo += do.sum(axis=1, keepdims=True)
        dc = dc_next + dh * o * (1 - np.tanh(c) ** 2)
        dg = dc * i
        dg = (1 - g**2) * dg
        dWc += dg @ z.T
        dbc += dg.sum(axis=1, keepdims=True)
        di = dc * g
        di = i * (1 - i) * di
        dWi += di @ z.T
        dbi += di.sum(axis=1, keepdims=True)
        df = dc * c_prev
        df = f * (1 - f) * df
        dWf += df @ z.T
        dbf += df.sum(axis=1, keepdims=True)
        dz = Wf.T @ df + Wi.T @ di + Wc.T @ dg + Wo.T @ do
        da_next = dz[:n_a]
        dx[:, :, t] = dz[n_a:]
        dc_next = f * dc
    d = {"Wf": dWf, "Wi": dWi, "Wc": dWc, "Wo": dWo, "bf": dbf, "bi": dbi, "bc": dbc, "bo": dbo}
    return d | {"x": dx, "a0": da_next, "c0": dc_next}


def packed_forward(x, h0, c0, Wx, Wh, b):
    """Batch first, four gates in the order i, f, o, g as columns."""
    H, h, c, hs, caches = h0.shape[1], h0, c0, [], []
    for t in range(x.shape[1]):
        prev_h, prev_c = h, c
        a = x[:, t] @ Wx + prev_h @ Wh + b
        i, f, o = (sigmoid(a[:, k * H : (k + 1) * H]) for k in range(3))
        g = np.tanh(a[:, 3 * H :])
        c = f * prev_c + i * g
        h = o * np.tanh(c)
        hs.append(h)
        caches.append((x[:, t], prev_h, prev_c, i, f, o, g, c))
    return {"h": np.stack(hs, axis=1), "h_T": h, "c_T": c}, (caches, Wx, Wh)


def packed_backward(cotangents, saved):
    caches, Wx, Wh = saved
    N, T, H = cotangents["h"].shape
    dx = np.zeros((N, T, len(Wx)))
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(4 * H)
    dprev_h, dprev_c = cotangents["h_T"], cotangents["c_T"]
    for t in reversed(range(T)):
        x, prev_h, prev_c, i, f, o, g, next_c = caches[t]
        dnext_h = cotangents["h"][:, t] + dprev_h
        dnext_c = dprev_c
        do = dnext_h * np.tanh(next_c)
        dnext_c = dnext_c + dnext_h * o * (1 - np.tanh(next_c) ** 2)
        di, df, dg = dnext_c * g, dnext_c * prev_c, dnext_c * i
        da = np.hstack((di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)))
        dx[:, t] = da @ Wx.T
        dprev_h = da @ Wh.T
        dprev_c = dnext_c * f
        dWx += x.T @ da
        dWh += prev_h.T @ da
        db += da.sum(axis=0)
    return {"x": dx, "h0": dprev_h, "c0": dprev_c, "Wx": dWx, "Wh": dWh, "b": db}


def peephole_forward(x, h0, c0, **w):
    h, c, hs, cache = h0, c0, [], []
    for x_t in x:
        net = {k: h @ w["W_" + k].T + x_t @ w["U_" + k].T + w["b_" + k] for k in "ifoc"}
        i, f = sigmoid(net["i"] + w["p_i"] * c), sigmoid(net["f"] + w["p_f"] * c)
        g = np.tanh(net["c"])
        c_new = f * c + i * g
        o = sigmoid(net["o"] + w["p_o"] * c_new)
        cache.append((x_t, h, c, i, f, o, g, c_new))
        h, c = o * np.tanh(c_new), c_new
        hs.append(h)
    return {"h": np.stack(hs), "h_final": h, "c_final": c}, (cache, w)


def peephole_backward(cotangents, saved):
    cache, w = saved
    d = {k: np.zeros_like(v) for k, v in w.items()}
    dxs = []
    dh_rec, dc_rec = cotangents["h_final"], cotangents["c_final"]
    for t in reversed(range(len(cache))):
        x_t, h_prev, c_prev, i, f, o, g, c = cache[t]
        dh = cotangents["h"][t] + dh_rec
        dout = dh * np.tanh(c) * o * (1 - o)
        dc = dh * o * (1 - np.tanh(c) ** 2) + dc_rec
        dc = dc + dout * w["p_o"]
        din = dc * g * i * (1 - i)
        dforget = dc * c_prev * f * (1 - f)
        dcell = dc * i * (1 - g**2)
        d["p_i"] += (din * c_prev).sum(axis=0)
        d["p_f"] += (dforget * c_prev).sum(axis=0)
        d["p_o"] += (dout * c).sum(axis=0)
        dh_rec, dx = 0, 0
        for k, delta in zip("ifoc", (din, dforget, dout, dcell), strict=True):
            d["W_" + k] += delta.T @ h_prev
            d["U_" + k] += delta.T @ x_t
            d["b_" + k] += delta.sum(axis=0)
            dh_rec = dh_rec + delta @ w["W_" + k]
            dx = dx + delta @ w["U_" + k]
        dc_rec = dc * f + din * w["p_i"] + dforget * w["p_f"]
        dxs.insert(0, dx)
    return d | {"x": np.stack(dxs), "h0": dh_rec, "c0": dc_rec}


def gru_forward(x, h0, W_r, W_z, W_c, U_r, U_z, U_c, b_r, b_z, b_c):
    h, hs, cache = h0, [], []
    for x_t in x:
        r = sigmoid(h @ W_r.T + x_t @ U_r.T + b_r)
        z = sigmoid(h @ W_z.T + x_t @ U_z.T + b_z)
        h_hat = np.tanh((r * h) @ W_c.T + x_t @ U_c.T + b_c)
        cache.append((x_t, h, r, z, h_hat))
        h = (1 - z) * h + z * h_hat
        hs.append(h)
    return {"h": np.stack(hs), "h_final": h}, (cache, (W_r, W_z, W_c, U_r, U_z, U_c))


def gru_backward(cotangents, saved):
    cache, weights = saved
    W_r, W_z, W_c, U_r, U_z, U_c = weights
    names = ("W_r", "W_z", "W_c", "U_r", "U_z", "U_c")
    d = {n: np.zeros_like(w) for n, w in zip(names, weights, strict=True)}
    d |= {b: np.zeros(len(W_r)) for b in ("b_r", "b_z", "b_c")}
    dx = np.zeros((len(cache), *cache[0][0].shape))
    dh_prev = cotangents["h_final"]
    for t in reversed(range(len(cache))):
        x, h_prev, r, z, h_hat = cache[t]
        dh_next = dh_prev + cotangents["h"][t]
        dh_hat = dh_next * z
        dh_prev = dh_next * (1 - z)
        dt = dh_hat * (1 - h_hat**2)
        d["W_c"] += dt.T @ (r * h_prev)
        dhr = dt @ W_c
        d["U_c"] += dt.T @ x
        d["b_c"] += dt.sum(axis=0)
        dx[t] = dt @ U_c
        dh_prev = dh_prev + r * dhr
        dz = dh_next * h_hat - dh_next * h_prev
        dt = dz * z * (1 - z)
        d["W_z"] += dt.T @ h_prev
        d["b_z"] += dt.sum(axis=0)
        dh_prev = dh_prev + dt @ W_z
        d["U_z"] += dt.T @ x
        dx[t] += dt @ U_z
        dr = dhr * h_prev
        dt = dr * r * (1 - r)
        d["W_r"] += dt.T @ h_prev
        d["b_r"] += dt.sum(axis=0)
        dh_prev = dh_prev + dt @ W_r
        d["U_r"] += dt.T @ x
        dx[t] += dt @ U_r
    return d | {"x": dx, "h0": dh_prev}


def torch_gru_forward(weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, **a):
    """PyTorch's arrays and order of gates: r, z, n as rows, reset after the product."""
    H, h, hs, cache = weight_hh_l0.shape[1], a["h_0"][0], [], []
    for x in a["input"]:
        gi, gh = x @ weight_ih_l0.T + bias_ih_l0, h @ weight_hh_l0.T + bias_hh_l0
        r, z = sigmoid(gi[:, :H] + gh[:, :H]), sigmoid(gi[:, H : 2 * H] + gh[:, H : 2 * H])
        q = gh[:, 2 * H :]
        n = np.tanh(gi[:, 2 * H :] + r * q)
        cache.append((x, h, r, z, n, q))
        h = (1 - z) * n + z * h
        hs.append(h)
    return {"output": np.stack(hs), "h_n": h[None]}, (cache, weight_ih_l0, weight_hh_l0)


def torch_gru_backward(cotangents, saved):
    cache, w_ih, w_hh = saved
    dw_ih, dw_hh = np.zeros_like(w_ih), np.zeros_like(w_hh)
    db_ih, db_hh = np.zeros(len(w_ih)), np.zeros(len(w_hh))
    dinput = np.zeros((len(cache), *cache[0][0].shape))
    dh = cotangents["h_n"][0]
    for t in reversed(range(len(cache))):
        x, h_prev, r, z, n, q = cache[t]
        dh = dh + cotangents["output"][t]
        dn = dh * (1 - z)
        dz = dh * (h_prev - n)
        da_n = dn * (1 - n * n)
        da_z = dz * z * (1 - z)
        da_r = da_n * q * r * (1 - r)
        dgi = np.concatenate([da_r, da_z, da_n], axis=1)
        dgh = np.concatenate([da_r, da_z, da_n * r], axis=1)
        dw_ih += dgi.T @ x
        dw_hh += dgh.T @ h_prev
        db_ih += dgi.sum(axis=0)
        db_hh += dgh.sum(axis=0)
        dinput[t] = dgi @ w_ih
        dh = dh * z + dgh @ w_hh
    d = {"weight_ih_l0": dw_ih, "weight_hh_l0": dw_hh, "bias_ih_l0": db_ih, "bias_hh_l0": db_hh}
    return d | {"input": dinput, "h_0": dh[None]}
