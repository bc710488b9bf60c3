"""The oracle of model mode is itself checked: wrong derivatives are seen, right ones pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.verify.diagnosis.cross_check import cross_check
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.harness.layout import Layout
from gradcheck_rnn.verify.harness.modelpoint import ModelPoint
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject


def point_of(name: str, seed: int) -> ModelPoint:
    network = api.load(name)
    form = precision("float64")

    def unused(*_: Any, **__: Any) -> Any:
        raise NotImplementedError

    subject = Subject(unused, unused, None, None, make_arrays("numpy", form), form)
    place = next(iter(plan_points(network, seed, None, batch=None, full=False)))
    return ModelPoint.build(place, Layout.of(network), form, subject, seed)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru_d", "encoder_decoder"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_right_oracle_is_confirmed(name: str, seed: int) -> None:
    assert cross_check(point_of(name, seed), seed) == []


@pytest.mark.parametrize("off", [1e-3, 1e-6, 1e-8])
def test_a_wrong_oracle_is_seen(monkeypatch: pytest.MonkeyPatch, off: float) -> None:
    point = point_of("lstm", 0)
    right = ModelPoint.truth

    def wrong(self: ModelPoint, *given: Any) -> Any:
        found = right(self, *given)
        return replace(found, of={n: a * (1 + off) for n, a in found.of.items()})

    monkeypatch.setattr(ModelPoint, "truth", wrong)
    (finding,) = cross_check(point, 0)
    assert finding.fatal
    assert "not analytic here" in finding.message
