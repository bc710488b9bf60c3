"""Recurrences without a nonlinearity."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell
from ._catalogue import CS231N, KIM

__all__ = ["ZOO", "constant_error_carousel", "linear"]


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U: p d",
    source=f'{CS231N}, "Removing non-linearity"',
)
def linear(x, h, W, U):
    """Linear recurrence h = W h₋ + U x; with W = I it is the constant error carousel."""
    h = W @ h + U @ x
    return h


@cell(
    inputs="x: d",
    states="h: p",
    params="U: p d; b_h: p",
    source=f"{KIM}, details of the cell state (I): f(x) = x and W_hh = I in eq. (1)",
)
def constant_error_carousel(x, h, U, b_h):
    """Constant error carousel, h = h₋ + U x + b_h: ∂h_T/∂h_t = I over any distance."""
    h = h + U @ x + b_h
    return h


ZOO = (linear, constant_error_carousel)
