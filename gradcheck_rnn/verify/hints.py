"""Simple explanations of a wrong block: a factor, a sign, a transpose. Named only if they fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DROPPED", "TINY", "common_factor", "explain", "factor_text", "nearly", "opposite"]

Floats = NDArray[np.float64]
#: Error relative to its block up to which an error in most entries is a small one everywhere, and
#: up to which it is whatever entries show it: those that do not are not resolved any better.
SMALL, TINY = 1e-3, 1e-6
DROPPED = "it is zero where the loss does depend on the parameter"


def common_factor(analytic: Floats, numeric: Floats, bound: Floats) -> float | None:
    """The c with analytic = c * numeric within the bounds, if there is one other than 1.

    None if the gradient is zero or the factor is not determined to a part in a thousand.
    """
    top = float(np.max(np.abs(numeric), initial=0.0))
    if top == 0 or not np.isfinite(top) or not np.isfinite(analytic).all():
        return None
    a, f, e = analytic.ravel() / top, numeric.ravel() / top, bound.ravel() / top
    # sharp quotients weigh most: the others' errors must not spoil the factor for them
    weight = 1 / np.maximum(e + 1e-12 * np.abs(f), 1e-100)
    c = float((a * weight) @ (f * weight) / ((f * weight) @ (f * weight)))
    # noise in the fit: the bounds themselves, seen through f
    if c == 0 or float(np.linalg.norm(e)) > 1e-3 * abs(c) * float(np.linalg.norm(f)):
        return None
    if bool(np.all(np.abs(a - c * f) <= (1 + abs(c)) * e + 1e-12 * abs(c) * np.abs(f))):
        return c
    return None


def opposite(analytic: Floats, numeric: Floats, bound: Floats) -> bool:
    """Whether analytic = -numeric within the bounds, and no other factor is meant."""
    gap = np.abs(analytic + numeric)
    return bool(np.all(gap <= 2 * bound + 1e-12 * np.abs(numeric)))


def _simple(c: float) -> bool:
    """Whether a factor is a small integer or its inverse."""
    size = max(abs(c), 1 / abs(c))
    return bool(size < 1000 and abs(size - round(size)) < 1e-6)


def factor_text(c: float) -> str:
    """A factor; one beside 1 by its distance, which six digits do not show."""
    return f"1 {'+' if c > 1 else '−'} {abs(c - 1):.1e}" if 0 < abs(c - 1) < 1e-5 else f"{c:.6g}"


def explain(analytic: Floats, numeric: Floats, bound: Floats) -> str:
    """A sentence on what would make the block right, or nothing.

    Parameters
    ----------
    analytic, numeric, bound
        Arrays of the block's shape.
    """
    c = common_factor(analytic, numeric, bound)
    if c is not None and analytic.size == 1 and not _simple(c):
        c = None  # two numbers always have a quotient
    if c is not None and opposite(analytic, numeric, bound):
        return "it has the opposite sign of the difference quotients"
    if c is not None:
        inverse = f" (1/{1 / c:.6g})" if abs(c) < 1 - 1e-5 else ""
        return f"it is {factor_text(c)}{inverse} times the difference quotients in every entry"
    if not np.any(analytic):
        return DROPPED
    square = analytic.ndim == 2 and analytic.shape[0] == analytic.shape[1]
    if square and bool(np.all(np.abs(analytic.T - numeric) <= bound + bound.T)):
        return "it is the transpose of the difference quotients"
    return ""


def nearly(
    analytic: Floats,
    numeric: Floats,
    wrong: NDArray[np.bool_],
    known: NDArray[np.bool_],
    most: float = SMALL,
) -> str:
    """What a small error everywhere in a block may come from, or nothing.

    Parameters
    ----------
    analytic, numeric
        Flat arrays of a block.
    wrong, known
        Entries that fail, and those with a verdict.
    most
        What counts as small, relative to the block.
    """
    few = most > TINY and 2 * np.count_nonzero(wrong) < analytic.size
    if few or np.count_nonzero(known) < 2 or not wrong.any():
        return ""
    top = float(np.max(np.abs(numeric[known])))
    off = float(np.max(np.abs(analytic - numeric)[wrong])) / top if top else np.inf
    if not off <= most:
        return ""
    return (
        f"it agrees to {off:.0e} of the block everywhere, as after an iteration that stops at a "
        "tolerance, with a rounded constant, or with something held in a coarser format (unit= "
        "says in which)"
    )
