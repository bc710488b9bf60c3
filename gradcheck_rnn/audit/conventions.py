"""Conventions in which a note may be written: what is a row, what a gradient's shape is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .truth import Values

__all__ = ["COLUMNS", "CONVENTIONS", "Convention"]

Array = Any


@dataclass(frozen=True)
class Convention:
    """How values of the column convention look in a note.

    Attributes
    ----------
    rows, rows_of_gradients : bool
        Vectors, and gradients with respect to vectors, are rows.
    weights_transposed : bool
        Matrices of parameters stand transposed (``x @ U`` with U of inputs × units).
    gradients_transposed : bool
        Gradients with respect to matrices are transposed, as the numerator layout has it.
    jacobians_transposed : bool
        ∂a/∂b has a row for each entry of b.
    """

    name: str
    rows: bool = False
    rows_of_gradients: bool = False
    weights_transposed: bool = False
    gradients_transposed: bool = False
    jacobians_transposed: bool = False

    def __str__(self) -> str:
        return self.name

    def turned(self, known: Values, name: str, a: Array, adjoint: bool) -> Array:
        """A value as it stands in the note."""
        if known.matrix(name):
            return a.T if self.weights_transposed != (adjoint and self.gradients_transposed) else a
        return a.T if (self.rows_of_gradients if adjoint else self.rows) else a


COLUMNS = Convention("columns")
#: In the order in which they are tried; the first of equals is taken.
CONVENTIONS = (
    COLUMNS,
    Convention("denominator layout", jacobians_transposed=True),
    Convention("rows", True, True, jacobians_transposed=True),
    Convention("rows, weights transposed", True, True, True, jacobians_transposed=True),
    Convention("gradients are rows", rows_of_gradients=True),
    Convention(
        "numerator layout throughout", rows_of_gradients=True, gradients_transposed=True
    ),
    Convention("rows, Jacobians in numerator layout", True, True),
    Convention("rows, weights transposed, Jacobians in numerator layout", True, True, True),
)  # fmt: skip
