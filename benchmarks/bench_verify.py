"""Seconds of a check of an LSTM in each mode, beside torch.autograd.gradcheck.

``python -m benchmarks.bench_verify`` takes an LSTM with about 7,000 entries (T = 20, B = 2, d = 16,
p = 32, float64).

* Model mode checks the hand-written NumPy LSTM of the examples: every entry of every gradient, for
  the cotangents of all outputs together, of each alone and of the last step alone, bounds included.
* The black box and gradcheck check one and the same function, torch.nn.LSTM with the sum of its
  outputs as loss, entry by entry and along directions. The black box checks the NumPy LSTM too.

The growth with T, p and entries follows; ``-o FILE.svg`` plots it, ``--table FILE.md``
writes what is printed. Times are the least of several runs, because other programs may run beside;
entrywise checks of the black box and gradcheck slow run once.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradcheck_rnn import api, check_gradient
from gradcheck_rnn.verify import Report
from gradcheck_rnn.verify.diagnosis import check_model

EXAMPLE = Path(__file__).parents[1] / "examples" / "lstm_caches.py"
NAMES = ("x", "h0", "c0", "Wx", "Wh", "b")
Size = tuple[int, int, int, int]
SIZE: Size = (20, 2, 16, 32)
BY_STEPS: tuple[Size, ...] = tuple((steps, 2, 16, 32) for steps in (5, 10, 20, 40, 80, 160))
BY_UNITS: tuple[Size, ...] = tuple((20, 2, 16, p) for p in (4, 8, 16, 32, 64, 128, 256))
#: Beyond so many entries times steps an entrywise check of a black box takes minutes.
MOST_WORK = 150_000
MODES = ("model mode", "black box, directional", "black box, entrywise", "gradcheck fast",
         "gradcheck slow")  # fmt: skip


def example() -> Any:
    """The hand-written LSTM of the examples as a module."""
    spec = importlib.util.spec_from_file_location("lstm_caches", EXAMPLE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CODE = example()


def entries_of(size: Size) -> int:
    steps, batch, d, p = size
    return steps * batch * d + 2 * batch * p + 4 * p * (d + p + 1)


def model_mode(size: Size) -> Report:
    def forward(x: Any, h0: Any, c0: Any, Wx: Any, Wh: Any, b: Any) -> Any:
        h, c, caches = CODE.lstm_forward(x, h0, c0, Wx, Wh, b)
        return {"h": h, "h_T": h[:, -1], "c_T": c}, caches

    def backward(cotangents: dict[str, Any], caches: Any) -> dict[str, Any]:
        dh = cotangents["h"].copy()
        dh[:, -1] += cotangents["h_T"]
        return dict(zip(NAMES, CODE.lstm_backward(dh, cotangents["c_T"], caches), strict=True))

    steps, batch, d, p = size
    return check_model(
        api.load("lstm"), forward=forward, backward=backward, layout="lecture lstm",
        shapes={"T": steps, "B": batch, "d": d, "p": p}, plan="point",
    )  # fmt: skip


def numpy_lstm(size: Size) -> Callable[[str], Report]:
    """The black box on the NumPy LSTM of the examples, by mode."""
    steps, batch, d, p = size
    rng = np.random.default_rng(0)
    shapes = ((batch, steps, d), (batch, p), (batch, p), (d, 4 * p), (p, 4 * p), (4 * p,))
    point = {n: rng.standard_normal(s) for n, s in zip(NAMES, shapes, strict=True)}
    for name in ("Wx", "Wh"):
        point[name] /= np.sqrt(len(point[name]))

    def loss(a: dict[str, Any]) -> Any:
        h, c, _ = CODE.lstm_forward(**a)
        return h.sum() + c.sum()

    def gradient(a: dict[str, Any]) -> Any:
        h, c, caches = CODE.lstm_forward(**a)
        grads = CODE.lstm_backward(np.ones_like(h), np.ones_like(c), caches)
        return dict(zip(NAMES, grads, strict=True))

    return lambda mode: check_gradient(loss, gradient, point, mode=mode)


def torch_lstm(size: Size) -> tuple[Callable[[str], Report], Callable[[bool], Any]] | None:
    """The black box by mode, and gradcheck fast or slow, on torch.nn.LSTM; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    steps, batch, d, p = size
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = torch.nn.LSTM(d, p).double()
    names = [n for n, _ in layer.named_parameters()]
    shapes = {"x": (steps, batch, d), "h0": (1, batch, p), "c0": (1, batch, p)}
    point = {n: torch.randn(*s, dtype=torch.float64) for n, s in shapes.items()}
    point |= {n: w.detach().clone() for n, w in layer.named_parameters()}

    def run(x: Any, h0: Any, c0: Any, *w: Any) -> Any:
        weights = dict(zip(names, w, strict=True))
        out, (h, c) = torch.func.functional_call(layer, weights, (x, (h0, c0)))
        return out.sum() + h.sum() + c.sum()

    def loss(a: dict[str, Any]) -> Any:
        with torch.no_grad():
            return run(*map(torch.from_numpy, a.values())).item()

    def gradient(a: dict[str, Any]) -> Any:
        tensors = [torch.from_numpy(v).requires_grad_() for v in a.values()]
        return dict(zip(a, torch.autograd.grad(run(*tensors), tensors), strict=True))

    arrays = {n: v.numpy() for n, v in point.items()}
    inputs = [v.clone().requires_grad_() for v in point.values()]
    return (
        lambda mode: check_gradient(loss, gradient, arrays, mode=mode),
        lambda fast: torch.autograd.gradcheck(run, inputs, fast_mode=fast),
    )


def least(work: Callable[[], Any], runs: int) -> float:
    """Seconds of the fastest of several runs, after one that fills caches if there are several."""
    if runs > 1:
        work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@dataclass
class Page:
    """What is printed and, where asked, written."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)


def compare(page: Page) -> None:
    """The table of one size."""
    rows: list[tuple[str, str, float, str]] = []

    def ours(mode: str, function: str, check: Callable[[], Any], runs: int, unit: str) -> None:
        report = check()
        spent = f"{report.evaluations} {unit}, {report.gradients} gradients; {report.verdict}"
        rows.append((mode, function, least(check, runs), spent))

    ours("model mode, entrywise, 6 cotangents", "NumPy LSTM", lambda: model_mode(SIZE), 7,
         "evaluations of a step or pass")  # fmt: skip
    lstm, theirs = numpy_lstm(SIZE), torch_lstm(SIZE)
    ours("black box, directional", "NumPy LSTM", lambda: lstm("directional"), 15, "losses")
    ours("black box, entrywise", "NumPy LSTM", lambda: lstm("entrywise"), 1, "losses")
    if theirs is None:
        page.say("PyTorch is not installed: no comparison with gradcheck.")
    else:
        box, gradcheck = theirs
        ours("black box, directional", "torch LSTM", lambda: box("directional"), 15, "losses")
        rows.append(("gradcheck fast", "torch LSTM", least(lambda: gradcheck(True), 15), ""))
        ours("black box, entrywise", "torch LSTM", lambda: box("entrywise"), 1, "losses")
        rows.append(("gradcheck slow", "torch LSTM", least(lambda: gradcheck(False), 1), ""))
    page.say("| check | of | seconds | spent |")
    page.say("|---|---|--:|---|")
    for mode, function, seconds, spent in rows:
        page.say(f"| {mode} | {function} | {seconds:.3f} | {spent} |")
    if theirs is not None:
        slow, fast = rows[-1][2], rows[-3][2]
        page.say()
        page.say(
            f"gradcheck slow ÷ model mode: {slow / rows[0][2]:.0f}. "
            f"gradcheck slow ÷ black box, entrywise, torch LSTM: {slow / rows[-2][2]:.2f}. "
            f"gradcheck fast ÷ black box, directional, torch LSTM: {fast / rows[-4][2]:.2f}."
        )


def growth(page: Page, sizes: tuple[Size, ...]) -> list[dict[str, Any]]:
    """Seconds of every mode at every size."""
    page.say("| T | p | entries | " + " | ".join(MODES) + " |")
    page.say("|" + "--:|" * (3 + len(MODES)))
    found = []
    for size in sizes:
        row: dict[str, Any] = {"T": size[0], "p": size[3], "entries": entries_of(size)}
        row["model mode"] = least(lambda: model_mode(size), 2)  # noqa: B023
        pair, small = torch_lstm(size), row["entries"] * row["T"] <= MOST_WORK
        if pair is not None:
            box, gradcheck = pair
            row["black box, directional"] = least(lambda: box("directional"), 3)  # noqa: B023
            row["gradcheck fast"] = least(lambda: gradcheck(True), 3)  # noqa: B023
            if small:
                row["black box, entrywise"] = least(lambda: box("entrywise"), 1)  # noqa: B023
                row["gradcheck slow"] = least(lambda: gradcheck(False), 1)  # noqa: B023
        times = [f"{row[m]:.3f}" if m in row else "" for m in MODES]
        page.say(f"| {row['T']} | {row['p']} | {row['entries']} | " + " | ".join(times) + " |")
        found.append(row)
    return found


def plot(path: Path, by_steps: list[dict[str, Any]], by_units: list[dict[str, Any]]) -> None:
    """Seconds over T, over p and over the number of entries, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "verify", "font.size": 9})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    axes = (("T", by_steps, "steps T (p = 32)"), ("p", by_units, "units p (T = 20)"),
            ("entries", by_units, "entries of all gradients (T = 20)"))  # fmt: skip
    for panel, (key, rows, label) in zip(panels, axes, strict=True):
        for mode in MODES:
            points = [(r[key], r[mode]) for r in rows if mode in r]
            if points:
                style = "--" if mode.startswith("gradcheck") else "-"
                panel.plot(*zip(*points, strict=True), style, marker="o", markersize=3, label=mode)
        panel.set(xscale="log", yscale="log", xlabel=label)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds")
    panels[0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def versions() -> str:
    """What ran, in words that any machine could have printed."""
    found = [f"Python {platform.python_version()}"]
    for name in ("numpy", "torch"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"without {name}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave the growth out")
    parser.add_argument("-o", "--output", type=Path, help="plot the growth: FILE.svg or FILE.png")
    parser.add_argument("--table", type=Path, help="write what is printed to FILE.md")
    options = parser.parse_args()
    page = Page()
    threads = "one thread" if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else "threads as found"
    page.say(f"{os.cpu_count()} cores, {threads}; {versions()}.")
    page.say(
        f"LSTM, float64, T = {SIZE[0]}, B = {SIZE[1]}, d = {SIZE[2]}, p = {SIZE[3]}: "
        f"{entries_of(SIZE)} entries."
    )
    page.say()
    compare(page)
    if not options.quick:
        page.say()
        by_steps = growth(page, BY_STEPS)
        page.say()
        by_units = growth(page, BY_UNITS)
        if options.output is not None:
            plot(options.output, by_steps, by_units)
    if options.table is not None:
        write(options.table, page, None if options.quick else options.output)


def write(path: Path, page: Page, picture: Path | None) -> None:
    """The page under a heading that says how it came about."""
    words = f"OPENBLAS_NUM_THREADS=1 python -m benchmarks.bench_verify --table {path.name}"
    words += " --quick" if picture is None else f" -o {picture.name}"
    text = ["# Speed of verification", "", "```", words, "```"]
    text += ["Times are the least of several runs; entrywise checks of the black box and gradcheck"]
    text += [
        "slow ran once. Bounds are included, gradcheck has none. Along directions the black box"
    ]
    text += [
        "spends 3 losses a parameter, for a difference and its error, and 10 to measure noise;"
    ]
    text += ["gradcheck fast spends 2 a parameter: it is quicker, and blind to its error."]
    text += [
        f"Other programs ran beside: load {os.getloadavg()[0]:.0f} at the end.",
        "",
        *page.lines,
    ]
    if picture is not None:
        text += ["", f"![Seconds over steps, units and entries]({picture.name})"]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
