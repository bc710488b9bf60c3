"""Elementwise functions from SymPy scalar text, computed with the language's own primitives.

SymPy is loaded on the first call, not on import, so that definitions stay light.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from ..errors import UnsupportedOperation
from . import numeric

__all__ = ["array_function", "max_operands", "parse_scalar", "refused"]


#: More than a long double has, so that no run but one of mpmath sees that constants are cut.
_DIGITS = 40


@cache
def parse_scalar(name: str, expression: str) -> Any:
    """The SymPy expression in the one symbol ``x``; raises UnsupportedOperation if unreadable.

    Its constants are rational: an irrational one (√(2/π)) is its first 40 digits, from here on and
    for everybody, so that a derivative meets the very number that the function was computed with.
    """
    import sympy

    x = sympy.Symbol("x", real=True)
    known: dict[str, Any] = {"x": x}
    for function in ("sigmoid", "softplus", "relu"):
        known[function] = sympy.Function(function)
    known["maximum"] = known["Max"] = sympy.Max
    known["abs"] = sympy.Abs
    try:
        parsed = sympy.sympify(expression, locals=known, rational=True)
    except Exception as problem:  # the text is evaluated, so anything may come of it
        said = str(problem).split("\n")[0] or type(problem).__name__
        raise UnsupportedOperation(
            f"elementwise {name!r}: cannot read {expression!r}: {said}"
        ) from None
    if not isinstance(parsed, sympy.Expr):
        hint = "; write where(a > b, u, v) in the cell" if isinstance(parsed, sympy.Basic) else ""
        raise UnsupportedOperation(
            f"elementwise {name!r}: {expression!r} is no number for each x{hint}"
        )
    strangers = sorted(str(s) for s in parsed.free_symbols - {x})
    if strangers:
        raise UnsupportedOperation(
            f"elementwise {name!r}: unknown {', '.join(strangers)} in {expression!r}; "
            "only x may occur"
        )
    return _rational(parsed)


def _rational(e: Any) -> Any:
    """``e`` with every irrational constant, taken as large as it goes, by a decimal."""
    import sympy

    if e.is_Rational or (not e.args and not e.is_number):
        return e
    if e.is_number and e.is_real:
        decimal = e.evalf(_DIGITS)
        return sympy.Rational(str(decimal)) if decimal.is_Float else e
    constants = [a for a in e.args if a.is_number] if e.is_Add or e.is_Mul else []
    others = [_rational(a) for a in e.args if a not in constants]
    # √2 · x · 1/√π: the constants of a sum or a product are one constant.
    return e.func(_rational(e.func(*constants)), *others) if constants else e.func(*others)


def max_operands(e: Any) -> tuple[Any, Any]:
    """The operands of a SymPy ``Max`` of two, the one with the derivative at a tie last.

    SymPy orders them as it likes; a number comes last here, so that ``Max(x, 0)`` has slope 0 at
    0 as relu has.
    """
    a, b = e.args
    return (b, a) if a.is_number and not b.is_number else (a, b)


#: What to write in place of a SymPy function that has no derivative or no code here.
_INSTEAD = {
    "floor": "a staircase has no slope; write where(x > 1, 1.0, 0.0) for a step in the cell",
    "ceiling": "a staircase has no slope; write where(x > 1, 1.0, 0.0) for a step in the cell",
    "Mod": "a saw has jumps; write sin(x) and cos(x) for a phase",
    "sign": "a step has no slope; write where(x > 0, 1.0, -1.0) in the cell",
    "Heaviside": "a step has no slope; write where(x > 0, 1.0, 0.0) in the cell",
    "Piecewise": "write where(x > 0, a, b) in the cell",
    "Min": "write -Max(-a, -b)",
    "Max": "Max has two operands here; write Max(a, b) of two, or maximum in the cell",
    "tan": "write sin(x) / cos(x)",
    "sinh": "write (exp(x) - exp(-x)) / 2",
    "cosh": "write (exp(x) + exp(-x)) / 2",
    "Pow": "a power needs a rational exponent; write exp(b * log(a)) in the cell",
    "Derivative": "write the derivative out",
    "Integral": "write the integral out",
}


def refused(e: Any) -> str:
    """Why a parsed expression has no derivative or no code, and what to write; else empty."""
    import sympy

    if e.is_Symbol or e.is_Rational:
        return ""
    if e.is_number:
        if e.is_real and e.is_finite:
            return ""
        return f"the constant {e} is not a finite real number"
    head = e.func.__name__
    fine = e.is_Add or e.is_Mul or head == "Abs" or head in _OWN
    if e.is_Pow:
        fine = e.args[0] == sympy.E or e.args[1].is_Rational
    if head == "Max":
        fine = len(e.args) == 2
    if not fine:
        known = "abs, Max, " + ", ".join(sorted(_OWN))
        return f"{head} is no function of the language; {_INSTEAD.get(head, f'there are {known}')}"
    return next((said for a in e.args if (said := refused(a))), "")


_OWN = ("tanh", "sigmoid", "relu", "softplus", "exp", "log", "sqrt", "sin", "cos")


def array_function(name: str, expression: str) -> Callable[[Any], Any]:
    """A function on arrays that walks the SymPy tree; works for every dtype of the language."""

    def function(x: Any) -> Any:
        array = np.asarray(x)
        if array.dtype.kind not in "fcO":
            array = array.astype(float)
        value = _walk(name, parse_scalar(name, expression), array)
        return np.broadcast_to(value, array.shape) if np.shape(value) != array.shape else value

    function.__name__ = name
    return function


def _number(value: Any, like: Any) -> Any:
    """A SymPy number in the dtype of the run, exact where the run is exact."""
    if like.dtype == object:
        exact = Fraction(int(value.p), int(value.q)) if value.is_Rational else float(value)
        return int(exact) if exact == int(exact) else numeric.constant(exact, like)
    if like.dtype == np.longdouble and value.is_Rational:
        return np.longdouble(int(value.p)) / np.longdouble(int(value.q))
    return np.asarray(float(value)).astype(like.dtype)


def _walk(name: str, e: Any, x: Any) -> Any:
    import sympy

    if e.is_Symbol:
        return x
    if (e.is_number and not e.args) or e.is_Rational or e.is_Float:
        return _number(e, x)
    parts = [_walk(name, a, x) for a in e.args]
    if e.is_Add:
        total = parts[0]
        for p in parts[1:]:
            total = total + p
        return total
    if e.is_Mul:
        product = parts[0]
        for p in parts[1:]:
            product = product * p
        return product
    if e.is_Pow:
        base, exponent = e.args
        if base == sympy.E:
            return numeric.ELEMENTWISE["exp"](parts[1])
        if exponent == sympy.Rational(1, 2):
            return numeric.ELEMENTWISE["sqrt"](parts[0])
        if exponent == -sympy.Rational(1, 2):
            return 1 / numeric.ELEMENTWISE["sqrt"](parts[0])
        if exponent.is_Integer:
            n = int(exponent)
            return parts[0] ** n if n >= 0 else 1 / parts[0] ** (-n)
        if exponent.is_Rational:
            return parts[0] ** _number(exponent, x)
    head = e.func.__name__
    if head == "Abs":
        return numeric.absolute(parts[0])
    if head == "Max" and len(parts) == 2:
        parts = [parts[e.args.index(a)] for a in max_operands(e)]
        return numeric.maximum(*(np.broadcast_to(p, x.shape) for p in parts))
    if head == "Heaviside":
        return numeric.greater(parts[0], np.zeros_like(parts[0]))
    if head == "sign":
        zero = np.zeros_like(parts[0])
        return numeric.greater(parts[0], zero) - numeric.greater(zero, parts[0])
    if head in numeric.ELEMENTWISE:
        return numeric.ELEMENTWISE[head](parts[0])
    raise UnsupportedOperation(f"elementwise {name!r}: {head} is not a function of the language")
