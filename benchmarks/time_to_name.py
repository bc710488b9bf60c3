"""Processor time from a wrong gradient to the name of its mistake.

    python -m benchmarks.time_to_name [SYSTEM …]

Three faults for each system: one term without its slope, an edit of the packed product of all gates
with the state (``d_a.T @ h[1:]`` for ``h[:-1]``), and both at once. "Verdict" is the same check
without a search; both are the least of three. "In the code" is the part of the time with a name
that is spent in the code under test, which is the derivation run in Python.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from gradcheck_rnn import api
from gradcheck_rnn.calculus.terms import symbols_in
from gradcheck_rnn.derivation import Derivation, evaluate
from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.mutants import mutants
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.running import sizes_of, to_columns, to_rows
from gradcheck_rnn.verify.diagnosis.check import check_model

__all__ = ["Code", "faults"]

SYSTEMS = ("elman_hidden", "gru", "lstm", "stacked_lstm", "bidirectional_lstm", "elmo")


class Code:
    """The derivation of a system as code under test, with edits of its backward pass."""

    #: Processor time spent in it.
    seconds = 0.0

    def __init__(self, system: str) -> None:
        self.network = as_network(api.load(system))
        self.derivation = api.derive(self.network)
        self.refs = {**self.network.parameters, **self.network.inputs}
        self.edits = Edits()

    def forward(self, **values: Any) -> tuple[dict[str, Any], Any]:
        start = time.process_time()
        columns = {n: to_columns(self.refs[n], a) for n, a in values.items()}
        run = evaluate.forward(self.derivation, columns, sizes_of(self.network, values))
        made = {n: to_rows(r, run.output(n)) for n, r in self.network.outputs.items()}
        self.seconds += time.process_time() - start
        return made, run

    def backward(self, cotangents: dict[str, Any], run: Any) -> dict[str, Any]:
        start = time.process_time()
        given = {n: to_columns(self.network.outputs[n], g) for n, g in cotangents.items()}
        found = evaluate.bptt(run, given, edits=self.edits)
        made = {n: to_rows(self.refs[n], g) for n, g in found.items()}
        self.seconds += time.process_time() - start
        return made


def faults(derivation: Derivation) -> dict[str, Edits]:
    """A slope left out, the state of the wrong step in one packed product, and both."""
    known = mutants(derivation)
    scan = derivation.scans[0].scan.name
    slope = next(
        m.edits for m in known
        if m.kind == "step" and m.where.startswith(f"{scan}/") and "φ′" in m.says
    )  # fmt: skip
    packed, states = Edits(), {s.name for s in derivation.scans[0].scan.states}
    for m in known:
        edge = derivation.edge(m.where) if "<-" in m.where else None
        if m.kind != "time" or edge is None or edge.kind != "param" or edge.scan != scan:
            continue
        if states & {s.name for s in symbols_in(edge.pullback)}:
            packed = packed | m.edits
    return {"slope": slope, "packed": packed, "both": slope | packed}


def main(systems: list[str]) -> None:
    print("| system | equations | fault | verdict, s | with a name, s | in the code, s | name |")
    print("|---|--:|---|--:|--:|--:|---|")
    for system in systems:
        code = Code(system)
        count = sum(len(p.equations) for p in code.derivation.scans)
        for what, edits in faults(code.derivation).items():
            code.edits = edits
            times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            said = ""
            for _ in range(3):
                for search in (False, True):
                    start, code.seconds = time.process_time(), 0.0
                    report = check_model(
                        code.network, forward=code.forward, backward=code.backward,
                        diagnose=search,
                    )  # fmt: skip
                    times[search].append((time.process_time() - start, code.seconds))
                    if report.diagnosis is not None:
                        said = "; or ".join(m.message for m in report.diagnosis.matches)
            (plain, _), (named, own) = min(times[False]), min(times[True])
            figures = f"{plain:.2f} | {named:.2f} | {own:.2f}"
            print(f"| {system} | {count} | {what} | {figures} | {said or 'none'} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(SYSTEMS))
