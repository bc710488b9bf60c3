"""Attacks on the verdicts: right code and changes of its text, from outside of the checker.

    python -m benchmarks.attacks [-v] [--seeds 5] [PART OF A NAME ...]

Each family is a program that defines `case(seed)` and returns a report; a variant exchanges pieces
of its text and says which verdict is right. Names in brackets are public issues of that kind.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from importlib.util import find_spec
from typing import Any

from .outer_attacks import NEEDS, OUTER

__all__ = ["FAMILIES", "verdict"]

Edits = list[tuple[str, str]]
Variants = dict[str, tuple[str, Edits]]

PRELUDE = """
import numpy as np
from gradcheck_rnn import Layout, check_gradient, check_model, check_torch, check_vjp, load
sigmoid = lambda a: 1 / (1 + np.exp(-a))
"""

NORM = """
def norm(a, g, b):
    centred = a - a.mean(-1, keepdims=True)
    r = 1 / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-5)
    return centred * r * g + b, (centred * r, r, g)
def norm_backward(d, saved):
    xh, r, g = saved
    dx = d * g
    mean = dx.mean(-1, keepdims=True)
    return r * (dx - mean - xh * (dx * xh).mean(-1, keepdims=True)), (d * xh).sum(0), d.sum(0)
def forward(x, W, U, g, b):
    h, saved, hs = np.zeros((x.shape[1], len(U)), W.dtype), [], []
    for x_t in x:
        a, s = norm(x_t @ W + h @ U, g, b)
        n = np.tanh(a)
        saved.append((x_t, h, n, s))
        h = n
        hs.append(h)
    return np.stack(hs), (saved, W, U)
def backward(D, cache):
    saved, W, U = cache
    dW, dU, dg, db, dh, dx = 0 * W, 0 * U, 0, 0, 0, []
    for d, (x_t, h, n, s) in zip(D[::-1], saved[::-1]):
        da, g_t, b_t = norm_backward((d + dh) * (1 - n ** 2), s)
        dg, db, dW, dU = dg + g_t, db + b_t, dW + x_t.T @ da, dU + h.T @ da
        dx.append(da @ W.T)
        dh = da @ U.T
    return np.stack(dx[::-1]), dW, dU, dg, db
def case(seed):
    r = np.random.default_rng(seed)
    shapes = (5, 2, 3), (3, 4), (4, 4), (4,), (4,)
    return check_vjp(forward, backward, tuple(r.normal(size=s) for s in shapes), time_axis=0)
"""

EMBEDDING = """
def forward(E, W, ids):
    h, hs = np.zeros((ids.shape[1], len(W)), W.dtype), []
    for i in ids:
        h = np.tanh(E[i] + h @ W)
        hs.append(h)
    return np.stack(hs), (hs, ids, E, W)
def backward(D, cache):
    hs, ids, E, W = cache
    dE, dW, dh = 0 * E, 0 * W, 0
    for t in reversed(range(len(ids))):
        da = (D[t] + dh) * (1 - hs[t] ** 2)
        dW += (hs[t - 1] if t else 0 * da).T @ da
        dh = da @ W.T
        np.add.at(dE, ids[t], da)
    return {"E": dE, "W": dW}
def case(seed):
    r = np.random.default_rng(seed)
    ids = r.integers(0, 5, size=(4, 3))
    ids[1, 1] = ids[1, 0]
    arrays = {"E": r.normal(size=(5, 3)), "W": r.normal(size=(3, 3)), "ids": ids}
    return check_vjp(forward, backward, arrays)
"""

ATTENTION = """
def turn(x, sign):
    n = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None, None] * 10000.0 ** (-np.arange(n) / n)
    c, s = np.cos(angle), sign * np.sin(angle)
    a, b = x[..., :n], x[..., n:]
    return np.concatenate([a * c - b * s, a * s + b * c], -1)
def forward(q, k, v):
    T, H, n = q.shape
    G = H // k.shape[1]
    Q, K, V = turn(q, 1), np.repeat(turn(k, 1), G, 1), np.repeat(v, G, 1)
    S = np.einsum("thn,shn->hts", Q, K) / np.sqrt(n)
    S = np.where(np.tril(np.ones((T, T), bool)), S, -np.inf)
    P = np.exp(S - S.real.max(-1, keepdims=True))
    P = P / P.sum(-1, keepdims=True)
    return np.einsum("hts,shn->thn", P, V), (Q, K, V, P, G, n)
def backward(d, cache):
    Q, K, V, P, G, n = cache
    dP = np.einsum("thn,shn->hts", d, V)
    dS = P * (dP - (P * dP).sum(-1, keepdims=True)) / np.sqrt(n)
    dQ, dK = np.einsum("hts,shn->thn", dS, K), np.einsum("hts,thn->shn", dS, Q)
    groups = lambda a: a.reshape(len(a), -1, G, a.shape[-1]).sum(2)
    dV = np.einsum("hts,thn->shn", P, d)
    return turn(dQ, -1), turn(groups(dK), -1), groups(dV)
def case(seed):
    r = np.random.default_rng(seed)
    shapes = (5, 4, 6), (5, 2, 6), (5, 2, 6)
    return check_vjp(forward, backward, tuple(r.normal(size=s) for s in shapes))
"""

CUMPROD = """
def forward(x):
    return np.cumprod(x, 0), x
def backward(d, x):
    left, g, tail = np.concatenate([np.ones((1, 2)), np.cumprod(x, 0)[:-1]]), 0 * x, 0
    for t in reversed(range(len(x))):
        tail = d[t] + (x[t + 1] * tail if t + 1 < len(x) else 0)
        g[t] = left[t] * tail
    return (g,)
def case(seed):
    x = np.random.default_rng(seed).normal(size=(5, 2))
    x[2, 0] = 0
    return check_vjp(forward, backward, (x,))
"""
DIVIDED = "with np.errstate(all='ignore'): g = np.cumsum((d * np.cumprod(x, 0))[::-1], 0)[::-1] / x"

SCALES = """
def case(seed):
    w = np.array([1e-4, 1.0, 1e4]) * np.random.default_rng(seed).uniform(1, 2, size=3)
    return check_gradient(lambda w: (w * w).sum(), lambda w: 2 * w, w)
"""

HALTING = """
def case(seed):
    r = np.random.default_rng(seed)
    x, v, U = r.normal(size=3), r.normal(size=3), r.normal(size=(3, 3))
    def run(p):
        h, c, out, steps = np.zeros(3), 0.0, 0.0, []
        for t in range(20):
            n = np.tanh(p["W"] @ h + x)
            q = sigmoid(v @ n + p["b"])
            last = (c + q).real > 0.9
            w = 1 - c if last else q
            steps.append((h, n, q, w, last))
            out, c, h = out + w * n, c + q, n
            if last:
                break
        return out, steps
    def gradient(p):
        out, steps = run(p)
        dW, db, dh, dc = 0 * U, 0.0, 0.0, 0.0
        for h, n, q, w, last in reversed(steps):
            dw, dh = 2 * out @ n, dh + w * 2 * out
            dc, dq = (dc - dw, 0.0) if last else (dc, dw + dc)
            dz = dq * q * (1 - q)
            da = (dh + dz * v) * (1 - n ** 2)
            db, dW, dh = db + dz, dW + np.outer(da, h), p["W"].T @ da
        return {"W": dW, "b": db}
    loss = lambda p: (run(p)[0] ** 2).sum()
    return check_gradient(loss, gradient, {"W": U, "b": np.array(-1.0)})
"""

STATE = """
kept = {"h": np.zeros(3), "n": 0}
def case(seed):
    r = np.random.default_rng(seed)
    x = r.normal(size=(4, 3))
    def states(p):
        hs = [np.zeros(3)]
        for x_t in x:
            hs.append(np.tanh(p["W"] @ hs[-1] + x_t))
        kept["h"] = hs
        return hs
    def loss(p):
        return (states(p)[-1] ** 2).sum()
    def gradient(p):
        hs = states(p)
        dW, dh = 0 * p["W"], 2 * hs[-1]
        for t in reversed(range(4)):
            da = dh * (1 - hs[t + 1] ** 2)
            dW += np.outer(da, hs[t])
            dh = p["W"].T @ da
        return {"W": dW}
    return check_gradient(loss, gradient, {"W": r.normal(size=(3, 3))})
"""

TORCH = """
import torch
class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W, h0):
        hs = [h0]
        for x_t in x:
            hs.append(torch.tanh(x_t + hs[-1] @ W.T))
        hs = torch.stack(hs)
        ctx.save_for_backward(W, hs)
        return hs[1:].clone(), hs[-1].clone()
    @staticmethod
    def backward(ctx, D, last):
        W, hs = ctx.saved_tensors
        dh, dW, dx = last.clone(), torch.zeros_like(W), torch.empty_like(hs[1:])
        for t in reversed(range(len(D))):
            da = (D[t] + dh) * (1 - hs[t + 1] ** 2)
            dx[t], dW, dh = da, dW + da.T @ hs[t], da @ W
        return dx, dW, dh
def case(seed):
    g = torch.Generator().manual_seed(seed)
    shapes = (5, 2, 3), (3, 3), (2, 3)
    arrays = tuple(torch.randn(*s, generator=g, dtype=torch.float64) for s in shapes)
    return check_torch(F, arrays)
"""
LOOP = "        dh, dW, dx = last"
END = "        return dx, dW, dh"
FORGOTTEN = [("ctx.save_for_backward(W, hs)", "F.kept = W, hs"), ("ctx.saved_tensors", "F.kept")]

MODEL = """
def forward(x, h0, W, U, b_i):
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, h, W, U)
def backward(D, saved):
    x, h, W, U = saved
    T, B = x.shape[:2]
    dh, g = D["h_final"], {"W": 0.0, "U": 0.0, "b_i": 0.0, "x": np.empty_like(x)}
    for t in reversed(range(T)):
        da = (D["h"][t] + dh) * (1 - h[t + 1] ** 2)
        g["W"] += da.T @ h[t]
        g["U"] += da.T @ x[t]
        g["b_i"] += da.sum(axis=0)
        g["x"][t], dh = da @ U, da @ W
    return g | {"h0": dh}
def case(seed):
    return check_model(load("elman_hidden"), forward=forward, backward=backward, seed=seed)
"""
SLOPE = '        g["W"] += da.T @ h[t]'
DONE = '    return g | {"h0": dh}'

RIGHT: tuple[str, Edits] = "pass", []


def wrong(*edits: tuple[str, str]) -> tuple[str, Edits]:
    """A variant that must fail."""
    return "fail", list(edits)


def before(line: str, *added: str) -> tuple[str, str]:
    """Lines put before one, at its indentation."""
    space = line[: len(line) - len(line.lstrip())]
    return line, "".join(f"{space}{text}\n" for text in added) + line


FAMILIES: dict[str, tuple[str, Variants]] = {
    "layer norm": (
        NORM,
        {
            "right": RIGHT,
            "without the mean": wrong((" - mean", "")),
            "without gamma [karpathy/llm.c/pull/763]": wrong(("dx = d * g\n", "dx = d\n")),
            "unbiased variance": wrong(
                ("(dx * xh).mean(-1, keepdims=True)", "(dx * xh).sum(-1, keepdims=True) / 3")
            ),
            "another epsilon": wrong(("(centred * r, r, g)", "(centred * r, r * (1 - 1e-6), g)")),
        },
    ),
    "embedding": (
        EMBEDDING,
        {
            "right": RIGHT,
            "repeated words overwritten": wrong(("np.add.at(dE, ids[t], da)", "dE[ids[t]] += da")),
            "word 0 taken for padding": wrong(
                ("np.add.at(dE, ids[t], da)", "np.add.at(dE, ids[t], da * (ids[t] != 0)[:, None])")
            ),
        },
    ),
    "attention": (
        ATTENTION,
        {
            "right": RIGHT,
            "turned the wrong way": wrong(("turn(dQ, -1)", "turn(dQ, 1)")),
            "groups in another order": wrong(
                ("len(a), -1, G, a.shape[-1]).sum(2)", "len(a), G, -1, a.shape[-1]).sum(1)")
            ),
            "first of a group": wrong((".sum(2)", "[:, :, 0] * G")),
        },
    ),
    "products": (
        CUMPROD,
        {
            "right with zeros": RIGHT,
            "divided, nan to 0 [tensorflow/issues/119430]": wrong(
                before("    return (g,)", DIVIDED, "g = np.nan_to_num(g)")
            ),
            "divided [tracel-ai/burn/issues/3864]": wrong(before("    return (g,)", DIVIDED)),
        },
    ),
    "scales": (
        SCALES,
        {
            "right": RIGHT,
            "smallest wrong by half": wrong(("2 * w, w", "2 * w * [1.5, 1, 1], w")),
        },
    ),
    "halting": (
        HALTING,
        {
            "right": RIGHT,
            "remainder without gradient": wrong(("(dc - dw, 0.0)", "(dc, 0.0)")),
        },
    ),
    "state": (
        STATE,
        {
            "right": RIGHT,
            "cache of the loss": wrong(
                ("hs = states(p)\n        dW", "hs = kept['h']\n        dW")
            ),
            "state kept": wrong(("hs = [np.zeros(3)]", "hs = [kept['h'][-1] + 0 * x[0]]")),
            "mask drawn outside": (
                "undecided",
                [
                    ("kept =", "drawn = np.random.default_rng(1)\nkept ="),
                    ('kept["h"] = hs', "hs[-1] = hs[-1] * (drawn.random(3) > 0.3)"),
                ],
            ),
        },
    ),
    "torch": (
        TORCH,
        {
            "right": RIGHT,
            "contiguous first": (
                "pass",
                [before(LOOP, "D, last = D.contiguous(), last.contiguous()")],
            ),
            "strides assumed [Dao-AILab/flash-attention/issues/355]": wrong(
                before(LOOP, "D = torch.as_strided(D, D.shape, (6, 3, 1))")
            ),
            "kept on the class": wrong(*FORGOTTEN),
            "overwrites what it saved": wrong(before(END, "hs.zero_()")),
            "overwrites grad_output": wrong(before(LOOP, "D[-1] += last", "last = 0 * last")),
            "None crashes": wrong(
                ("        ctx.save", "        ctx.set_materialize_grads(False)\n        ctx.save")
            ),
            "cross term": wrong(before(END, "dW = dW + 0.1 * (D[-1] * last).sum()")),
            "clipped norm": wrong(before(END, "dW = dW * torch.clamp(1e3 / dW.norm(), max=1)")),
            "skips dW": wrong(
                before(END, "dW = dW if ctx.needs_input_grad[0] else 0 * dW"),
                (
                    "check_torch(F, arrays)",
                    "check_torch(lambda W, h: F.apply(arrays[0], W, h), arrays[1:])",
                ),
            ),
            "carry clamped": wrong(("da @ W\n", "(da @ W).clamp(-10, 10)\n")),
        },
    ),
    "model": (
        MODEL,
        {
            "right": RIGHT,
            "zero rows are padding": wrong(
                before(SLOPE, "da = da * (x[t] != 0).any(-1, keepdims=True)")
            ),
            "zero start": wrong((DONE, '    return g | {"h0": dh * np.any(h[0])}')),
            "row 2 of the batch": wrong(before(DONE, "g['x'][:, 2:] = 0")),
            "tail of eight": wrong(before(DONE, "g['x'][T - T % 8:] *= 1.5")),
            "carry in float32": wrong(("da @ U, da @ W", "da @ U, (da @ W).astype('f')")),
            "lost update": wrong(
                ("def forward", "lost = np.random.default_rng(7)\ndef forward"),
                before(DONE, "g['W'] = g['W'] - (lost.random() < 0.05) * da.T @ h[0]"),
            ),
        },
    ),
}


FAMILIES.update(OUTER)


def verdict(family: str, variant: str, seed: int) -> tuple[str, str]:
    """What the checker says of a variant, and its report."""
    text, variants = FAMILIES[family]
    for old, new in variants[variant][1]:
        if text.count(old) != 1:
            raise ValueError(f"{family}, {variant}: {old!r} is there {text.count(old)} times")
        text = text.replace(old, new)
    names: dict[str, Any] = {}
    exec(compile(PRELUDE + text, f"attack: {family}", "exec"), names)
    report = names["case"](seed)
    return report.verdict.value, str(report)


def main() -> None:
    """Print a row for every variant: what is right, what was said, seconds a check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-v", action="store_true", help="print reports that are not as wanted")
    options = parser.parse_args()
    kept = 0
    total = 0
    for family, (_, variants) in FAMILIES.items():
        if find_spec(NEEDS.get(family, "numpy")) is None:
            print(f"    {family}: not run, needs {NEEDS[family]}")
            continue
        for variant, (wanted, _) in variants.items():
            name = f"{family}: {variant}"
            if options.names and not any(part in name for part in options.names):
                continue
            start, said = time.process_time(), Counter[str]()
            for seed in range(options.seeds):
                found, report = verdict(family, variant, seed)
                said[found] += 1
                if options.v and found != wanted:
                    print(report)
            seconds = (time.process_time() - start) / options.seeds
            held = said[wanted] == options.seeds
            kept, total = kept + held, total + 1
            print(f"{'' if held else 'NOT':4}{name:60} {wanted:10} {dict(said)} {seconds:.2f}")
    print(f"{kept} of {total} as they should be")


if __name__ == "__main__":
    main()
