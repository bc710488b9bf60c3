"""Generated CuPy kernels on a GPU: forward and backward, against PyTorch's cuDNN layers.

``python -m benchmarks.bench_gpu``; without CuPy or a device it says so and ends. Times are medians
by CUDA events after a warm-up, the two kernels in turn. The ratio is PyTorch's time / ours (above
1: ours is faster); it is left out where PyTorch with CUDA is not installed.
"""

from __future__ import annotations

import argparse
import statistics
import types
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = [(50, 1, 16), (50, 32, 64), (50, 64, 256), (50, 128, 512), (50, 128, 1024)]
CELLS = ("elman_hidden", "gru", "gru_reset_after", "lstm", "lstm_layer_norm")
#: Zoo cell → (PyTorch layer, gates in its order, by the suffix of our weights).
TORCH = {
    "elman_hidden": ("RNN", ("",)),
    "gru_reset_after": ("GRU", ("_r", "_z", "_c")),
    "lstm": ("LSTM", ("_i", "_f", "_c", "_o")),
}


def device() -> tuple[Any, str]:
    """CuPy, or why it cannot be used."""
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        return None, "CuPy is not installed: pip install 'gradcheck-rnn[cuda13]' (or cuda12)"
    except Exception as problem:
        return None, f"no CUDA device: {problem}"
    return cupy, "" if count else "no CUDA device"


def kernel(name: str) -> types.ModuleType:
    """The generated module of a zoo cell."""
    from gradcheck_rnn import cells
    from gradcheck_rnn.codegen import generate
    from gradcheck_rnn.derivation import derive

    module = types.ModuleType(name)
    exec(compile(generate(derive(cells.get(name)), "cupy"), name, "exec"), module.__dict__)
    return module


def arrays(module: types.ModuleType, sizes: dict[str, int], dtype: Any) -> dict[str, Any]:
    """Random arrays for everything the module takes."""
    rng = np.random.default_rng(0)
    out = {}
    for name, axes in module.SHAPES.items():
        shape = [int(eval(a, {}, sizes)) for a in axes]
        scale = 1.0 if "T" in axes else 1 / np.sqrt(sizes["p"])
        out[name] = (rng.normal(size=shape) * scale).astype(dtype)
    return out


def ours(cupy: Any, module: types.ModuleType, given: dict[str, Any], g_h: Any) -> Callable[[], Any]:
    """One forward and backward pass of the generated module."""
    moved = {n: cupy.asarray(a) for n, a in given.items()}
    parameters = {n: moved[n] for n in module.Parameters.__annotations__}
    inputs = {n: moved[n] for n in module.Inputs.__annotations__}
    upstream = {"h": cupy.asarray(g_h)}

    def run() -> Any:
        _, saved = module.forward(parameters, inputs)
        return module.backward(parameters, inputs, saved, upstream)

    return run


def theirs(name: str, given: dict[str, Any], g_h: Any) -> Callable[[], Any] | None:
    """The same pass of PyTorch's own layer, or None."""
    try:
        import torch
    except ImportError:
        return None
    if name not in TORCH or not torch.cuda.is_available():
        return None
    kind, gates = TORCH[name]
    d, p = given["x"].shape[-1], given["h0"].shape[-1]
    dtype = torch.float32 if given["x"].dtype == np.float32 else torch.float64
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    layer = getattr(torch.nn, kind)(d, p, dtype=dtype, device="cuda")
    with torch.no_grad():
        for attribute, letter in (("weight_hh_l0", "W"), ("weight_ih_l0", "U")):
            stacked = np.concatenate([given[f"{letter}{g}"] for g in gates])
            getattr(layer, attribute).copy_(torch.from_numpy(stacked))
    x = torch.from_numpy(given["x"]).cuda().requires_grad_()
    names = [n for n in ("h0", "c0") if n in given]
    states = [torch.from_numpy(given[n])[None].cuda().requires_grad_() for n in names]
    upstream = torch.from_numpy(g_h).cuda()
    leaves = [x, *states, *layer.parameters()]

    def run() -> Any:
        out, _ = layer(x, tuple(states) if kind == "LSTM" else states[0])
        return torch.autograd.grad(out, leaves, upstream)

    return run


def milliseconds(cupy: Any, run: Callable[[], Any]) -> float:
    """Time of one run, from an idle device to an idle device, the host's work included."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    cupy.cuda.runtime.deviceSynchronize()
    start.record()
    run()
    # PyTorch works on the default stream as CuPy does, so the event comes after its work.
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, end))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="*", default=CELLS)
    parser.add_argument("--runs", type=int, default=20)
    chosen = parser.parse_args()
    cupy, reason = device()
    if reason:
        print(f"bench_gpu: {reason}")
        return
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    print(f"{properties['name'].decode()}; ratio = PyTorch's time / ours")
    print(f"{'cell':16} {'T, B, p':>14} {'dtype':>8} {'ours ms':>9} {'ratio':>6}")
    for name in chosen.cells:
        module = kernel(name)
        for steps, batch, p in SIZES:
            for dtype in (np.float32, np.float64):
                given = arrays(module, {"T": steps, "B": batch, "p": p, "d": p}, dtype)
                g_h = np.ones((steps, batch, p), dtype)
                one, two = ours(cupy, module, given, g_h), theirs(name, given, g_h)
                runs = [r for r in (one, two) if r is not None]
                times: list[list[float]] = [[] for _ in runs]
                for i in range(chosen.runs + 3):
                    for r, t in zip(runs, times, strict=True):
                        took = milliseconds(cupy, r)
                        if i >= 3:
                            t.append(took)
                mine = statistics.median(times[0])
                ratio = f"{statistics.median(times[1]) / mine:6.2f}" if two else ""
                size = f"{steps}, {batch}, {p}"
                print(f"{name:16} {size:>14} {np.dtype(dtype).name:>8} {mine:9.3f} {ratio:>6}")


if __name__ == "__main__":
    main()
