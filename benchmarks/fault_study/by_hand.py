"""Two more gradients written by hand, by the definitions' own names, to plant faults in.

Sequences are ``(T, B, n)``; a peephole LSTM (`lstm_peephole`) and a minimal gated unit (`mgu`).
"""

from __future__ import annotations

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def peephole_forward(x, h0, c0, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, p_i, p_f, p_o,
                     b_i, b_f, b_o, b_c):  # fmt: skip
    """Outputs h, h_final, c_final, and the cache."""
    h, c, hs, cache = h0, c0, [], []
    for xt in x:
        i = sigmoid(h @ W_i.T + xt @ U_i.T + p_i * c + b_i)
        f = sigmoid(h @ W_f.T + xt @ U_f.T + p_f * c + b_f)
        g = np.tanh(h @ W_c.T + xt @ U_c.T + b_c)
        new = f * c + i * g
        o = sigmoid(h @ W_o.T + xt @ U_o.T + p_o * new + b_o)
        cache.append((xt, h, c, i, f, g, new, o))
        h, c = o * np.tanh(new), new
        hs.append(h)
    weights = (W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, p_i, p_f, p_o)
    return {"h": np.stack(hs), "h_final": h, "c_final": c}, (cache, weights)


def peephole_backward(bars, saved):
    """Gradients of all arguments of `peephole_forward`."""
    cache, (W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, p_i, p_f, p_o) = saved
    g = {f"{a}_{k}": 0.0 for a in "WUb" for k in "ifoc"} | {"p_i": 0.0, "p_f": 0.0, "p_o": 0.0}
    dh, dc, dx = bars["h_final"], bars["c_final"], []
    for t in reversed(range(len(cache))):
        xt, h, c, i, f, c_new, new, o = cache[t]
        dh = dh + bars["h"][t]
        tc = np.tanh(new)
        ao = dh * tc * o * (1 - o)
        dc = dc + dh * o * (1 - tc**2) + ao * p_o
        ai = dc * c_new * i * (1 - i)
        af = dc * c * f * (1 - f)
        ac = dc * i * (1 - c_new**2)
        for a, k in ((ai, "i"), (af, "f"), (ao, "o"), (ac, "c")):
            g["W_" + k] = g["W_" + k] + a.T @ h
            g["U_" + k] = g["U_" + k] + a.T @ xt
            g["b_" + k] = g["b_" + k] + a.sum(0)
        g["p_i"] = g["p_i"] + (ai * c).sum(0)
        g["p_f"] = g["p_f"] + (af * c).sum(0)
        g["p_o"] = g["p_o"] + (ao * new).sum(0)
        dx.append(ai @ U_i + af @ U_f + ao @ U_o + ac @ U_c)
        dh = ai @ W_i + af @ W_f + ao @ W_o + ac @ W_c
        dc = dc * f + ai * p_i + af * p_f
    return {**g, "x": np.stack(dx[::-1]), "h0": dh, "c0": dc}


def mgu_forward(x, h0, W_f, W_c, U_f, U_c, b_f, b_c):
    """Outputs h, h_final, and the cache."""
    h, hs, cache = h0, [], []
    for xt in x:
        f = sigmoid(h @ W_f.T + xt @ U_f.T + b_f)
        s = np.tanh((f * h) @ W_c.T + xt @ U_c.T + b_c)
        cache.append((xt, h, f, s))
        h = (1 - f) * h + f * s
        hs.append(h)
    return {"h": np.stack(hs), "h_final": h}, (cache, W_f, W_c, U_f, U_c)


def mgu_backward(bars, saved):
    """Gradients of all arguments of `mgu_forward`."""
    cache, W_f, W_c, U_f, U_c = saved
    g = dict.fromkeys(("W_f", "W_c", "U_f", "U_c", "b_f", "b_c"), 0.0)
    dh, dx = bars["h_final"], []
    for t in reversed(range(len(cache))):
        xt, h, f, s = cache[t]
        dh = dh + bars["h"][t]
        ac = dh * f * (1 - s * s)
        reset = ac @ W_c
        af = (dh * (s - h) + reset * h) * f * (1 - f)
        g["W_c"] = g["W_c"] + ac.T @ (f * h)
        g["U_c"] = g["U_c"] + ac.T @ xt
        g["b_c"] = g["b_c"] + ac.sum(0)
        g["W_f"] = g["W_f"] + af.T @ h
        g["U_f"] = g["U_f"] + af.T @ xt
        g["b_f"] = g["b_f"] + af.sum(0)
        dx.append(ac @ U_c + af @ U_f)
        dh = dh * (1 - f) + reset * f + af @ W_f
    return {**g, "x": np.stack(dx[::-1]), "h0": dh}
