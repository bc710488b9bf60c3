"""Cells of the zoo in PyTorch, in other forms than their definitions: for all steps at once where
the recurrence is linear in the state, in complex numbers, as convolutions, with explicit matrices.

Each takes the arrays of the doors, ``(T, B, …)``, and gives all outputs by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

Tensors = dict[str, Any]


def affine(a: Tensors, x: Any, gate: str) -> Any:
    return F.linear(x, a["W_" + gate], a["b_" + gate])


def lower(steps: int) -> Any:
    return torch.tril(torch.ones(steps, steps, dtype=torch.bool))


def kept(log_a: Any) -> tuple[Any, Any]:
    """What step t still has of step s, (T, T, …), and of the start, (T, …), from log decays."""
    total = torch.cumsum(log_a, 0)
    shape = (len(log_a), len(log_a), *(1,) * (log_a.ndim - 1))
    gaps = (total[:, None] - total[None]).masked_fill(~lower(len(log_a)).reshape(shape), -torch.inf)
    return torch.exp(gaps), torch.exp(total)


def mixed(a: Any, written: Any, start: Any) -> Any:
    """h = a ⊙ h₋ + written for all steps at once; a > 0."""
    weights, of_start = kept(torch.log(a))
    return torch.einsum("ts...,s...->t...", weights, written) + of_start * start


def over(a: Tensors, step: Callable[..., Any], start: Any, *names: str) -> list[Any]:
    """States after each step; a step gets what it reads at t."""
    made = [start]
    for given in zip(*(a[n] for n in names), strict=True):
        made.append(step(made[-1], *given))
    return made[1:]


# -- gates of the input: weighted sums over all earlier steps ----------------------------------


def indrnn(a: Tensors) -> Tensors:
    step = lambda h, x: F.linear(torch.cat([h, x], 1), weights, a["b_i"]).clamp(min=0)  # noqa: E731
    weights = torch.cat([torch.diag(a["w"]), a["U"]], 1)
    h = over(a, step, a["h0"], "x")
    return {"h": torch.stack(h), "h_final": h[-1]}


def qrnn(a: Tensors) -> Tensors:
    """Gates by a convolution over time."""
    x = torch.cat([a["x_last0"][None], a["x"]]).permute(1, 2, 0)
    taps = {g: torch.stack([a["V_" + g], a["W_" + g]], -1) for g in "zfo"}
    z, f, o = (F.conv1d(x, taps[g]).permute(2, 0, 1) for g in "zfo")
    c = mixed(torch.sigmoid(f), torch.sigmoid(-f) * torch.tanh(z), a["c0"])
    return {"h": torch.sigmoid(o) * c, "c_final": c[-1], "x_last_final": a["x"][-1]}


def sru(a: Tensors) -> Tensors:
    """All three products in one, before the loop."""
    bias = torch.cat([0 * a["b_f"], a["b_f"], a["b_r"]])
    packed = F.linear(a["x"], torch.cat([a["W"], a["W_f"], a["W_r"]]), bias)
    c, h = a["c0"], []
    for x, (u, f, r) in zip(a["x"], (p.chunk(3, -1) for p in packed), strict=True):
        forget, read = torch.sigmoid(f + a["v_f"] * c), torch.sigmoid(r + a["v_r"] * c)
        c = torch.lerp(u, c, forget)
        h.append(torch.lerp(x, c, read))
    return {"h": torch.stack(h), "c_final": c}


def min_gru(a: Tensors) -> Tensors:
    k = affine(a, a["x"], "z")
    h = mixed(torch.sigmoid(-k), torch.sigmoid(k) * affine(a, a["x"], "h"), a["h0"])
    return {"h": h, "h_final": h[-1]}


def min_lstm(a: Tensors) -> Tensors:
    """f / (f + i) as a sigmoid of a difference of logarithms."""
    f, i, fresh = (affine(a, a["x"], g) for g in "fih")
    gap = F.logsigmoid(f) - F.logsigmoid(i)
    h = mixed(torch.sigmoid(gap), torch.sigmoid(-gap) * fresh, a["h0"])
    return {"h": h, "h_final": h[-1]}


def rg_lru(a: Tensors) -> Tensors:
    r, i = torch.sigmoid(affine(a, a["x"], "a")), torch.sigmoid(affine(a, a["x"], "x"))
    decay = torch.sigmoid(a["lam"]) ** (8 * r)
    h = mixed(decay, torch.sqrt(1 - decay.square()) * i * a["x"], a["h0"])
    return {"h": h, "h_final": h[-1]}


# -- state spaces: complex, as a convolution with a kernel of powers ---------------------------


def diagonal(eigenvalue: Any, written: Any, start: Any) -> Any:
    """Complex states of all steps: a convolution with the powers of the eigenvalues."""
    steps = torch.arange(len(written))
    powers = eigenvalue ** (steps[:, None] + 1)
    gaps = (steps[:, None] - steps[None]).clamp(min=0)
    kernel = torch.where(lower(len(steps))[..., None], eigenvalue ** gaps[..., None], 0)
    return torch.einsum("tsn,sbn->tbn", kernel, written) + powers[:, None] * start


def lru(a: Tensors) -> Tensors:
    B, C = torch.complex(a["B_re"], a["B_im"]), torch.complex(a["C_re"], a["C_im"])
    eigenvalue = torch.exp(torch.complex(-torch.exp(a["nu"]), torch.exp(a["theta"])))
    written = torch.exp(a["log_gamma"]) * (a["u"].to(B.dtype) @ B.mT)
    x = diagonal(eigenvalue, written, torch.complex(a["x_re0"], a["x_im0"]))
    y = (x @ C.mT).real + a["u"] @ a["D"].mT
    return {"y": y, "x_re_final": x[-1].real, "x_im_final": x[-1].imag}


def s4d(a: Tensors) -> Tensors:
    A, C = torch.complex(-torch.exp(a["log_a"]), a["a_im"]), torch.complex(a["C_re"], a["C_im"])
    eigenvalue = torch.exp(torch.exp(a["log_dt"]) * A)
    written = a["u"][..., None] * ((eigenvalue - 1) / A)
    x = diagonal(eigenvalue, written, torch.complex(a["x_re0"], a["x_im0"]))
    y = 2 * (x @ C).real + a["D"] * a["u"]
    return {"y": y, "x_re_final": x[-1].real, "x_im_final": x[-1].imag}


def selective_scan(a: Tensors) -> Tensors:
    log_a = a["delta"][..., None] * a["A"]
    S = mixed(torch.exp(log_a), (a["delta"] * a["u"])[..., None] * a["B"][:, :, None], a["S0"])
    y = torch.einsum("tbnm,tbm->tbn", S, a["C"]) + a["D"] * a["u"]
    return {"y": y, "S_final": S[-1]}


def mamba2(a: Tensors) -> Tensors:
    """The dual form: a masked matrix over pairs of steps."""
    delta = F.softplus(a["dt"] + a["dt_bias"])
    weights, of_start = kept(-torch.exp(a["A_log"]) * delta)
    pairs = weights * torch.einsum("tbn,sbn->tsb", a["C"], a["B"])
    y = torch.einsum("tsb,sb,sbm->tbm", pairs, delta, a["x"]) + a["D"] * a["x"]
    y = y + torch.einsum("tb,bmn,tbn->tbm", of_start, a["S0"], a["C"])
    S = torch.einsum("sb,sb,sbm,sbn->bmn", weights[-1], delta, a["x"], a["B"])
    return {"y": y, "S_final": S + of_start[-1][:, None, None] * a["S0"]}


# -- linear attention: masked products over pairs of steps -------------------------------------


def linear_attention(a: Tensors) -> Tensors:
    q, k, v = a["q"], a["k"], a["v"]
    weights = torch.einsum("tbn,sbn->bts", q, k) * lower(len(q))
    total = a["z0"] + torch.cumsum(k, 0)
    o = torch.einsum("bts,sbm->tbm", weights, v) + torch.einsum("tbn,bnm->tbm", q, a["S0"])
    S = a["S0"] + torch.einsum("tbn,tbm->bnm", k, v)
    return {"o": o / (total * q).sum(-1, keepdim=True), "S_final": S, "z_final": total[-1]}


def attended(q: Any, k: Any, v: Any, log_a: Any, start: Any) -> Tensors:
    """o and the last S of S = diag(a) S₋ + k vᵀ, o = Sᵀ q; log decays (T, B, n)."""
    weights, of_start = kept(log_a.expand_as(k))
    o = torch.einsum("tbn,tsbn,sbn,sbm->tbm", q, weights, k, v)
    o = o + torch.einsum("tbn,tbn,bnm->tbm", q, of_start, start)
    S = torch.einsum("sbn,sbn,sbm->bnm", weights[-1], k, v) + of_start[-1][..., None] * start
    return {"o": o, "S_final": S}


def retention(a: Tensors) -> Tensors:
    return attended(a["q"], a["k"], a["v"], torch.log(a["gamma"]), a["S0"])


def gated_linear_attention(a: Tensors) -> Tensors:
    """Gates may be negative: with a matrix a step."""
    S, out = a["S0"], []
    for q, k, v, alpha in zip(a["q"], a["k"], a["v"], a["alpha"], strict=True):
        S = torch.diag_embed(alpha) @ S + k[:, :, None] * v[:, None]
        out.append((q[:, None] @ S)[:, 0])
    return {"o": torch.stack(out), "S_final": S}


def hgrn2(a: Tensors) -> Tensors:
    return attended(a["q"], 1 - a["f"], a["v"], torch.log(a["f"]), a["S0"])


def rwkv6(a: Tensors) -> Tensors:
    """Attention to what was there a step before, and to the own step."""
    r, k, v = a["r"], a["k"], a["v"]
    weights, of_start = kept(-torch.exp(a["d"]))
    before = torch.cat([0 * weights[:1], weights[:-1]])
    start = torch.cat([torch.ones_like(of_start[:1]), of_start[:-1]])
    o = torch.einsum("tbn,tsbn,sbn,sbm->tbm", r, before, k, v)
    o = o + torch.einsum("tbn,tbn,bnm->tbm", r, start, a["S0"])
    o = o + torch.einsum("tbn,n,tbn->tb", r, a["u"], k)[..., None] * v
    S = torch.einsum("sbn,sbn,sbm->bnm", weights[-1], k, v) + of_start[-1][..., None] * a["S0"]
    return {"o": o, "S_final": S}


def mlstm(a: Tensors) -> Tensors:
    """Sums that are not kept as multiples of e^s: numerator and denominator grow together."""
    log_f = F.logsigmoid(a["f"])
    weights, of_start = kept(log_f)
    of_start = of_start * torch.exp(a["s0"])
    weights = weights * torch.exp(a["i"])
    z = torch.einsum("tsb,sbn->tbn", weights, a["k"]) + of_start[..., None] * a["z0"]
    pairs = weights * torch.einsum("tbn,sbn->tsb", a["q"], a["k"])
    above = torch.einsum("tsb,sbm->tbm", pairs, a["v"])
    above = above + torch.einsum("tb,bmn,tbn->tbm", of_start, a["C0"], a["q"])
    below = (z * a["q"]).sum(-1, keepdim=True).abs().clamp(min=1)
    total = torch.cumsum(log_f, 0)
    top = torch.maximum(torch.cummax(a["i"] - total, 0).values, a["s0"]) + total
    C = torch.einsum("sb,sbm,sbn->bmn", weights[-1], a["v"], a["k"])
    C = C + of_start[-1][:, None, None] * a["C0"]
    scale = torch.exp(-top[-1])
    return {
        "h": above / below, "C_final": C * scale[:, None, None],
        "z_final": z[-1] * scale[:, None], "s_final": top[-1],
    }  # fmt: skip


def rwkv4(a: Tensors) -> Tensors:
    """Attention without a product of keys: weights e^(k − w (t − 1 − s)), or e^(u + k)."""
    steps = torch.arange(len(a["k"]))
    gaps = (steps[:, None] - 1 - steps[None]).clamp(min=0)[..., None, None]
    before = torch.tril(torch.ones(len(steps), len(steps)), -1)[..., None, None]
    weights = before * torch.exp(a["k"][None] - gaps * a["w"])
    weights = weights + torch.diag_embed((a["u"] + a["k"]).exp().movedim(0, -1)).movedim(
        (-2, -1), (0, 1)
    )
    start = torch.exp(a["m0"] - steps[:, None, None] * a["w"])
    above = torch.einsum("tsbp,sbp->tbp", weights, a["v"]) + start * a["a0"]
    below = weights.sum(1) + start * a["b0"]
    decays = torch.exp(-(steps[-1] - steps)[:, None, None] * a["w"] + a["k"])
    last = torch.exp(a["m0"] - len(steps) * a["w"])
    m = a["m0"]
    for k in a["k"]:
        m = torch.maximum(m - a["w"], k)
    return {
        "o": torch.sigmoid(a["r"]) * above / below,
        "a_final": ((decays * a["v"]).sum(0) + last * a["a0"]) * torch.exp(-m),
        "b_final": (decays.sum(0) + last * a["b0"]) * torch.exp(-m),
        "m_final": m,
    }


# -- delta rules -------------------------------------------------------------------------------


def transformed(a: Tensors, k: Any, q: Any, alpha: Any, beta: Any) -> Tensors:
    """What is written at all steps solves one triangular system (the WY form); alpha > 0."""
    weights, of_start = kept(torch.log(alpha))
    eye = torch.eye(len(k), dtype=k.dtype)
    inner = torch.einsum("tsb,tbn,sbn->bts", weights, k, k) * lower(len(k)) * (1 - eye)
    system = eye + beta.T[:, :, None] * inner
    read = torch.einsum("tb,bmn,tbn->tbm", of_start, a["S0"], k)
    right = (beta[..., None] * (a["v"] - read)).transpose(0, 1)
    written = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    o = torch.einsum("tsb,tbn,sbn,bsm->tbm", weights, q, k, written)
    o = o + torch.einsum("tb,bmn,tbn->tbm", of_start, a["S0"], q)
    S = torch.einsum("sb,bsm,sbn->bmn", weights[-1], written, k)
    return {"o": o, "S_final": S + of_start[-1][:, None, None] * a["S0"]}


def delta_net(a: Tensors) -> Tensors:
    """α may be negative: step by step, as a correction of what the key reads."""
    S, out = a["S0"], []
    for q, k, v, alpha, beta in zip(*(a[n] for n in ("q", "k", "v", "alpha", "beta")), strict=True):
        S = alpha[:, None, None] * S
        read = (S @ k[:, :, None])[:, :, 0]
        S = S + beta[:, None, None] * (v - read)[:, :, None] * k[:, None]
        out.append((S @ q[:, :, None])[:, :, 0])
    return {"o": torch.stack(out), "S_final": S}


def gated_delta_net(a: Tensors) -> Tensors:
    k, q = (a[n] * torch.rsqrt(a[n].square().sum(-1, keepdim=True) + 1e-6) for n in "kq")
    alpha = torch.exp(-torch.exp(a["A_log"]) * F.softplus(a["a"] + a["dt_bias"]))
    return transformed(a, k, q, alpha, torch.sigmoid(a["b"]))


def rwkv7(a: Tensors) -> Tensors:
    """With a transition matrix a step."""
    unit = F.normalize(a["kappa"], dim=-1)
    change = torch.diag_embed(torch.exp(-torch.exp(a["d"])))
    change = change - unit[..., :, None] * (a["a"] * unit)[..., None, :]
    S, out = a["S0"], []
    for r, G, v, k in zip(a["r"], change, a["v"], a["k"], strict=True):
        S = torch.baddbmm(v[:, :, None] * k[:, None], S, G)
        out.append(torch.einsum("bmn,bn->bm", S, r))
    return {"o": torch.stack(out), "S_final": S}


def titans(a: Tensors) -> Tensors:
    """The gradient of |M k − v|² by autograd."""
    M, S, out = a["M0"], a["S0"], []
    names = ("q", "k", "v", "alpha", "eta", "theta")
    for q, k, v, alpha, eta, theta in zip(*(a[n] for n in names), strict=True):
        loss = (torch.einsum("bmn,bn->bm", M, k) - v).square().sum()
        (slope,) = torch.autograd.grad(loss, M, create_graph=True)
        S = eta[:, None, None] * S - theta[:, None, None] * slope
        M = M - alpha[:, None, None] * M + S
        out.append(torch.einsum("bmn,bn->bm", M, q))
    return {"y": torch.stack(out), "M_final": M, "S_final": S}


def ntm_head(a: Tensors) -> Tensors:
    """The shift as a circulant matrix."""
    M, w, out = a["M0"], a["w0"], []
    n = w.shape[1]
    turns = torch.stack([torch.roll(torch.eye(n, dtype=w.dtype), j - 1, 0) for j in range(3)])
    names = ("k", "e", "a", "beta", "g", "gamma", "s")
    for k, e, add, beta, g, gamma, s in zip(*(a[n] for n in names), strict=True):
        size = torch.sqrt((M.square().sum(-1) + 1e-6) * (k.square().sum(-1, keepdim=True) + 1e-6))
        content = torch.softmax(beta[:, None] * torch.einsum("bnm,bm->bn", M, k) / size, -1)
        w = torch.lerp(w, content, g[:, None])
        w = torch.einsum("bj,jik,bk->bi", s, turns, w) ** gamma[:, None]
        w = w / w.sum(-1, keepdim=True)
        out.append(torch.einsum("bn,bnm->bm", w, M))
        M = M - torch.einsum("bn,bnm,bm->bnm", w, M, e) + w[:, :, None] * add[:, None]
    return {"r": torch.stack(out), "M_final": M, "w_final": w}


# -- sequences and trees that are read -----------------------------------------------------------


def attention_decoder(a: Tensors) -> Tensors:
    """All states of the encoder stacked at once; gates as one product; masked scores."""
    step = lambda h, x: torch.tanh(F.linear(torch.cat([h, x], 1), weights, a["b_i_src"]))  # noqa: E731
    weights = torch.cat([a["W_src"], a["U_src"]], 1)
    H = torch.stack(over(a, step, a["h_src0"], "x"), 1)
    keys, absent = F.linear(H, a["U_a"]), a["there"].T == 0
    of_y, of_c, of_s = (torch.cat([a[f"{w}_z"], a[f"{w}_r"]]) for w in "WCU")
    s, made, read = a["s0"], [], []
    for y in a["y"]:
        scores = torch.tanh(keys + F.linear(s, a["W_a"])[:, None]) @ a["v"]
        c = torch.einsum("bn,bnk->bk", torch.softmax(scores.masked_fill(absent, -1e9), -1), H)
        z, r = torch.sigmoid(F.linear(y, of_y) + F.linear(c, of_c) + F.linear(s, of_s)).chunk(2, 1)
        fresh = F.linear(y, a["W"]) + F.linear(c, a["C"]) + F.linear(r * s, a["U"])
        s = torch.lerp(s, torch.tanh(fresh), z)
        made.append(s)
        read.append(c)
    return {"s": torch.stack(made), "c": torch.stack(read), "s_final": s}


def causal_attention(a: Tensors) -> Tensors:
    """Scores of all pairs of steps, put to the rows where the keys are; no cache is made."""
    past = lower(len(a["q"]))
    pairs = torch.einsum("tbm,sbm->tsb", a["q"], a["k"]) * past[..., None]
    scores = torch.einsum("tsb,sbn->tbn", pairs, a["place"])
    scores = scores + torch.einsum("tbm,bnm->tbn", a["q"], a["K0"])
    alpha = torch.softmax(scores.masked_fill(a["past"] == 0, -1e9), -1)
    weights = torch.einsum("tbn,sbn->tsb", alpha, a["place"]) * past[..., None]
    o = torch.einsum("tsb,sbp->tbp", weights, a["v"]) + torch.einsum("tbn,bnp->tbp", alpha, a["V0"])
    final = {
        f"{n}_final": a[f"{n}0"] + torch.einsum("tbn,tbi->bni", a["place"], a[given])
        for n, given in (("K", "k"), ("V", "v"))
    }
    return {"o": o, **final}


def tree_lstm(a: Tensors) -> Tensors:
    """A node after the other, each with a loop over its children; i, o and u as one product."""
    H, C = list(a["H0"].unbind(1)), list(a["C0"].unbind(1))
    packed = {w: torch.cat([a[f"{w}_{g}"] for g in "iou"]) for w in "WUb"}
    hs, cs = [], []
    for x, place, children in zip(a["x"], a["place"], a["children"], strict=True):
        below = sum(on[:, None] * h for on, h in zip(children.unbind(1), H, strict=True))
        gates = F.linear(x, packed["W"], packed["b"]) + F.linear(below, packed["U"])
        i, o, u = gates.chunk(3, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
        for on, h, cell in zip(children.unbind(1), H, C, strict=True):
            f = torch.sigmoid(affine(a, x, "f") + F.linear(h, a["U_f"]))
            c = torch.where(on[:, None] > 0, c + f * cell, c)
        h = torch.sigmoid(o) * torch.tanh(c)
        at = place.unbind(1)
        H = [row + on[:, None] * h for on, row in zip(at, H, strict=True)]
        C = [row + on[:, None] * c for on, row in zip(at, C, strict=True)]
        hs.append(h)
        cs.append(c)
    last = {"H_final": torch.stack(H, 1), "C_final": torch.stack(C, 1)}
    return {"h": torch.stack(hs), "c": torch.stack(cs), **last}


# -- orthogonal, continuous-time, multi-rate, convolutional ------------------------------------


def clockwork(a: Tensors) -> Tensors:
    def step(h: Any, x: Any, on: Any) -> Any:
        weights = torch.cat([a["M"] * a["W"], a["U"]], 1)
        return torch.where(on > 0, torch.tanh(F.linear(torch.cat([h, x], 1), weights, a["b_i"])), h)

    h = over(a, step, a["h0"], "x", "on")
    return {"h": torch.stack(h), "h_final": h[-1]}


def phased_lstm(a: Tensors) -> Tensors:
    """The phase by the remainder, gates packed."""
    W, U = (torch.cat([a[f"{w}_{g}"] for g in "ifoc"]) for w in "WU")
    bias = torch.cat([a["b_" + g] for g in "ifoc"])
    phase = torch.remainder(a["time"][..., None] - a["s"], a["tau"]) / a["tau"]
    tent = 1 - (2 * phase / a["r_on"] - 1).abs()
    gates = torch.where(phase < a["r_on"], tent, a["alpha"] * phase)
    h, c, out = a["h0"], a["c0"], []
    for x, k in zip(a["x"], gates, strict=True):
        i, f, o, g = (F.linear(x, U, bias) + F.linear(h, W)).chunk(4, -1)
        fresh = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), torch.tanh(g))
        h = torch.lerp(h, torch.sigmoid(o) * torch.tanh(fresh), k)
        c = torch.lerp(c, fresh, k)
        out.append(h)
    return {"h": torch.stack(out), "h_final": h, "c_final": c}


def recurrent_highway(a: Tensors) -> Tensors:
    R = [torch.cat([a[f"R_c{k}"], a[f"R_z{k}"]]) for k in (1, 2)]
    b = [torch.cat([a[f"b_c{k}"], a[f"b_z{k}"]]) for k in (1, 2)]
    U = torch.cat([a["U_c"], a["U_z"]])

    def step(h: Any, x: Any) -> Any:
        for k in (0, 1):
            c, z = (F.linear(h, R[k], b[k]) + (F.linear(x, U) if k == 0 else 0)).chunk(2, -1)
            h = torch.lerp(h, torch.tanh(c), torch.sigmoid(z))
        return h

    h = over(a, step, a["h0"], "x")
    return {"h": torch.stack(h), "h_final": h[-1]}


def householder(a: Tensors) -> Tensors:
    """The orthogonal matrix itself, as a product of reflections."""
    eye = torch.eye(len(a["u_1"]), dtype=a["U"].dtype)
    W = torch.linalg.multi_dot(
        [eye - 2 * torch.outer(F.normalize(u, dim=0), F.normalize(u, dim=0))
         for u in (a["u_1"], a["u_2"])]
    )  # fmt: skip
    step = lambda h, x: torch.tanh(F.linear(h, W) + F.linear(x, a["U"], a["b_i"]))  # noqa: E731
    h = over(a, step, a["h0"], "x")
    return {"h": torch.stack(h), "h_final": h[-1]}


def antisymmetric(a: Tensors) -> Tensors:
    """Only the strict lower triangle of W − Wᵀ is kept, and mirrored."""
    low = torch.tril(a["W"] - a["W"].mT, -1)
    W = low - low.mT - torch.diag_embed(a["gamma"].expand(len(low)))
    W = torch.cat([W, a["U"]], 1)

    def step(h: Any, x: Any) -> Any:
        return h + a["epsilon"] * torch.tanh(F.linear(torch.cat([h, x], 1), W, a["b_i"]))

    h = over(a, step, a["h0"], "x")
    return {"h": torch.stack(h), "h_final": h[-1]}


def cornn(a: Tensors) -> Tensors:
    """y by second differences: y₊ − 2 y + y₋ = Δt² y″."""
    dt, y, z = a["dt"], a["y0"], a["z0"]
    before, ys, zs = y - dt * z, [], []
    for u in a["u"]:
        z = (y - before) / dt
        both = F.linear(torch.cat([y, z, u], 1), torch.cat([a["W"], a["W_z"], a["V"]], 1), a["b"])
        force = torch.tanh(both) - a["gamma"] * y - a["epsilon"] * z
        before, y = y, 2 * y - before + dt.square() * force
        ys.append(y)
        zs.append((y - before) / dt)
    return {"y": torch.stack(ys), "z": torch.stack(zs), "y_final": ys[-1], "z_final": zs[-1]}


def ltc(a: Tensors) -> Tensors:
    """A substep as a mean of h and A with weights."""

    def step(h: Any, x: Any) -> Any:
        for _ in range(2):
            f = torch.sigmoid(F.linear(h, a["W"]) + F.linear(x, a["U"], a["b"]))
            stiff = a["tau"] / (a["tau"] + a["dt"] + a["dt"] * a["tau"] * f)
            h = stiff * (h + a["dt"] * f * a["A"])
        return h

    h = over(a, step, a["h0"], "x")
    return {"h": torch.stack(h), "h_final": h[-1]}


def cfc(a: Tensors) -> Tensors:
    heads = torch.cat([a["W_" + g] for g in "fgk"])
    biases = torch.cat([a["b_" + g] for g in "fgk"])

    def step(h: Any, x: Any, elapsed: Any) -> Any:
        inner = torch.tanh(F.linear(torch.cat([h, x], 1), torch.cat([a["W"], a["U"]], 1), a["b"]))
        f, g, k = F.linear(inner, heads, biases).chunk(3, -1)
        return torch.lerp(torch.tanh(g), torch.tanh(k), torch.sigmoid(f * elapsed[:, None]))

    h = over(a, step, a["h0"], "x", "elapsed")
    return {"h": torch.stack(h), "h_final": h[-1]}


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Any) -> Any:
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (u,) = ctx.saved_tensors
        return g / (1 + 10 * u.abs()).square()


def lif(a: Tensors) -> Tensors:
    """The surrogate slope in a function of its own."""
    v, s, out = a["v0"], a["s0"], []
    for x in a["x"]:
        v = a["beta"] * v + F.linear(s, a["W"], a["b"]) + F.linear(x, a["U"]) - s
        s = _Spike.apply(v - 1)
        out.append(s)
    return {"s": torch.stack(out), "v_final": v, "s_final": s}


def conv_lstm(a: Tensors) -> Tensors:
    """One convolution of all channels; needs L to be the shift."""
    taps = [
        torch.cat([torch.stack([a[f"{w}_{g}{j}"] for j in (1, 2, 3)], -1) for g in "ifoc"])
        for w in "UW"
    ]
    weights, bias = torch.cat(taps, 1), torch.cat([a["b_" + g] for g in "ifoc"])
    H, C, out = a["H0"], a["C0"], []
    for X in a["X"]:
        i, f, o, g = F.conv1d(torch.cat([X, H], 1), weights, bias, padding=1).chunk(4, 1)
        C = torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(g)
        H = torch.sigmoid(o) * torch.tanh(C)
        out.append(H)
    H = torch.stack(out)
    return {"H": H, "y": H.sum(-1), "H_final": H[-1], "C_final": C}


FORMS: dict[str, Callable[[Tensors], Tensors]] = {
    form.__name__: form
    for form in (
        indrnn, qrnn, sru, min_gru, min_lstm, rg_lru, lru, s4d, selective_scan, mamba2,
        linear_attention, retention, gated_linear_attention, hgrn2, rwkv6, mlstm, rwkv4, delta_net,
        gated_delta_net, rwkv7, titans, ntm_head, clockwork, phased_lstm, recurrent_highway,
        householder, antisymmetric, cornn, ltc, cfc, lif, conv_lstm,
        attention_decoder, causal_attention, tree_lstm,
    )
}  # fmt: skip
