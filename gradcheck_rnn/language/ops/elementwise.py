"""Elementwise functions: what one is, and the table of all.

A function is declared once, in `functions`, and from there runs on arrays of every dtype, has its
derivative in the calculus, is proved and certified, printed, bounded and generated. A backend
refuses a function for which it has no text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from .. import numeric
from ..values import operate
from .formula import Arithmetic, calls, evaluate
from .texts import WithTexts

__all__ = ["ELEMENTWISE", "Elementwise", "WithElementwise", "branches"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Elementwise(WithTexts):
    """One elementwise function φ; calling it applies it in a definition.

    Attributes
    ----------
    name : str
        Its name in definitions.
    about : str
        What it is, in a line.
    definition : str
        A formula in ``x``: what SymPy differentiates, and what exact numbers and mpmath evaluate.
    slope : str
        φ′ as a formula in ``x`` and ``y`` = φ(x): `y` is what a backward pass has saved. The
        proof's `certify` checks it against `definition`.
    array : callable
        φ on NumPy arrays of real or complex floating point; complex numbers branch on the real
        part.
    numpy, cupy, cuda : str
        The function's name in NumPy, CuPy and CUDA C++ (``"np.tanh"``), or the text of a helper
        function of that name; NumPy's takes ``out=``. Empty: that backend refuses it.
    latex, typst, text : str
        Its symbol on a page; by default its name.
    supremum : float
        Of |φ′|.
    positive : bool
        Whether its domain is x > 0.
    mirror : str
        φ(−x) as a formula in ``y`` = φ(x), where there is one.
    at_zero : Fraction, optional
        φ(0) where that is rational.
    overflows : bool
        Whether the NumPy helper lets exp overflow, rightly.
    """

    FAMILY = ("elementwise function", "functions.py")

    name: str
    about: str
    definition: str
    slope: str
    array: Callable[[Array], Array] = field(repr=False)
    numpy: str = ""
    cupy: str = ""
    cuda: str = ""
    latex: str = ""
    typst: str = ""
    text: str = ""
    supremum: float = float("inf")
    positive: bool = False
    mirror: str = ""
    at_zero: Fraction | None = None
    overflows: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "__name__", self.name)
        object.__setattr__(self, "__doc__", self.about)
        ELEMENTWISE[self.name] = self
        numeric.ELEMENTWISE[self.name] = self.on_arrays

    def __call__(self, x: Any) -> Any:
        return operate("apply", x, function=self.name)

    @property
    def algebraic(self) -> bool:
        """Whether the definition is arithmetic with branches: exact numbers then compute it."""
        return calls(self.definition) <= {"abs", "positive_bit"}

    def on_arrays(self, x: Any) -> Array:
        """φ on an array of any dtype, which is kept; integers become floating point."""
        x = np.asarray(x)
        if x.dtype == object:
            return np.asarray(np.frompyfunc(self.on_object, 1, 1)(x), dtype=object)
        return self.array(x if x.dtype.kind in "fc" else x.astype(float))

    def on_object(self, value: Any) -> Any:
        """φ of an exact number by its own method, of an mpmath number by mpmath or the definition.

        A function that mpmath does not have is computed from its definition.
        """
        method = getattr(value, self.name, None)
        if callable(method):  # mpf.exp is a number: the exponent of its mantissa
            return method()
        import mpmath

        def call(name: str, x: Any) -> Any:
            if name == "abs":
                return x if mpmath.re(x) > 0 else -x
            if name == "positive_bit":
                return 1 if mpmath.re(x) > 0 else 0
            if name == "floor":
                return mpmath.floor(mpmath.re(x))
            return getattr(mpmath, name)(x)

        if hasattr(mpmath, self.name):
            return call(self.name, value)
        return evaluate(self.definition, Arithmetic({"x": value}, call, mpmath.mpmathify))


#: The functions of the language by name, in the order of their declarations.
ELEMENTWISE: dict[str, Elementwise] = {}


class WithElementwise:
    """Gives exact numbers the elementwise functions as methods: ``x.tanh()``.

    A subclass says what the value of a function is that arithmetic does not give (`opaque`).
    """

    __slots__ = ()

    def opaque(self, name: str) -> Any:
        """The value of a function that is not algebraic."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        function = ELEMENTWISE.get(name)
        if function is None:
            raise AttributeError(name)
        if function.algebraic:
            return lambda: evaluate(function.definition, Arithmetic({"x": self}, branches))
        return lambda: self.opaque(name)


def branches(name: str, x: Any) -> Any:
    """The functions of algebraic definitions on exact numbers."""
    return abs(x) if name == "abs" else x.positive_bit()
