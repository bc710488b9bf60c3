"""Is a mutant equal to the right gradient? Decided by numbers, without the checkers under test.

A mutant whose float64 gradient differs from the right one by more than a millionth of its largest
entry at a random point is another function. One that does not is run in extended precision, at
several random points of other shapes, with long sequences: it is called equal if no entry there
differs by more than 1e-15 of the largest one (rounding leaves about 1e-18).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn.derivation import Derivation, evaluate
from gradcheck_rnn.language.running import to_columns
from gradcheck_rnn.verify.diagnosis.candidates import Candidate
from gradcheck_rnn.verify.harness.plan import draw_values
from gradcheck_rnn.verify.points import draw_point

__all__ = ["Equality"]

Arrays = dict[str, Any]
PLAIN, NOTHING = 1e-6, 1e-15
#: (steps, batch, regime, wide): the first point settles nearly all, the others what is left.
POINTS = (
    (7, 2, "ordinary", False),
    (9, 3, "ordinary", True),
    (26, 2, "lasting", True),
    (5, 1, "lasting", True),
    (1, 2, "ordinary", True),
)


class Equality:
    """The right gradient of a derivation at random points: of cotangents, or of its loss."""

    def __init__(self, derivation: Derivation, seed: int, *, loss: bool) -> None:
        self.derivation, self.seed, self.loss = derivation, seed, loss
        self._points: dict[int, tuple[evaluate.Run, Arrays, Arrays]] = {}

    def _point(self, number: int) -> tuple[evaluate.Run, Arrays, Arrays]:
        if number not in self._points:
            steps, batch, regime, wide = POINTS[number]
            network, rng = self.derivation.network, np.random.default_rng([self.seed, 31, number])
            sizes = draw_point(network, self.seed).sizes
            lengths = {a: steps + k for k, a in enumerate(network.axes)}
            values = draw_values(network, sizes, batch, lengths, regime, rng)
            refs = {**network.parameters, **network.inputs}
            dtype = np.longdouble if wide else np.float64
            columns = {n: to_columns(refs[n], a).astype(dtype) for n, a in values.items()}
            run = evaluate.forward(self.derivation, columns, sizes, lengths)
            cotangents = {
                n: rng.standard_normal(run.output(n).shape).astype(dtype)
                for n in network.outputs if not self.loss
            }  # fmt: skip
            self._points[number] = run, cotangents, self._pull(run, cotangents)
        return self._points[number]

    def _pull(self, run: evaluate.Run, cotangents: Arrays, **options: Any) -> Arrays:
        found = evaluate.bptt(run, cotangents, **options)
        if self.derivation.network.loss_terms and not self.loss:
            # The program adds the gradient of the loss to that of the cotangents.
            alone = evaluate.bptt(run, {}, **options)
            found = {n: g - alone[n] for n, g in found.items()}
        return found

    def gap(self, candidate: Candidate, number: int = 0) -> float:
        """Largest difference over all gradients, each relative to its largest right entry."""
        run, cotangents, right = self._point(number)
        with np.errstate(all="ignore"):
            wrong = self._pull(run, cotangents, edits=candidate.edits, truncate=candidate.truncate)
        worst = 0.0
        for n, a in right.items():
            gap = float(np.max(np.abs(wrong[n] - a), initial=0.0))
            top = max(float(np.max(np.abs(a), initial=0.0)), 1e-300)
            worst = max(worst, gap / top if np.isfinite(gap) else np.inf)
        return worst

    def equal(self, candidate: Candidate) -> bool:
        """Whether a mutant computes the right gradient."""
        if self.gap(candidate, 0) > PLAIN:
            return False
        return all(self.gap(candidate, k) <= NOTHING for k in range(1, len(POINTS)))
