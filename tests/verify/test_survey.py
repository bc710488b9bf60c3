"""The line through all parameters: its derivative with an error, and kinks that end it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn.verify.budget import Budget
from gradcheck_rnn.verify.oracle.noise import Noise
from gradcheck_rnn.verify.roundoff import GradientRoundoff
from gradcheck_rnn.verify.survey import Survey, survey
from gradcheck_rnn.verify.target import Target
from gradcheck_rnn.verify.trees import Tree

Floats = NDArray[np.float64]
W = np.random.default_rng(0).normal(size=(3, 5))
QUIET = Noise(1e-16, 1e-16, 2.0**-52, 0.0, 0, "given")
EXACT = GradientRoundoff({0: 0 * W}, {0: np.zeros((1, 3, 5))}, {0: 0.0}, True, {0: 0.0})


def along(loss: Callable[[Floats], float], g: Floats, seed: int = 0) -> Survey | None:
    target = Target(loss, lambda w: w, Tree.of(W), [0], Budget(None))
    target.base = target.value(target.tree.leaves)
    return survey(target, {0: g}, [0], EXACT, QUIET, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(3))
def test_the_derivative_is_known_to_ten_digits(seed: int) -> None:
    right = 1 - np.tanh(W) ** 2
    seen = along(lambda w: float(np.sum(np.tanh(w))), right, seed)
    assert seen is not None
    assert seen.agrees
    assert seen.bound < 1e-10
    wrong = right.copy()
    wrong[1, 2] *= 1 + 1e-9
    other = along(lambda w: float(np.sum(np.tanh(w))), wrong, seed)
    assert other is not None
    assert not other.agrees


@pytest.mark.parametrize("at", [0.0, 1e-9, -1e-7])
def test_a_kink_of_one_entry_ends_it(at: float) -> None:
    def loss(w: Floats) -> float:
        return float(np.sum(np.sin(w)) + 1e-3 * abs(w[2, 1] - W[2, 1] - at))

    assert along(loss, np.cos(W)) is None


def test_a_kink_beside_the_point_only_makes_the_line_shorter() -> None:
    beside = 4e-5

    def loss(w: Floats) -> float:
        return float(np.sum(np.sin(w)) + abs(w[2, 1] - W[2, 1] - beside))

    far, near = along(lambda w: float(np.sum(np.sin(w))), np.cos(W)), along(loss, np.cos(W))
    assert far is not None
    assert near is None or near.move <= far.move


def test_a_loss_that_is_not_finite_beside_the_point_has_no_line() -> None:
    def loss(w: Floats) -> float:
        return float("nan") if np.any(w != W) else 1.0

    assert along(loss, np.ones((3, 5))) is None
