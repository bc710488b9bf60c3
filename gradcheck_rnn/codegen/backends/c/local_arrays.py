"""What a step keeps to itself: numbers of one loop over units, and arrays of one row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from ....language.dims import ONE
from ...schedule.dependence import span
from ...schedule.inspect import reads, writes
from ...schedule.ops import Assign, Buffer, Lead, Loop, Pointwise, Reduce, Statement, accesses
from ..blocking import Blocked
from ..cfamily.addressing import lead_of
from ..cfamily.fuse import Fused, FusedKernel, FusedLoop, fuse, inner, reads_of
from .entry_loops import is_sum, phases

__all__ = ["FusedBlocks", "Gathered", "gathered", "in_one_loop", "of_one_row"]


@dataclass
class FusedBlocks:
    """A loop in blocks of steps with its kernels made."""

    blocked: Blocked
    loop: FusedLoop


#: What a prepared routine consists of.
Gathered: TypeAlias = Fused | FusedBlocks


def gathered(statements: Iterable[Statement | Blocked]) -> list[Gathered]:
    """Statements in C functions; a sum over sequences that a step adds to is one of their items."""
    out: list[Gathered] = []
    row: list[Statement] = []
    for s in statements:
        if isinstance(s, Blocked):
            (loop,) = _fused([s.loop])
            assert isinstance(loop, FusedLoop)
            out += [*_fused(row), FusedBlocks(s, loop)]
            row = []
        else:
            row.append(s)
    return [*out, *_fused(row)]


def _fused(statements: Iterable[Statement]) -> list[Fused]:
    return fuse([s for one in statements for s in _singly(one)], mixed=True)


def in_one_loop(fused: Iterable[Gathered], kept: Collection[Buffer]) -> set[Buffer]:
    """Arrays that one loop over units makes and nobody else reads: numbers, not stored."""
    parts = [
        FusedKernel(
            k.lead, items[0].dest.rows, k.in_loop,
            [Assign(i.dest, i.value) if is_sum(i) else i for i in items],
        )
        for k in _flat(fused) if isinstance(k, FusedKernel)
        for items in (phases(k) if k.by_row else [k.items])
    ]  # fmt: skip
    others = [s for s in _flat(fused) if not isinstance(s, FusedKernel)]
    return inner([*parts, *others], kept)


def of_one_row(fused: Iterable[Gathered], kept: Collection[Buffer]) -> set[Buffer]:
    """Arrays of a step that one function alone uses, row by row: they hold one row."""
    users: dict[Buffer, set[int]] = {}
    rows: set[Buffer] = set()
    for i, k in enumerate(_flat(fused)):
        places = [a for j in k.items for a in (*reads_of(j), j.dest)] if isinstance(
            k, FusedKernel
        ) else [*reads(k), *writes(k)]  # fmt: skip
        for a in places:
            root = span(a)[0]
            users.setdefault(root, set()).add(i)
            single = isinstance(k, FusedKernel) and k.in_loop and root.lead == k.lead != ()
            if single and root.role == "work" and root.shape[0] != ONE:
                rows.add(root)
    return {b for b in rows if len(users[b]) == 1} - {*kept}


def _singly(s: Statement, in_loop: bool = False) -> list[Statement]:
    """One statement an assignment, as `fuse` takes them best."""
    if isinstance(s, Loop):
        return [replace(s, body=[x for one in s.body for x in _singly(one, True)])]
    if isinstance(s, Pointwise):
        return [Pointwise((a,)) for a in s.assigns]
    if isinstance(s, Reduce) and in_loop and s.accumulate and len(s.dest.buffer.shape) == 1:
        lead: Lead = max((lead_of(a, True) for a in accesses(s.value)), key=len, default=())
        if lead == (*s.over, *lead_of(s.dest, True)):
            return [Pointwise((Assign(s.dest, s.value, True, s.note),))]
    return [s]


def _flat(fused: Iterable[Gathered]) -> Iterator[FusedKernel | Statement]:
    for g in fused:
        if isinstance(g, FusedBlocks):
            yield from (*g.blocked.before, *_flat(g.loop.body), *g.blocked.after)
        elif isinstance(g, FusedLoop):
            yield from _flat(g.body)
        else:
            yield g
