"""Gradients that are not the same at every call, options that ask for nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from gradcheck_rnn.errors import DimensionError, GradcheckError, UsageError
from gradcheck_rnn.verify import Verdict, check_gradient

A = np.random.default_rng(0).normal(size=(6, 4))
W = np.random.default_rng(1).normal(size=4)
MODES = ["entrywise", "directional"]


def loss(p):
    return float(np.log(np.cosh(A @ p)).sum())


def gradient(p):
    return A.T @ np.tanh(A @ p)


def now_and_then(every: int, change: Callable[[np.ndarray], np.ndarray]):
    """A gradient that is another one in every so-manieth call."""
    calls = itertools.count(1)

    def function(p):
        g = gradient(p)
        return change(g) if next(calls) % every == 0 else g

    return function


def noisy(g):
    return g * (1 + 0.01 * np.random.default_rng(3).normal(size=g.shape))


@pytest.mark.parametrize(
    ("every", "mode"), [*itertools.product([2, 3, 5], ["entrywise"]),
                        *itertools.product([2, 3, 4], ["directional"])]
)  # fmt: skip
def test_noise_in_some_calls_fails_and_is_called_unsteady(every, mode):
    report = check_gradient(loss, now_and_then(every, noisy), W, mode=mode)
    assert report.verdict is Verdict.FAIL
    assert any(f.kind == "unsteady" and f.fatal for f in report.findings)
    assert not any("roundoff of the loss" in row.reason for row in report.rows)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("every", [20, 50])
def test_rare_faults_need_repeats_and_the_report_says_how_many_calls_there_were(every, mode):
    lost = lambda g: g - A[2] * 0.3  # noqa: E731
    default = check_gradient(loss, now_and_then(every, lost), W, mode=mode)
    calls, missed = (6, 0.74) if mode == "entrywise" else (4, 0.81)
    assert f"once in more than {calls} calls" in default.rows[0].missed
    assert f"once in 20: missed with probability {missed}" in default.rows[0].missed
    asked = check_gradient(loss, now_and_then(every, lost), W, mode=mode, repeats=every + 2)
    assert asked.verdict is Verdict.FAIL
    assert f"once in more than {every + 2} calls" in asked.rows[0].missed


@pytest.mark.parametrize("mode", MODES)
def test_sums_in_another_order_are_rounding(mode):
    calls = np.random.default_rng(5)

    def reordered(p):
        order = calls.permutation(6)
        return A[order].T @ np.tanh(A[order] @ p)

    report = check_gradient(loss, reordered, W, mode=mode, repeats=20)
    assert report.passed, str(report)


def test_an_ill_conditioned_gradient_is_not_unsteady():
    """Its neighbours differ by far more than rounding, and each is the same when called again."""
    steep = 1e6 * np.ones(3)
    point = np.array([0.2, 0.4, -0.3])
    report = check_gradient(
        lambda p: float(np.sum(np.sin(steep * p))), lambda p: steep * np.cos(steep * p), point
    )
    assert report.verdict is not Verdict.FAIL
    assert not any(f.kind == "unsteady" for f in report.findings)


def test_a_gradient_that_fails_to_come_later_is_no_pass():
    def late(change):
        calls = itertools.count(1)

        def function(p):
            return gradient(p) if next(calls) < 3 else change(gradient(p))

        return function

    report = check_gradient(loss, late(lambda g: g * np.nan), W)
    assert report.verdict is Verdict.FAIL
    assert any("call 3" in f.message for f in report.findings)
    for change, error in ((lambda g: g[:2], DimensionError), (lambda g: None, UsageError)):
        with pytest.raises(error):
            check_gradient(loss, late(change), W)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_random_masks_are_undecided_with_the_advice_to_fix_the_seed(scale, mode):
    masks = np.random.default_rng(7)
    drop = lambda p: float(np.sum(np.tanh(A @ p) * (masks.random(6) < 0.5)))  # noqa: E731
    back = lambda p: scale * A.T @ ((1 - np.tanh(A @ p) ** 2) * (masks.random(6) < 0.5))  # noqa: E731
    report = check_gradient(drop, back, W, mode=mode)
    assert report.verdict is Verdict.UNDECIDED
    assert any("Fix the seed" in f.message for f in report.findings)
    assert "roundoff of the loss" not in str(report)


@pytest.mark.parametrize(
    "keywords",
    [
        {"resolve": np.inf}, {"resolve": np.nan}, {"resolve": 0}, {"resolve": -0.1},
        {"resolve": 1.5}, {"budget": np.nan}, {"budget": np.inf}, {"budget": "nan"},
        {"budget": "infs"}, {"unit": np.nan}, {"unit": -1.0}, {"repeats": 0}, {"seed": np.inf},
        {"seed": 1.5},
    ],
)  # fmt: skip
def test_options_that_ask_for_nothing_are_refused_in_one_line(keywords):
    with pytest.raises(UsageError, match=next(iter(keywords))) as caught:
        check_gradient(loss, gradient, W, **keywords)
    assert isinstance(caught.value, GradcheckError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [0, 8, 22, 39])
def test_a_mask_that_a_few_calls_share_is_random_and_no_race(seed):
    # of so few units: in the first calls of the last three seeds it is the same
    np.random.seed(seed)  # noqa: NPY002 - the global generator is what is tested
    W, x, last = np.array([[0.3, -0.4], [0.6, 0.2]]), np.array([0.7, -0.5]), [np.ones(2)]

    def value(p):
        last[0] = np.random.rand(2) > 0.4  # noqa: NPY002
        return float(np.sum(last[0] * np.tanh(p @ x)))

    def gradient(p):
        value(p)
        return np.outer(last[0] * (1 - np.tanh(p @ x) ** 2), x)

    report = check_gradient(value, gradient, W)
    assert report.verdict is Verdict.UNDECIDED, str(report)
    assert "Fix the seed" in str(report)


def test_a_loss_that_drifts_is_undecided_and_says_so():
    clock = itertools.count()

    def loss(p):
        return float(np.sum(np.tanh(p)) * (1 + 1e-8 * next(clock)))

    report = check_gradient(loss, lambda p: 1 - np.tanh(p) ** 2, np.array([0.3, -0.2, 0.9]))
    assert report.verdict is Verdict.UNDECIDED, str(report)
    assert "drifts" in str(report)
