"""Elementwise functions and their derivatives, written in saved outputs where that is shorter."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy

from ..errors import MissingRule
from ..language.ops.elementwise import ELEMENTWISE
from ..language.ops.formula import evaluate, factors, parse
from ..language.scalar_functions import max_operands, parse_scalar
from ..language.user_functions import USER_FUNCTIONS
from .terms import (
    Abs,
    Apply,
    Broadcast,
    Divide,
    Greater,
    Hadamard,
    Maximum,
    Neg,
    Num,
    Plus,
    Power,
    Scale,
    Sign,
    Term,
)

__all__ = ["derivative", "lift", "user_definition"]


def _one(like: Term) -> Term:
    return Broadcast(Num(1), *like.shape)


class _Terms:
    """The algebra of terms with the shape of the argument; see `ops.formula`."""

    def __init__(self, x: Term, y: Term) -> None:
        self.x, self.y = x, y

    def symbol(self, name: str) -> Term:
        return self.x if name == "x" else self.y

    def number(self, value: Fraction) -> Term:
        number = sympy.Rational(value.numerator, value.denominator)
        return Broadcast(Num(number), *self.x.shape)

    def add(self, a: Term, b: Term) -> Term:
        return Plus(a, b)

    def multiply(self, a: Term | Fraction, b: Term) -> Term:
        if isinstance(a, Fraction):
            return Scale(Num(sympy.Rational(a.numerator, a.denominator)), b)
        return Hadamard(a, b)

    def divide(self, a: Term, b: Term) -> Term:
        return Divide(a, b)

    def negate(self, a: Term) -> Term:
        return Neg(a)

    def power(self, a: Term, n: Fraction) -> Term:
        return Power(a, sympy.Rational(n.numerator, n.denominator))

    def call(self, name: str, a: Term) -> Term:
        if name == "abs":
            return Abs(a)
        if name == "positive_bit":
            return Greater(a, Broadcast(Num(0), *self.x.shape))
        return Apply(name, a)


def declared_slope(function: str, x: Term, y: Term) -> tuple[Term, ...]:
    """The declared φ′ as factors of an elementwise product, in the order written."""
    algebra = _Terms(x, y)
    return tuple(evaluate(f, algebra) for f in factors(parse(ELEMENTWISE[function].slope)))


def derivative(function: str, x: Term, y: Term) -> tuple[Term, ...]:
    """φ′(x) as factors of an elementwise product; ``y`` is φ(x) by its name.

    Raises
    ------
    MissingRule
        No derivative is known for the function.
    """
    if function in ELEMENTWISE:
        return declared_slope(function, x, y)
    if function in USER_FUNCTIONS:
        expression = parse_scalar(function, USER_FUNCTIONS[function])
        slope = sympy.diff(_one_sided(expression), sympy.Symbol("x", real=True))
        return (lift(slope, x),)
    raise MissingRule(f"no derivative is known for the elementwise function {function!r}")


def _one_sided(e: Any) -> Any:
    """Max(a, b) as b + Max(a − b, 0), whose derivative at a tie is b's, as that of the arrays."""

    def split(*operands: Any) -> Any:
        whole = sympy.Max(*operands)
        if not isinstance(whole, sympy.Max) or len(whole.args) != 2:
            return whole
        a, b = max_operands(whole)
        return b + sympy.Max(a - b, 0)

    return e.replace(sympy.Max, split)


def user_definition(function: str, x: Term) -> Term | None:
    """A user's elementwise function written out in terms, or None for one of the language's own."""
    if function not in USER_FUNCTIONS:
        return None
    return lift(parse_scalar(function, USER_FUNCTIONS[function]), x)


def lift(e: Any, x: Term) -> Term:
    """A SymPy scalar expression in ``x``, applied entry by entry to the term ``x``."""
    if e.is_Symbol:
        return x
    if e.is_Rational or e.is_Float:
        return Broadcast(Num(e), *x.shape)
    if e.is_number:
        return Broadcast(Num(sympy.Float(e.evalf(17), 17)), *x.shape)
    if e.is_Add:
        return Plus(*(lift(a, x) for a in e.args))
    if e.is_Mul:
        number, rest = e.as_coeff_Mul()
        top, bottom = rest.as_numer_denom()
        parts = [lift(a, x) for a in sympy.Mul.make_args(top) if a != 1]
        inner = Hadamard(*parts) if parts else _one(x)
        if bottom != 1:
            inner = Divide(inner, lift(bottom, x))
        if number == 1:
            return inner
        return Neg(inner) if number == -1 else Scale(Num(number), inner)
    if e.is_Pow:
        base, exponent = e.args
        if base == sympy.E:
            return Apply("exp", lift(exponent, x))
        if exponent == sympy.Rational(1, 2):
            return Apply("sqrt", lift(base, x))
        if exponent.is_Rational and exponent < 0:
            return Divide(_one(x), lift(base**-exponent, x))
        if exponent.is_Rational:
            return Power(lift(base, x), exponent)
    head = e.func.__name__
    if head == "Abs":
        return Abs(lift(e.args[0], x))
    if head == "sign":
        return Sign(lift(e.args[0], x))
    if head == "Max" and len(e.args) == 2:
        a, b = max_operands(e)
        return Maximum(lift(a, x), lift(b, x))
    if head == "Heaviside":
        return Greater(lift(e.args[0], x), Broadcast(Num(0), *x.shape))
    if head in ELEMENTWISE:
        return Apply(head, lift(e.args[0], x))
    if head == "Derivative":
        # SymPy cannot differentiate our opaque functions; their slopes are in the table above.
        inner = e.args[0]
        argument = lift(inner.args[0], x)
        return Hadamard(*derivative(inner.func.__name__, argument, lift(inner, x)))
    if head == "Subs":
        inner = e.args[0].args[0]
        argument = lift(e.args[2][0], x)
        name = inner.func.__name__
        return Hadamard(*derivative(name, argument, Apply(name, argument)))
    raise MissingRule(f"{head} has no place among the elementwise functions of the calculus")
