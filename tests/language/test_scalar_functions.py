"""Elementwise functions from SymPy text: powers and constants are exact where runs are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy

from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.language import cell, elementwise
from gradcheck_rnn.language.scalar_functions import parse_scalar

GELU = "x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))/2"


class Root:
    """Remembers the power it was raised to."""

    def __pow__(self, exponent: Any) -> Any:
        return exponent


def test_a_root_of_objects_is_an_exact_power() -> None:
    root = elementwise("test_cube_root", "x**(1/3)")
    (power,) = root(np.array([Root()], dtype=object))
    assert power == Fraction(1, 3)
    assert isinstance(power, Fraction)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128])
def test_a_root_keeps_the_dtype(dtype: Any) -> None:
    root = elementwise("test_cube_root", "x**(1/3)")
    cubes = np.array([8, 0.001], dtype=dtype)
    assert root(cubes).dtype == dtype
    error = np.abs(root(cubes) ** 3 - cubes) / np.abs(cubes)
    assert np.all(error <= 8 * np.finfo(dtype).eps)


def test_a_root_of_mpmath_numbers_is_as_precise_as_they_are() -> None:
    root = elementwise("test_cube_root", "x**(1/3)")
    with mpmath.workdps(50):
        (got,) = root(np.array([mpmath.mpf(2)], dtype=object))
        assert abs(got**3 - 2) < mpmath.mpf(10) ** -48


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        (GELU, 0),
        ("sqrt(2)*x/sqrt(pi) + pi", 0),
        ("exp(1)*x", 0),
        ("maximum(x, sqrt(2))", 0),
        ("x**pi", 0),
    ],
)
def test_no_irrational_constant_is_left(text: str, constants: int) -> None:
    parsed = parse_scalar("constants", text)
    irrational = [e for e in sympy.preorder_traversal(parsed) if e.is_number and not e.is_Rational]
    assert len(irrational) == constants
    x = sympy.Symbol("x", real=True)
    plain = sympy.sympify(text.replace("maximum", "Max"), locals={"x": x}, rational=True)
    at = sympy.Rational(3, 7)
    assert abs((plain - parsed).subs(x, at).evalf(50)) < 1e-36


def test_what_needs_no_constant_is_left_as_written() -> None:
    x = sympy.Symbol("x", real=True)
    assert parse_scalar("plain", "x*tanh(x/3) + 2") == x * sympy.tanh(x / 3) + 2


@pytest.mark.parametrize("text", ["x**(1/3)", "x**(2/3) + x**(-1/3)", GELU, "exp(1)*sqrt(2)*x"])
def test_cells_with_them_are_proved(text: str) -> None:
    phi = elementwise(f"test_user_{len(text)}", text)

    @cell(inputs="x: p", states="h: p", params="w: p")
    def user(x, h, w):
        return phi(w * h + x)

    result = prove(user)
    assert result.proved, str(result)
