"""All steps of a sequence as rows of a matrix, and rows as steps: the same in NumPy and CuPy."""

from __future__ import annotations

from collections.abc import Callable

from ...language.dims import ONE
from ..schedule.ops import BATCH, Access, StepRows
from .expressions import dim_text

__all__ = ["step_rows"]


def step_rows(s: StepRows, access: Callable[[Access], str], steps: Callable[[str], str]) -> str:
    """The value as text: an array of its own, with the entries as dest has them."""
    axis, units = steps(s.axis), dim_text(s.units)
    entries = dim_text(s.dest.rows)
    heads = [] if s.heads == ONE else [dim_text(s.heads)]
    text = access(s.source)
    order = {(True, True): "2, 0, 1, 3", (False, True): "1, 2, 0, 3"}
    if s.apart:
        text += f".reshape({', '.join([BATCH, *heads, axis, units])})"
    elif heads:
        text += f".reshape({', '.join([axis, BATCH, *heads, units])})"
    text += f".transpose({order.get((s.apart, bool(heads)), '1, 0, 2')}).copy()"
    if s.apart and not heads:
        return text
    return f"{text}.reshape({', '.join([*([axis] if s.apart else []), BATCH, entries])})"
