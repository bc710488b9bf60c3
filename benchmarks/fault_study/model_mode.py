"""All automatic mutants of a system in model mode: seen? named?

The points, cotangents and bounds are those of `check_model`, measured once on the right code; a
mutant's gradients take the place of the right ones, with every entry moved by at most one unit in
the last place so that it is not recognised by being the same computation. Verdict and diagnosis
are then the tool's own.

A fault counts as *named* if the right mistake is the only one that is named, or if every other one
that is named gives the same gradients on all probes, to 1e-9 of the largest entry of each array
(the saturated place is left out there, because the rounding of 1 − h² is larger): no test could
tell those apart. If one of them differs by more, the fault is *ambiguous*; if the
right mistake and its equals are not among those named, the name is *wrong*.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.derivation import Derivation, evaluate
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import sizes_of, to_columns, to_rows
from gradcheck_rnn.verify.diagnosis.candidates import Bench, Candidate, derived_candidates
from gradcheck_rnn.verify.diagnosis.groups import grouped
from gradcheck_rnn.verify.diagnosis.matching import wrong_names
from gradcheck_rnn.verify.diagnosis.postprocessing import postprocessing
from gradcheck_rnn.verify.diagnosis.rounding import SavedRounding
from gradcheck_rnn.verify.diagnosis.search import search
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.harness.compare import (
    ORACLE_UNITS,
    UNITS,
    Comparison,
    ModelPoint,
    compare_gradients,
)
from gradcheck_rnn.verify.harness.layout import Layout
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject
from gradcheck_rnn.verify.outcome import Diagnosis

from .equality import Equality

__all__ = ["DerivedCode", "Laboratory", "study"]

SAME = 1e-9
#: Steps up to which what candidates gave at a point is kept from mutant to mutant.
KEPT = 4


class DerivedCode:
    """The derivation as code under test: forward with a cache, backward with a mistake."""

    def __init__(
        self, network: Network, derivation: Derivation, candidate: Candidate | None = None
    ) -> None:
        self.network, self.derivation = network, derivation
        self.refs = {**network.parameters, **network.inputs}
        self.lengths: dict[str, int] | None = None
        self.options: dict[str, Any] = {}
        if candidate is not None:
            self.options = {"edits": candidate.edits, "truncate": candidate.truncate}

    def forward(self, **values: Any) -> tuple[dict[str, Any], Any]:
        columns = {n: to_columns(self.refs[n], a) for n, a in values.items()}
        sizes = sizes_of(self.network, values)
        run = evaluate.forward(self.derivation, columns, sizes, self.lengths)
        return {n: to_rows(r, run.output(n)) for n, r in self.network.outputs.items()}, run

    def backward(self, cotangents: dict[str, Any], run: Any) -> dict[str, Any]:
        given = {n: to_columns(self.network.outputs[n], g) for n, g in cotangents.items()}
        with np.errstate(all="ignore"):
            found = evaluate.bptt(run, given, **self.options)
            if given and self.network.loss_terms:
                alone = evaluate.bptt(run, {}, **self.options)
                found = {n: g - alone[n] for n, g in found.items()}
        return {n: to_rows(self.refs[n], g) for n, g in found.items()}

    def gradient(self, values: dict[str, Any]) -> dict[str, Any]:
        """Of the definition's loss."""
        return self.backward({}, self.forward(**values)[1])


class Laboratory:
    """The points of one system, with the bounds of its right gradient.

    With ``loss`` the gradient of the system's own loss is studied, else that of cotangents.
    """

    def __init__(self, system: str, seed: int = 0, *, loss: bool = False) -> None:
        self.network = api.load(system)
        self.derivation = api.derive(self.network)
        code = DerivedCode(self.network, self.derivation)
        form = precision("float64")
        array = make_arrays("numpy", form)
        if loss:
            subject = Subject(None, None, code.gradient, None, array, form)
        else:
            subject = Subject(code.forward, code.backward, None, None, array, form)
        layout = Layout.of(self.network)
        rounding = SavedRounding(self.network, form.eps, seed)
        self.right = []
        for place in plan_points(self.network, seed):
            code.lengths = place.lengths  # a system without inputs is told by nothing else
            point = ModelPoint.build(place, layout, form, subject, seed)
            self.right.append(compare_gradients(point, subject, seed, rounding))
        self.bench = Bench(self.derivation)
        self.candidates = derived_candidates(self.derivation)
        self.all = self.candidates + grouped(
            self.candidates, self.right[0].point.fitted, self.derivation
        )
        self.after: set[str] = set()
        self.rng = np.random.default_rng([seed, 32])

    def faulty(self, candidate: Candidate) -> list[Comparison]:
        """The comparisons that code with this mistake would give."""
        out = []
        for c in self.right:
            records = []
            for r in c.records:
                got = self.bench.gradients(candidate, c, r.case)[r.user]
                got = got * (1 + 2.0**-52 * self.rng.choice([-1, 0, 1], size=got.shape))
                bound = r.bound + 2.0**-52 * (UNITS + ORACLE_UNITS) * np.abs(got)
                with np.errstate(all="ignore"):
                    gap = np.abs(got - r.want)
                    ratio = np.where(gap == 0, 0.0, gap / bound)
                ratio = np.where(np.isfinite(r.want) & ~np.isfinite(got), np.inf, ratio)
                records.append(replace(r, got=got, bound=bound, ratio=ratio))
            out.append(replace(c, records=records))
        return out

    def diagnose(self, comparisons: Sequence[Comparison], *, most: int = 1) -> Diagnosis:
        ill = [c for c in comparisons if c.wrong]
        after = postprocessing(ill[0], wrong_names(ill[0]))
        if ill[-1] is not ill[0]:
            known = {c.id for c in after}
            after += [c for c in postprocessing(ill[-1], wrong_names(ill[-1])) if c.id not in known]
        found = search(self.bench, self.all, after, comparisons, most=most)
        self.after = {c.id for c in after}
        return found

    def alike(self, one: Candidate, other: Candidate) -> bool:
        """Whether two mistakes give the same gradients on all probes."""
        for c in self.right:
            if c.point.label == "saturated":
                continue
            for r in c.records:
                a, b = (self.bench.gradients(k, c, r.case)[r.user] for k in (one, other))
                top = max(float(np.max(np.abs(a), initial=0.0)), 1e-300)
                if not np.allclose(a, b, rtol=0.0, atol=SAME * top, equal_nan=True):
                    return False
        return True

    def tidy(self) -> None:
        """Forget what belongs to one mutant only."""
        long = [c.point for c in self.right if max(c.point.lengths.values(), default=1) > KEPT]
        self.bench.forget(*long, also=self.after)


def _judge(lab: Laboratory, candidate: Candidate) -> tuple[str, str]:
    """What happened to one mutant, and the names given where that is of interest."""
    comparisons = lab.faulty(candidate)
    if not any(c.wrong for c in comparisons):
        return "missed", ""
    found = lab.diagnose(comparisons)
    named = found.candidates
    text = "; ".join(c.id for c in named)
    if not named:
        return "unnamed", text
    others = [c for c in named if candidate.id not in (c.id, *found.same[c.id])]
    same = [c for c in others if lab.alike(candidate, c)]
    if len(same) < len(others):
        return ("ambiguous" if len(same) + len(named) > len(others) else "wrong"), text
    return ("alone" if text == candidate.id else "equals"), text


def study(system: str, seed: int, every: int = 1, *, loss: bool = False) -> dict[str, Any]:
    """Run all (or every n-th of the) mutants of a system through model mode."""
    started = time.process_time()
    lab = Laboratory(system, seed, loss=loss)
    equality = Equality(lab.derivation, seed, loss=loss)
    counts = dict.fromkeys(("alone", "equals", "ambiguous", "wrong", "unnamed", "missed"), 0)
    notes: list[list[str]] = []
    chosen = lab.candidates[::every]
    equal = [c for c in chosen if equality.equal(c)]
    for c in chosen:
        if c in equal:
            continue
        outcome, text = _judge(lab, c)
        lab.tidy()
        counts[outcome] += 1
        if outcome in ("ambiguous", "wrong", "unnamed", "missed"):
            notes.append([outcome, c.id, text])
    return {
        "part": "model", "system": system, "loss": loss, "seed": seed, "every": every,
        "mutants": len(chosen),
        "equal": len(equal), "points": len(lab.right),
        "cases": sum(len(c.point.cases) for c in lab.right),
        "right_wrong": sum(len(c.wrong) for c in lab.right), **counts,
        "notes": notes, "equal_ids": [c.id for c in equal],
        "seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
