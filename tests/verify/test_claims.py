"""Disagreements that smaller steps bear out, several on one line."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn.verify.budget import Budget
from gradcheck_rnn.verify.claims import Claims
from gradcheck_rnn.verify.oracle.noise import Noise
from gradcheck_rnn.verify.target import Target
from gradcheck_rnn.verify.trees import Tree
from gradcheck_rnn.verify.verdict import EntryCheck, EntryState

Floats = NDArray[np.float64]
W = np.random.default_rng(0).normal(size=(3, 4))
SLOPES = np.cos(W).ravel()
QUIET = Noise(1e-16, 1e-16, 2.0**-52, 0.0, 0, "given")


def claims(value: Floats, g: Floats) -> Claims:
    """Slopes as differenced, and as claimed."""
    target = Target(lambda w: float(np.sum(np.sin(w))), np.cos, Tree.of(W), [0], Budget(None))
    target.base = target.value(target.tree.leaves)
    n = W.size
    state = np.full(n, EntryState.UNPROBED, dtype=np.int8)
    check = EntryCheck(0, value.copy(), np.full(n, 1e-8), state, {}, set(), np.zeros(n), QUIET)
    return Claims(target, check, g, np.zeros(n))


@pytest.mark.parametrize("sizes", [(1.0, 1.0, 1.0), (0.5, -1e-3, 1e-5)])
def test_three_are_borne_out_by_six_losses(sizes: tuple[float, ...]) -> None:
    g = SLOPES.copy()
    g[[1, 5, 9]] += sizes
    held = claims(SLOPES, g)
    before = held.target.evaluations
    assert held.refute(np.array([1, 5, 9]), -22).tolist() == [1, 5, 9]
    assert held.target.evaluations - before == 6
    assert np.flatnonzero(held.sure).tolist() == [1, 5, 9]


@pytest.mark.parametrize("odd", [1, 5, 9])
def test_one_that_vanishes_at_smaller_steps_is_told_from_two_that_do_not(odd: int) -> None:
    """Its slope at the larger step was another one; the claim is right."""
    g, value = SLOPES.copy(), SLOPES.copy()
    g[[1, 5, 9]] += 1e-2
    g[odd], value[odd] = SLOPES[odd], SLOPES[odd] - 1e-2
    held = claims(value, g)
    rest = [i for i in (1, 5, 9) if i != odd]
    assert held.refute(np.array([1, 5, 9]), -22).tolist() == rest
    assert np.flatnonzero(held.sure).tolist() == rest


def test_a_step_at_which_the_loss_overflows_is_given_up_for_one_of_the_entrys_own_size() -> None:
    """Where the blocks before are linear, their steps are as large as they may be."""
    a = np.array([0.97], np.float32)
    powers = np.arange(1, 25)

    def loss(a: NDArray[np.float32]) -> float:
        with np.errstate(all="ignore"):
            return float(np.sum(a**powers, dtype=np.float32))

    g = np.array([np.sum(powers * 0.97 ** (powers - 1))])
    target = Target(loss, lambda a: a, Tree.of(a), [0], Budget(None))
    target.base = target.value(target.tree.leaves)
    state = np.full(1, EntryState.UNPROBED, dtype=np.int8)
    noise = Noise(1e-6, 1e-6, 2.0**-24, 0.0, 0, "given")
    check = EntryCheck(
        0, np.full(1, np.nan), np.full(1, np.inf), state, {}, set(), np.zeros(1), noise
    )
    held = Claims(target, check, g, np.full(1, 1e-4))
    assert not held.climb(0, 13, thorough=True)  # does not refute it
    assert abs(check.value[0] - g[0]) <= check.error[0] + 1e-4 < 0.1
