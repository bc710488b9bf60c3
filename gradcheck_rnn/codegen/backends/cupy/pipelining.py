"""Software pipelining: additions that end a step are done by the kernel that begins the next one.

A product that is added to the adjoint of the step before (``d_h[t - 1] += d_a[t] W``) would need a
kernel of its own after the product. The next step begins by reading that adjoint, so its first
kernel adds what the last step has left: one launch a step less. The first step adds zeros, and
what the last step leaves is added after the loop.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...schedule.dependence import conflict, overlap
from ...schedule.ops import Access, Assign, Buffer, Loop, Pointwise, Statement, accesses
from ..cfamily.addressing import same_place

__all__ = ["pipeline"]


def pipeline(loop: Loop, works: Collection[Buffer]) -> tuple[list[Statement], set[Buffer]]:
    """The loop and what follows it, and which arrays must start at zero.

    Parameters
    ----------
    works : collection of Buffer
        Arrays that hold a product until it is added.
    """
    ahead = 1 if loop.reverse else -1
    stay: list[Statement] = []
    first: list[Statement] = []
    after: list[Statement] = []
    zero: set[Buffer] = set()
    for s in reversed(loop.body):
        a = _addition(s, works)
        if a is None or a.dest.lag * ahead < 1 or any(_matters(a, s, later) for later in stay):
            stay.insert(0, s)
            continue
        lag = a.dest.lag
        first.insert(0, Pointwise((replace(a, dest=replace(a.dest, lag=lag - ahead)),)))
        slot = ("start", -lag) if loop.reverse else ("end", -1 - lag)
        after.insert(0, Pointwise((replace(a, dest=replace(a.dest, lag=0, slot=slot)),)))
        zero |= {x.buffer for x in accesses(a.value)}
    return [replace(loop, body=[*first, *stay]), *after], zero


def _addition(s: Statement, works: Collection[Buffer]) -> Assign | None:
    """The statement if all it does is to add a product to an array over time."""
    if not isinstance(s, Pointwise) or len(s.assigns) != 1:
        return None
    a = s.assigns[0]
    waiting = isinstance(a.value, Access) and a.value.buffer in works
    return a if waiting and a.accumulate and a.dest.buffer.timed and a.dest.slot is None else None


def _matters(a: Assign, s: Statement, later: Statement) -> bool:
    """Whether a statement has to come after the addition; two additions may change places."""
    if not conflict(later, s, True):
        return False
    if not isinstance(later, Pointwise) or len(later.assigns) != 1:
        return True
    b = later.assigns[0]
    adds = b.accumulate and same_place(a.dest, b.dest)
    return not adds or any(overlap(a.dest, x, True) for x in accesses(b.value))
