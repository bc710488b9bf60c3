"""Cost of the black box beside torch.autograd.gradcheck (slow mode), on right and wrong gradients.

``python -m benchmarks.bench_right_and_wrong`` checks recurrent cells of PyTorch (Elman, GRU, LSTM)
with about 100 to 7,000 entries, entry by entry: their gradient by autograd, and the same with a
fault planted. Both checkers call one and the same `torch.autograd.Function`, in one thread; times
are those of the processor, taken in turns in one run. What is printed is the time of the black box
÷ that of gradcheck, that of its calls of loss and gradient alone, below which no check with this
evidence comes, and both verdicts. ``--turns 3`` takes the least of three, since other programs run
beside. ``--sizes 100 500`` leaves out larger ones, ``--cells`` and
``--faults`` choose among the others. ``--mode directional`` compares with gradcheck's fast mode,
``--workers 2`` the processor time of the busiest of two processes with that of one, ``--budgets 1s
5s`` the seconds that a check takes with what it was given.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from collections.abc import Callable, Generator
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
        self.within = stopwatch()
        next(self.within)

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

    def gradcheck(self, fault: Callable[[list[np.ndarray]], None], *, fast: bool = False) -> bool:
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
        return bool(
            torch.autograd.gradcheck(Loss.apply, inputs, raise_exception=False, fast_mode=fast)
        )

    def black_box(
        self,
        fault: Callable[[list[np.ndarray]], None],
        clock: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function,
        **options: Any,
    ) -> Any:
        """Our report; `clock` wraps the functions."""
        torch = self.torch

        def loss(*weights: Any) -> float:
            with torch.no_grad():
                return float(self.value([torch.from_numpy(np.asarray(w)) for w in weights]))

        def gradient(*weights: Any) -> tuple[Any, ...]:
            return tuple(self.gradients([torch.from_numpy(np.asarray(w)) for w in weights], fault))

        arrays = tuple(w.numpy().copy() for w in self.parameters)
        options = {"mode": "entrywise", **options}
        return check_gradient(clock(loss), clock(gradient), arrays, **options)

    def clocked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; the time of its calls is added up."""

        def call(*weights: Any) -> Any:
            start = time.process_time()
            found = function(*weights)
            self.within.send(time.process_time() - start)
            return found

        return call


def stopwatch() -> Generator[float, float, None]:
    """Adds up the seconds that are sent to it. No check looks into a generator for kept state."""
    total = 0.0
    while True:
        total += yield total


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one call, and what it returned."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def against_gradcheck(chosen: argparse.Namespace) -> None:
    """Print a line a problem, then medians."""
    ratios: dict[tuple[int, bool], list[tuple[float, float]]] = {}
    fast = chosen.mode == "directional"
    title = f"black box ÷ gradcheck {'fast' if fast else 'slow'}"
    print(f"{'cell':6}{'entries':>8}  {'gradient':18}{title:>28}{'functions':>11}  verdicts")
    for size in chosen.sizes:
        for kind in chosen.cells:
            problem = Problem(kind, size, CELLS.index(kind))
            for name in chosen.faults:
                fault = FAULTS[name]
                ours = theirs = within = math.inf
                for _ in range(chosen.turns):
                    took, report = timed(lambda: problem.black_box(fault, mode=chosen.mode))  # noqa: B023
                    ours = min(ours, took)
                    took, passed = timed(lambda: problem.gradcheck(fault, fast=fast))  # noqa: B023
                    theirs = min(theirs, took)
                    # by themselves, since a clock takes a hundredth of a small check
                    before = problem.within.send(0.0)
                    problem.black_box(fault, problem.clocked, mode=chosen.mode)
                    within = min(within, problem.within.send(0.0) - before)
                ratio, alone = ours / theirs, within / theirs
                ratios.setdefault((size, name == "right"), []).append((ratio, alone))
                print(
                    f"{kind:6}{problem.entries:8}  {name:18}{ratio:28.2f}{alone:11.2f}  "
                    f"{report.verdict}, "
                    f"{'pass' if passed else 'fail'}; {report.evaluations} losses, "
                    f"{report.gradients} gradients",
                    flush=True,
                )
    for (size, right), found in sorted(ratios.items()):
        words, (whole, alone) = "right" if right else "wrong", zip(*found, strict=True)
        print(
            f"about {size} entries, {words}: median {statistics.median(whole):.2f}, "
            f"worst {max(whole):.2f}, functions alone {statistics.median(alone):.2f} "
            f"({len(found)} problems)"
        )


def several_workers(chosen: argparse.Namespace) -> None:
    """Print what the busiest process spends, beside one process alone."""

    def spent() -> float:
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime

    for size in chosen.sizes:
        for kind in chosen.cells:
            problem = Problem(kind, size, CELLS.index(kind))
            one, report = timed(lambda: problem.black_box(FAULTS["right"]))  # noqa: B023
            before = spent()
            here, same = timed(
                lambda: problem.black_box(FAULTS["right"], workers=chosen.workers)  # noqa: B023
            )
            there = (spent() - before) / (chosen.workers - 1)
            print(
                f"{kind:6}{problem.entries:8}  1 process {one:.2f} s, {chosen.workers}: "
                f"{here:.2f} s here and {there:.2f} s in each other: {one / max(here, there):.2f} "
                f"times as fast; {report.verdict}, {same.verdict}",
                flush=True,
            )


def within_budgets(chosen: argparse.Namespace) -> None:
    """Print seconds on the clock."""
    for size in chosen.sizes:
        for kind in chosen.cells:
            problem = Problem(kind, size, CELLS.index(kind))
            for budget in chosen.budgets:
                for mode in ("entrywise", "directional"):
                    for name in chosen.faults:
                        start = time.perf_counter()
                        report = problem.black_box(FAULTS[name], mode=mode, budget=budget)
                        seconds = time.perf_counter() - start
                        undecided = sum(row.undecided for row in report.rows)
                        print(
                            f"{kind:6}{problem.entries:8}  {budget:>4} {mode:12}{name:18}"
                            f"{seconds:7.2f} s, {report.evaluations} losses, {report.verdict}, "
                            f"{undecided} entries left",
                            flush=True,
                        )


def main() -> None:
    """Print what was asked for."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--cells", nargs="*", choices=CELLS, default=list(CELLS))
    parser.add_argument("--faults", nargs="*", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--mode", choices=["entrywise", "directional"], default="entrywise")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--budgets", nargs="*", default=[])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    # loads what PyTorch loads late
    warm = Problem("RNN", 100, 0)
    for fast in (False, True):
        warm.gradcheck(FAULTS["right"], fast=fast)
    warm.black_box(FAULTS["right"])
    if chosen.budgets:
        within_budgets(chosen)
    elif chosen.workers > 1:
        several_workers(chosen)
    else:
        against_gradcheck(chosen)


if __name__ == "__main__":
    main()
