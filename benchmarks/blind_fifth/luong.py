"""An Elman decoder with multiplicative attention over an Elman encoder's states: time first."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, Network, cell, load
from gradcheck_rnn.language import softmax, tanh


@cell(
    inputs="y: d; H: n k",
    states="s: p",
    params="W: p p; U: p d; b: p; A: k p; C: q k; D: q p; b_o: q",
    outputs="o s",
)
def attending(y, H, s, W, U, b, A, C, D, b_o):
    s = tanh(W @ s + U @ y + b)
    e = H @ (A @ s)
    alpha = softmax(e)
    c = H.T @ alpha
    o = tanh(C @ c + D @ s + b_o)
    return {"s": s, "o": o}


def network():
    made = Network("luong")
    source = made.input("x", "e", axis="S")
    dims = {"p": "k", "d": "e"}
    encoder = made.scan(load("elman_hidden"), suffix="_src", axis="S", x=source, dims=dims)
    decoder = made.scan(attending, H=encoder.h.whole("H"))
    made.output(decoder.o, decoder.final("s"))
    return made


def forward(x, y, h0, s0, We, Ue, be, W, U, b, A, C, D, bo):
    states = [h0]
    for x_i in x:
        states.append(np.tanh(states[-1] @ We.T + x_i @ Ue.T + be))
    H = np.stack(states[1:])
    s, out, tape = s0, [], []
    for y_t in y:
        before, s = s, np.tanh(s @ W.T + y_t @ U.T + b)
        q = s @ A.T
        e = np.einsum("sbk,bk->sb", H, q)
        w = np.exp(e - e.max(axis=0))
        w = w / w.sum(axis=0)
        c = np.einsum("sb,sbk->bk", w, H)
        o = np.tanh(c @ C.T + s @ D.T + bo)
        out.append(o)
        tape.append((before, s, q, w, c, o))
    return {"o": np.stack(out), "s_T": s}, (x, y, h0, H, tape, We, Ue, W, U, A, C, D)


def backward(cot, saved):
    x, y, h0, H, tape, We, Ue, W, U, A, C, D = saved
    names = ("We", "Ue", "W", "U", "A", "C", "D")
    g = {k: np.zeros_like(v) for k, v in zip(names, saved[5:], strict=True)}
    g |= {"be": np.zeros(len(We)), "b": np.zeros(len(W)), "bo": np.zeros(len(C))}
    dH, dx, dy = np.zeros_like(H), np.zeros_like(x), np.zeros_like(y)
    ds_next = cot["s_T"]
    for t in reversed(range(len(tape))):
        before, s, q, w, c, o = tape[t]
        do = cot["o"][t] * (1 - o**2)
        g["C"] += do.T @ c
        g["D"] += do.T @ s
        g["bo"] += do.sum(axis=0)
        dc = do @ C
        dw = np.einsum("bk,sbk->sb", dc, H)
        de = w * (dw - (w * dw).sum(axis=0))
        dq = np.einsum("sb,sbk->bk", de, H)
        dH += w[:, :, None] * dc + de[:, :, None] * q
        g["A"] += dq.T @ s
        ds = do @ D + dq @ A + ds_next
        da = ds * (1 - s**2)
        g["W"] += da.T @ before
        g["U"] += da.T @ y[t]
        g["b"] += da.sum(axis=0)
        dy[t] = da @ U
        ds_next = da @ W
    dh_next = np.zeros_like(h0)
    for i in reversed(range(len(x))):
        dae = (dH[i] + dh_next) * (1 - H[i] ** 2)
        g["We"] += dae.T @ (H[i - 1] if i else h0)
        g["Ue"] += dae.T @ x[i]
        g["be"] += dae.sum(axis=0)
        dx[i] = dae @ Ue
        dh_next = dae @ We
    return g | {"x": dx, "y": dy, "h0": dh_next, "s0": ds_next}


MODEL = (
    network(),
    Layout(
        {"We": "W_src", "Ue": "U_src", "be": "b_i_src", "b": "b", "bo": "b_o"}
        | {k: k for k in "WUACD"},
        {"x": "x: S B n", "y": "y: T B n", "h0": "h_src0", "s0": "s0"},
        {"o": "o: T B n", "s_T": "s_final"},
    ),
)
