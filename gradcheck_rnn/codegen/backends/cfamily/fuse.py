"""Which pointwise work and which sums over units share a kernel.

Two kinds of kernels. An *entry* kernel has one thread an entry of equally long rows; statements
can share one if each thread needs only what it wrote itself. A *row* kernel has one block a row
(a step and sequence); it can also sum over units, take a softmax and work on rows of different
lengths, because the threads of a block can wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop
from typing import TypeAlias

from ....language.dims import ONE, Dim
from ...schedule.dependence import conflict, overlap, span
from ...schedule.inspect import reads, writes
from ...schedule.ops import (
    Access,
    Assign,
    Buffer,
    Lead,
    Loop,
    Number,
    Pointwise,
    Statement,
    Units,
    accesses,
)
from .addressing import lead_of, same_place

__all__ = ["FusedKernel", "FusedLoop", "Item", "fuse", "inner", "plain", "reads_of"]

Item: TypeAlias = Assign | Units


#: Statements of a kernel, and arrays, at most: CUDA limits what a kernel is called with.
MOST = 100


@dataclass
class FusedKernel:
    """Statements of one kernel, in order; ``rows`` of an entry kernel.

    ``mixed``: a row kernel that takes rows of different lengths from the first.
    """

    lead: Lead
    rows: Dim
    in_loop: bool
    items: list[Item] = field(default_factory=list)
    touched: Footprint = field(default_factory=lambda: Footprint())
    mixed: bool = False

    @property
    def by_row(self) -> bool:
        return self.mixed or any(isinstance(i, Units) for i in self.items)

    @property
    def timed(self) -> bool:
        return len(self.lead) == 2


@dataclass
class Footprint:
    """Names of the arrays that statements write, and of all that they read or write.

    ``moving`` are those of them that are no parameters.
    """

    written: set[str] = field(default_factory=set)
    every: set[str] = field(default_factory=set)
    moving: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, statement: Statement) -> Footprint:
        """Those of one statement."""
        places = [*reads(statement), *writes(statement)]
        written = {span(a)[0].name for a in writes(statement)}
        moving = {span(a)[0].name for a in places if a.lead}
        return cls(written, {span(a)[0].name for a in places}, moving)

    def add(self, other: Footprint) -> None:
        self.written |= other.written
        self.every |= other.every

    def meets(self, other: Footprint) -> bool:
        """Whether one writes what the other touches; only then may their order matter."""
        return not (self.written.isdisjoint(other.every) and self.every.isdisjoint(other.written))


@dataclass
class FusedLoop:
    """A loop with its kernels made."""

    loop: Loop
    body: list[Fused]


#: What a prepared routine consists of.
Fused: TypeAlias = FusedKernel | FusedLoop | Statement


def reads_of(item: Item) -> list[Access]:
    """What a statement reads, the place it adds to included."""
    adds = isinstance(item, Assign) and item.accumulate
    return [*accesses(item.value), *([item.dest] if adds else [])]


def fuse(
    statements: Iterable[Statement], in_loop: bool = False, mixed: bool = False
) -> list[Fused]:
    """Statements with pointwise work and sums over units gathered in kernels; loops inside too.

    ``mixed``: where a loop has sums over units, its other kernels are row kernels as well.
    """
    statements = list(statements)
    row = _Row(in_loop, mixed and in_loop and any(isinstance(s, Units) for s in statements))
    for s in statements:
        if isinstance(s, Loop):
            row.add_loop(FusedLoop(s, fuse(s.body, True, mixed)))
        elif isinstance(s, Pointwise | Units):
            for item in s.assigns if isinstance(s, Pointwise) else (s,):
                row.place(item)
        else:
            row.add_other(s)
    return row.out


def inner(fused: Iterable[Fused], handed: Collection[Buffer]) -> set[Buffer]:
    """Arrays that one kernel makes and nobody else reads, so that they need not be stored.

    Parameters
    ----------
    handed : collection of Buffer
        Arrays that are given out.
    """
    kept, maker = set(handed), dict[Buffer, FusedKernel]()
    for g in _flat(fused):
        if not isinstance(g, FusedKernel):
            kept |= {span(a)[0] for a in (*reads(g), *writes(g))}
            continue
        written: list[Access] = []
        for i in g.items:
            for a in (*reads_of(i), i.dest):
                root = span(a)[0]
                # A thread has its own entries only, and in a row kernel the scalars only.
                part = a.buffer.base is not None or not a.whole or (g.by_row and a.rows != ONE)
                late = a is not i.dest and not any(same_place(a, w) for w in written)
                if part or late or maker.setdefault(root, g) is not g:
                    kept.add(root)
            written.append(i.dest)
    return set(maker) - kept


def _flat(fused: Iterable[Fused]) -> Iterator[FusedKernel | Statement]:
    """Kernels and statements, those of loops included."""
    for g in fused:
        if isinstance(g, FusedLoop):
            yield from _flat(g.body)
        else:
            yield g


class _Row:
    """Kernels, loops and other statements in a row, and which of them an item has to be held to.

    An item meets only those that write what it touches or touch what it writes, and joins only
    those that touch one of its arrays or, in a loop, have room: the work does not grow with the
    row.
    """

    def __init__(self, in_loop: bool, mixed: bool = False) -> None:
        self.out: list[Fused] = []
        self.in_loop, self.mixed = in_loop, mixed
        self._others: dict[int, Footprint] = {}
        self._open: dict[int, None] = {}
        self._writers: dict[str, dict[int, None]] = {}
        self._users: dict[str, dict[int, None]] = {}

    def add_loop(self, loop: FusedLoop) -> None:
        """A loop, which no later item passes."""
        self.out.append(loop)
        for index in (self._open, self._writers, self._users):
            index.clear()

    def add_other(self, statement: Statement) -> None:
        """A statement that stays as it is."""
        self._others[len(self.out)] = touched = Footprint.of(statement)
        self._enter(len(self.out), touched)
        self.out.append(statement)

    def place(self, item: Item) -> None:
        """Put a statement into the kernel that has made its operands, or the last that may."""
        best: tuple[int, FusedKernel] | None = None
        own = _statement(item)
        mine = Footprint.of(own)
        for i in self._met(mine):
            group = self.out[i]
            if isinstance(group, FusedLoop):
                break
            its = group.touched if isinstance(group, FusedKernel) else self._others[i]
            meets = mine.meets(its)
            ordered = meets and any(conflict(s, own, self.in_loop) for s in _statements(group))
            if isinstance(group, FusedKernel) and (best is None or ordered):
                best = (i, group) if _takes(group, item, mine, meets) else best
            if ordered:
                break
        if best is None:
            lead = _lead(item, self.in_loop)
            best = (
                len(self.out),
                FusedKernel(lead, item.dest.rows, self.in_loop, mixed=self.mixed and bool(lead)),
            )
            self.out.append(best[1])
            self._open[best[0]] = None
        at, kernel = best
        kernel.items.append(item)
        kernel.touched.add(mine)
        self._enter(at, mine)
        if len(kernel.items) >= MOST or len(kernel.touched.every) >= MOST:
            self._open.pop(at, None)

    def _enter(self, i: int, touched: Footprint) -> None:
        for index, names in ((self._writers, touched.written), (self._users, touched.every)):
            for n in names:
                index.setdefault(n, {})[i] = None

    def _met(self, mine: Footprint) -> Iterator[int]:
        """Positions that an item may meet or join, from the last to the first."""
        found = {*self._open} if self.in_loop else set[int]()
        if not self.in_loop:  # see `_takes`
            for n in mine.moving:
                found.update(self._users.get(n, ()))
        for n in mine.every:
            found.update(self._writers.get(n, ()))
        for n in mine.written:
            found.update(self._users.get(n, ()))
        heap = [-i for i in found]
        heapify(heap)
        while heap:
            yield -heappop(heap)


def _lead(item: Item, in_loop: bool) -> Lead:
    """The leading axes of dest, or those that a sum over them goes through."""
    return max((lead_of(a, in_loop) for a in (item.dest, *reads_of(item))), key=len)


def _statement(item: Item) -> Statement:
    return Pointwise((item,)) if isinstance(item, Assign) else item


def _statements(group: FusedKernel | Statement) -> Iterator[Statement]:
    if isinstance(group, FusedKernel):
        yield from map(_statement, group.items)
    else:
        yield group


def _takes(kernel: FusedKernel, item: Item, mine: Footprint, meets: bool) -> bool:
    """Whether a statement can join a kernel; ``meets``: one writes what the other touches."""
    if _lead(item, kernel.in_loop) != kernel.lead:
        return False
    # A kernel for all steps saves nothing but accesses to arrays that its statements share.
    if not kernel.in_loop and kernel.touched.every.isdisjoint(mine.moving):
        return False
    if not kernel.in_loop and plain(item) != plain(kernel.items[0]):
        return False
    if len(kernel.items) >= MOST or len(kernel.touched.every | mine.every) > MOST:
        return False
    by_row = kernel.by_row or isinstance(item, Units)
    if not by_row and item.dest.rows != kernel.rows:
        return False
    return not meets or not any(_apart(one, item, kernel, by_row) for one in kernel.items)


def plain(item: Item) -> bool:
    """A copy or a number into one step: Python says that better than a kernel."""
    if not isinstance(item, Assign) or item.dest.slot is None:
        return False
    return isinstance(item.value, Number | Access)


def _apart(one: Item, two: Item, kernel: FusedKernel, by_row: bool) -> bool:
    """Whether one statement needs what another row, or another thread, has of the other."""
    for first, second in ((one, two), (two, one)):
        for other in (*reads_of(second), second.dest):
            if not overlap(first.dest, other, kernel.in_loop):
                continue
            if by_row:
                local = first.dest.lag == other.lag and first.dest.slot == other.slot
                local = local and lead_of(other, kernel.in_loop) == kernel.lead
                # Scalars are stored at the end of the kernel.
                local = local and (first.dest.rows == ONE) <= (other.rows == ONE)
            else:
                local = same_place(first.dest, other)
            if not local:
                return True
    return False
