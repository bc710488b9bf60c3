"""Derivatives of the elementwise functions, as the oracle uses them, certified by SymPy.

Each slope is written in the argument ``x`` and the function's own value ``y``; that it is the
derivative of the function's definition in elementary terms is checked by `certify`, which shares
nothing with the calculus.
"""

from __future__ import annotations

from typing import Any

from ...errors import MissingRule

__all__ = ["DEFINITIONS", "SLOPES", "certify"]

#: φ in terms that SymPy differentiates by itself.
DEFINITIONS: dict[str, str] = {
    "tanh": "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
    "sigmoid": "1 / (1 + exp(-x))",
    "softplus": "log(1 + exp(x))",
    "exp": "exp(x)",
    "log": "log(x)",
    "sqrt": "sqrt(x)",
    "sin": "sin(x)",
    "cos": "cos(x)",
    "relu": "Max(x, 0)",
}

#: φ′ in terms of x and y = φ(x).
SLOPES: dict[str, str] = {
    "tanh": "1 - y**2",
    "sigmoid": "y*(1 - y)",
    "softplus": "sigmoid(x)",
    "exp": "y",
    "log": "1/x",
    "sqrt": "1/(2*y)",
    "sin": "cos(x)",
    "cos": "-sin(x)",
    "relu": "positive_bit(x)",
}


def certify(function: str, slope: str | None = None) -> bool:
    """Whether the slope is the derivative of the definition, for all real x of its domain.

    Parameters
    ----------
    slope : str, optional
        Another claim to be checked instead of the one in `SLOPES`.

    Returns
    -------
    bool
        False also where SymPy cannot decide: an undecided identity is not a certificate.

    Raises
    ------
    MissingRule
        The function has no definition here.
    """
    import sympy

    if function not in DEFINITIONS:
        raise MissingRule(f"the oracle has no definition of the elementwise function {function!r}")
    x = (
        sympy.Symbol("x", positive=True)
        if function in ("log", "sqrt")
        else sympy.Symbol("x", real=True)
    )
    definition = sympy.sympify(DEFINITIONS[function], locals={"x": x})
    names: dict[str, Any] = {
        "x": x,
        "y": definition,
        "sigmoid": lambda z: 1 / (1 + sympy.exp(-z)),
        "positive_bit": sympy.Heaviside,
    }
    claimed = sympy.sympify(slope or SLOPES[function], locals=names)
    return bool(sympy.simplify(sympy.diff(definition, x) - claimed) == 0)
