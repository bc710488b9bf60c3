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

__all__ = ["array_function", "parse_scalar"]


@cache
def parse_scalar(name: str, expression: str) -> Any:
    """The SymPy expression in the one symbol ``x``; raises UnsupportedOperation if unreadable."""
    import sympy

    x = sympy.Symbol("x", real=True)
    known: dict[str, Any] = {"x": x}
    for function in ("sigmoid", "softplus", "relu"):
        known[function] = sympy.Function(function)
    known["maximum"] = known["Max"] = sympy.Max
    known["abs"] = sympy.Abs
    try:
        parsed = sympy.sympify(expression, locals=known, rational=True)
    except (sympy.SympifyError, TypeError, AttributeError) as problem:
        raise UnsupportedOperation(
            f"elementwise {name!r}: cannot read {expression!r}: {problem}"
        ) from None
    strangers = sorted(str(s) for s in parsed.free_symbols - {x})
    if strangers:
        raise UnsupportedOperation(
            f"elementwise {name!r}: unknown {', '.join(strangers)} in {expression!r}; "
            "only x may occur"
        )
    return parsed


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


def _irrational(e: Any, like: Any) -> Any:
    """π, √2, … to the precision of the run; to double precision on other objects."""
    if like.dtype == np.longdouble:
        return np.longdouble(str(e.evalf(25)))
    if like.dtype != object:
        return np.asarray(float(e)).astype(like.dtype)
    sample = like.flat[0] if like.size else 0
    if hasattr(sample, "_mpf_") or hasattr(sample, "_mpc_"):
        import mpmath

        return mpmath.mpf(str(e.evalf(mpmath.mp.dps + 5)))
    return float(e)


def _walk(name: str, e: Any, x: Any) -> Any:
    import sympy

    if e.is_Symbol:
        return x
    if (e.is_number and not e.args) or e.is_Rational or e.is_Float:
        return _number(e, x)
    if e.is_NumberSymbol or (e.is_number and e.is_real):
        return _irrational(e, x)
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
            return parts[0] ** float(exponent)
    head = e.func.__name__
    if head == "Abs":
        return numeric.absolute(parts[0])
    if head == "Max" and len(parts) == 2:
        return numeric.maximum(*(np.broadcast_to(p, x.shape) for p in parts))
    if head == "Heaviside":
        return numeric.greater(parts[0], np.zeros_like(parts[0]))
    if head == "sign":
        zero = np.zeros_like(parts[0])
        return numeric.greater(parts[0], zero) - numeric.greater(zero, parts[0])
    if head in numeric.ELEMENTWISE:
        return numeric.ELEMENTWISE[head](parts[0])
    raise UnsupportedOperation(f"elementwise {name!r}: {head} is not a function of the language")
