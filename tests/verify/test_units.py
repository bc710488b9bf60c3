"""Parameters in different units within one array: each entry is judged by its own size."""

from __future__ import annotations

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
