"""Conventions in which a note may be written: what is a row, what a gradient's shape is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .truth import Values

__all__ = ["COLUMNS", "CONVENTIONS", "Convention", "conventions"]

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
    states_transposed : bool
        Matrices of a sequence stand transposed (v kᵀ where the definition has k vᵀ).
    """

    name: str
    rows: bool = False
    rows_of_gradients: bool = False
    weights_transposed: bool = False
    gradients_transposed: bool = False
    jacobians_transposed: bool = False
    states_transposed: bool = False

    def __str__(self) -> str:
        return self.name

    def turned(self, known: Values, name: str, a: Array, adjoint: bool) -> Array:
        """A value as it stands in the note."""
        if known.columns(name) > 1:
            stands = self.weights_transposed if known.matrix(name) else self.states_transposed
            flip = stands != (adjoint and self.gradients_transposed)
        else:
            flip = self.rows_of_gradients if adjoint else self.rows
        return np.swapaxes(a, -1, -2) if flip else a


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


def conventions(known: Values) -> Iterator[Convention]:
    """The conventions of notes on a definition; those of matrix states where it has some."""
    yield from CONVENTIONS
    matrices = [n for n in known.values if known.columns(n) > 1]
    if all(known.matrix(n) for n in matrices):
        return
    for c in CONVENTIONS:
        yield replace(c, name=f"{c}, states transposed", states_transposed=True)
    if not any(known.matrix(n) for n in matrices):
        return
    for c in CONVENTIONS:
        both = {"states_transposed": True, "weights_transposed": not c.weights_transposed}
        yield replace(c, name=f"{c}, all matrices transposed", **both)
