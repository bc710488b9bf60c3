"""Generated kernels against PyTorch on the CPU: forward and backward pass, paired.

``python -m benchmarks.bench_kernels [--backend numpy c] [--cells lstm …] [--sizes 50,32,64 …]
[--dtypes float32 …] [--pairs 20] [--minutes 5] [--keep]``: both run in turn in one process with one
thread and are timed by processor time, so that others who use the machine slow both. Printed are
the median of PyTorch's time ÷ ours over the pairs (above 1: ours is faster) and its quartiles; from
p = 256 on a quarter of the pairs is measured, or fewer where ``--minutes`` for the table are spent.
LSTM, GRU and RNN meet PyTorch's layers, the other cells eager PyTorch. Beside the LSTM stand, in
the same sense, an LSTM written by hand in NumPy and its matrix products alone: what NumPy and its
BLAS allow. ``--keep`` gives our kernels a workspace that lasts.

OPENBLAS_CORETYPE names the kernels of NumPy's BLAS, if its own choice is to be overruled.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import math
import os
import statistics
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

from gradcheck_rnn import api  # noqa: E402

from .hand_lstm import hand_written, products  # noqa: E402

SIZES = ("50,1,16", "50,32,64", "50,64,256", "100,16,512")
CELLS = ("lstm", "gru_reset_after", "elman_hidden", "lstm_layer_norm", "mgu", "slstm")


def kernel(cell: str, backend: str, folder: Path) -> Any:
    """The generated module of a zoo cell; C behind its Python module."""
    if backend == "c":
        api.write_c(cell, folder, python=True)
    else:
        (folder / f"{cell}.py").write_text(api.generate(cell, backend), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(cell, folder / f"{cell}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arrays(module: types.ModuleType, sizes: dict[str, int], dtype: str) -> dict[str, Any]:
    """Random arrays for everything the module takes."""
    rng = np.random.default_rng(0)
    out = {}
    for name, axes in module.SHAPES.items():
        shape = [int(eval(a, {}, sizes)) for a in axes]
        scale = 1.0 if "T" in axes else 1 / np.sqrt(sizes["p"])
        out[name] = (rng.normal(size=shape) * scale).astype(dtype)
    if "n0" in out:  # the normaliser of the sLSTM
        out["n0"] = 1 + np.abs(out["n0"])
    return out


def ours(
    module: types.ModuleType, given: dict[str, Any], seed: Any, keep: bool = False
) -> Callable[[], Any]:
    """One forward and backward pass of the generated module; ``keep``: with a workspace."""
    workspace: dict[str, Any] | None = {} if keep else None
    both = "workspace" in inspect.signature(module.backward).parameters
    last = (workspace,) if both else ()  # memory of a C kernel goes with what is saved
    parameters = {n: given[n] for n in module.Parameters.__annotations__}
    inputs = {n: given[n] for n in module.Inputs.__annotations__}

    def run() -> Any:
        _, saved = module.forward(parameters, inputs, workspace)
        return module.backward(parameters, inputs, saved, {"h": seed}, *last)

    return run


def rounds(works: list[Callable[[], Any]], count: int, end: float) -> Iterator[list[float]]:
    """Processor times of all pieces of work in turn; repeated until each round takes 5 ms.

    Three rounds at least, and no more than ``count``, or than there is time for until ``end``.
    """
    for work in works:
        work()
    begin = time.process_time()
    works[0]()
    repeats = max(1, int(0.005 / max(time.process_time() - begin, 1e-5)))
    for i in range(count):
        if i >= 3 and time.perf_counter() > end:
            return
        spent = []
        for work in works:
            begin = time.process_time()
            for _ in range(repeats):
                work()
            spent.append((time.process_time() - begin) / repeats)
        yield spent


def main() -> None:
    """Print the table."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", nargs="*", default=["numpy"], choices=("numpy", "c"))
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--cells", nargs="*", default=CELLS)
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    parser.add_argument("--dtypes", nargs="*", default=("float32", "float64"))
    parser.add_argument("--minutes", type=float, default=60.0, help="at most, about")
    parser.add_argument("--keep", action="store_true", help="keep a workspace between calls")
    options = parser.parse_args()
    left = _Left(options)
    for backend in options.backend:
        print(f"{backend}; NumPy's BLAS: {_blas()}; PyTorch {torch.__version__}, "
              f"{torch.backends.cpu.get_cpu_capability()}; one thread, processor time")  # fmt: skip
        head = (
            f"{'cell':16} {'T, B, p':>12} {'dtype':>8} {'ours':>10} {'ratio':>6}  {'quartiles':12}"
        )
        print(f"{head} pairs  by hand  products")
        with tempfile.TemporaryDirectory() as folder:
            for cell in options.cells:
                module = kernel(cell, backend, Path(folder))
                for size in options.sizes:
                    for dtype in options.dtypes:
                        print(_row(cell, module, size, dtype, options, left.end()), flush=True)


class _Left:
    """The time that is left, in equal parts for the rows that are left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._end = time.perf_counter() + 60 * options.minutes
        self._rows = len(options.backend) * len(options.cells)
        self._rows *= len(options.sizes) * len(options.dtypes)

    def end(self) -> float:
        """When the next row should end."""
        now = time.perf_counter()
        self._rows -= 1
        return now + max(self._end - now, 0) / (self._rows + 1)


def _row(
    cell: str, module: Any, size: str, dtype: str, options: argparse.Namespace, end: float
) -> str:
    """One cell at one size in one precision."""
    from .torch_cells import torch_pass

    steps, batch, p = map(int, size.split(","))
    count = options.pairs if p < 256 else max(5, options.pairs // 4)
    sizes = {"T": steps, "B": batch, "p": p, "d": p, "q": p}
    given = arrays(module, sizes, dtype)
    seed = np.ones((steps, batch, p), dtype)
    end = end if p >= 256 else math.inf
    works = [ours(module, given, seed, options.keep), torch_pass(cell, sizes, dtype)]
    if cell == "lstm" and not hasattr(module, "FLAGS"):
        works += [hand_written(given, seed), products(given)]
    mine, torchs, *others = zip(*rounds(works, count, end), strict=True)
    ratios = [b / a for a, b in zip(mine, torchs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    beside = "".join(f"{_over(torchs, t):9.2f}" for t in others)
    return (
        f"{cell:16} {f'{steps}, {batch}, {p}':>12} {dtype:>8} "
        f"{1e3 * statistics.median(mine):8.2f}ms {middle:6.2f}  "
        f"{f'{low:.2f} to {high:.2f}':12} {len(ratios):5}{beside}"
    )


def _over(two: tuple[float, ...], one: tuple[float, ...]) -> float:
    """Median of two / one, round by round."""
    return statistics.median(b / a for a, b in zip(one, two, strict=True))


def _blas() -> str:
    """The kernels that NumPy's BLAS has chosen, where threadpoolctl can tell."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "kernels not known, threadpoolctl is not there"
    found = [i for i in threadpool_info() if i["user_api"] == "blas" and "numpy" in i["filepath"]]
    return ", ".join(f"{i['internal_api']} {i['version']} {i['architecture']}" for i in found)


if __name__ == "__main__":
    main()
