"""Adjoints of states of which only two steps are wanted: two slots in place of a history."""

from __future__ import annotations

from collections.abc import Mapping

from .inspect import reads, with_buffers, writes
from .ops import Access, Allocate, Buffer, Loop, Statement

__all__ = ["rings"]


def rings(
    statements: list[Statement], allocations: list[Allocate],
    handed: Mapping[str, Access | None],
) -> dict[str, Access | None]:  # fmt: skip
    """Change, in place, the statements and allocations of a backward routine.

    Returns what is handed out with the same buffers.
    """
    given = [a for a in handed.values() if a is not None]
    places = _places(statements)
    made = {
        a.buffer: _ring(a.buffer) for a in allocations
        if not a.zero and _turns(a.buffer, places, given)
    }  # fmt: skip
    statements[:] = [with_buffers(s, made) for s in statements]
    allocations[:] = [with_buffers(a, made) for a in allocations]
    return {n: with_buffers(a, made) for n, a in handed.items()}


def _ring(b: Buffer) -> Buffer:
    return Buffer(b.name, b.lead, b.shape, b.role, b.before, b.after, ring=True)


def _places(statements: list[Statement]) -> list[tuple[int | None, Access]]:
    """All places with the position of the loop that they are in."""
    return [
        (i if isinstance(s, Loop) else None, a)
        for i, s in enumerate(statements) for a in (*reads(s), *writes(s))
    ]  # fmt: skip


def _turns(b: Buffer, places: list[tuple[int | None, Access]], given: list[Access]) -> bool:
    """Whether one loop alone works on an adjoint, step by step, and others on its ends."""
    if b.role != "adjoint" or b.before + b.after != 1 or b.base is not None:
        return False
    ends = [("start", -1), ("end", -1)] if b.before else [("start", 0), ("end", 0)]
    inside = [(i, a) for i, a in places if i is not None and _of(a, b)]
    outside = [a for i, a in places if i is None and _of(a, b)] + [a for a in given if _of(a, b)]
    steps = {0, 1 if b.before else -1}
    return (
        len({i for i, _ in inside}) == 1
        and all(a.slot is None and a.lag in steps for _, a in inside)
        and all(a.slot in ends for a in outside)
    )


def _of(a: Access, b: Buffer) -> bool:
    return b in (a.buffer, a.buffer.base)
