"""Right gradients in hard regimes: how often are they accused, how often left undecided?

A *check* is the verdict on one array (a weight, a bias, an input, an initial state) in one run: a
run of `check_model` gives one for each array and cotangent, a run of `check_gradient` one for each
array.

Model mode judges code in float64, float32, tf32, float16 and bfloat16. That code is the backward
pass derived from the definition, with NumPy's arithmetic in float64 or float32, and with every
result rounded to the format in the others (`run_rounded`). The black box judges an Elman network
and an LSTM by hand in float64 and float32.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.derivation import Derivation
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.precise import run_rounded
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import sizes_of, to_columns, to_rows
from gradcheck_rnn.verify import Verdict, check_gradient
from gradcheck_rnn.verify.diagnosis.determinism import unsteady
from gradcheck_rnn.verify.diagnosis.rounding import SavedRounding
from gradcheck_rnn.verify.diagnosis.tables import rows_of
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.harness.compare import ModelPoint, compare_gradients
from gradcheck_rnn.verify.harness.layout import Layout
from gradcheck_rnn.verify.harness.plan import draw_values
from gradcheck_rnn.verify.harness.subject import Subject
from gradcheck_rnn.verify.points import Point, Role, draw_point

__all__ = ["BOX", "REGIMES", "plan", "scaled_problem", "study"]

Arrays = dict[str, Any]
#: name: (steps, batch, regime of the weights, factor on cotangents, factor on weights, size of p)
REGIMES: dict[str, tuple[int, int, str, float, float, int | None]] = {
    "ordinary": (6, 3, "ordinary", 1.0, 1.0, None),
    "one step": (1, 2, "ordinary", 1.0, 1.0, None),
    "one sequence": (5, 1, "lasting", 1.0, 1.0, None),
    "one unit": (6, 2, "ordinary", 1.0, 1.0, 1),
    "wide": (4, 2, "ordinary", 1.0, 1.0, 9),
    "saturated": (6, 2, "saturated", 1.0, 1.0, None),
    "very saturated": (6, 2, "saturated", 1.0, 4.0, None),
    "vanished": (12, 2, "ordinary", 1.0, 0.1, None),
    "exploding": (12, 2, "lasting", 1.0, 3.0, None),
    "tiny cotangents": (6, 2, "ordinary", 1e-8, 1.0, None),
    "huge cotangents": (6, 2, "ordinary", 1e8, 1.0, None),
    "tiny weights": (6, 2, "ordinary", 1.0, 1e-8, None),
    "long": (60, 2, "lasting", 1.0, 1.0, None),
}
#: Regimes of T = 200 cost most and are run for a few systems.
LONGEST = ("elman", "gru", "lstm", "indrnn")
#: Systems for the formats that NumPy has no arithmetic for.
COARSE = ("elman", "elman_leaky", "gru", "lstm", "indrnn", "char_rnn", "gru_d", "slstm")
FORMATS = ("float64", "float32", "tf32", "float16", "bfloat16")
#: Formats whose range the largest and smallest numbers leave.
NARROW = {"float16": ("tiny cotangents", "huge cotangents", "tiny weights", "exploding")}
BOX = ("ordinary", "offset", "saturated", "vanished", "exploding", "small", "large", "one step",
       "one sequence", "one unit", "long")  # fmt: skip


class RoundedCode:
    """The derived backward pass with the arithmetic of a number format."""

    def __init__(self, network: Network, derivation: Derivation, name: str) -> None:
        self.network, self.derivation, self.form = network, derivation, precision(name)
        self.refs = {**network.parameters, **network.inputs}
        self.lengths: dict[str, int] = {}

    def _run(self, values: Arrays) -> tuple[Arrays, Any]:
        columns = {n: to_columns(self.refs[n], a) for n, a in values.items()}
        sizes = sizes_of(self.network, values)
        if self.form.name in ("float64", "float32"):
            columns = {n: a.astype(self.form.holder) for n, a in columns.items()}
            with np.errstate(all="ignore"):
                run = forward(self.derivation, columns, sizes, self.lengths)
            return {n: run.output(n) for n in self.network.outputs}, lambda g: bptt(run, g)
        return run_rounded(self.derivation, columns, sizes, self.lengths, self.form.quantise)

    def forward(self, **values: Any) -> tuple[Arrays, Any]:
        made, pull = self._run(values)
        return {n: to_rows(self.network.outputs[n], a) for n, a in made.items()}, pull

    def backward(self, cotangents: Arrays, pull: Any) -> Arrays:
        given = {
            n: to_columns(self.network.outputs[n], np.asarray(g)).astype(self.form.holder)
            for n, g in cotangents.items()
        }
        with np.errstate(all="ignore"):
            found = pull(given)
        return {n: to_rows(self.refs[n], g) for n, g in found.items()}

    def gradient(self, values: Arrays) -> Arrays:
        return self.backward({}, self._run(values)[1])


def _place(network: Network, regime: str, seed: int) -> Point:
    steps, batch, kind, _, factor, p = REGIMES[regime] if regime != "longest" else (
        200, 1, "lasting", 1.0, 1.0, None)  # fmt: skip
    sizes = dict(draw_point(network, seed).sizes)
    if p is not None and "p" in sizes:
        sizes["p"] = p
    deepest = max([max(s.lags) for scan in network.scans for s in scan.states] or [1])
    lengths = {a: max(steps, 1 if steps == 1 else deepest + 1) for a in network.axes}
    # Only an ordinary point gets large cotangents and none.
    role = Role.ORDINARY if regime == "ordinary" else Role.SIZE
    rng = np.random.default_rng([seed, 35, *regime.encode()])
    values = draw_values(network, sizes, batch, lengths, kind, rng)
    weights = {n for n, r in network.parameters.items() if n not in network.domains}
    values = {n: a * factor if n in weights else a for n, a in values.items()}
    return Point(network, values, sizes, lengths, batch, role, regime, single_steps=steps <= 6)


def _model(system: str, name: str, seed: int, regimes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of one system in one format: (regime, checks, alarms, note)."""
    network = api.load(system)
    derivation = api.derive(network)
    loss = bool(network.loss_terms)
    form, code = precision(name), RoundedCode(network, derivation, name)
    array = make_arrays(np.asarray, form)
    rounding = SavedRounding(network, form.eps, seed)
    for regime in regimes:
        if regime in NARROW.get(name, ()):
            continue
        place = _place(network, regime, seed)
        code.lengths = place.lengths
        subject = (
            Subject(None, None, code.gradient, None, array, form) if loss
            else Subject(code.forward, code.backward, None, None, array, form)
        )  # fmt: skip
        point = ModelPoint.build(place, Layout.of(network), form, subject, seed)
        factor = REGIMES.get(regime, (0, 0, "", 1.0))[3]
        point.cases = [
            replace(c, cotangents={n: form.quantise(factor * g) for n, g in c.cotangents.items()})
            for c in point.cases
        ]
        found = compare_gradients(point, subject, seed, rounding)
        usable = [r for r in found.records if np.isfinite(r.want).all()]
        if form.name != "float64":  # beyond the range of the format there is no right answer
            usable = [r for r in usable if np.isfinite(r.got).all()]
        bad = [r for r in usable if np.any(r.ratio > 1)]
        noise = unsteady([found], form)
        whole = [r for r in rows_of([found]) if r.verdict is Verdict.FAIL and r.ratio <= 1]
        yield {
            "regime": regime, "checks": len(usable), "alarms": len(bad) + len(noise) + len(whole),
            "notes": [f.message for f in noise] + [f"{r.name}: {r.reason}" for r in whole]
            + [f"{r.user} ({r.case.label}): {np.nanmax(r.ratio):.2g}" for r in bad[:4]],
        }  # fmt: skip


def scaled_problem(kind: str, regime: str, dtype: str, seed: int) -> tuple[Any, Any, Arrays]:
    """Loss, gradient and parameters of a network by hand in a regime of the black box.

    The gradient takes the keyword faults of the network.
    """
    from tests.verify.handwritten import elman_problem, lstm_problem

    number = np.float64 if dtype == "float64" else np.float32
    size: dict[str, Any] = {"d": 2, "p": 3, "T": 5, "B": 2}
    size |= {
        "one step": {"T": 1}, "one sequence": {"B": 1}, "one unit": {"p": 1, "d": 1},
        "long": {"T": 60}, "vanished": {"T": 30, "scale": 0.3}, "saturated": {"scale": 6.0},
        "exploding": {"T": 12, "scale": 2.5},
    }.get(regime, {})  # fmt: skip
    rng = np.random.default_rng([seed, 36, *regime.encode(), len(kind)])
    if kind == "lstm":
        loss, gradient, parameters = lstm_problem(rng, dtype=number, **size)
    else:
        size |= {"offset": 1e6} if regime == "offset" else {}
        size |= {"last_only": True} if regime == "vanished" else {}
        loss, gradient, parameters = elman_problem(rng, dtype=number, **size)
    c = number({"small": 1e-8, "large": 1e8}.get(regime, 1.0))

    def pulled(P: Arrays, **faults: Any) -> Arrays:
        return {n: c * g for n, g in gradient(P, **faults).items()}

    return lambda P: c * loss(P), pulled, parameters


def _box(dtype: str, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of the black box on gradients by hand."""
    for regime in BOX:
        checks = alarms = undecided = 0
        notes: list[str] = []
        for kind in ("lstm", "elman"):
            report = check_gradient(*scaled_problem(kind, regime, dtype, seed), seed=seed)
            checks += len(report.rows)
            for row in report.rows:
                alarms += row.verdict is Verdict.FAIL
                undecided += row.verdict is Verdict.UNDECIDED
                if row.verdict is not Verdict.PASS:
                    notes.append(f"{row.name}: {row.verdict} {row.ratio:.2g} {row.reason}"[:160])
        yield {"regime": regime, "checks": checks, "alarms": alarms, "undecided": undecided,
               "notes": notes[:4]}  # fmt: skip


def plan(cells: Sequence[str], seed: int, checks: int) -> Iterator[tuple[Any, ...]]:
    """Arguments of `study`; about as many checks as asked for, a seed after another."""
    # A system gives about 1,300 checks a format. The small ones come first.
    rounds = max(1, round(checks / (2000 * len(cells))))
    for k in range(2):
        yield "box", "by hand", "float64", seed + 100 * k
        yield "box", "by hand", "float32", seed + 100 * k
    order = sorted(cells, key=lambda n: len(api.load(n).parameters))
    for k in range(rounds):
        for system in order:
            for name in FORMATS[:2]:
                yield "model", system, name, seed + 100 * k
    for system in order:
        for name in FORMATS[2:] if system in COARSE else ():
            yield "model", system, name, seed
    for name in LONGEST:
        if name in cells:
            yield "longest", name, "float64", seed
            yield "longest", name, "float32", seed


def study(
    kind: str, system: str, name: str, seed: int, regimes: Sequence[str] = tuple(REGIMES)
) -> dict[str, Any]:
    """One system in one number format, in all regimes or in those named."""
    started = time.process_time()
    if kind == "box":
        rows = list(_box(name, seed))
    else:
        rows = list(_model(system, name, seed, ["longest"] if kind == "longest" else regimes))
    return {
        "part": "correct", "kind": kind, "system": system, "format": name, "seed": seed,
        "checks": sum(r["checks"] for r in rows), "alarms": sum(r["alarms"] for r in rows),
        "undecided": sum(r.get("undecided", 0) for r in rows), "rows": rows,
        "seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
