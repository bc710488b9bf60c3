"""Cost of the black box beside torch.autograd.gradcheck (slow mode), on right and wrong gradients.

``python -m benchmarks.bench_right_and_wrong`` checks recurrent cells of PyTorch (Elman, GRU, LSTM)
with about 100 to 7,000 entries, entry by entry: their gradient by autograd, and the same with a
fault planted. Both checkers call one and the same `torch.autograd.Function`, in one thread; times
are those of the processor, taken in turns in one run. What is printed is the time of the black box
÷ that of gradcheck, and both verdicts. ``--sizes 100 500`` leaves out larger ones.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck_rnn import check_gradient

CELLS = ("RNN", "GRU", "LSTM")
#: Units of the state and of the input by wanted number of entries, for one gate; gates divide.
SIZES = (100, 500, 2000, 7000)
STEPS, BATCH = 5, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def factor(gradients: list[np.ndarray]) -> None:
    """All entries of all blocks are twice too large."""
    for g in gradients:
        g *= 2.0


def block(gradients: list[np.ndarray]) -> None:
    """One block is a part in a hundred too large."""
    gradients[1] *= 1.01


def entry(gradients: list[np.ndarray]) -> None:
    """One entry of one block is wrong by a hundredth of the largest."""
    flat = gradients[0].reshape(-1)
    flat[flat.size // 3] += 0.01 * np.max(np.abs(flat))


def rows(gradients: list[np.ndarray]) -> None:
    """A row of a block is lost."""
    gradients[0][-1] = 0.0


FAULTS: dict[str, Callable[[list[np.ndarray]], None]] = {
    "right": lambda gradients: None, "factor 2": factor, "one block × 1.01": block,
    "one entry": entry, "a row lost": rows,
}  # fmt: skip


class Problem:
    """The sum of a cell's outputs as a function of its weights, for both checkers."""

    def __init__(self, kind: str, entries: int, seed: int) -> None:
        import torch

        gates = GATES[kind]
        # gates * p * (p + d + 2) entries with d = p - 1
        p = max(round((-1 + math.sqrt(1 + 8 * entries / gates)) / 4), 2)
        torch.manual_seed(seed)
        self.torch = torch
        self.cell = getattr(torch.nn, kind)(max(p - 1, 1), p).double()
        self.names = [n for n, _ in self.cell.named_parameters()]
        self.x = torch.randn(STEPS, BATCH, max(p - 1, 1), dtype=torch.float64)
        self.weight = torch.randn(STEPS, BATCH, p, dtype=torch.float64)
        self.parameters = [w.detach().clone() for w in self.cell.parameters()]
        self.entries = sum(w.numel() for w in self.parameters)

    def value(self, weights: Any) -> Any:
        """The loss, from tensors."""
        named = dict(zip(self.names, weights, strict=True))
        out, _ = self.torch.func.functional_call(self.cell, named, (self.x,))
        return (out * self.weight).sum()

    def gradients(self, weights: Any, fault: Callable[[list[np.ndarray]], None]) -> list[Any]:
        """What the backward pass under test returns, as arrays."""
        held = [w.detach().clone().requires_grad_() for w in weights]
        with self.torch.enable_grad():
            found = self.torch.autograd.grad(self.value(held), held)
        arrays = [g.numpy().copy() for g in found]
        fault(arrays)
        return arrays

    def gradcheck(self, fault: Callable[[list[np.ndarray]], None]) -> bool:
        """PyTorch's verdict."""
        torch, problem = self.torch, self

        class Loss(torch.autograd.Function):  # type: ignore[name-defined, misc]
            @staticmethod
            def forward(ctx: Any, *weights: Any) -> Any:
                ctx.save_for_backward(*weights)
                with torch.no_grad():
                    return problem.value(weights)

            @staticmethod
            def backward(ctx: Any, upstream: Any) -> Any:
                found = problem.gradients(ctx.saved_tensors, fault)
                return tuple(upstream * torch.from_numpy(g) for g in found)

        inputs = tuple(w.clone().requires_grad_() for w in self.parameters)
        return bool(torch.autograd.gradcheck(Loss.apply, inputs, raise_exception=False))

    def black_box(self, fault: Callable[[list[np.ndarray]], None]) -> str:
        """Our verdict."""
        torch = self.torch

        def loss(*weights: Any) -> float:
            with torch.no_grad():
                return float(self.value([torch.from_numpy(np.asarray(w)) for w in weights]))

        def gradient(*weights: Any) -> tuple[Any, ...]:
            return tuple(self.gradients([torch.from_numpy(np.asarray(w)) for w in weights], fault))

        arrays = tuple(w.numpy().copy() for w in self.parameters)
        return str(check_gradient(loss, gradient, arrays, mode="entrywise").verdict)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one call, and what it returned."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def main() -> None:
    """Print a line a problem, then medians."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    Problem("RNN", 100, 0).gradcheck(FAULTS["right"])  # loads what PyTorch loads late
    ratios: dict[tuple[int, bool], list[float]] = {}
    print(f"{'cell':6}{'entries':>8}  {'gradient':18}{'black box ÷ gradcheck slow':>28}  verdicts")
    for size in chosen.sizes:
        for number, kind in enumerate(CELLS):
            problem = Problem(kind, size, number)
            for name, fault in FAULTS.items():
                ours, verdict = timed(lambda: problem.black_box(fault))  # noqa: B023
                theirs, passed = timed(lambda: problem.gradcheck(fault))  # noqa: B023
                ratio = ours / theirs
                ratios.setdefault((size, name == "right"), []).append(ratio)
                print(
                    f"{kind:6}{problem.entries:8}  {name:18}{ratio:28.2f}  "
                    f"{verdict}, {'pass' if passed else 'fail'}"
                )
    for (size, right), found in sorted(ratios.items()):
        words = "right" if right else "wrong"
        print(
            f"about {size} entries, {words}: median {statistics.median(found):.2f}, "
            f"worst {max(found):.2f} ({len(found)} problems)"
        )


if __name__ == "__main__":
    main()
