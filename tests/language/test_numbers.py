"""Primitives on arrays: number types, kinks, extreme values, functions made by users."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from gradcheck_rnn.errors import UnsupportedOperation
from gradcheck_rnn.language import (
    cell,
    concat,
    cross_entropy,
    cumsum,
    dot,
    elementwise,
    elu,
    exp,
    eye,
    frozen,
    log_softmax,
    maximum,
    mean,
    minimum,
    relu,
    reverse_cumsum,
    sigmoid,
    softmax,
    softplus,
    sqrt,
    tanh,
    where,
)
from gradcheck_rnn.language import sum as over_units
from gradcheck_rnn.language.numeric import holding_frozen, recording_frozen

TYPES: dict[str, Any] = {
    "float32": np.float32,
    "float64": np.float64,
    "longdouble": np.longdouble,
    "complex128": np.complex128,
    "object": object,
}


def to(array: Any, kind: str) -> Any:
    if kind == "object":
        return np.vectorize(lambda v: mpmath.mpf(float(v)), otypes=[object])(array)
    return np.asarray(array, TYPES[kind])


soft_sign = elementwise("soft_sign", "x / (1 + abs(x))")
FUNCTIONS = {
    "sigmoid": (sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "relu": (relu, lambda x: np.maximum(x, 0)),
    "softplus": (softplus, lambda x: np.log(1 + np.exp(x))),
    "tanh": (tanh, np.tanh),
    "maximum": (lambda x: maximum(x, 0.25), lambda x: np.maximum(x, 0.25)),
    "minimum": (lambda x: minimum(x, 0.25), lambda x: np.minimum(x, 0.25)),
    "abs": (abs, np.abs),
    "where": (lambda x: where(x > 0.5, x, -2 * x), lambda x: np.where(x > 0.5, x, -2 * x)),
    "where at least": (lambda x: where(x >= 1, x, 0 * x), lambda x: np.where(x >= 1, x, 0)),
    "mean": (lambda x: mean(x), lambda x: x.mean(0, keepdims=True)),
    "sum": (lambda x: over_units(x), lambda x: x.sum(0, keepdims=True)),
    "dot": (lambda x: dot(x, x + 1), lambda x: (x * (x + 1)).sum(0, keepdims=True)),
    "softmax": (softmax, lambda x: np.exp(x) / np.exp(x).sum(0)),
    "log_softmax": (log_softmax, lambda x: x - np.log(np.exp(x).sum(0))),
    "cumsum": (cumsum, lambda x: np.cumsum(x, axis=0)),
    "reverse_cumsum": (reverse_cumsum, lambda x: np.cumsum(x[::-1], axis=0)[::-1]),
    "cross_entropy": (
        lambda x: cross_entropy(x, 0.5 * x),
        lambda x: -(0.5 * x * (x - np.log(np.exp(x).sum(0)))).sum(0, keepdims=True),
    ),
    "eye": (lambda x: eye("p") @ x + eye("p") @ eye("p") @ x, lambda x: 2 * x),
    "constants": (
        lambda x: 0.5 * x + Fraction(1, 2) / (2 + x**2) - Fraction(1, 4),
        lambda x: 0.5 * x + 0.5 / (2 + x**2) - 0.25,
    ),
    "powers": (
        lambda x: (x**2 + 1) ** -1 + (x**2) ** 1.5,
        lambda x: 1 / (x**2 + 1) + np.abs(x) ** 3,
    ),
    "concat": (lambda x: concat(x[:1], x, x[1:]), lambda x: np.concatenate([x[:1], x, x[1:]])),
    "user": (soft_sign, lambda x: x / (1 + np.abs(x))),
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("which", FUNCTIONS)
def test_keeps_its_type_and_value(which: str, kind: str) -> None:
    ours, plain = FUNCTIONS[which]
    x = np.array([[0.5, -1.25, 1.0], [2.0, 0.25, -0.75]])
    made = cell(lambda x: ours(x), inputs="x: p", outputs="y", name="mine")(x=to(x, kind))["y"]
    assert made.dtype == TYPES[kind]
    wanted = plain(x)
    assert made.shape == wanted.shape
    tolerance = 1e-6 if kind == "float32" else 1e-14
    assert np.max(np.abs(np.asarray(made - wanted, complex))) < tolerance


def test_extreme_values_do_not_overflow() -> None:
    big = np.array([[-1e4, -800.0, 0.0, 800.0, 1e4]])
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(sigmoid(big), [[0, 0, 0.5, 1, 1]])
        np.testing.assert_array_equal(softplus(big)[0, [0, 1, 3, 4]], [0, 0, 800, 1e4])
        np.testing.assert_array_equal(elu(big), [[-1, -1, 0, 800, 1e4]])
        column = big.T
        np.testing.assert_array_equal(softmax(column), [[0], [0], [0], [0], [1]])
        assert cross_entropy(column, np.eye(5)[:, :1])[0, 0] == 2e4


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (relu, 0.0),
        (abs, 0.0),
        (elu, 1.0),
        (lambda x: maximum(x, 0), 0.0),
        (lambda x: maximum(0, x), 1.0),
        (lambda x: maximum(x, x), 1.0),
        (lambda x: where(x > 0, x, 3 * x), 3.0),
    ],
)
def test_complex_step_at_a_kink_takes_the_stated_branch(function: Any, slope: float) -> None:
    """Ties go to the second operand; abs has slope 0 at 0."""
    mine = cell(lambda x: function(x), inputs="x: p", outputs="y", name="mine")
    made = mine(x=np.array([[0.0 + 1e-30j]]))["y"]
    assert made.imag[0, 0] / 1e-30 == slope


@pytest.mark.parametrize("which", [w for w in FUNCTIONS if w not in ("abs", "user", "powers")])
def test_complex_step_is_the_derivative(which: str) -> None:
    ours, plain = FUNCTIONS[which]
    mine = cell(lambda x: ours(x), inputs="x: p", outputs="y", name="mine")
    x, v = np.array([[0.7], [-0.4]]), np.array([[0.3], [1.1]])
    step = mine(x=x + 1e-30j * v)["y"].imag / 1e-30
    difference = (plain(x + 1e-6 * v) - plain(x - 1e-6 * v)) / 2e-6
    np.testing.assert_allclose(step, difference, rtol=1e-8, atol=1e-9)


def test_user_function_in_all_types_and_exact() -> None:
    cubic = elementwise("cubic_third", "x**3 / 3 - sqrt(2) * x + sigmoid(x) + Max(x, 1/5)")
    x = np.array([[0.3, -1.2], [0.1, 2.0]])
    mine = cell(lambda x: cubic(x), inputs="x: p", outputs="y", name="mine")
    wanted = x**3 / 3 - np.sqrt(2) * x + 1 / (1 + np.exp(-x)) + np.maximum(x, 0.2)
    for kind in TYPES:
        made = mine(x=to(x, kind))["y"]
        assert made.dtype == TYPES[kind]
        tolerance = 1e-6 if kind == "float32" else 1e-15 * 8
        assert np.max(np.abs(np.asarray(made - wanted, complex))) < tolerance
    with mpmath.workdps(40):
        made = mine(x=to([[0.5]], "object"))["y"][0, 0]
        half = mpmath.mpf("0.5")
        exact = half**3 / 3 - mpmath.sqrt(2) * half + 1 / (1 + mpmath.exp(-half)) + half
        assert abs(made - exact) < mpmath.mpf("1e-38")


def test_user_function_errors() -> None:
    with pytest.raises(UnsupportedOperation, match="exists already"):
        elementwise("tanh", "x**2")
    elementwise("square_once", "x**2")
    elementwise("square_once", "x**2")
    with pytest.raises(UnsupportedOperation, match="'square_once' exists already"):
        elementwise("square_once", "x**3")
    with pytest.raises(UnsupportedOperation, match="'a b' is not a valid function name"):
        elementwise("a b", "x")
    for text, problem in [
        ("x +", "cannot read 'x \\+'"),
        ("x * y", "unknown y in 'x \\* y'; only x may occur"),
        ("gamma(x)", "gamma is not a function of the language"),
    ]:
        wrong = elementwise(f"wrong_{len(text)}", text)
        with pytest.raises(UnsupportedOperation, match=problem):
            wrong(np.ones((1, 1)))


def test_frozen_is_recorded_and_held() -> None:
    mine = cell(lambda x: x * frozen(x**2), inputs="x: p", outputs="y", name="mine")
    x = np.array([[2.0]])
    assert mine(x=x)["y"] == 8
    with recording_frozen() as tape:
        assert mine(x=x)["y"] == 8
        assert mine(x=3 * x)["y"] == 216
    for _ in range(2):
        with holding_frozen(tape):
            assert mine(x=x + 1)["y"] == 12
            assert mine(x=x)["y"] == 72
            with pytest.raises(UnsupportedOperation, match="more frozen values than its base run"):
                mine(x=x)
    assert mine(x=x + 1)["y"] == 27


def test_float32_run_stays_float32_with_an_identity_and_bits() -> None:
    mine = cell(
        lambda x: where(x > 0, eye("p") @ x, sqrt(exp(x))) * (x >= 0.5) + (x < 1),
        inputs="x: p", outputs="y", name="mine",
    )  # fmt: skip
    assert mine(x=np.ones((3, 2), np.float32))["y"].dtype == np.float32
