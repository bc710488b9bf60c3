"""Whether a mistake makes the gradients under test, within the rounding of both programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradcheck_rnn.verify.diagnosis.effects import Effects
from gradcheck_rnn.verify.diagnosis.matching import misfit, wrong_names
from gradcheck_rnn.verify.diagnosis.postprocessing import postprocessing

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


def test_what_one_case_refutes_of_finished_gradients_all_cases_refute() -> None:
    lab = Laboratory("elman_hidden")
    fault = next(c for c in lab.candidates if c.kind == "time" and "∇W" in c.says)
    place = next(c for c in lab.faulty(fault) if len(c.point.cases) > 2 and c.wrong)
    effects = Effects(lab.bench, place)
    done = [c for c in postprocessing(place, wrong_names(place)) if c.is_finished_only]
    out = [c for c in done if effects.spoils(c)]
    for c in out:
        change = effects.finished(c, np.zeros_like(effects.error))
        assert (effects.in_blocks(np.abs(change) > effects.room) & ~effects.bad).any(), c.says
    assert len(done) > len(out) > 10
