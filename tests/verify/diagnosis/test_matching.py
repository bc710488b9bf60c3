"""Whether a mistake makes the gradients under test, within the rounding of both programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradcheck_rnn.verify.diagnosis.matching import misfit

from .study import Laboratory


def test_a_candidate_explains_what_it_leaves_alone_however_its_program_rounds() -> None:
    """Terms that cancel in dx: the true dx differs from the program's own by rounding."""
    study = Laboratory("gru", seed=3)
    candidate = next(
        c for c in study.candidates if c.touches is not None and not c.touches & {"x", "W_c"}
    )
    differing = 0
    for comparison in study.right:
        for r in comparison.records:
            if r.user != "x":
                continue
            exact = replace(r, got=r.want, bound=np.zeros_like(r.bound))
            own = study.bench.own_error(comparison, r.case)["x"]
            assert own.shape == r.want.shape
            assert np.all(own <= 2.0**-40 * np.max(np.abs(r.want)))
            differing += bool(np.any(own > 2.0**-50 * np.abs(r.want)))
            assert misfit(study.bench, candidate, comparison, exact) <= 1
            off = replace(exact, got=r.want + 2.0**-30 * (1 + np.abs(r.want)))
            assert misfit(study.bench, candidate, comparison, off) > 1
    assert differing
