"""Jacobian objects that know their layout and their vec order, and refuse to be mixed.

In numerator layout (Magnus & Neudecker) ∂vec F/∂(vec X)ᵀ has a row for each entry of F and a
column for each entry of X; denominator layout is its transpose. ``vec`` stacks columns unless
told otherwise. Mixing either silently gives errors of order one, so every combination is checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sympy import Expr

from gradcheck_rnn.calculus.terms import (
    Commutation,
    Dim,
    Eye,
    Term,
    Transpose,
    as_dim,
    dims_equal,
    format_dim,
    format_shape,
)
from gradcheck_rnn.calculus.vec import times
from gradcheck_rnn.errors import DimensionError, UsageError

__all__ = ["LAYOUTS", "VEC_ORDERS", "Jacobian"]

LAYOUTS = ("numerator", "denominator")
VEC_ORDERS = ("columns", "rows")

Shape = tuple[Dim, Dim]


@dataclass(frozen=True)
class Jacobian:
    """The derivative of vec F with respect to vec X.

    Attributes
    ----------
    matrix : Term
        mn×rs in numerator layout for F of shape m×n and X of shape r×s, rs×mn in denominator
        layout.
    of, wrt : str
        What is differentiated, and with respect to what, as printed.
    layout : {"numerator", "denominator"}
    vec_order : {"columns", "rows"}
        Whether vec stacks columns (vec A) or rows (vec Aᵀ).
    of_shape, wrt_shape : pair of dims, optional
        Shapes of F and X; needed to change the vec order.

    Raises
    ------
    UsageError
        If `layout` or `vec_order` is unknown.
    DimensionError
        If `matrix` does not have the shape that the layout asks for.
    """

    matrix: Term
    of: str
    wrt: str
    layout: str = "numerator"
    vec_order: str = "columns"
    of_shape: Shape | None = None
    wrt_shape: Shape | None = None

    def __post_init__(self) -> None:
        _require_one_of("layout", self.layout, LAYOUTS)
        _require_one_of("vec order", self.vec_order, VEC_ORDERS)
        sides = (self.of_shape, self.wrt_shape)
        names = (self.of, self.wrt)
        order = (0, 1) if self.layout == "numerator" else (1, 0)
        for axis, side in enumerate(order):
            shape = sides[side]
            if shape is None:
                continue
            size = as_dim(as_dim(shape[0]) * as_dim(shape[1]))
            if not dims_equal(size, self.matrix.shape[axis]):
                raise DimensionError(
                    f"the Jacobian of {self.of} with respect to {self.wrt} in {self.layout} "
                    f"layout cannot be {format_shape(self.matrix.shape)}: {names[side]} has "
                    f"{format_dim(size)} entries."
                )

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """Shape of the matrix."""
        return self.matrix.shape

    def to_layout(self, layout: str) -> Jacobian:
        """Return the same derivative in another layout: the transposed matrix."""
        _require_one_of("layout", layout, LAYOUTS)
        if layout == self.layout:
            return self
        return replace(self, matrix=Transpose(self.matrix), layout=layout)

    def to_vec_order(self, vec_order: str) -> Jacobian:
        """Return the same derivative for vec stacking columns, or rows.

        For F of shape m×n, stacking rows gives vec Fᵀ = K_mn vec F; so in numerator layout the
        matrix becomes K_mn J K_sr for X of shape r×s (K_rs⁻¹ = K_sr).

        Raises
        ------
        UsageError
            If the order is unknown, or a shape is missing: a length does not tell the shape.
        """
        _require_one_of("vec order", vec_order, VEC_ORDERS)
        if vec_order == self.vec_order:
            return self
        if self.layout != "numerator":
            return self.to_layout("numerator").to_vec_order(vec_order).to_layout(self.layout)
        rows, cols = self.matrix.shape
        into_rows = vec_order == "rows"
        left = _swap(self.of, self.of_shape, rows, forward=into_rows)
        right = _swap(self.wrt, self.wrt_shape, cols, forward=not into_rows)
        return replace(self, matrix=times(left, self.matrix, right), vec_order=vec_order)

    def __add__(self, other: Jacobian) -> Jacobian:
        """Add two Jacobians of the same thing, written in the same conventions."""
        self._require_same_conventions(other)
        if (self.of, self.wrt) != (other.of, other.wrt):
            raise UsageError(f"{self.title} and {other.title} are different derivatives.")
        return replace(self, matrix=self.matrix + other.matrix)

    def __matmul__(self, other: Jacobian) -> Jacobian:
        """Apply the chain rule: (∂F/∂X) @ (∂X/∂Y); denominator layout multiplies backwards."""
        self._require_same_conventions(other)
        if self.wrt != other.of:
            raise UsageError(
                f"the chain rule needs matching ends: {self.title} is with respect to {self.wrt}, "
                f"{other.title} is of {other.of}."
            )
        pair = (self.matrix, other.matrix)
        matrix = times(*(pair if self.layout == "numerator" else reversed(pair)))
        return replace(self, matrix=matrix, wrt=other.wrt, wrt_shape=other.wrt_shape)

    def _require_same_conventions(self, other: Jacobian) -> None:
        if not isinstance(other, Jacobian):
            raise UsageError(
                f"{self.title} combines with a Jacobian only, not {type(other).__name__}: "
                "a bare matrix does not say its layout."
            )
        if self.layout != other.layout:
            raise UsageError(
                f"{self.title} is in {self.layout} layout, {other.title} in {other.layout} layout; "
                "convert one with to_layout."
            )
        if self.vec_order != other.vec_order:
            raise UsageError(
                f"{self.title} stacks {self.vec_order}, {other.title} stacks {other.vec_order}; "
                "convert one with to_vec_order."
            )

    @property
    def title(self) -> str:
        """The derivative by name, with the transpose where the layout puts it."""
        of, wrt = (
            f"vec {name}" if self.vec_order == "columns" else f"vec({name}ᵀ)"
            for name in (self.of, self.wrt)
        )
        below = f"({wrt})" if self.vec_order == "columns" else wrt
        above = f"({of})" if self.vec_order == "columns" else of
        return f"∂{of}/∂{below}ᵀ" if self.layout == "numerator" else f"∂{above}ᵀ/∂{wrt}"

    def __str__(self) -> str:
        return f"{self.title} = {self.matrix}    [{self.conventions}]"

    @property
    def conventions(self) -> str:
        """Layout and vec order in words."""
        return f"{self.layout} layout, vec stacks {self.vec_order}"


def _require_one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"unknown {what} {value!r}; use {' or '.join(known)}.")


def _swap(name: str, shape: Shape | None, size: Expr, forward: bool) -> Term:
    """K_mn (forward) or its inverse; the identity where there is one row or one column."""
    if shape is None:
        raise UsageError(
            f"changing the vec order needs the shape of {name}; give of_shape and wrt_shape."
        )
    m, n = as_dim(shape[0]), as_dim(shape[1])
    if m == 1 or n == 1:
        return Eye(size)
    return Commutation(m, n) if forward else Commutation(n, m)
