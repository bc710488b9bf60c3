"""Addressing of places: the leading axes and the rows that a kernel sees."""

from __future__ import annotations

from ....language.dims import ONE, Dim
from ...schedule.dependence import span
from ...schedule.ops import Access, Expr, Lead, Number, SizeOf

__all__ = ["lead_of", "rows_of", "same_place"]


def lead_of(a: Access, in_loop: bool) -> Lead:
    """The leading axes of a place as a kernel sees it: inside a loop a step has the batch only."""
    return a.lead[1:] if in_loop and len(a.lead) == 2 else a.lead


def rows_of(e: Expr) -> Dim:
    """How many units an expression has; ONE for a scalar."""
    if isinstance(e, Access):
        return e.rows
    if isinstance(e, Number | SizeOf):
        return ONE
    if e.op == "broadcast" and isinstance(e.data, tuple):
        return e.data[0] if e.data else ONE
    return next((r for r in map(rows_of, e.args) if r != ONE), ONE)


def same_place(a: Access, b: Access) -> bool:
    """Whether two places are the same rows at the same time."""
    return span(a) == span(b) and a.lag == b.lag and a.slot == b.slot
