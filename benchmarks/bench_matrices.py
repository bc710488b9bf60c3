"""Cells with a matrix state, and heads: generated NumPy or C beside an eager loop in PyTorch.

Forward and backward pass with the gradients of everything, in float64 on one thread, by processor
time, in turn; and what it takes to derive, prove and generate, which does not depend on a size.

    python -m benchmarks.bench_matrices --backend c
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.codegen.backends.c import print_files
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove

T, B, H = 64, 4, 4
WIDTHS = (4, 8, 16, 32, 64)


def _attention(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, z, out = a["S0"], a["z0"], []
    for q, k, v in zip(a["q"], a["k"], a["v"], strict=True):
        S, z = S + k[:, :, None] * v[:, None], z + k
        out.append((q[:, None] @ S)[:, 0] / (z * q).sum(-1, keepdim=True))
    return {"o": torch.stack(out), "S_final": S, "z_final": z}


def _gated(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, out = a["S0"], []
    for q, k, alpha, v in zip(*(a[n] for n in ("q", "k", "alpha", "v")), strict=True):
        S = alpha[:, :, None] * S + k[:, :, None] * v[:, None]
        out.append((q[:, None] @ S)[:, 0])
    return {"o": torch.stack(out), "S_final": S}


def _delta(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, out = a["S0"], []
    for q, k, v, alpha, beta in zip(*(a[n] for n in ("q", "k", "v", "alpha", "beta")), strict=True):
        S = alpha[:, None, None] * S
        error = v - (S @ k[:, :, None])[:, :, 0]
        S = S + beta[:, None, None] * error[:, :, None] * k[:, None]
        out.append((S @ q[:, :, None])[:, :, 0])
    return {"o": torch.stack(out), "S_final": S}


def _selective(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, out = a["S0"], []
    for u, delta, b, c in zip(a["u"], a["delta"], a["B"], a["C"], strict=True):
        S = torch.exp(delta[:, :, None] * a["A"]) * S + (delta * u)[:, :, None] * b[:, None]
        out.append((S @ c[:, :, None])[:, :, 0] + a["D"] * u)
    return {"y": torch.stack(out), "S_final": S}


def _retention(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    q, k, v, g = (torch.einsum("hnd,tbd->tbhn", a[n], a["x"]) for n in ("W_q", "W_k", "W_v", "W_g"))
    S, out = a["S0"], []
    gamma = a["gamma"][:, None, None]
    for t in range(T):
        S = gamma * S + k[t][..., None] * v[t][..., None, :]
        out.append((q[t][..., None, :] @ S)[..., 0, :])
    o = torch.stack(out)
    o = torch.nn.functional.layer_norm(o, o.shape[-1:])
    y = torch.einsum("hdm,tbhm->tbd", a["W_o"], torch.nn.functional.silu(g) * o)
    return {"y": y, "S_final": S}


LOOPS: dict[str, Callable[..., dict[str, Any]]] = {
    "linear_attention": _attention, "gated_linear_attention": _gated, "delta_net": _delta,
    "selective_scan": _selective, "multihead_retention": _retention,
}  # fmt: skip


def least(*runs: Callable[[], Any], seconds: float) -> list[float]:
    """The least processor time of each, in turn."""
    best = [float("inf")] * len(runs)
    for run in runs:
        run()
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for i, run in enumerate(runs):
            start = time.process_time()
            run()
            best[i] = min(best[i], time.process_time() - start)
    return best


def module_of(name: str, backend: str, folder: Path) -> Any:
    """The generated module of a cell, C compiled in a folder."""
    derivation = derive(cells.get(name))
    if backend == "numpy":
        module = types.ModuleType(name)
        exec(compile(generate(derivation), name, "exec"), module.__dict__)
        return module
    for file, text in print_files(derivation, python=True).items():
        (folder / file).write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(name: str, width: int, seconds: float, module: Any) -> str:
    """One cell at one width."""
    import torch

    torch.set_num_threads(1)
    network = cells.get(name)
    sizes = {"T": T, "B": B, "H": H, "n": width, "m": width, "d": width}
    rng = np.random.default_rng(0)
    arrays = {
        n: rng.uniform(0.1, 0.9, size=[sizes[a] for a in axes]) for n, axes in module.SHAPES.items()
    }
    parameters = {n: arrays[n] for n in network.parameters}
    inputs = {n: arrays[n] for n in network.inputs}
    given = {n: np.ones_like(a) for n, a in module.forward(parameters, inputs)[0].items()}
    tensors = {n: torch.tensor(a, requires_grad=True) for n, a in arrays.items()}
    ones = {n: torch.tensor(g) for n, g in given.items()}
    made: dict[str, Any] = {}

    def ours() -> None:
        _, saved = module.forward(parameters, inputs)
        made.update(module.backward(parameters, inputs, saved, given))

    def theirs() -> None:
        for a in tensors.values():
            a.grad = None
        outputs = LOOPS[name](torch, tensors)
        torch.autograd.backward([outputs[n] for n in ones], list(ones.values()))

    us, torch_time = least(ours, theirs, seconds=seconds)
    for n, a in made.items():
        np.testing.assert_allclose(a, tensors[n].grad.numpy(), rtol=1e-8, atol=1e-9, err_msg=n)
    return f"{name:24} {width:5} {us * 1e3:9.2f}ms {torch_time * 1e3:9.2f}ms {torch_time / us:6.2f}"


def prepared(name: str) -> tuple[float, str]:
    """Seconds of deriving, proving and generating, in which no size is: n = 64 or any other."""
    start = time.process_time()
    derivation = derive(cells.get(name))
    text = generate(derivation)
    proved = prove(derivation).proved
    took = time.process_time() - start
    return took, f"{name:24} {took:6.2f} s, {len(text.splitlines())} lines, proved: {proved}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row")
    parser.add_argument("--backend", choices=("numpy", "c"), default="numpy")
    parser.add_argument("--prepare", action="store_true", help="only derive, prove and generate")
    options = parser.parse_args()
    if not options.prepare:
        _passes(options.backend, options.seconds)
    print("derive, prove and generate, for all sizes, processor time")
    rows = [prepared(name) for name in cells.names() if cells.get(name).front]
    print("\n".join(text for _, text in rows))
    print(f"at most {max(took for took, _ in rows):.2f} s")


def _passes(backend: str, seconds: float) -> None:
    """Print both passes of every cell at every width, beside an eager loop."""
    print(f"T = {T}, B = {B}, H = {H}, float64, one thread, processor time of both passes")
    print(f"{'cell':24} {'n':>5} {'ours':>11} {'PyTorch':>11} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name in LOOPS:
            module = module_of(name, backend, Path(folder))
            for width in WIDTHS:
                print(row(name, width, seconds, module), flush=True)


if __name__ == "__main__":
    main()
