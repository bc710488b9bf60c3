"""Seconds of a full entrywise check of an LSTM, beside torch.autograd.gradcheck.

``python -m benchmarks.bench_verify`` checks a hand-written NumPy LSTM with about 7,000 entries
(T = 20, B = 2, d = 16, p = 32, float64) in model mode: every entry of every gradient, for the
cotangents of all outputs together, of each alone and of the last step alone, error bounds included.
gradcheck, where PyTorch is installed, checks torch.nn.LSTM of the same size, for one scalar loss.
The growth with T and p follows.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.verify.diagnosis import ModelReport, check_model

EXAMPLE = Path(__file__).parents[1] / "examples" / "lstm_caches.py"


def example() -> Any:
    """The hand-written LSTM of the examples as a module."""
    spec = importlib.util.spec_from_file_location("lstm_caches", EXAMPLE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(steps: int, batch: int, d: int, p: int) -> ModelReport:
    code = example()

    def forward(x: Any, h0: Any, c0: Any, Wx: Any, Wh: Any, b: Any) -> Any:
        h, c, caches = code.lstm_forward(x, h0, c0, Wx, Wh, b)
        return {"h": h, "h_T": h[:, -1], "c_T": c}, caches

    def backward(cotangents: dict[str, Any], caches: Any) -> dict[str, Any]:
        dh = cotangents["h"].copy()
        dh[:, -1] += cotangents["h_T"]
        names = ("x", "h0", "c0", "Wx", "Wh", "b")
        return dict(zip(names, code.lstm_backward(dh, cotangents["c_T"], caches), strict=True))

    return check_model(
        api.load("lstm"), forward=forward, backward=backward, layout="lecture lstm",
        shapes={"T": steps, "B": batch, "d": d, "p": p}, plan="point",
    )  # fmt: skip


def median(work: Callable[[], Any], runs: int) -> float:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gradcheck(steps: int, batch: int, d: int, p: int, *, fast: bool, runs: int) -> float | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = torch.nn.LSTM(d, p).double()
    weights = [w.detach().clone().requires_grad_() for w in layer.parameters()]
    names = [n for n, _ in layer.named_parameters()]
    x, h0, c0 = (
        torch.randn(*s, dtype=torch.float64, requires_grad=True)
        for s in ((steps, batch, d), (1, batch, p), (1, batch, p))
    )

    def loss(x: Any, h0: Any, c0: Any, *w: Any) -> Any:
        out, (h, c) = torch.func.functional_call(
            layer, dict(zip(names, w, strict=True)), (x, (h0, c0))
        )
        return out.sum() + h.sum() + c.sum()

    def work() -> None:
        torch.autograd.gradcheck(loss, (x, h0, c0, *weights), fast_mode=fast)

    if runs > 1:
        return median(work, runs)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave gradcheck slow and growth out")
    options = parser.parse_args()
    size = (20, 2, 16, 32)
    report = check(*size)
    entries = sum(r.entries for r in report.rows)
    ours = median(lambda: check(*size), 5)
    probes = len(report.comparisons[0].station.cases)
    print(f"LSTM T={size[0]} B={size[1]} d={size[2]} p={size[3]}, {entries} entries, float64")
    print(
        f"  model mode, entrywise, {probes} cotangents: {ours:.3f} s ({report.verdict}; "
        f"{report.evaluations} evaluations of a step or pass of the definition, "
        f"{report.gradients} calls of the code)"
    )
    for fast in (True,) if options.quick else (True, False):
        theirs = gradcheck(*size, fast=fast, runs=5 if fast else 1)
        name = f"torch gradcheck {'fast' if fast else 'slow'}, one loss"
        if theirs is None:
            print(f"  {name}: PyTorch is not installed")
        else:
            print(f"  {name}: {theirs:.3f} s, {theirs / ours:.1f} times ours")
    if options.quick:
        return
    print("growth")
    for steps, p in ((20, 32), (40, 32), (80, 32), (160, 32), (20, 64), (20, 128), (20, 256)):
        start = time.perf_counter()
        report = check(steps, 2, 16, p)
        entries = sum(r.entries for r in report.rows)
        print(f"  T={steps:4d} p={p:4d} {entries:7d} entries {time.perf_counter() - start:8.3f} s")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
