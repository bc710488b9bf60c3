"""Our own faults in hand-written code: seen by the black box and in model mode, and by what name?

They were written down when no known mistake described them. Since the list of mistakes has grown
some are named; whether a name is right is decided by hand (``named`` in the notes).
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.verify import check_gradient
from gradcheck_rnn.verify.diagnosis import check_model
from gradcheck_rnn.verify.harness.layout import Layout

from .own_faults import FAULTS

__all__ = ["SOURCES", "black_box_case", "load", "model_case", "study"]

ROOT = Path(__file__).parents[2]
SOURCES = {
    "lstm_caches": "examples/lstm_caches.py",
    "batched_gru": "examples/batched_gru.py",
    "peephole by hand": "benchmarks/fault_study/by_hand.py",
    "mgu by hand": "benchmarks/fault_study/by_hand.py",
    "char_rnn": "examples/char_rnn.py",
    "elman rows": "tests/verify/handwritten.py",
    "lstm rows": "tests/verify/handwritten.py",
}
GRU = Layout(
    {"Wx": "[U_r; -U_z; U_c].T", "Wh": "[W_r; -W_z; W_c].T",
     "bx": "[b_r; -b_z; b_c]", "bh": "[b_r; -b_z; d_c]"},
    {"x": "x", "h0": "h0"}, {"h": "h"}, name="batched_gru",
)  # fmt: skip
Arrays = dict[str, Any]


def load(source: str, old: str = "", new: str = "") -> Any:
    """The functions of a file, with one text exchanged; it must be there."""
    text = (ROOT / SOURCES[source]).read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{SOURCES[source]} has no {old!r}; bring the table of faults up to date")
    names: dict[str, Any] = {"__name__": "under_test"}
    exec(compile(text.replace(old, new) if old else text, SOURCES[source], "exec"), names)
    return types.SimpleNamespace(names=names, **names)


def black_box_case(source: str, code: Any) -> tuple[Any, Any, Any]:
    """Loss, gradient and parameters."""
    rng = np.random.default_rng(7)
    if source == "lstm_caches":
        return code.lstm_with_caches()
    if source == "batched_gru":
        return code.batched_gru()
    if source == "char_rnn":
        return code.char_rnn()
    if source == "elman rows":
        return code.elman_problem(rng)
    if source == "lstm rows":
        return code.lstm_problem(rng)
    forward, backward = _by_hand(source, code)
    network = api.load("lstm_peephole" if source == "peephole by hand" else "mgu")
    sizes = {"T": 5, "B": 2, "d": 2, "p": 3}
    shapes = {n: _shape(n, r, sizes) for n, r in {**network.inputs, **network.parameters}.items()}
    parameters = {n: rng.standard_normal(s) for n, s in shapes.items()}
    bars = {n: rng.standard_normal(a.shape) for n, a in forward(**parameters)[0].items()}

    def loss(P: Arrays) -> Any:
        made = forward(**P)[0]
        return sum(np.sum(bars[n] * made[n]) for n in bars)

    return loss, lambda P: backward(bars, forward(**P)[1]), parameters


def _shape(name: str, ref: Any, sizes: dict[str, int]) -> tuple[int, ...]:
    if name == "x":
        return sizes["T"], sizes["B"], sizes["d"]
    if name in ("h0", "c0"):
        return sizes["B"], sizes["p"]
    if name[0] in "bp":
        return (sizes["p"],)
    return sizes["p"], sizes["d" if name[0] == "U" else "p"]


def _by_hand(source: str, code: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    which = source.partition(" ")[0]
    return getattr(code, f"{which}_forward"), getattr(code, f"{which}_backward")


def model_case(source: str, code: Any) -> dict[str, Any] | None:
    """Arguments of `check_model`, where the source has its own forward and backward."""
    if source == "lstm_caches":

        def forward(x: Any, h0: Any, c0: Any, Wx: Any, Wh: Any, b: Any) -> Any:
            h, c, caches = code.lstm_forward(x, h0, c0, Wx, Wh, b)
            return {"h": h, "h_T": h[:, -1], "c_T": c}, caches

        def backward(bars: Arrays, caches: Any) -> Arrays:
            dh = bars["h"].copy()
            dh[:, -1] += bars["h_T"]
            names = ("x", "h0", "c0", "Wx", "Wh", "b")
            return dict(zip(names, code.lstm_backward(dh, bars["c_T"], caches), strict=True))

        return {"target": api.load("lstm"), "forward": forward, "backward": backward,
                "layout": "lecture lstm"}  # fmt: skip
    if source == "batched_gru":

        def run(**arrays: Any) -> Any:
            h, saved = code.gru_forward(**arrays)
            return {"h": h}, saved

        return {"target": api.load("gru_reset_after"), "forward": run, "layout": GRU,
                "backward": lambda bars, saved: code.gru_backward(bars["h"], saved)}  # fmt: skip
    if source.endswith("by hand"):
        forward_, backward_ = _by_hand(source, code)
        cell = "lstm_peephole" if source == "peephole by hand" else "mgu"
        return {"target": api.load(cell), "forward": forward_, "backward": backward_}
    return None


def study(source: str, seed: int) -> dict[str, Any]:
    """All faults of one source."""
    started = time.process_time()
    counts = dict.fromkeys(("faults", "black box", "model", "model seen", "named"), 0)
    notes: list[list[str]] = []
    code = load(source)
    right = check_gradient(*black_box_case(source, code), seed=seed)
    case = model_case(source, code)
    alarms = [] if right.passed else [str(right)[:400]]
    if case is not None:
        found = check_model(**case, seed=seed)
        alarms += [] if found.passed else [str(found)[:400]]
    for old, new in FAULTS[source]:
        code = load(source, old, new)
        counts["faults"] += 1
        report = check_gradient(*black_box_case(source, code), seed=seed)
        seen = str(report.verdict) == "fail"
        counts["black box"] += seen
        if not seen:
            notes.append([f"black box: {report.verdict}", f"{old} -> {new}", ""])
        hints = [r.name + ": " + r.reason for r in report.rows if _claims(r.reason)]
        if hints:
            notes.append(["hint", f"{old} -> {new}", "; ".join(hints)[:200]])
        case = model_case(source, code)
        if case is None:
            continue
        counts["model"] += 1
        model = check_model(**case, seed=seed)
        counts["model seen"] += str(model.verdict) == "fail"
        if str(model.verdict) != "fail":
            notes.append([f"model: {model.verdict}", f"{old} -> {new}", ""])
        elif model.diagnosis is not None and model.diagnosis.found:
            counts["named"] += 1
            ids = "; ".join(m.message for m in model.diagnosis.matches)
            notes.append(["named", f"{old} -> {new}", ids])
    return {
        "part": "own", "system": source, "seed": seed, **counts, "alarms": alarms, "notes": notes,
        "seconds": round(time.process_time() - started, 1),
    }  # fmt: skip


def _claims(reason: str) -> bool:
    """Whether a row's reason says what the gradient is."""
    return any(w in reason for w in ("opposite sign", "times the difference", "transpose", "zero"))
