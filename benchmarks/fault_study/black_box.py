"""The same mutants through `check_gradient`, which knows nothing but a loss and a gradient.

The loss is that of the definition, ⟨cotangents, outputs⟩ plus the system's own loss; the gradient
is the mutant's. One point a system, in float64, with recurrent weights of spectral radius one and
eight steps, so that nothing vanishes; a carry that is cut later than that gets as many steps as it
needs. Where a mistake changes nothing at the point, the gradient is right there: it is checked at
another point, and counted as asleep where four points do not wake it. The loss does not depend on
the mutant, so its values are remembered.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcheck_rnn import api
from gradcheck_rnn.derivation import Derivation, evaluate
from gradcheck_rnn.derivation.edits import NO_EDITS
from gradcheck_rnn.language.numeric import holding_frozen, recording_frozen
from gradcheck_rnn.language.running import run, to_columns, to_rows
from gradcheck_rnn.verify import Verdict, check_gradient
from gradcheck_rnn.verify.diagnosis.candidates import Candidate, derived_candidates
from gradcheck_rnn.verify.harness.plan import draw_values
from gradcheck_rnn.verify.known import KnownLoss
from gradcheck_rnn.verify.points import draw_point

from .equality import Equality

__all__ = ["Problem", "study"]

Array = NDArray[Any]
Arrays = dict[str, Any]
STEPS = 8
#: Points tried until a mistake changes anything (units with flat pieces may all be off at one).
POINTS = 4
#: Points whose forward pass is remembered for the gradient.
REMEMBERED = 256
#: Mutants of one system: of four LSTMs, as in elmo, there are 8,275, each a check of half a second.
MOST = 400


class Problem:
    """A scalar of a system at a random point, and its gradient with a mistake."""

    def __init__(
        self, derivation: Derivation, steps: int, batch: int, seed: int, regime: str = "lasting"
    ) -> None:
        self.derivation, self.network = derivation, derivation.network
        network, rng = self.network, np.random.default_rng([seed, 33])
        self.sizes = draw_point(network, seed).sizes
        self.lengths = {a: steps + k for k, a in enumerate(network.axes)}
        self.values = draw_values(network, self.sizes, batch, self.lengths, regime, rng)
        self.refs = {**network.parameters, **network.inputs}
        moving = ("param", "input", "static")
        self.parameters = {
            n: a for n, a in self.values.items() if self.refs[n].kind in moving and a.size
        }
        with recording_frozen() as self.tape:
            made = run(network, self._columns(self.values), self.lengths)
        self.weights = {n: rng.standard_normal(np.shape(made[n])) for n in network.outputs}
        self._losses: dict[Any, Any] = {}
        self._runs: dict[bytes, evaluate.Run] = {}

    def _columns(self, values: Arrays) -> Arrays:
        return {n: to_columns(self.refs[n], a) for n, a in values.items()}

    def _scalar(self, made: Arrays, stacked: int = 0) -> Any:
        total: Any = made.get("loss", 0.0)
        for n, w in self.weights.items():
            # What does not depend on the array that is moved has no stack; with steps it is second.
            at = int(self.network.outputs[n].axis is not None)
            many = np.ndim(made[n]) > w.ndim
            part = (np.expand_dims(w, at) if many else w) * made[n]
            axes = (k for k in range(part.ndim) if not (many and k == at))
            total = total + part.sum(tuple(axes))
        return np.broadcast_to(total, (stacked,)) if stacked else total

    def loss(self, parameters: Arrays) -> Any:
        with holding_frozen(self.tape):
            columns = self._columns({**self.values, **parameters})
            return self._scalar(run(self.network, columns, self.lengths))

    def many(self, parameters: Arrays, stacks: Arrays) -> Array:
        """The scalars at many values of some arrays."""
        moved = (part for name, stack in stacks.items() for part in (name, stack.tobytes()))
        key = (*moved, *(a.tobytes() for a in parameters.values()))
        if key not in self._losses:
            columns = self._columns({**self.values, **parameters, **stacks})
            for name in stacks:
                if self.refs[name].axis is not None:
                    columns[name] = np.moveaxis(columns[name], 0, 1)
            with holding_frozen(self.tape):
                made = run(self.network, columns, self.lengths)
            count = len(next(iter(stacks.values())))
            self._losses[key] = np.array(self._scalar(made, count))
        return np.asarray(self._losses[key])

    def gradient(self, candidate: Candidate | None) -> Any:
        """A gradient function with a mistake."""

        def pull(parameters: Arrays) -> Arrays:
            key = b"".join(a.tobytes() for a in parameters.values())
            if key not in self._runs:
                if len(self._runs) >= REMEMBERED:
                    self._runs.clear()
                columns = self._columns({**self.values, **parameters})
                self._runs[key] = evaluate.forward(
                    self.derivation, columns, self.sizes, self.lengths
                )
            edits, truncate = NO_EDITS, None
            if candidate is not None:
                edits, truncate = candidate.edits, candidate.truncate
            with np.errstate(all="ignore"):
                found = evaluate.bptt(self._runs[key], self.weights, edits=edits, truncate=truncate)
            return {n: to_rows(self.refs[n], found[n]) for n in parameters}

        return pull

    def asleep(self, candidate: Candidate) -> bool:
        """Whether the mistake changes nothing at this point, so that the gradient is right here."""
        right, wrong = (self.gradient(c)(self.parameters) for c in (None, candidate))
        return all(np.allclose(right[n], wrong[n], rtol=1e-13, atol=0.0) for n in right)


class _Loss(KnownLoss):
    """The loss of a problem with its stacked form, as the checker may use it."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.holds = problem, bool(problem.tape.values)

    def __call__(self, parameters: Arrays) -> Any:
        return self.problem.loss(parameters)

    def many(self, parameters: Arrays, stacks: Arrays) -> Array:
        return self.problem.many(parameters, stacks)


def needed_steps(candidate: Candidate) -> int:
    """Steps at which a mistake of the recursion shows."""
    if candidate.kind == "carry":
        return max(STEPS, max(candidate.edits.carry.values()) + 2)
    return max(STEPS, (candidate.truncate or 0) + 2)


def study(system: str, seed: int, every: int = 1) -> dict[str, Any]:
    """Run all (or every n-th of the) mutants of a system through the black-box check.

    ``every`` is larger, and told so, where more than `MOST` would be left.
    """
    started = time.process_time()
    derivation = api.derive(api.load(system))
    equality = Equality(derivation, seed, loss=not derivation.network.outputs)
    problems: dict[tuple[int, int], Problem] = {}
    counts = {str(v): 0 for v in Verdict}
    right = dict(counts)
    notes: list[list[str]] = []
    candidates = derived_candidates(derivation)
    every = max(every, -(-len(candidates) // MOST))
    candidates = candidates[::every]
    candidates.sort(key=needed_steps)
    faulty = asleep = 0
    for c in candidates:
        if equality.equal(c):
            continue
        steps = needed_steps(c)
        for point in range(POINTS):
            if (steps, point) not in problems:
                p = Problem(derivation, steps, 2, seed + point)
                problems[steps, point] = p
                report = check_gradient(_Loss(p), p.gradient(None), p.parameters, seed=seed)
                right[str(report.verdict)] += 1
                if not report.passed:
                    notes.append(["right", str(steps), str(report)[:600]])
            p = problems[steps, point]
            if not p.asleep(c):
                break
        else:
            asleep += 1
            continue
        faulty += 1
        report = check_gradient(_Loss(p), p.gradient(c), p.parameters, seed=seed)
        counts[str(report.verdict)] += 1
        if report.verdict is not Verdict.FAIL:
            notes.append([str(report.verdict), c.id, f"gap {equality.gap(c):.1e}"])
    return {
        "part": "black box", "system": system, "seed": seed, "every": every, "mutants": faulty,
        "asleep": asleep, "verdicts": counts, "right": right, "notes": notes,
        "seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
