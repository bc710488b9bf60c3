"""Constant linear maps of the units of a vector: what one is, and the table of all.

A map y = L x is declared once, in `structural`, and from there runs on arrays of every dtype, is
differentiated, proved, printed and generated. L depends on nothing but the number of units, so
that its differential is L dx and its adjoint Lᵀ, which is a map of the table by its own name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import numeric
from ..values import operate
from .texts import WithTexts

__all__ = ["UNIT_MAPS", "UnitMap"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class UnitMap(WithTexts):
    """One map of n units to n units; calling it applies it in a definition.

    Attributes
    ----------
    name : str
        Its name in definitions.
    about : str
        What it is, in a line.
    array : callable
        L x for arrays ``(…, n, B)``, units on axis −2, of any dtype: it may use +, − and products
        with numbers only.
    adjoint : str
        The name of the map Lᵀ; its own where L is symmetric. A proof finds it where it is wrong.
        Empty: the map is no linear one but piecewise constant, and its derivative is 0.
    numpy, cupy : str
        A helper function of the same name on arrays with the units on the last axis; NumPy's
        takes ``out=``, which may be its operand. Empty: that backend refuses it.
    cuda : str
        A helper function ``name(real* x, int n)`` that works in place on the n units of one
        sequence, called by all threads of a block, none of which returns before all are done.
    c : str
        Statements that work in place on the n units ``x[0]``, …, ``x[n - 1]``.
    """

    FAMILY = ("map of units", "structural.py")

    name: str
    about: str
    array: Callable[[Array], Array] = field(repr=False)
    adjoint: str
    numpy: str = ""
    cupy: str = ""
    cuda: str = ""
    c: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "__name__", self.name)
        object.__setattr__(self, "__doc__", self.about)
        UNIT_MAPS[self.name] = self
        numeric.UNIT_MAPS[self.name] = self.array

    def __call__(self, x: Any) -> Any:
        return operate("unit_map", x, function=self.name)

    @property
    def constant(self) -> bool:
        """Whether the map is piecewise constant, so that its derivative is 0."""
        return not self.adjoint

    def matrix(self, n: int, dtype: Any = object) -> Array:
        """L for n units, exact integers by default."""
        return self.array(np.eye(n, dtype=int).astype(dtype))


#: The maps of the language by name, in the order of their declarations.
UNIT_MAPS: dict[str, UnitMap] = {}
