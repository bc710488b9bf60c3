"""Values that hide a fault, as starts do: ones, zeros, an identity. And right code at these."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_vjp
from gradcheck_rnn.verify import Verdict
from gradcheck_rnn.verify.special_values import moved_off

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 2, 3))
W = RNG.normal(size=(3, 3))


def norm(wrong: bool) -> Any:
    """A layer normalisation; wrong: dx misses the factor gamma."""

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        s = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        n = (x - x.mean(-1, keepdims=True)) * s
        return n * gamma + beta, (n, s, gamma)

    def backward(g: Any, cache: Any) -> Any:
        n, s, gamma = cache
        q = g if wrong else g * gamma
        dx = s * (q - q.mean(-1, keepdims=True) - n * (q * n).mean(-1, keepdims=True))
        return dx, (g * n).sum((0, 1)), g.sum((0, 1))

    return forward, backward


def recurrence(*, turned: bool = True, first: bool = True) -> Any:
    """h = tanh(h W + x); wrong: W not turned on the way back, or no first step in dW."""

    def forward(x: Any, h: Any, W: Any) -> Any:
        hs = [h]
        for x_t in x:
            hs.append(np.tanh(hs[-1] @ W + x_t))
        return np.stack(hs[1:]), (hs, W)

    def backward(g: Any, cache: Any) -> Any:
        hs, W = cache
        c, dW, dx = 0, 0 * W, np.zeros_like(g)
        for t in reversed(range(len(g))):
            dx[t] = a = (g[t] + c) * (1 - hs[t + 1] ** 2)
            if t or first:
                dW += hs[t].T @ a
            c = a @ (W.T if turned else W)
        return dx, c, dW

    return forward, backward


def scaled(wrong: bool) -> Any:
    """t tanh(x / t) with a scalar t; wrong: dx has a factor t too many."""

    def backward(g: Any, cache: Any) -> Any:
        x, t = cache
        u = np.tanh(x / t)
        dx = g * (1 - u * u) * (t if wrong else 1)
        return dx, (g * (u - x / t * (1 - u * u))).sum()

    return lambda x, t: (np.tanh(x / t) * t, (x, t)), backward


def decay(wrong: bool) -> Any:
    """x exp(−exp(A)); wrong: dA misses the factor exp(A)."""

    def backward(g: Any, cache: Any) -> Any:
        x, A = cache
        y = g * np.exp(-np.exp(A))
        return y, -(y * x).sum((0, 1)) * (1 if wrong else np.exp(A))

    return lambda x, A: (x * np.exp(-np.exp(A)), (x, A)), backward


HIDDEN: list[tuple[Any, Any, tuple[Any, ...]]] = [
    (norm(False), norm(True), (X, np.ones(3), np.zeros(3))),
    (recurrence(), recurrence(first=False), (X, np.zeros((2, 3)), W)),
    (scaled(False), scaled(True), (X, np.array(1.0))),
    (decay(False), decay(True), (X, np.zeros(3))),
]


@pytest.mark.parametrize(("right", "wrong", "inputs"), HIDDEN)
def test_a_fault_that_a_start_hides_fails(right: Any, wrong: Any, inputs: Any) -> None:
    report = check_vjp(*wrong, inputs)
    assert report.verdict is Verdict.FAIL
    assert "right at the point given, and not where" in report.sentence()
    assert check_vjp(*right, inputs).passed


@pytest.mark.parametrize("start", [np.eye(3), 0.9 * np.eye(3), (W + W.T) / 2])
def test_a_transpose_that_a_symmetric_matrix_hides_is_asked_for(start: Any) -> None:
    report = check_vjp(*recurrence(turned=False), (X, X[0], start))
    assert report.verdict is Verdict.UNDECIDED
    assert "it is right where '[2]' is symmetric. Is a transpose missing?" in report.sentence()
    assert check_vjp(*recurrence(), (X, X[0], start)).passed


def test_along_directions_too() -> None:
    x = RNG.normal(size=(40, 10, 30))
    report = check_vjp(*norm(True), (x, np.ones(30), np.zeros(30)), mode="directional")
    assert report.verdict is Verdict.FAIL
    assert check_vjp(*norm(False), (x, np.ones(30), np.zeros(30)), mode="directional").passed


def entropy(x: Any, y: Any) -> Any:
    return float(np.sum(y * (np.log(np.exp(x).sum(-1, keepdims=True)) - x)))


def of_shares(x: Any, y: Any) -> Any:
    """Right where the rows of y add up to one."""
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return p - y, -np.log(p)


def validated(p: Any) -> Any:
    if np.any(p < -1e-3) or abs(p.sum() - 1) > 1e-3:
        raise ValueError("no probabilities")
    return float(np.sum(p**3))


def masked(m: Any, x: Any) -> Any:
    return float(np.sum(np.where(m > 0.5, np.sin(x), x**2)))


def of_masked(m: Any, x: Any) -> Any:
    """Right for masks of 0 and 1, which multiply in it what they choose in the loss."""
    return 0 * m, m * np.cos(x) + (1 - m) * 2 * x


@pytest.mark.parametrize(
    ("loss", "gradient", "inputs"),
    [
        (entropy, of_shares, (X[0], np.eye(3)[[2, 0]])),
        (entropy, of_shares, (X[0], np.full((2, 3), 1 / 3))),
        (validated, lambda p: 3 * p**2, np.full(4, 0.25)),
        (lambda m, x: float(np.sum(m * np.sin(x))),
         lambda m, x: (np.sin(x).sum(0), m * np.cos(x)), (np.array([1.0, 0, 1]), X[0])),
        (lambda a: float(np.sum(np.log(a) * a)), lambda a: np.log(a) + 1, np.ones(4)),
        (lambda x: float(np.sum(np.sqrt(x + 0.1))), lambda x: 0.5 / np.sqrt(x + 0.1),
         np.zeros(4)),
    ],
)  # fmt: skip
def test_right_code_passes_at_special_values(loss: Any, gradient: Any, inputs: Any) -> None:
    report = check_gradient(loss, gradient, inputs)
    assert report.passed, str(report)


@pytest.mark.parametrize("mask", [np.array([1.0, 0, 1]), np.ones(3)])
def test_a_mask_stays_one(mask: Any) -> None:
    assert check_gradient(masked, of_masked, (mask, X[0]), select=["[1]"]).passed


def test_ordinary_arrays_cost_nothing_more() -> None:
    rng = np.random.default_rng(1)
    for leaf in (RNG.normal(size=(3, 3)), np.array(0.7), np.array([2.0, 3.0])):
        assert moved_off(leaf, np.ones_like(leaf), rng, positive=False) is None
    ones = np.ones(4)
    assert moved_off(ones, 0 * ones, rng, positive=False) is None  # nothing depends on it
