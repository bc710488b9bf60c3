"""Long lags are probed at points at which the end of a sequence answers its beginning."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.verify.harness.plan import LEAST, Point, plan_points
from gradcheck_rnn.verify.harness.reach import answer


def long_place(name: str, seed: int) -> Point:
    return next(p for p in plan_points(api.load(name), seed) if p.label == "long")


def test_the_answer_of_a_linear_recurrence_is_a_power_of_its_weights() -> None:
    network = api.load("linear")
    place = long_place("linear", 0)
    values = dict(place.values)
    (weight,) = [n for n, a in values.items() if a.ndim == 2 and a.shape[0] == a.shape[1]]
    values[weight] = 0.5 * np.eye(len(values[weight]))
    others = [n for n in network.parameters if n != weight and values[n].ndim == 2]
    for n in others:  # the inputs then are not felt, only the start
        values[n] = np.zeros_like(values[n])
    steps = place.lengths[next(iter(network.axes))]
    assert answer(network, values, place.lengths) == pytest.approx(0.5**steps, rel=1e-12)


def test_units_that_are_off_answer_nothing() -> None:
    network, place = api.load("indrnn"), long_place("indrnn", 0)
    off = {n: -np.abs(a) if n.startswith("b") else 0 * a for n, a in place.values.items()}
    assert answer(network, off, place.lengths) == 0.0


@pytest.mark.parametrize("seed", [3000, *range(12)])
def test_the_long_place_of_relu_units_is_drawn_until_a_signal_comes_through(seed: int) -> None:
    """With seed 3000 the first draw is dead within ten steps: truncations were missed."""
    network, place = api.load("indrnn"), long_place("indrnn", seed)
    assert answer(network, place.values, place.lengths) > 0.0


def test_both_directions_of_time_are_looked_at() -> None:
    network, place = api.load("bidirectional_elman"), long_place("bidirectional_elman", 1)
    assert answer(network, place.values, place.lengths) > LEAST
    for direction in ("fwd", "bwd"):
        cut = {n: 0 * a if n == f"W_{direction}" else a for n, a in place.values.items()}
        assert answer(network, cut, place.lengths) == 0.0
