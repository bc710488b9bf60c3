"""sLSTM in heads, a group norm and a projection, as its code is written: gates side by side.

x is (B, T, d), states (4, B, H, p) in the order h, c, n, m; weights have a block a gate, in the
order i, f, z, o, and a head: W (4, H, p, d), R (4, H, p, p), b (4, H, p); gain (H, p); V (q, H·p).

    gradcheck-rnn verify examples/multihead_slstm.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load

EPS = 1e-5


def slstm_forward(x, start, W, R, b, gain, V):
    """y (B, T, q), the last states, and what backward needs."""
    raw_x = np.einsum("bte,ghpe->tgbhp", x, W) + b[:, None]
    h, c, n, m = start
    steps, hs = [], []
    for t in range(x.shape[1]):
        log_i, log_f, raw_z, raw_o = raw_x[t] + np.einsum("ghpq,bhq->gbhp", R, h)
        carried = log_f + m
        top = np.maximum(carried, log_i)
        i, f = np.exp(log_i - top), np.exp(carried - top)
        z, o = np.tanh(raw_z), 1 / (1 + np.exp(-raw_o))
        steps.append((h, c, n, i, f, z, o, carried > log_i))
        c, n, m = f * c + i * z, f * n + i, top
        h = o * c / n
        hs.append(h)
    H = np.stack(hs, 1)
    rstd = 1 / np.sqrt(H.var(-1, keepdims=True) + EPS)
    normed = (H - H.mean(-1, keepdims=True)) * rstd
    last = np.stack([h, c, n, m])
    flat = (gain * normed).reshape(*x.shape[:2], -1)
    cache = (x, W, R, gain, V, steps, normed, rstd, flat, last)
    return {"y": flat @ V.T, "last": last}, cache


def slstm_backward(cotangents, cache):
    """Gradients of all arguments; the cotangent of the last m follows the maxima back."""
    x, W, R, gain, V, steps, normed, rstd, flat, last = cache
    scaled = (cotangents["y"] @ V).reshape(normed.shape)
    d = scaled * gain
    dH = rstd * (d - d.mean(-1, keepdims=True) - normed * (d * normed).mean(-1, keepdims=True))
    dh, dc, dn, dm = cotangents["last"]
    _, c_new, n_new, _ = last
    draw = np.empty((x.shape[1], len(R), *dh.shape))
    dR = np.zeros_like(R)
    for t in reversed(range(x.shape[1])):
        h, c, n, i, f, z, o, kept = steps[t]
        dh = dh + dH[:, t]
        share = dh * o / n_new
        dc, dn = dc + share, dn - share * c_new / n_new
        da_i, da_f = (dc * z + dn) * i, (dc * c + dn * n) * f
        dm = dm - da_i - da_f
        draw[t] = (
            da_i + np.where(kept, 0, dm),
            da_f + np.where(kept, dm, 0),
            dc * i * (1 - z**2),
            dh * c_new / n_new * o * (1 - o),
        )
        dR += np.einsum("gbhp,bhq->ghpq", draw[t], h)
        dh = np.einsum("ghpq,gbhp->bhq", R, draw[t])
        dc, dn, dm = dc * f, dn * f, draw[t, 1]
        c_new, n_new = c, n
    return {
        "x": np.einsum("tgbhp,ghpe->bte", draw, W),
        "start": np.stack([dh, dc, dn, dm]),
        "W": np.einsum("tgbhp,bte->ghpe", draw, x),
        "R": dR,
        "b": draw.sum((0, 2)),
        "gain": (scaled * normed).sum((0, 1)),
        "V": np.einsum("btq,bte->qe", cotangents["y"], flat),
    }


GATES = ("i", "f", "z", "o")
LAYOUT = Layout(
    parameters={
        "W": f"{' '.join(f'W_{g}' for g in GATES)}: L H p d",
        "R": f"{' '.join(f'R_{g}' for g in GATES)}: L H n m",
        "b": f"{' '.join(f'b_{g}' for g in GATES)}: L H n",
        "gain": "gamma: H n",
        "V": "W_y: q H*p",
    },
    inputs={"x": "x: B T n", "start": "h0 c0 n0 m0: L B H n"},
    outputs={"y": "y: B T n", "last": "h_final c_final n_final m_final: L B H n"},
)


@gradient_case(model=load("multihead_slstm"), layout=LAYOUT)
def slstm_in_heads():
    """The layer beside its definition."""
    return slstm_forward, slstm_backward
