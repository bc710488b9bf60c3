"""Model mode on a grid of steps, units and number formats: seconds and peak memory, no cliff.

``python -m benchmarks.bench_grid`` checks an LSTM written by hand in PyTorch at one point, all
cotangents, bounds included, each size in a process of its own. ``--steps``, ``--units`` and
``--dtypes`` choose sizes. Seconds are those of a processor, imports included (1.5 s).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

from gradcheck_rnn import api
from gradcheck_rnn.verify.diagnosis import check_model

BATCH, INPUTS = 2, 16


def forward(x: Any, h0: Any, c0: Any, Wx: Any, Wh: Any, b: Any) -> Any:
    """An LSTM with packed gates, (B, T, d)."""
    import torch

    h, c, p, saved, series = h0, c0, h0.shape[1], [], []
    for t in range(x.shape[1]):
        a = x[:, t] @ Wx + h @ Wh + b
        i, f, o = torch.sigmoid(a[:, : 3 * p]).split(p, 1)
        g = torch.tanh(a[:, 3 * p :])
        following = f * c + i * g
        saved.append((h, c, i, f, o, g, torch.tanh(following)))
        h, c = o * saved[-1][-1], following
        series.append(h)
    return {"h": torch.stack(series, 1), "h_T": h, "c_T": c}, (x, Wx, Wh, saved)


def backward(cotangents: dict[str, Any], cache: Any) -> dict[str, Any]:
    """Its gradient; those of the weights are one product each."""
    import torch

    x, Wx, Wh, saved = cache
    dh, dc, deltas = cotangents["h_T"].clone(), cotangents["c_T"].clone(), []
    for t in range(x.shape[1] - 1, -1, -1):
        _, c, i, f, o, g, u = saved[t]
        dh = dh + cotangents["h"][:, t]
        dc = dc + dh * o * (1 - u * u)
        gates = dc * g * i * (1 - i), dc * c * f * (1 - f), dh * u * o * (1 - o)
        deltas.append(torch.cat([*gates, dc * i * (1 - g * g)], 1))
        dh, dc = deltas[-1] @ Wh.T, dc * f
    da = torch.stack(deltas[::-1], 1)
    before = torch.stack([s[0] for s in saved], 1)
    rows, left = da.flatten(0, 1), (x.flatten(0, 1).T, before.flatten(0, 1).T)
    return {"x": da @ Wx.T, "h0": dh, "c0": dc, "Wx": left[0] @ rows, "Wh": left[1] @ rows,
            "b": rows.sum(0)}  # fmt: skip


def check(size: tuple[int, int, str]) -> tuple[str, float, float]:
    """Verdict, processor seconds and peak memory in MB."""
    import torch

    torch.set_num_threads(1)
    steps, units, dtype = size
    start = time.process_time()
    report = check_model(
        api.load("lstm"), forward=forward, backward=backward, layout="lecture lstm",
        shapes={"T": steps, "B": BATCH, "d": INPUTS, "p": units}, plan="point", dtype=dtype,
        array="torch",
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return str(report.verdict), time.process_time() - start, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--units", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--dtypes", nargs="+", default=["float64", "float32", "bfloat16"])
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("| dtype | p | " + " | ".join(f"T = {t}" for t in given.steps) + " |")
    print("|---|--:|" + "--:|" * len(given.steps))
    for dtype in given.dtypes:
        for units in given.units:
            cells = []
            for steps in given.steps:
                with context.Pool(1) as pool:
                    verdict, seconds, peak = pool.map(check, [(steps, units, dtype)])[0]
                cells.append(f"{verdict}, {seconds:.1f} s, {peak:.0f} MB")
            print(f"| {dtype} | {units} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
