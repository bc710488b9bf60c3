"""Places as Python text, and whether they are one block of memory."""

from __future__ import annotations

from ....language.dims import ONE, Dim
from ...schedule.dependence import span
from ...schedule.ops import Access
from ..expressions import dim_text

__all__ = ["contiguous", "place_text"]


def contiguous(a: Access) -> bool:
    """Whether a place is one block of memory."""
    root, _, _ = span(a)
    return not a.buffer.lead or a.rows == root.shape[0]


def place_text(a: Access, in_loop: bool = False) -> str:
    """A place as Python text, at the step ``t`` inside a loop."""
    b = a.buffer
    text, pad = b.name, b.before + b.after
    if b.ring:
        text += _slot_text(a)
    elif b.timed and a.slot is not None:
        end, k = a.slot
        text += f"[{b.before + k if end == 'start' else k - b.after}]"
    elif b.timed and in_loop:
        offset = b.before - a.lag
        text += "[t]" if offset == 0 else f"[t + {offset}]" if offset > 0 else f"[t - {-offset}]"
    elif b.timed and pad:
        start = b.before - a.lag
        text += f"[{start or ''}:{start - pad or ''}]"
    if b.base is not None or a.start is not None:
        first = b.offset if a.start is None else b.offset + a.start
        rows = a.rows
        root = b.base or b
        if b.base is not None:
            text = root.name + text[len(b.name) :]
        last = first + rows
        if not (first == Dim() and last == root.shape[0]):
            start_text = "" if first == Dim() else dim_text(first)
            stop_text = "" if last == root.shape[0] else dim_text(last)
            span = f"{start_text}:{stop_text}"
            if not b.lead and rows == ONE and len(root.shape) == 1:
                # One entry of a vector of parameters is a scalar, as other scalars are.
                span = dim_text(first)
            text += f"[{span}]" if not b.lead else f"[..., {span}]"
    return text


def _slot_text(a: Access) -> str:
    """Which of the two slots of a ring a place is."""
    b = a.buffer
    if a.slot is None:
        return f"[(t + {b.before - a.lag}) % 2]" if b.before - a.lag else "[t % 2]"
    end, k = a.slot
    return f"[{b.lead[0]} % 2]" if end == "end" else f"[{b.before + k}]"
