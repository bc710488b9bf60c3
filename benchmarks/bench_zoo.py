"""Cells with matrix states: seconds to derive, prove and generate, and speed beside PyTorch.

Neither page nor kernel knows n and m, so that all three are done once for every size; the proof is
at its own small dims. (At n = m = 8 that of the delta rule takes 1.3 s, and it grows with n⁵: a
proof at the sizes of a layer is neither needed nor possible.)

Speed is that of the generated NumPy kernel, forward and backward for everything, against an eager
PyTorch loop over time of the same recurrence, on the CPU in the same process, one thread each,
processor time, in turn; the median of the ratios (above 1: faster than PyTorch).

``python -m benchmarks.bench_zoo``; ``--quick`` keeps to n = 16.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402

from .bench_kernels import kernel  # noqa: E402

STEPS, BATCH = 64, 4
SIZES = (4, 16, 64)
AIM, FASTER = 3.0, 2.0


def delta_net(torch: Any, a: dict[str, Any]) -> Any:
    """S = α S₋ (I − β k kᵀ) + β v kᵀ as a correction."""
    S, out = a["S0"], []
    for q, k, v, alpha, beta in zip(*(a[n] for n in ("q", "k", "v", "alpha", "beta")), strict=True):
        S = alpha[:, None, None] * S
        error = v - (S @ k[:, :, None])[:, :, 0]
        S = S + (beta[:, None] * error)[:, :, None] * k[:, None]
        out.append((S @ q[:, :, None])[:, :, 0])
    return torch.stack(out), S


def gated_delta_net(torch: Any, a: dict[str, Any]) -> Any:
    """The same of normalised keys and queries, with the gates of the layer."""
    k, q = (a[n] * torch.rsqrt(a[n].square().sum(-1, keepdim=True) + 1e-6) for n in "kq")
    alpha = torch.exp(-torch.exp(a["A_log"]) * torch.nn.functional.softplus(a["a"] + a["dt_bias"]))
    gates = {"alpha": alpha, "beta": torch.sigmoid(a["b"])}
    return delta_net(torch, {**a, **gates, "k": k, "q": q})


def rwkv6(torch: Any, a: dict[str, Any]) -> Any:
    """S = diag(w) S₋ + k vᵀ, read with a bonus for the own step."""
    S, out = a["S0"], []
    for r, k, v, w in zip(a["r"], a["k"], a["v"], torch.exp(-torch.exp(a["d"])), strict=True):
        kv = k[:, :, None] * v[:, None]
        out.append((r[:, None] @ (S + a["u"][:, None] * kv))[:, 0])
        S = w[:, :, None] * S + kv
    return torch.stack(out), S


def mamba2(torch: Any, a: dict[str, Any]) -> Any:
    """S = a S₋ + δ x Bᵀ."""
    S, out = a["S0"], []
    delta = torch.nn.functional.softplus(a["dt"] + a["dt_bias"])
    for x, B, C, d in zip(a["x"], a["B"], a["C"], delta, strict=True):
        decay = torch.exp(-torch.exp(a["A_log"]) * d)
        S = decay[:, None, None] * S + (d[:, None] * x)[:, :, None] * B[:, None]
        out.append((S @ C[:, :, None])[:, :, 0] + a["D"] * x)
    return torch.stack(out), S


LOOPS: dict[str, Callable[..., Any]] = {
    loop.__name__: loop for loop in (delta_net, gated_delta_net, rwkv6, mamba2)
}


def preparation(name: str) -> tuple[float, float, float]:
    """Processor seconds to derive, to prove, to generate both modules."""
    from gradcheck_rnn import cells
    from gradcheck_rnn.codegen import generate
    from gradcheck_rnn.derivation import derive
    from gradcheck_rnn.derivation.proof import prove

    marks = [time.process_time()]
    derivation = derive(cells.get(name))
    marks.append(time.process_time())
    assert prove(derivation).proved
    marks.append(time.process_time())
    for backend in ("numpy", "cupy"):
        generate(derivation, backend)
    marks.append(time.process_time())
    return tuple(np.diff(marks))  # type: ignore[return-value]


def ratio(name: str, size: int, dtype: Any) -> tuple[float, float]:
    """Seconds of the generated kernel, and how many times as long PyTorch takes."""
    import torch

    from gradcheck_rnn import cells

    torch.set_num_threads(1)
    module = kernel(name)
    sizes = {"n": size, "m": size, "T": STEPS, "B": BATCH}
    rng = np.random.default_rng(0)
    a = {
        n: (0.3 * rng.normal(size=[sizes[x] for x in axes])).astype(dtype)
        for n, axes in module.SHAPES.items()
    }
    network = cells.get(name)
    parameters, inputs = {n: a[n] for n in network.parameters}, {n: a[n] for n in network.inputs}
    outputs, _ = module.forward(parameters, inputs)
    given = {n: np.ones_like(x) for n, x in outputs.items()}
    tensors = {n: torch.tensor(x, requires_grad=True) for n, x in a.items()}

    def ours() -> Any:
        _, saved = module.forward(parameters, inputs)
        return module.backward(parameters, inputs, saved, given)

    def theirs() -> Any:
        made, last = LOOPS[name](torch, tensors)
        return torch.autograd.grad(made.sum() + last.sum(), list(tensors.values()))

    found = dict(zip(tensors, theirs(), strict=True))
    bound = 1e-3 if dtype == np.float32 else 1e-9
    for n, g in ours().items():
        assert np.allclose(g, found[n].numpy(), rtol=bound, atol=bound), (name, n)
    pairs = []
    for _ in range(7):
        took = []
        for run in (ours, theirs):
            begun = time.process_time()
            run()
            took.append(time.process_time() - begun)
        pairs.append(took)
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] / p[0] for p in pairs)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="n = 16 alone")
    sizes = (16,) if parser.parse_args().quick else SIZES
    print(f"processor seconds, for every n and m (aim: {AIM:g} s together)")
    print(f"{'cell':16}{'derive':>9}{'prove':>9}{'generate':>10}")
    for name in LOOPS:
        derive, prove, generate = preparation(name)
        print(f"{name:16}{derive:9.2f}{prove:9.2f}{generate:10.2f}")
    print(f"\nT = {STEPS}, B = {BATCH}; PyTorch's time / ours (aim: {FASTER:g})")
    print(f"{'cell':16}{'n = m':>6}{'dtype':>9}{'ours':>10}{'ratio':>7}")
    for name in LOOPS:
        for size in sizes:
            for dtype in (np.float32, np.float64):
                took, times = ratio(name, size, dtype)
                kind = np.dtype(dtype).name
                print(f"{name:16}{size:6}{kind:>9}{took * 1e3:8.2f}ms{times:7.2f}")


if __name__ == "__main__":
    main()
