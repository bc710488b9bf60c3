"""A derivation as code under test, and mutants of it put in the place of its right gradients.

The numbers of a mutant are shaken in the last place, so that it is not recognised by being the
same computation. Samples of mutants are named in `tests.verify.test_fault_study`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.derivation import Derivation, evaluate
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import sizes_of, to_columns, to_rows
from gradcheck_rnn.verify.diagnosis.candidates import Bench, Candidate, derived_candidates
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


class DerivedCode:
    """The derivation as code under test: forward with a cache, backward with any edits."""

    def __init__(self, network: Network, derivation: Derivation | None = None) -> None:
        self.network = network
        self.derivation = derivation or api.derive(network)
        self.refs = {**network.parameters, **network.inputs}

    def forward(self, **values: Any) -> tuple[dict[str, Any], Any]:
        columns = {n: to_columns(self.refs[n], a) for n, a in values.items()}
        run = evaluate.forward(self.derivation, columns, sizes_of(self.network, values))
        return {n: to_rows(r, run.output(n)) for n, r in self.network.outputs.items()}, run

    def backward(self, cotangents: dict[str, Any], run: Any) -> dict[str, Any]:
        given = {n: to_columns(self.network.outputs[n], g) for n, g in cotangents.items()}
        return {n: to_rows(self.refs[n], g) for n, g in evaluate.bptt(run, given).items()}


class Laboratory:
    """The points of one cell, with the bounds of its right gradient."""

    def __init__(self, cell: str, seed: int = 0) -> None:
        self.network = api.load(cell)
        self.derivation = api.derive(self.network)
        code = DerivedCode(self.network, self.derivation)
        form = precision("float64")
        subject = Subject(code.forward, code.backward, None, None, make_arrays("numpy", form), form)
        layout = Layout.of(self.network)
        rounding = SavedRounding(self.network, form.eps, seed)
        self.right = [
            compare_gradients(
                ModelPoint.build(p, layout, form, subject, seed), subject, seed, rounding
            )
            for p in plan_points(self.network, seed)
        ]
        self.bench = Bench(self.derivation)
        self.candidates = derived_candidates(self.derivation)
        self.rng = np.random.default_rng(seed)

    def faulty(self, candidate: Candidate) -> list[Comparison]:
        """The comparisons that code with this mistake would give."""
        out = []
        for c in self.right:
            records = []
            for r in c.records:
                got = self.bench.gradients(candidate, c, r.case)[r.user]
                got = got * (1 + 2.0**-52 * self.rng.choice([-1, 0, 1], size=got.shape))
                units = 2.0**-52 * (UNITS + ORACLE_UNITS)
                bound = r.bound + units * np.abs(got)
                with np.errstate(all="ignore"):
                    gap = np.abs(got - r.want)
                    ratio = np.where(gap == 0, 0.0, gap / bound)
                records.append(replace(r, got=got, bound=bound, ratio=ratio))
            out.append(replace(c, records=records))
        return out

    def diagnose(self, comparisons: list[Comparison], *, most: int = 3) -> Diagnosis:
        ill = [c for c in comparisons if c.wrong]
        after = postprocessing(ill[0], wrong_names(ill[0]))
        return search(self.bench, self.candidates, after, comparisons, most=most)
