"""A leaky network read both ways, its states pooled by additive attention: batch first."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, Network, cell
from gradcheck_rnn.language import dot, softmax, tanh
from gradcheck_rnn.language import sigmoid as gate


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b tau: p")
def leaky(x, h, W, U, b, tau):
    lam = gate(tau)
    return lam * h + (1 - lam) * tanh(W @ h + U @ x + b)


@cell(inputs="f g: p", params="A_f A_g: r p; a v: r", outputs="e")
def scored(f, g, A_f, A_g, a, v):
    return {"e": dot(v, tanh(A_f @ f + A_g @ g + a))}


@cell(inputs="e: k; F G: k p", params="V_f V_g: q p; c: q", outputs="y")
def pooled(e, F, G, V_f, V_g, c):
    alpha = softmax(e)
    return {"y": V_f @ (F.T @ alpha) + V_g @ (G.T @ alpha) + c}


def network():
    made = Network("bipool")
    x = made.input("x", "d")
    there = made.scan(leaky, suffix="_f", x=x)
    back = made.scan(leaky, suffix="_g", x=x, reverse=True)
    e = made.scan(scored, f=there.h, g=back.h).e
    whole = {"e": e.whole("e"), "F": there.h.whole("F"), "G": back.h.whole("G")}
    y = made.scan(pooled, axis=None, **whole).y
    made.output(y, there.final("h"), back.final("h"))
    return made


def way(x, h, W, U, b, tau, order):
    lam, H, tape = sigmoid(tau), np.zeros((*x.shape[:2], len(tau))), []
    for t in order:
        n = np.tanh(h @ W.T + x[:, t] @ U.T + b)
        tape.append((t, h, n))
        h = H[:, t] = lam * h + (1 - lam) * n
    return H, h, tape


def forward(x, f0, g0, Wf, Uf, bf, tf, Wg, Ug, bg, tg, Af, Ag, a, v, Vf, Vg, c):
    steps = range(x.shape[1])
    F, f_last, there = way(x, f0, Wf, Uf, bf, tf, steps)
    G, g_last, back = way(x, g0, Wg, Ug, bg, tg, reversed(steps))
    th = np.tanh(F @ Af.T + G @ Ag.T + a)
    e = th @ v
    alpha = np.exp(e - e.max(axis=1, keepdims=True))
    alpha = alpha / alpha.sum(axis=1, keepdims=True)
    mf, mg = np.einsum("bt,btp->bp", alpha, F), np.einsum("bt,btp->bp", alpha, G)
    y = mf @ Vf.T + mg @ Vg.T + c
    saved = (x, there, back, F, G, th, alpha, mf, mg, Wf, Uf, tf, Wg, Ug, tg, Af, Ag, v, Vf, Vg)
    return {"y": y, "f_T": f_last, "g_T": g_last}, saved


def way_back(dH, dh, x, tape, W, U, tau):
    lam, dx = sigmoid(tau), np.zeros_like(x)
    dW, dU, db, dlam = np.zeros_like(W), np.zeros_like(U), np.zeros_like(tau), np.zeros_like(tau)
    for t, h, n in reversed(tape):
        dh = dh + dH[:, t]
        da = dh * (1 - lam) * (1 - n**2)
        dlam += (dh * (h - n)).sum(axis=0)
        dW += da.T @ h
        dU += da.T @ x[:, t]
        db += da.sum(axis=0)
        dx[:, t] = da @ U
        dh = dh * lam + da @ W
    return dx, dh, dW, dU, db, dlam * lam * (1 - lam)


def backward(cot, saved):
    x, there, back, F, G, th, alpha, mf, mg, Wf, Uf, tf, Wg, Ug, tg, Af, Ag, v, Vf, Vg = saved
    dy = cot["y"]
    dVf, dVg, dc = dy.T @ mf, dy.T @ mg, dy.sum(axis=0)
    dmf, dmg = dy @ Vf, dy @ Vg
    dalpha = np.einsum("bp,btp->bt", dmf, F) + np.einsum("bp,btp->bt", dmg, G)
    de = alpha * (dalpha - (alpha * dalpha).sum(axis=1, keepdims=True))
    dv = np.einsum("bt,btr->r", de, th)
    dth = de[:, :, None] * v * (1 - th**2)
    dAf, dAg = np.einsum("btr,btp->rp", dth, F), np.einsum("btr,btp->rp", dth, G)
    da = dth.sum(axis=(0, 1))
    dF = alpha[:, :, None] * dmf[:, None] + dth @ Af
    dG = alpha[:, :, None] * dmg[:, None] + dth @ Ag
    dxf, df0, dWf, dUf, dbf, dtf = way_back(dF, cot["f_T"], x, there, Wf, Uf, tf)
    dxg, dg0, dWg, dUg, dbg, dtg = way_back(dG, cot["g_T"], x, back, Wg, Ug, tg)
    dx = dxf + dxg
    grads = {"x": dx, "f0": df0, "g0": dg0, "Wf": dWf, "Uf": dUf, "bf": dbf, "tf": dtf}
    grads |= {"Wg": dWg, "Ug": dUg, "bg": dbg, "tg": dtg, "Af": dAf, "Ag": dAg}
    return grads | {"a": da, "v": dv, "Vf": dVf, "Vg": dVg, "c": dc}


MODEL = (
    network(),
    Layout(
        {
            k + g: f"{name}_{g}"
            for k, name in zip("WUbt", ("W", "U", "b", "tau"), strict=True)
            for g in "fg"
        }
        | {f"{k}{g}": f"{k}_{g}" for k in "AV" for g in "fg"}
        | {"a": "a", "v": "v", "c": "c"},
        {"x": "x: B T n", "f0": "h_f0: B n", "g0": "h_g0: B n"},
        {"y": "y: B n", "f_T": "h_f_final: B n", "g_T": "h_g_final: B n"},
    ),
)
