"""Attacks from outside of the checker, of the doors around it: JAX, kinks, shapes, pytest, files.

Programs and variants as in `benchmarks.attacks`, which runs them. What stands under a command is
judged by its exit code.
"""

from __future__ import annotations

__all__ = ["NEEDS", "OUTER"]

Edits = list[tuple[str, str]]
Variants = dict[str, tuple[str, Edits]]
RIGHT: tuple[str, Edits] = ("pass", [])


def wrong(*edits: tuple[str, str]) -> tuple[str, Edits]:
    """A variant that fails."""
    return "fail", list(edits)


JAX = """
import jax, jax.numpy as jnp
from gradcheck_rnn import check_jax
jax.config.update("jax_enable_x64", True)
def plain(x, h0, W):
    def step(h, x_t):
        h = jnp.tanh(h @ W + x_t)
        return h, h
    last, h = jax.lax.scan(step, h0, x)
    return h, last
cell = jax.custom_vjp(plain)
calls = []
def forward(x, h0, W):
    h, last = plain(x.value, h0.value, W.value)
    return (h, last), (jnp.concatenate([h0.value[None], h]), W.value, x.perturbed)
def backward(saved, cotangents):
    h, W, x_moves = saved
    unused = [isinstance(g, jax.custom_derivatives.SymbolicZero) for g in cotangents]
    D = jnp.zeros_like(h[1:]) if unused[0] else cotangents[0]
    last = jnp.zeros_like(h[0]) if unused[1] else cotangents[1]
    def step(carry, at):
        dh, dW = carry
        d, before, after = at
        da = (d + dh) * (1 - after ** 2)
        return (da @ W.T, dW + before.T @ da), da
    (dh0, dW), dx = jax.lax.scan(
        step, (last, jnp.zeros_like(W)), (D, h[:-1], h[1:]), reverse=True)
    calls.append(len(calls))
    return dx, dh0, dW
cell.defvjp(forward, backward, symbolic_zeros=True)
def case(seed):
    r = np.random.default_rng(seed)
    arrays = [jnp.asarray(r.normal(size=s)) for s in ((4, 2, 3), (2, 3), (3, 3))]
    return check_jax(cell, arrays)
"""
DONE = "    return dx, dh0, dW\n"

CONVOLUTION = """
def forward(x, w, state):
    z, T = np.concatenate([state, x]), len(x)
    return (sum(z[k:k + T] * w[:, k] for k in range(4)), z[T:]), (z, w, T)
def backward(cotangents, saved):
    (dy, dstate), (z, w, T) = cotangents, saved
    dz, dw = 0 * z, 0 * w
    for k in range(4):
        dz[k:k + T] += dy * w[:, k]
        dw[:, k] = (z[k:k + T] * dy).sum(0)
    dz[T:] += dstate
    return dz[3:], dw, dz[:3]
def inputs(T):
    r = np.random.default_rng(T)
    return tuple(r.normal(size=s) for s in ((T, 2), (2, 4), (3, 2)))
def case(seed):
    return check_vjp(forward, backward, inputs, shapes={"T": [1, 2, 3, 6]}, seed=seed)
"""

KINK = """
def case(seed):
    return check_gradient(
        lambda p: np.abs(p - 2).sum(), lambda p: np.sign(p - 2), np.arange(1.0, 5.0), seed=seed)
"""
TIE = """
def case(seed):
    return check_gradient(
        lambda p: p.max() + (p ** 2).sum(), lambda p: (p == p.max()) + 2 * p,
        np.array([1.0, 1.0, 0.5]), seed=seed)
"""

HILBERT = """
def case(seed):
    H = 1 / (1 + np.add.outer(np.arange(8), np.arange(8)))
    solve = np.linalg.solve
    p = np.random.default_rng(seed).normal(size=8)
    return check_gradient(
        lambda p: 0.5 * (solve(H, p) ** 2).sum(), lambda p: solve(H.T, solve(H, p)), p)
"""

AT_THE_POINT = """
def case(seed):
    start = np.random.default_rng(seed).normal(size=4)
    def loss(w):
        here = np.array_equal(w, start)
        return np.sin(w).sum()
    return check_gradient(loss, lambda w: np.cos(w), start)
"""

SIZES = """
def forward(x, h0, W, U, b_i):
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, h, W, U)
def backward(cotangents, saved):
    x, h, W, U = saved
    p, dh = len(W), cotangents["h_final"]
    d = {"W": 0 * W, "U": 0 * U, "b_i": 0, "x": 0 * x}
    for t in reversed(range(len(x))):
        da = (cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
        d["W"] += da.T @ h[t]
        d["U"] += da.T @ x[t]
        d["b_i"] += da.sum(axis=0)
        d["x"][t], dh = da @ U, da @ W
    return d | {"h0": dh}
def case(seed):
    return check_model(load("elman_hidden"), forward=forward, backward=backward, seed=seed)
"""

AUTOGRAD = """
import torch
class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h0, W, U, b_i):
        h = [h0]
        for x_t in x:
            h.append(torch.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
        ctx.save_for_backward(x, torch.stack(h), W, U)
        ctx.set_materialize_grads(False)
        return torch.stack(h[1:]), h[-1].clone()
    @staticmethod
    def backward(ctx, D, dh):
        x, h, W, U = ctx.saved_tensors
        D = torch.zeros_like(h[1:]) if D is None else D
        dh = torch.zeros_like(h[0]) if dh is None else dh
        g, dx = {"W": 0, "U": 0, "b_i": 0}, torch.empty_like(x)
        for t in reversed(range(len(x))):
            da = (D[t] + dh) * (1 - h[t + 1] ** 2)
            g = {"W": g["W"] + da.T @ h[t], "U": g["U"] + da.T @ x[t], "b_i": g["b_i"] + da.sum(0)}
            dx[t], dh = da @ U, da @ W
        return dx, dh, *g.values()
def case(seed):
    layout = Layout({n: n for n in ("W", "U", "b_i")}, {"x": "x", "h0": "h0"},
                    {"h": "h", "last": "h_final"})
    return check_model(load("elman_hidden"), module=F, layout=layout, seed=seed)
"""
PULLED = "        return dx, dh, *g.values()"

NORMALISED = """
import torch
def forward(q, k, v):
    sums = torch.cumsum(k, 0)
    S = torch.cumsum(k[..., :, None] * v[..., None, :], 0)
    return (q[..., None] * S).sum(-2) / (q * sums).sum(-1, keepdim=True)
def inputs(T, B):
    g = torch.Generator().manual_seed(seeds[0])
    draw = lambda n: 0.1 + torch.rand(T, B, n, generator=g, dtype=torch.float64)
    return {"q": draw(3), "k": draw(3), "v": draw(4)}
seeds = []
def case(seed):
    seeds[:] = [seed]
    return check_torch(forward, inputs, shapes={"T": [1, 2, 5], "B": [1, 3]})
"""

COMMAND = """
import subprocess, sys, tempfile
from pathlib import Path
from types import SimpleNamespace
CASES = '''
import numpy as np, pytest
from gradcheck_rnn import check_gradient, gradient_case
loss, right, point = lambda w: np.sin(w).sum(), lambda w: np.cos(w), np.ones(3)
bad = lambda w: -np.cos(w)
BODY
'''
def run(folder, *words):
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True)
    kinds = {0: "pass", 1: "fail", 3: "undecided"}
    said = SimpleNamespace(value=kinds.get(done.returncode, "misuse"))
    return SimpleNamespace(verdict=said, told=done.stdout + done.stderr)
"""
PYTEST = (
    COMMAND
    + """
BODY = 'def test_it(gradcheck):\\n    gradcheck(loss, right, point)'
def case(seed):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_it.py").write_text(CASES.replace("BODY", BODY))
        return run(folder, "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider")
"""
)
CALL = ("gradcheck(loss, right, point)'", "{}'")
THREAD = (
    "import threading\\n    t = threading.Thread(target=gradcheck, args=(loss, bad, point))"
    "\\n    t.start()\\n    t.join()'"
)
MARKED = "\\n@pytest.mark.{}\\n@gradient_case\\ndef one():\\n    return loss, {}, point'"

VECTORS = (
    COMMAND
    + """
def foreign(v):
    out = {key: v[key] for key in v if key.startswith(("gradients/", "outputs/"))}
    return out
def case(seed):
    with tempfile.TemporaryDirectory() as folder:
        run(folder, "gradcheck_rnn", "vectors", "elman_hidden", "-o", "v.npz", "--seed", str(seed))
        np.savez(Path(folder) / "r.npz", **foreign(dict(np.load(Path(folder) / "v.npz"))))
        return run(folder, "gradcheck_rnn", "verify", "r.npz", "--against", "v.npz")
"""
)
OUT = "    return out\n"

#: Families that need a library besides NumPy.
NEEDS = {"jax": "jax", "pytest": "pytest", "autograd": "torch", "normalised": "torch"}

OUTER: dict[str, tuple[str, Variants]] = {
    "jax": (
        JAX,
        {
            "right": RIGHT,
            "output unused [symbolic zeros]": wrong(
                (DONE, "    dW = dW * (2 if unused[1] else 1)\n" + DONE)
            ),
            "input not differentiated [perturbed]": wrong(
                (DONE, "    dW = dW if x_moves else -dW\n" + DONE)
            ),
            "another one compiled": wrong(
                (DONE, "    dW = dW if isinstance(h, jax.core.Tracer) else 1.5 * dW\n" + DONE)
            ),
            "state of Python": wrong((DONE, "    dW = dW * (1 + (len(calls) % 3 == 0))\n" + DONE)),
            "mean over the batch [jax-ml/jax/issues/5832]": wrong(
                (DONE, "    dW = dW / h.shape[1]\n" + DONE)
            ),
            "last lost where unused": wrong(
                ("if unused[1] else cotangents[1]", "if unused[1] or True else 0")
            ),
        },
    ),
    "convolution": (
        CONVOLUTION,
        {
            "right": RIGHT,
            "shorter than its window [fla-org/flash-linear-attention/issues/1140]": wrong(
                ("dz[T:] += dstate", "dz[max(3, T):] += dstate[-len(dz[max(3, T):]):]")
            ),
        },
    ),
    "kink of one entry": (
        KINK,
        {
            "right": ("undecided", []),
            "opposite sign": wrong(("np.sign(p - 2)", "-np.sign(p - 2)")),
        },
    ),
    "tie of two entries": (
        TIE,
        {"right": ("undecided", []), "third entry twice": wrong(("2 * p", "2 * p * [1, 1, 2]"))},
    ),
    "hilbert": (
        HILBERT,
        {"half again": wrong(("solve(H.T, solve", "1.5 * solve(H.T, solve"))},
    ),
    "at the point": (
        AT_THE_POINT,
        {
            "right": RIGHT,
            "another value there": ("undecided", [("np.sin(w).sum()", "np.sin(w).sum() + here")]),
        },
    ),
    "sizes": (
        SIZES,
        {
            "right": RIGHT,
            "columns beyond p lost": wrong(
                ('d["U"] += da.T @ x[t]', 'd["U"][:, :p] += (da.T @ x[t])[:, :p]')
            ),
            "columns beyond p lost for x": wrong(
                ('d["x"][t], dh = da @ U,', 'd["x"][t][:, :p], dh = (da @ U)[:, :p],')
            ),
        },
    ),
    "autograd": (
        AUTOGRAD,
        {
            "right": RIGHT,
            "state without gradient [huggingface/transformers/pull/23774]": wrong(
                ("if dh is None else dh", "if dh is None or True else dh")
            ),
            "None for the sequence": wrong(("torch.zeros_like(h[1:])", "torch.ones_like(h[1:])")),
            "None for the state": wrong(("torch.zeros_like(h[0]) if dh", "+dh if dh")),
            "frozen input": wrong(
                (PULLED, "        if not ctx.needs_input_grad[0]: dh = 0 * dh\n" + PULLED)
            ),
            "saved values used up": wrong((PULLED, "        h.zero_()\n" + PULLED)),
            "expanded cotangents": wrong(
                ("        g, dx =", "        if 0 in D.stride(): D = 2 * D\n        g, dx =")
            ),
            "clipped at 10⁵": wrong(
                ("        g, dx =", "        D = D.clamp(-1e5, 1e5)\n        g, dx =")
            ),
            "flushed below 10⁻⁷": wrong(
                ("        g, dx =", "        D = D * (D.abs() > 1e-7)\n        g, dx =")
            ),
        },
    ),
    "normalised": (
        NORMALISED,
        {
            "right": RIGHT,
            "sum without gradient [fla-org/flash-linear-attention/pull/875]": wrong(
                ("torch.cumsum(k, 0)", "torch.cumsum(k.detach(), 0)")
            ),
            "sizes not used": (
                "undecided", [("0.1 + torch.rand(T,", "0.1 + torch.rand(3,")]
            ),
            "from T = 3 on": wrong(
                ("    sums =", "    k = k.detach() if len(k) > 2 else k\n    sums =")
            ),
        },
    ),
    "pytest": (
        PYTEST,
        {
            "right": RIGHT,
            "wrong": wrong((CALL[0], CALL[1].format("gradcheck(loss, bad, point)"))),
            "assert a report": wrong(
                (CALL[0], CALL[1].format("assert check_gradient(loss, bad, point)"))
            ),
            "in a thread": wrong((CALL[0], THREAD)),
            "expected to fail": ("pass", [(CALL[0], "pass" + MARKED.format("xfail", "bad"))]),
            "not expected to pass": wrong(
                (CALL[0], "pass" + MARKED.format("xfail(strict=True)", "right"))
            ),
            "skipped": ("pass", [(CALL[0], "pass" + MARKED.format("skip", "bad"))]),
        },
    ),
    "vectors": (
        VECTORS,
        {
            "right": RIGHT,
            "their own results": ("misuse", [(OUT, "    return v\n")]),
            "one NaN": wrong((OUT, "    out['gradients/h/W'][0, 1] = np.nan\n" + OUT)),
            "a part": ("undecided", [(OUT, "    del out['gradients/h/W']\n" + OUT)]),
            "without gradients/": (
                "misuse", [(OUT, "    out['h/W'] = out.pop('gradients/h/W')\n" + OUT)]
            ),
            "1e-11 too large": wrong((OUT, "    out['gradients/h/x'] *= 1 + 1e-11\n" + OUT)),
        },
    ),
}  # fmt: skip
