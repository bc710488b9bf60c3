"""Generated C kernels against PyTorch: forward and backward pass, gradients of everything.

``python -m benchmarks.bench_c [--pairs 20] [--cells lstm …]``: one thread, processor time, both in
turn in one process; printed are the median of PyTorch's time ÷ ours over the pairs, and its
quartiles. LSTM and GRU meet ``nn.LSTM`` and ``nn.GRU``, the layer-norm LSTM eager PyTorch.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gradcheck_rnn import api

SIZES = ((50, 1, 16), (50, 32, 64), (50, 64, 256), (100, 16, 512))
CELLS = ("lstm", "gru_reset_after", "lstm_layer_norm")


def kernel(cell: str, folder: Path) -> Any:
    """The Python module over the C kernel of a cell."""
    api.write_c(cell, folder, python=True)
    spec = importlib.util.spec_from_file_location(cell, folder / f"{cell}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(module: Any, sizes: dict[str, int], dtype: str) -> Callable[[], None]:
    """One forward and backward pass at random arrays."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, axes in module.SHAPES.items():
        shape = [int(eval(a, {}, sizes)) for a in axes]
        arrays[name] = (rng.normal(size=shape) / np.sqrt(sizes["p"])).astype(dtype)
    inputs = {n: a for n, a in arrays.items() if n in ("x", "h0", "c0")}
    parameters = {n: a for n, a in arrays.items() if n not in inputs}
    seed = rng.normal(size=(sizes["T"], sizes["B"], sizes["p"])).astype(dtype)

    def step() -> None:
        _, saved = module.forward(parameters, inputs)
        module.backward(parameters, inputs, saved, {"h": seed})

    return step


def theirs(cell: str, sizes: dict[str, int], dtype: str) -> Callable[[], None]:
    """The same by PyTorch."""
    import torch

    steps, batch, p = sizes["T"], sizes["B"], sizes["p"]
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    x = torch.randn(steps, batch, p, dtype=kind, requires_grad=True)
    seed = torch.randn(steps, batch, p, dtype=kind)
    if cell == "lstm_layer_norm":
        net: Any = _LayerNormLSTM(p).to(kind)
    else:
        net = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(p, p).to(kind)
    leaves = [x, *net.parameters()]

    def step() -> None:
        out = net(x)
        torch.autograd.grad(out if torch.is_tensor(out) else out[0], leaves, seed)

    return step


def _LayerNormLSTM(p: int) -> Any:
    """A layer-norm LSTM as one writes it in PyTorch: packed gates, a norm of each product."""
    import torch

    class Cell(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W = torch.nn.Linear(p, 4 * p, bias=False)
            self.U = torch.nn.Linear(p, 4 * p, bias=False)
            self.norms = torch.nn.ModuleList(
                torch.nn.LayerNorm(n) for n in (4 * p, 4 * p, p)
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            h = c = x.new_zeros(x.shape[1], p)
            inputs, out = self.norms[0](self.U(x)), []
            for a in inputs:
                i, f, o, z = (a + self.norms[1](self.W(h))).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
                h = torch.sigmoid(o) * torch.tanh(self.norms[2](c))
                out.append(h)
            return torch.stack(out)

    return Cell()


def pairs(
    one: Callable[[], None], two: Callable[[], None], least: int
) -> Iterator[tuple[float, float]]:
    """Processor times of both in turn; repeated within a pair until a pair takes 5 ms."""
    for f in (one, two):
        f()
    begin = time.process_time()
    one()
    repeats = max(1, int(0.005 / max(time.process_time() - begin, 1e-5)))
    for _ in range(least):
        spent = []
        for f in (one, two):
            begin = time.process_time()
            for _ in range(repeats):
                f()
            spent.append((time.process_time() - begin) / repeats)
        yield spent[0], spent[1]


def main() -> None:
    """Print the table."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--cells", nargs="*", default=CELLS)
    given = parser.parse_args()
    print(f"{'cell':18}{'T, B, p':>14}{'dtype':>9}{'ours':>11}{'ratio':>8}  quartiles     pairs")
    with tempfile.TemporaryDirectory() as folder:
        for cell in given.cells:
            module = kernel(cell, Path(folder))
            for steps, batch, p in SIZES:
                least = given.pairs if p < 256 else max(3, given.pairs // 4)
                for dtype in ("float32", "float64"):
                    sizes = {"T": steps, "B": batch, "p": p, "d": p}
                    found = list(
                        pairs(ours(module, sizes, dtype), theirs(cell, sizes, dtype), least)
                    )
                    ratios = [b / a for a, b in found]
                    low, middle, high = statistics.quantiles(ratios, n=4)
                    took = 1e3 * statistics.median(a for a, _ in found)
                    print(
                        f"{cell:18}{f'{steps}, {batch}, {p}':>14}{dtype:>9}{took:9.2f}ms"
                        f"{middle:8.2f}"
                        f"  {low:.2f} to {high:.2f}  {len(found):4}", flush=True,
                    )  # fmt: skip


if __name__ == "__main__":
    main()
