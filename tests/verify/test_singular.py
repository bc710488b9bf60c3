"""Points at which a loss has a value and no finite derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_vjp

Function = Callable[[Any], Any]
HALF, THIRD = np.array([0.0, 1.3, 0.7]), np.array([[0.4, 0.0], [-1.1, 0.9]])


def check(f: Function, slope: Function, x: Any) -> Any:
    with np.errstate(all="ignore"):
        return check_gradient(lambda x: np.sum(f(x)), slope, x)


def root(x: Any) -> Any:
    return 0.5 / np.sqrt(x)


def cube(x: Any) -> Any:
    return 1 / (3 * np.cbrt(x) ** 2)


def entropy(x: Any) -> Any:
    return np.where(x > 0, x * np.log(np.where(x > 0, x, 1)), 0)


@pytest.mark.parametrize(
    ("f", "slope", "x", "said"),
    [
        (np.sqrt, root, HALF, "[0]: its difference quotients grow without bound"),
        (np.sqrt, lambda x: np.where(x > 0, root(x), np.nan), HALF, "the gradient there is nan"),
        (np.sqrt, lambda x: np.where(x > 0, root(x), 0), HALF, "the gradient there is 0"),
        (np.cbrt, cube, THIRD, "[0, 1]: its difference quotients grow without bound"),
        (entropy, lambda x: np.log(x) + 1, HALF, "the gradient there is -inf"),
        (np.arccos, lambda x: -1 / np.sqrt(1 - x * x), np.array([0.2, 1.0]), "[1]"),
    ],
)
def test_what_is_as_right_as_it_can_be_is_undecided(
    f: Function, slope: Function, x: Any, said: str
) -> None:
    report = check(f, slope, x)
    assert str(report.verdict) == "undecided", str(report)
    assert said in report.sentence()
    assert "no finite derivative" in report.sentence()
    assert "move the point" in report.sentence()


@pytest.mark.parametrize(
    ("f", "slope", "x", "said"),
    [
        # the others are wrong
        (np.cbrt, lambda x: 2 * cube(x), THIRD, "3 of 4 entries"),
        # the wrong end
        (np.sqrt, lambda x: np.where(x > 0, root(x), -np.inf), HALF, "-inf for inf at [0]"),
        # a number where slopes exceed all numbers
        (np.sqrt, lambda x: 0.5 / np.sqrt(x + 1e-12), HALF, "500000 for inf at [0]"),
        # the derivative exists: a slope, and one between two at a kink
        (np.square, lambda x: np.where(x == 0, np.nan, 2 * x), HALF, "nan at [0]"),
        (np.tanh, lambda x: np.where(x == 0, np.inf, 1 / np.cosh(x) ** 2), HALF, "inf at [0]"),
        (np.abs, lambda x: x / np.abs(x), HALF, "nan at [0]"),
        (lambda x: np.abs(x) ** 1.1, lambda x: 1.1 * x * np.abs(x) ** -0.9, HALF, "nan at [0]"),
    ],
)
def test_what_is_wrong_there_fails(f: Function, slope: Function, x: Any, said: str) -> None:
    report = check(f, slope, x)
    assert str(report.verdict) == "fail", str(report)
    assert said in report.sentence()


def test_a_large_slope_is_no_infinite_one() -> None:
    """√(x + 10⁻³⁰) has a slope at 0 that no step shows, and 5·10¹⁴ is it."""
    right = check(lambda x: np.sqrt(x + 1e-30), lambda x: root(x + 1e-30), HALF)
    assert str(right.verdict) == "undecided"
    tame = check(lambda x: np.sqrt(x + 1e-2), lambda x: root(x + 1e-2), HALF)
    assert tame.passed, str(tame)


def test_a_pair() -> None:
    """A cotangent of zero times an infinite slope is not a number, and no fault of linearity."""
    with np.errstate(all="ignore"):
        report = check_vjp(lambda x: (np.sqrt(x), x), lambda g, x: g * root(x), HALF)
        wrong = check_vjp(lambda x: (np.sqrt(x), x), lambda g, x: 2 * g * root(x), HALF)
    assert str(report.verdict) == "undecided"
    assert "move the point" in report.sentence()
    assert str(wrong.verdict) == "fail"


def test_a_kink_is_a_change() -> None:
    def forward(x: Any) -> Any:
        return np.sqrt((x**2).sum(axis=-1)), x

    def backward(g: Any, x: Any) -> Any:
        size = np.sqrt((x**2).sum(axis=-1))
        return np.where(size > 0, g / np.where(size > 0, size, 1), 0)[..., None] * x

    report = check_vjp(forward, backward, np.zeros((2, 3)))
    assert "sit on a kink" in str(report)
    assert "does not change with it" not in str(report)


@pytest.mark.parametrize("x", [np.zeros(3), np.array([0.0, 1.0, 2.0])])
def test_a_domain_that_ends_beside_the_point_is_no_singularity(x: Any) -> None:
    def shifted(x: Any) -> Any:
        return np.sqrt(x + 1e-6)

    assert check(shifted, lambda x: root(x + 1e-6), x).passed
    assert str(check(shifted, lambda x: 1.01 * root(x + 1e-6), x).verdict) == "fail"
