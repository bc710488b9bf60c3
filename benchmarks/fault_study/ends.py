"""A few mutants of each system end to end: `check_model` on code that makes the mistake.

Here the bounds are measured on the wrong code itself, and everything is the public function's. The
mutants that are equal to the right gradient (they round otherwise) must pass.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.verify.diagnosis import check_model
from gradcheck_rnn.verify.diagnosis.candidates import derived_candidates

from .equality import Equality
from .model_mode import DerivedCode

__all__ = ["study"]

FAULTY, EQUAL = 2, 1
STEPS = 6


def study(system: str, seed: int) -> dict[str, Any]:
    """Check `FAULTY` wrong and `EQUAL` equal mutants, drawn at random."""
    started = time.process_time()
    network = api.load(system)
    derivation = api.derive(network)
    loss = not network.outputs
    equality = Equality(derivation, seed, loss=loss)
    # What needs more than STEPS steps would be wrong nowhere in a system without inputs.
    candidates = [c for c in derived_candidates(derivation) if c.kind not in ("carry", "truncated")]
    order = np.random.default_rng([seed, 34]).permutation(len(candidates))
    faulty = equal = 0
    counts = dict.fromkeys(("named", "several", "otherwise", "unnamed", "missed"), 0)
    alarms = 0
    notes: list[list[str]] = []
    for c in (candidates[k] for k in order):
        same = equality.equal(c)
        if (equal >= EQUAL) if same else (faulty >= FAULTY):
            if equal >= EQUAL and faulty >= FAULTY:
                break
            continue
        code = DerivedCode(network, derivation, c)
        functions: dict[str, Any] = {"forward": code.forward, "backward": code.backward}
        if loss:
            functions = {"gradient": code.gradient}
        shapes = None
        if not any(r.axis for r in network.inputs.values()):
            code.lengths = dict.fromkeys(network.axes, STEPS)
            shapes = dict.fromkeys(network.axes, STEPS)
        report = check_model(network, **functions, shapes=shapes, seed=seed + 1)
        if same:
            equal += 1
            alarms += not report.passed
            if not report.passed:
                notes.append(["alarm", c.id, str(report)[:400]])
            continue
        faulty += 1
        found = [] if report.diagnosis is None else report.diagnosis.matches
        ids = [m.id for m in found]
        if report.passed:
            outcome = "missed"
        elif not ids:
            outcome = "unnamed"
        else:
            outcome = ("named" if len(ids) == 1 else "several") if c.id in ids else "otherwise"
        counts[outcome] += 1
        if outcome in ("missed", "unnamed", "otherwise"):
            notes.append([outcome, c.id, "; ".join(ids)])
    return {
        "part": "ends", "system": system, "seed": seed, "faulty": faulty, "equal": equal,
        "alarms": alarms, **counts, "notes": notes,
        "seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
