"""What a check costs, in calls: certain disagreements end early, budgets end everything."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gradcheck_rnn.verify import Verdict, check_gradient
from tests.verify.handwritten import lstm_problem


def wrong_everywhere(g):
    return {k: 2.0 * v for k, v in g.items()}


def wrong_in_a_row(g):
    W = g["W"].copy()
    W[3] *= 1.01
    return g | {"W": W}


def in_plain_arrays(function):
    """The same, of code whose operations cannot be rounded at random, as PyTorch's cannot."""
    return lambda Q: function({k: np.array(v, subok=False) for k, v in Q.items()})


@pytest.mark.parametrize("wrapped", [lambda f: f, in_plain_arrays])
@pytest.mark.parametrize("fault", [wrong_everywhere, wrong_in_a_row])
def test_a_wrong_gradient_costs_hardly_more_than_a_right_one(fault, wrapped):
    loss, gradient, P = lstm_problem(np.random.default_rng(2), T=3, B=2, p=6, d=5)
    loss, gradient = wrapped(loss), wrapped(gradient)
    right = check_gradient(loss, gradient, P, mode="entrywise")
    wrong = check_gradient(loss, lambda Q: fault(gradient(Q)), P, mode="entrywise")
    assert right.passed
    assert wrong.verdict is Verdict.FAIL
    assert wrong.evaluations <= right.evaluations + 30
    row = next(r for r in wrong.rows if r.name == "W")
    different = fault({k: np.ones_like(v) for k, v in P.items()})["W"] != 1
    assert row.failing == int(different.sum())
    assert np.array_equal(row.states == 1, different)  # EntryState.FAIL


@pytest.mark.parametrize("seed", range(4))
def test_a_row_that_is_a_little_too_large_costs_no_search_for_other_reasons(seed):
    loss, gradient, P = lstm_problem(np.random.default_rng(seed), T=3, B=2, p=6, d=5)
    wrong = check_gradient(loss, lambda Q: wrong_in_a_row(gradient(Q)), P, mode="directional")
    assert wrong.verdict is Verdict.FAIL
    assert wrong.evaluations <= 70


@pytest.mark.parametrize("seed", [3, 5])
def test_rounding_at_random_is_not_asked_of_what_is_off_by_much(seed):
    """The entry shown is off by little there, for its bound is the tightest; others are not."""
    loss, gradient, P = lstm_problem(np.random.default_rng(seed), T=3, B=2, p=6, d=5)
    wrong = check_gradient(loss, lambda Q: wrong_in_a_row(gradient(Q)), P, mode="entrywise")
    assert wrong.verdict is Verdict.FAIL
    assert wrong.gradients == 6


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_a_budget_of_evaluations_is_kept_within_a_fifth(factor, mode):
    A = np.random.default_rng(0).normal(size=(20, 900)) / 30
    w = np.random.default_rng(1).normal(size=900)
    report = check_gradient(
        lambda p: float(np.log(np.cosh(A @ p)).sum()),
        lambda p: factor * (A.T @ np.tanh(A @ p)),
        w, mode=mode, budget=300,
    )  # fmt: skip
    assert report.evaluations <= 360
    assert (report.verdict is Verdict.FAIL) == (factor != 1.0)


def test_seconds_end_the_check_with_the_call_that_exceeds_them(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def loss(p):
        clock[0] += 0.5
        return float(np.sum(np.tanh(p)))

    for mode in ("entrywise", "directional", "auto"):
        clock[0] = 0.0
        w = np.random.default_rng(3).normal(size=400)
        report = check_gradient(loss, lambda p: 1 - np.tanh(p) ** 2, w, mode=mode, budget="4s")
        assert clock[0] <= 4.5
        assert report.verdict is Verdict.UNDECIDED
        assert "budget" in report.rows[0].reason


@pytest.mark.parametrize("factor", [1.0, 1.05])
def test_a_large_gradient_along_directions_takes_forty_losses_at_most(factor):
    w = np.random.default_rng(4).normal(size=(1000, 300))
    report = check_gradient(
        lambda p: float(np.sum(np.tanh(p))), lambda p: factor * (1 - np.tanh(p) ** 2), w
    )
    assert report.mode == "directional"
    assert report.evaluations <= 40
    assert report.passed == (factor == 1.0)


def test_a_budget_that_is_too_small_to_be_kept_says_so():
    w = np.arange(1.0, 5.0)
    report = check_gradient(lambda p: (p**2).sum(), lambda p: 2 * p, w, budget=1)
    assert report.evaluations <= 20
    assert "the budget was not kept: with fewer than about 200 losses" in str(report)
    kept = check_gradient(lambda p: (p**2).sum(), lambda p: 2 * p, w, budget=100)
    assert "not kept" not in str(kept)
