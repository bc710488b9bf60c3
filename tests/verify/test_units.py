"""Parameters in different units within one array: each entry is judged by its own size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify import Verdict
from gradcheck_rnn.verify.scales import reach_of


@pytest.mark.parametrize("seed", range(8))
def test_a_small_gradient_of_a_large_parameter_is_checked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** np.array([8, -8, 0, -7, 7])
    A = rng.normal(size=(6, 5))
    at = rng.normal(size=5) * sizes

    def loss(p: np.ndarray) -> float:
        return float(np.tanh(A @ (p / sizes)).sum())

    def gradient(p: np.ndarray) -> np.ndarray:
        return (1 - np.tanh(A @ (p / sizes)) ** 2) @ A / sizes

    assert check_gradient(loss, gradient, at).passed
    for k in range(5):
        factors = np.where(np.arange(5) == k, 1.02, 1.0)
        wrong = check_gradient(loss, lambda p, f=factors: f * gradient(p), at)
        assert wrong.verdict is Verdict.FAIL, (k, wrong)


def test_ordinary_entries_have_the_size_of_their_array() -> None:
    leaf = np.random.default_rng(1).normal(size=(4, 5))
    leaf[0, 0] = 0.0
    assert np.unique(reach_of(leaf)).size == 1


@pytest.mark.parametrize("apart", [1e4, 1e8])
def test_a_small_gradient_of_a_small_parameter_is_checked(apart: float) -> None:
    """Nothing of the rounding of the large entry is in it, and the complex step sees it."""
    w = np.array([1 / apart, 1.0, apart])

    def gradient(w: Any) -> Any:
        return 2 * w

    def wrong(w: Any) -> Any:
        return 2 * w * np.array([1.5, 1.0, 1.0])

    def loss(w: Any) -> Any:
        return (w * w).sum()

    assert check_gradient(loss, gradient, w).verdict is Verdict.PASS
    report = check_gradient(loss, wrong, w)
    assert report.verdict is Verdict.FAIL
    assert "at [0], 1 of 3" in report.sentence()


def test_a_loss_whose_square_overflows_is_checked() -> None:
    A = np.random.default_rng(0).standard_normal((4, 3))

    def loss(w: Any) -> Any:
        return 1e200 * ((A @ w) ** 2).sum()

    def gradient(w: Any) -> Any:
        return 2e200 * A.T @ (A @ w)

    w = np.array([0.3, -1.0, 2.0])
    assert check_gradient(loss, gradient, w).verdict is Verdict.PASS
    assert check_gradient(loss, lambda w: 1.0001 * gradient(w), w).verdict is Verdict.FAIL
