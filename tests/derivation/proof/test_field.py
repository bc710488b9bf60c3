"""Exact arithmetic, shared generators and degrees that really bound."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck_rnn.derivation.proof.field import PRIME, FieldElement, FieldPoint, Redraw
from gradcheck_rnn.errors import UnsupportedOperation


def test_constants_are_the_decimals_they_print_as() -> None:
    point = FieldPoint(0)
    assert point.coerce(0.1) + point.coerce(0.2) == point.coerce(Fraction(3, 10))
    assert point.coerce(1e-5) * 10**5 == point.one
    assert 1 / (1 / point.coerce(7)) == point.coerce(7)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_constants_without_a_value_are_refused(bad: float) -> None:
    with pytest.raises(UnsupportedOperation, match="no exact value"):
        FieldPoint(0).coerce(bad)


def test_other_objects_are_left_to_their_own_methods() -> None:
    with pytest.raises(TypeError):
        FieldPoint(0).random() + "1"


def test_arithmetic_is_that_of_a_field() -> None:
    point = FieldPoint(1)
    a, b, c = (point.random() for _ in range(3))
    assert (a + b) * c == a * c + b * c
    assert (a / b) * b == a
    assert a - b == -(b - a)
    assert a**3 * a**-2 == a
    assert 2 / a == 2 * a**-1
    assert a != b
    assert (a**0, 0 * a, 1 * a) == (point.one, point.zero, a)


def test_zero_denominators_ask_for_another_point() -> None:
    point = FieldPoint(2)
    a = point.random()
    with pytest.raises(Redraw):
        1 / (a - a)


def test_a_function_is_one_generator_for_each_argument() -> None:
    point = FieldPoint(3)
    a, b = point.random(), point.random()
    assert (a + b).tanh() == (b + a).tanh()
    assert a.tanh() != b.tanh()
    assert a.tanh() != a.sigmoid()
    assert a.tanh() * 2 != (2 * a).tanh()


def test_relations_that_are_used() -> None:
    point = FieldPoint(4)
    a = point.random()
    for x in (a, -a):
        assert (-x).tanh() == -(x.tanh())
        assert (-x).sin() == -(x.sin())
        assert (-x).cos() == x.cos()
        assert (-x).sigmoid() == 1 - x.sigmoid()
        assert (-x).positive_bit() == 1 - x.positive_bit()
        assert (-x).exp() * x.exp() == point.one
    assert (3 * a).exp() == a.exp() ** 3
    assert a**0.5 == a.sqrt()
    assert a**-1.5 == 1 / a.sqrt() ** 3
    assert a ** Fraction(2, 3) == (a ** Fraction(1, 3)) ** 2
    assert a**0.123 * a == a**1.123
    zero = a - a
    assert zero.tanh() == point.zero
    assert zero.sigmoid() == point.coerce(0.5)
    assert zero.exp() == point.one
    assert zero.positive_bit() == point.zero


def test_relations_that_are_not_known_come_out_unequal() -> None:
    """tanh z = 2σ(2z) − 1 is true, and unproved: the price of independent generators."""
    point = FieldPoint(5)
    z = point.random()
    assert z.tanh() != 2 * (2 * z).sigmoid() - 1
    assert z.sin() ** 2 + z.cos() ** 2 != 1


def test_branch_bits_are_generic() -> None:
    """Not 0 or 1, so that one point speaks for all branches."""
    bit = FieldPoint(6).random().positive_bit()
    assert bit * bit != bit
    assert bit.degree == 1


def test_absolute_value_and_relu_share_the_bit() -> None:
    a = FieldPoint(7).random()
    assert abs(a) == 2 * a.relu() - a
    assert abs(-a) == abs(a)


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "c", "1", "2"]),
    lambda e: st.tuples(st.sampled_from("+-*/"), e, e),
    max_leaves=9,
)


def build(tree: Any, leaves: dict[str, Any]) -> Any:
    if isinstance(tree, str):
        return leaves[tree]
    op, left, right = tree[0], build(tree[1], leaves), build(tree[2], leaves)
    return {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
    }[op]()


@given(EXPRESSIONS)
@settings(max_examples=60)
def test_the_degree_bounds_the_numerator(tree: Any) -> None:
    point = FieldPoint(8)
    symbols = {n: sympy.Symbol(n) for n in "abc"}
    try:
        element = build(
            tree, {n: point.random() for n in "abc"} | {"1": point.one, "2": point.coerce(2)}
        )
    except Redraw:
        return
    exact = build(tree, {**symbols, "1": sympy.Integer(1), "2": sympy.Integer(2)})
    numerator = sympy.fraction(sympy.cancel(exact))[0]
    degree = sympy.Poly(numerator, *symbols.values()).total_degree() if numerator != 0 else 0
    assert point.degree_of(element) >= degree


def test_the_degree_is_not_idle() -> None:
    point = FieldPoint(9)
    a, b = point.random(), point.random()
    assert point.degree_of(a * b + a) == 2
    assert point.degree_of(a**5 * b) == 6
    # a/(a+b) + b/(a+b) has the common denominator once, not twice.
    assert point.degree_of(a / (a + b) + b / (a + b)) == 2
    assert point.degree_of(a.tanh()) == 1


def test_collisions_count_pairs_of_arguments() -> None:
    point = FieldPoint(10)
    a = point.random()
    assert point.collision_degree == 0
    a.log()
    assert point.collision_degree == 0
    (a**3).log()
    assert point.collision_degree >= 3


def test_a_seed_replays_a_point() -> None:
    def numbers(seed: int) -> list[int]:
        point = FieldPoint(seed)
        return [point.random().value, point.random().tanh().value]

    assert numbers(11) == numbers(11) != numbers(12)
    assert all(0 < n < PRIME for n in numbers(11))
    assert isinstance(FieldPoint(0).random(), FieldElement)
