"""Formulas of one variable as text, evaluated in any algebra.

A formula is a Python expression in ``x`` (the argument) and ``y`` (the value of the function),
with whole numbers, ``+ - * / **``, ``abs``, ``positive_bit`` ([x > 0]) and elementwise functions of
the language: ``"y*(1 - y)"``. It is read in the order in which it is written, so that a page
prints it as its author did. Arrays, exact field elements, balls and terms of the calculus are
algebras.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

from ...errors import UnsupportedOperation

__all__ = ["Algebra", "Arithmetic", "calls", "evaluate", "factors", "parse"]


class Algebra(Protocol):
    """What a formula is evaluated in; numbers come as fractions and are combined before they do."""

    def symbol(self, name: str) -> Any:
        """The value of ``x`` or ``y``."""

    def number(self, value: Fraction) -> Any:
        """A constant."""

    def add(self, a: Any, b: Any) -> Any:
        """a + b."""

    def multiply(self, a: Any, b: Any) -> Any:
        """a ⊙ b; ``a`` may be a fraction."""

    def divide(self, a: Any, b: Any) -> Any:
        """a ⊘ b."""

    def negate(self, a: Any) -> Any:
        """−a."""

    def power(self, a: Any, n: Fraction) -> Any:
        """aⁿ."""

    def call(self, name: str, a: Any) -> Any:
        """A function of a."""


class Arithmetic:
    """The algebra of values with Python's operators.

    Parameters
    ----------
    values : mapping
        ``x`` and, where a formula has it, ``y``.
    call : callable
        (name, value) → value of a function.
    number : callable, optional
        A fraction in the type of the run.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        call: Callable[[str, Any], Any],
        number: Callable[[Fraction], Any] = lambda q: q,
    ) -> None:
        self.values, self.call, self.number = values, call, number

    def symbol(self, name: str) -> Any:
        return self.values[name]

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def multiply(self, a: Any, b: Any) -> Any:
        return (self.number(a) if isinstance(a, Fraction) else a) * b

    def divide(self, a: Any, b: Any) -> Any:
        return a / b

    def negate(self, a: Any) -> Any:
        return -a

    def power(self, a: Any, n: Fraction) -> Any:
        return a ** (int(n) if n.denominator == 1 else self.number(n))


@cache
def parse(text: str) -> ast.expr:
    """The syntax tree of a formula."""
    return ast.parse(text, mode="eval").body


def factors(formula: ast.expr) -> list[ast.expr]:
    """The factors of a product as written; one factor for anything else."""
    if isinstance(formula, ast.BinOp) and isinstance(formula.op, ast.Mult):
        return [*factors(formula.left), *factors(formula.right)]
    return [formula]


def calls(text: str) -> set[str]:
    """Names of the functions that a formula calls."""
    nodes = (n.func for n in ast.walk(parse(text)) if isinstance(n, ast.Call))
    return {f.id for f in nodes if isinstance(f, ast.Name)}


def evaluate(formula: str | ast.expr, algebra: Algebra) -> Any:
    """The value of a formula.

    Raises
    ------
    UnsupportedOperation
        The text is no formula.
    """
    value = _value(parse(formula) if isinstance(formula, str) else formula, algebra)
    return algebra.number(value) if isinstance(value, Fraction) else value


def _value(e: ast.expr, algebra: Algebra) -> Any:
    """The value of a subexpression; a constant stays a fraction until it meets another value."""
    if isinstance(e, ast.Constant) and isinstance(e.value, int):
        return Fraction(e.value)
    if isinstance(e, ast.Name):
        return algebra.symbol(e.id)
    if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub):
        inner = _value(e.operand, algebra)
        return -inner if isinstance(inner, Fraction) else algebra.negate(inner)
    if isinstance(e, ast.Call) and isinstance(e.func, ast.Name) and len(e.args) == 1:
        return algebra.call(e.func.id, evaluate(e.args[0], algebra))
    if isinstance(e, ast.BinOp):
        return _binary(e, _value(e.left, algebra), _value(e.right, algebra), algebra)
    raise UnsupportedOperation(f"{ast.unparse(e)!r} is no part of a formula")


def _binary(e: ast.BinOp, a: Any, b: Any, algebra: Algebra) -> Any:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _fractions(e, a, b)
    whole = algebra.number
    first = whole(a) if isinstance(a, Fraction) else a
    second = whole(b) if isinstance(b, Fraction) else b
    if isinstance(e.op, ast.Add):
        return algebra.add(first, second)
    if isinstance(e.op, ast.Sub):
        if isinstance(b, Fraction):
            return algebra.add(first, whole(-b))
        return algebra.add(first, algebra.negate(b))
    if isinstance(e.op, ast.Mult):
        if isinstance(b, Fraction):
            return algebra.multiply(b, a)
        return algebra.multiply(a, b)
    if isinstance(e.op, ast.Div):
        return algebra.divide(first, second)
    if isinstance(e.op, ast.Pow) and isinstance(b, Fraction):
        return algebra.power(a, b)
    raise UnsupportedOperation(f"{ast.unparse(e)!r} is no part of a formula")


def _fractions(e: ast.BinOp, a: Fraction, b: Fraction) -> Fraction:
    if isinstance(e.op, ast.Add):
        return a + b
    if isinstance(e.op, ast.Sub):
        return a - b
    if isinstance(e.op, ast.Mult):
        return a * b
    if isinstance(e.op, ast.Div):
        return a / b
    raise UnsupportedOperation(f"{ast.unparse(e)!r} is no part of a formula")
