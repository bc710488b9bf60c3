"""Generated NumPy kernels against PyTorch on the CPU: forward and backward, paired.

All run in this process with the same number of threads, in turn, so that a busy machine slows
all. A pair of runs gives a ratio; the median of the ratios is printed: how many times as fast as
PyTorch the generated kernel is (above 1: faster). Beside the LSTM stand one written by hand in
NumPy and its matrix products alone, which say what NumPy and its BLAS allow.

``python -m benchmarks.bench_kernels``; ``--quick`` keeps to small sizes, BENCH_THREADS sets the
number of threads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import types
from collections.abc import Callable
from typing import Any

THREADS = os.environ.get("BENCH_THREADS", str(len(os.sched_getaffinity(0))))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, THREADS)

import numpy as np  # noqa: E402

from .hand_lstm import hand_written, products  # noqa: E402

SIZES = [(50, 1, 16), (50, 32, 64), (50, 64, 256), (50, 128, 512), (50, 128, 1024)]
QUICK = [(50, 1, 16), (50, 8, 32), (50, 32, 64), (50, 32, 128)]
#: Zoo cell → (PyTorch module, gates in PyTorch's order, by the suffix of their weights).
TORCH = {
    "elman_hidden": ("RNN", ("",)),
    "gru_reset_after": ("GRU", ("_r", "_z", "_c")),
    "lstm": ("LSTM", ("_i", "_f", "_c", "_o")),
}


def kernel(name: str) -> types.ModuleType:
    """The generated module of a zoo cell."""
    from gradcheck_rnn import cells
    from gradcheck_rnn.codegen import generate
    from gradcheck_rnn.derivation import derive

    module = types.ModuleType(name)
    exec(compile(generate(derive(cells.get(name))), name, "exec"), module.__dict__)
    return module


def arrays(module: types.ModuleType, sizes: dict[str, int], dtype: Any) -> dict[str, Any]:
    """Random arrays for everything the module takes."""
    rng = np.random.default_rng(0)
    out = {}
    for name, axes in module.SHAPES.items():
        shape = [sizes[a] for a in axes]
        scale = 1 / np.sqrt(sizes["p"]) if "T" not in axes else 1.0
        out[name] = (rng.normal(size=shape) * scale).astype(dtype)
    return out


def ours(module: types.ModuleType, given: dict[str, Any], g_h: Any) -> Callable[[], Any]:
    """One forward and backward pass of the generated module."""
    parameters = {n: given[n] for n in module.Parameters.__annotations__}
    inputs = {n: given[n] for n in module.Inputs.__annotations__}
    label = "h" if "h" in module.Outputs.__annotations__ else "y"

    def run() -> Any:
        _, saved = module.forward(parameters, inputs)
        return module.backward(parameters, inputs, saved, {label: g_h})

    return run


def theirs(name: str, given: dict[str, Any], g_h: Any) -> Callable[[], Any]:
    """The same pass of PyTorch's own layer, gradients of everything included."""
    import torch

    torch.set_num_threads(int(THREADS))
    kind, gates = TORCH[name]
    d, p = given["x"].shape[-1], given["h0"].shape[-1]
    dtype = torch.float32 if given["x"].dtype == np.float32 else torch.float64
    layer = getattr(torch.nn, kind)(d, p, dtype=dtype)
    with torch.no_grad():
        for attribute, letter in (("weight_hh_l0", "W"), ("weight_ih_l0", "U")):
            stacked = np.concatenate([given[f"{letter}{g}"] for g in gates])
            getattr(layer, attribute).copy_(torch.from_numpy(stacked))
    x = torch.from_numpy(given["x"]).requires_grad_()
    states = [torch.from_numpy(given[n])[None].requires_grad_() for n in ("h0", "c0") if n in given]
    upstream = torch.from_numpy(g_h)
    leaves = [x, *states, *layer.parameters()]

    def run() -> Any:
        out, _ = layer(x, tuple(states) if kind == "LSTM" else states[0])
        return torch.autograd.grad(out, leaves, upstream)

    return run


def medians(works: list[Callable[[], Any]], seconds: float, least: int) -> list[list[float]]:
    """Times of several pieces of work taken in turn, a list for each piece.

    One thread is timed by the processor time it has had, so that waiting for others who use the
    machine does not count; several threads by the clock on the wall.
    """
    clock = time.process_time if THREADS == "1" else time.perf_counter
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < least:
        for work, taken in zip(works, times, strict=True):
            start = clock()
            work()
            taken.append(clock() - start)
    return times


def over(two: list[float], one: list[float]) -> float:
    """Median of two / one, pair by pair."""
    return statistics.median(b / a for a, b in zip(one, two, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each line")
    parser.add_argument("--least", type=int, default=5, help="runs for each line at least")
    parser.add_argument("--cells", nargs="*", default=list(TORCH))
    options = parser.parse_args()
    clock = "processor time" if THREADS == "1" else "wall clock"
    print(f"{THREADS} threads, {clock}; PyTorch's time / ours, / a hand-written LSTM's, / that of")
    print("the LSTM's matrix products alone; above 1: faster than PyTorch")
    head = f"{'cell':16} {'T, B, p':>15} {'dtype':>8} {'ours':>10}"
    print(f"{head} {'ratio':>7} {'by hand':>8} {'products':>9}")
    for name in options.cells:
        module = kernel(name)
        for steps, batch, p in QUICK if options.quick else SIZES:
            for dtype in (np.float32, np.float64):
                sizes = {"T": steps, "B": batch, "p": p, "d": p, "q": p}
                given = arrays(module, sizes, dtype)
                g_h = np.ones((steps, batch, p), dtype)
                works = [ours(module, given, g_h), theirs(name, given, g_h)]
                if name == "lstm":
                    works += [hand_written(given, g_h), products(given)]
                taken, torch_taken, *others = medians(works, options.seconds, options.least)
                columns = "".join(f"{over(torch_taken, t):9.2f}" for t in others)
                print(
                    f"{name:16} {f'{steps}, {batch}, {p}':>15} {np.dtype(dtype).name:>8} "
                    f"{statistics.median(taken) * 1e3:8.2f}ms {over(torch_taken, taken):7.2f}"
                    f"{columns}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
