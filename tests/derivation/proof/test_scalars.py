"""Recorded operations: local partials by SymPy, constants, and their accumulation."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import sympy

from gradcheck_rnn.derivation.proof.field import PRIME, FieldPoint
from gradcheck_rnn.derivation.proof.oracle import slopes_of
from gradcheck_rnn.derivation.proof.scalars import Scalar, Tape, local_rule
from gradcheck_rnn.errors import MissingRule


def derivatives(function: Any, count: int, seed: int = 0) -> tuple[list[Any], list[Any]]:
    """Leaves' values and derivatives of a scalar function of `count` leaves."""
    tape = Tape(FieldPoint(seed))
    leaves = [tape.leaf(tape.point.random()) for _ in range(count)]
    result = function(*leaves)
    assert isinstance(result, Scalar)
    rows, _, _ = slopes_of(tape, result)
    return [x.value for x in leaves], [rows.get(x.index, 0) for x in leaves]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b: a + b, lambda a, b: (1, 1)),
        (lambda a, b: a - b, lambda a, b: (1, -1)),
        (lambda a, b: a * b, lambda a, b: (b, a)),
        (lambda a, b: a / b, lambda a, b: (1 / b, -a / b**2)),
        (lambda a, b: 3 / a - b * 0.5, lambda a, b: (-3 / a**2, -0.5)),
        (lambda a, b: -a * a * a + b**4, lambda a, b: (-3 * a**2, 4 * b**3)),
        (lambda a, b: (a * b) ** -2, lambda a, b: (-2 / (a**3 * b**2), -2 / (a**2 * b**3))),
        (lambda a, b: a**1.5 + b, lambda a, b: (1.5 * a.sqrt(), 1)),
        (lambda a, b: (a * b).tanh(), lambda a, b: _tanh(a, b)),
        (lambda a, b: a.softplus() + b.cos(), lambda a, b: (a.sigmoid(), -b.sin())),
        (lambda a, b: a.exp() * b.log(), lambda a, b: (a.exp() * b.log(), a.exp() / b)),
        (lambda a, b: abs(a) + b.relu(), lambda a, b: (_sign(a), b.positive_bit())),
        (lambda a, b: a.sigmoid() - b.sqrt(), lambda a, b: (_sigmoid(a), -1 / (2 * b.sqrt()))),
    ],
)
def test_derivatives_of_small_functions(function: Any, expected: Any) -> None:
    values, slopes = derivatives(function, 2)
    point = values[0].point
    assert [point.coerce(e).value for e in expected(*values)] == slopes


def _tanh(a: Any, b: Any) -> Any:
    slope = 1 - (a * b).tanh() ** 2
    return slope * b, slope * a


def _sign(a: Any) -> Any:
    return 2 * a.positive_bit() - 1


def _sigmoid(a: Any) -> Any:
    return a.sigmoid() * (1 - a.sigmoid())


def test_a_scalar_used_twice_is_counted_twice() -> None:
    (a,), (slope,) = derivatives(lambda x: (x + x) * x, 1)
    assert slope == (4 * a).value


def test_the_branch_is_a_constant() -> None:
    tape = Tape(FieldPoint(0))
    x = tape.leaf(tape.point.random())
    assert not isinstance(x.positive_bit(), Scalar)
    assert x.positive_bit() == x.value.positive_bit()


def test_a_planted_partial_is_seen() -> None:
    """The accumulator reads the list: one wrong partial changes the derivative."""
    tape = Tape(FieldPoint(1))
    a, b = tape.leaf(tape.point.random()), tape.leaf(tape.point.random())
    product = a * b
    right, _, _ = slopes_of(tape, product)
    (index, partial), other = tape.operations[product.index]
    tape.operations[product.index] = ((index, -partial), other)
    wrong, _, _ = slopes_of(tape, product)
    assert wrong[a.index] == PRIME - right[a.index]
    assert wrong[b.index] == right[b.index]


def test_what_the_target_does_not_depend_on_has_no_row() -> None:
    tape = Tape(FieldPoint(2))
    a, b = tape.leaf(tape.point.random()), tape.leaf(tape.point.random())
    target = a * 2
    _ = b * a
    assert set(slopes_of(tape, target)[0]) == {a.index}


def test_unknown_operations_and_partials_are_named() -> None:
    with pytest.raises(MissingRule, match="'gamma'"):
        local_rule("gamma")


def test_powers_have_exact_exponents() -> None:
    a = FieldPoint(3).random()
    rule = local_rule("pow", Fraction(5, 2))
    assert rule.partials[0](a, a, None) == Fraction(5, 2) * a.sqrt() ** 3
    assert sympy.Rational(5, 2) * a == 2.5 * a


def test_slopes_are_those_of_the_list_run_forwards() -> None:
    """Both orders of the chain rule give one derivative along a random direction."""
    tape = Tape(FieldPoint(4))
    leaves = [tape.leaf(tape.point.random()) for _ in range(3)]
    a, b, c = leaves
    for _ in range(3):
        a, b, c = (a * b).tanh() + c, b / (c + a), c * c - a.exp()
    target = a * c + b
    direction = {x.index: tape.point.random() for x in leaves}
    moved: dict[int, Any] = {}
    for number, operands in enumerate(tape.operations[: target.index + 1]):
        pushed = [partial * moved[operand] for operand, partial in operands]
        moved[number] = direction.get(number, tape.point.zero) if not operands else sum(pushed)
    slopes, degree, _ = slopes_of(tape, target)
    along = sum((slopes[n] * v for n, v in direction.items()), start=tape.point.zero)
    assert along.value == moved[target.index].value
    assert degree > 1
