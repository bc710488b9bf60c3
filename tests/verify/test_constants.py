"""Rounding of constants that a loss and a gradient close over and take by different ways."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.linalg import solve

from gradcheck_rnn.verify import Verdict, check_gradient

MODES = ["entrywise", "directional"]


def hilbert(n):
    H = 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1)
    inverse = np.linalg.inv(H)
    point = np.random.default_rng(n).normal(size=n)
    loss = lambda p: 0.5 * p @ np.linalg.solve(H, p)  # noqa: E731
    return loss, lambda p: inverse @ p, point, H


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [5, 6, 8])
def test_an_ill_conditioned_constant_fails_no_right_gradient(n, mode):
    loss, gradient, point, H = hilbert(n)
    before = H.copy()
    report = check_gradient(loss, gradient, point, mode=mode)
    assert report.passed, str(report)
    assert np.array_equal(H, before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [1e-6, 1e-2])
def test_wrong_gradients_beside_such_a_constant_fail(fault, mode):
    loss, gradient, point, _ = hilbert(6)
    wrong = check_gradient(loss, lambda p: (1 + fault) * gradient(p), point, mode=mode)
    assert wrong.verdict is Verdict.FAIL


def test_tiny_faults_beside_well_conditioned_constants_fail():
    A = np.random.default_rng(0).normal(size=(6, 4))
    w = np.random.default_rng(1).normal(size=4)
    for size in (1e-8, 1e-9):
        report = check_gradient(
            lambda p: np.sum(np.tanh(A @ p)),
            lambda p, k=1 + size: k * (A.T @ (1 - np.tanh(A @ p) ** 2)),
            w,
            mode="entrywise",
        )
        assert report.verdict is Verdict.FAIL, str(report)


@pytest.mark.parametrize("fault", [0.0, 1e-4])
def test_a_constant_made_within_the_functions_is_moved_where_it_is_solved_with(fault):
    def hilbert_matrix(n):
        return 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1)

    solver = np.linalg.solve
    for seed in range(3):
        point = np.random.default_rng(seed).normal(size=8)
        report = check_gradient(
            lambda p: np.linalg.solve(hilbert_matrix(len(p)), p).sum(),
            lambda p: (1 + fault) * np.linalg.solve(hilbert_matrix(len(p)), np.ones(len(p))),
            point,
            seed=seed,
        )
        assert report.passed is (fault == 0), str(report)
    assert np.linalg.solve is solver


@pytest.mark.parametrize("fault", [0.0, 0.5])
def test_a_constant_that_loses_more_than_half_of_all_digits_decides_nothing(fault):
    H = 1.0 / (np.arange(12)[:, None] + np.arange(12) + 1)

    def loss(p):
        return 0.5 * (solve(H, p) ** 2).sum()

    point = np.random.default_rng(2).normal(size=12)
    report = check_gradient(loss, lambda p: (1 + fault) * solve(H.T, solve(H, p)), point)
    assert report.verdict is (Verdict.FAIL if fault else Verdict.UNDECIDED)
    assert fault or "an ill-conditioned constant explains" in report.sentence()
