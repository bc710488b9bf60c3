"""One step for all blocks where it fits, one of its own where not, and faults seen in both."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify.verdict import EntryState

SHAPES = {"W": (5, 3), "U": (5, 4), "b": (7,), "c": (11,)}


def problem(sharp: float = 1.0):
    """A smooth loss of four small blocks; `c` is varied on a scale `sharp` times smaller."""
    rng = np.random.default_rng(3)
    point = {n: rng.standard_normal(s) for n, s in SHAPES.items()}
    weights = {n: rng.standard_normal(s) for n, s in SHAPES.items()}
    factor = {n: sharp if n == "c" else 1.0 for n in SHAPES}

    def loss(p):
        return float(sum(np.sum(weights[n] * np.sin(factor[n] * p[n])) for n in SHAPES))

    def gradient(p):
        return {n: weights[n] * factor[n] * np.cos(factor[n] * p[n]) for n in SHAPES}

    return loss, gradient, point


def test_small_blocks_share_a_step_and_most_entries_take_two_losses():
    loss, gradient, point = problem()
    report = check_gradient(loss, gradient, point, mode="entrywise")
    entries = sum(x.size for x in point.values())
    assert report.passed
    # 40 for the step, 20 for noise and jumps, two more for each of three samples a block
    assert report.evaluations <= 2 * entries + 40 + 20 + 6 * len(SHAPES) + 16


@pytest.mark.parametrize("sharp", [1e-4, 1e4])
def test_a_block_of_another_scale_finds_its_own_step(sharp):
    loss, gradient, point = problem(sharp)
    report = check_gradient(loss, gradient, point, mode="entrywise")
    assert report.passed

    def wrong(p):
        found = gradient(p)
        found["c"][4] += 1e-5 * np.max(np.abs(found["c"]))
        return found

    report = check_gradient(loss, wrong, point, mode="entrywise")
    assert [row.name for row in report.rows if row.verdict.value == "fail"] == ["c"]


@pytest.mark.parametrize("name", list(SHAPES))
def test_one_wrong_entry_of_a_small_block_is_seen_wherever_it_is(name):
    loss, gradient, point = problem()
    for at in range(point[name].size):

        def wrong(p, at=at):
            found = gradient(p)
            found[name].reshape(-1)[at] += 1e-6
            return found

        report = check_gradient(loss, wrong, point, mode="entrywise", select=name)
        assert np.flatnonzero(report.rows[0].states.ravel() == EntryState.FAIL).tolist() == [at]


def test_a_kink_at_any_entry_of_a_small_block_is_seen():
    loss, gradient, point = problem()
    for at in range(point["b"].size):
        corner = point["b"][at]

        def kinked(p, at=at, corner=corner):
            return loss(p) + 0.1 * abs(p["b"][at] - corner)

        report = check_gradient(kinked, gradient, point, mode="entrywise")
        row = next(r for r in report.rows if r.name == "b")
        assert np.flatnonzero(row.states == EntryState.KINK).tolist() == [at]


@pytest.mark.parametrize("seed", range(4))
def test_entries_without_influence_that_claim_much_do_not_choose_the_step(seed: int) -> None:
    w = np.linspace(-1, 1, 40)

    def wrong(w: np.ndarray) -> np.ndarray:
        # the gradient of the first four, at the last four
        return np.where(np.arange(40) < 36, 0.0, 3 * (1 - np.tanh(3 * w[::-1]) ** 2))

    report = check_gradient(
        lambda w: float(np.tanh(3 * w[:4]).sum()), wrong, w, mode="entrywise", seed=seed
    )
    (row,) = report.rows
    assert row.states is not None
    assert np.flatnonzero(row.states == 1).tolist() == [0, 1, 2, 3, 36, 37, 38, 39]
