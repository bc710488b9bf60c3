"""Slopes of the elementwise functions, certified by SymPy.

The calculus and the oracle read one declaration of φ′, in the argument ``x`` and the function's own
value ``y``; that it is the derivative of the function's definition in elementary terms is checked
here by SymPy's ``diff``, which shares nothing with either.
"""

from __future__ import annotations

from typing import Any

from ...errors import MissingRule
from ...language.ops.elementwise import ELEMENTWISE
from ...language.ops.formula import Arithmetic, evaluate

__all__ = ["certify"]


def certify(function: str, slope: str | None = None) -> bool:
    """Whether the slope is the derivative of the definition, for all real x of its domain.

    Kinks are excluded: a function with branches is checked for positive and for negative x.

    Parameters
    ----------
    slope : str, optional
        Another claim to be checked instead of the declared one.

    Returns
    -------
    bool
        False also where SymPy cannot decide: an undecided identity is not a certificate.

    Raises
    ------
    MissingRule
        The function is not declared.
    """
    import sympy

    known = ELEMENTWISE.get(function)
    if known is None:
        raise MissingRule(f"the oracle has no definition of the elementwise function {function!r}")

    def call(name: str, z: Any) -> Any:
        if name == "log1p":
            return sympy.log(1 + z)
        if name in ELEMENTWISE and not hasattr(sympy, name):
            return evaluate(ELEMENTWISE[name].definition, Arithmetic({"x": z}, call, rational))
        special = {"positive_bit": "Heaviside", "abs": "Abs"}
        return getattr(sympy, special.get(name, name))(z)

    def rational(q: Any) -> Any:
        return sympy.Rational(q.numerator, q.denominator)

    x = sympy.Symbol("x", positive=True) if known.positive else sympy.Symbol("x", real=True)
    half = sympy.Symbol("x", positive=True)
    for at, sign in [(half, 1), (-half, -1)] if known.algebraic else [(x, 1)]:
        value = evaluate(known.definition, Arithmetic({"x": at}, call, rational))
        claimed = evaluate(slope or known.slope, Arithmetic({"x": at, "y": value}, call, rational))
        by = half if known.algebraic else x
        if sympy.simplify(sign * sympy.diff(value, by) - claimed) != 0:
            return False
    return True
