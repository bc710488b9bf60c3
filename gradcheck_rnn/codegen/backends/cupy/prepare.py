"""Statements as a GPU wants them: products into whole arrays, everything else unit by unit.

cuBLAS (through ``cupy.dot``) reads and writes contiguous matrices and does not add. A product that
is to be added, or to go into some columns of an array, gets an array of its own, and the kernel
that comes next takes it from there; an operand that is some columns of an array is written a
second time by the kernel that makes it. So the hot loop has products and kernels and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from ....language.dims import ONE, Dim
from ...schedule.dependence import conflict, overlap, span
from ...schedule.ops import (
    BATCH,
    Access,
    Assign,
    Buffer,
    Contract,
    Expr,
    Gemm,
    Lead,
    Loop,
    Number,
    Pointwise,
    Reduce,
    SizeOf,
    Statement,
    accesses,
)
from ..cfamily.addressing import lead_of, rows_of, same_place
from .places import contiguous

__all__ = ["Preparer", "pipeline"]


class Preparer:
    """Rewrites statements.

    Parameters
    ----------
    fresh : callable
        Wanted name → a name that is free.
    views : mapping
        Packed array → its views, by which work on all of it is split.
    """

    def __init__(
        self, fresh: Callable[[str], str], views: Mapping[Buffer, Iterable[Buffer]]
    ) -> None:
        self.fresh, self.views = fresh, views
        #: Arrays that hold a product until it is added, and those of them that start at zero.
        self.products: set[Buffer] = set()
        self.zero: set[Buffer] = set()

    def __call__(self, statements: Iterable[Statement], in_loop: bool = False) -> list[Statement]:
        """The statements rewritten."""
        out: list[Statement] = []
        for s in statements:
            if isinstance(s, Loop):
                loop, zero = pipeline(replace(s, body=self(s.body, True)), self.products)
                out += loop
                self.zero |= zero
            elif isinstance(s, Gemm):
                out += self._gemm(s, in_loop)
            elif isinstance(s, Contract) and s.accumulate and in_loop and s.dest.lead:
                work = self._work("product", lead_of(s.dest, in_loop), s.dest.rows)
                self.products.add(work.buffer)
                out.append(replace(s, dest=work, accumulate=False))
                out.append(Pointwise((Assign(s.dest, work, True),)))
            elif isinstance(s, Reduce) and not isinstance(s.value, Access):
                lead = (*s.over, *lead_of(s.dest, in_loop))
                work = self._work("summand", lead, rows_of(s.value))
                out += [Pointwise((Assign(work, s.value),)), replace(s, value=work)]
            elif isinstance(s, Pointwise):
                parts = [p for a in s.assigns for p in (self._split(a) if in_loop else [a])]
                out += [Pointwise((a,)) for a in parts]
            else:
                out.append(s)
        return out

    def _work(self, name: str, lead: Lead, rows: Dim) -> Access:
        b = Buffer(self.fresh(name), lead, (rows,), "work")
        return Access(b)

    def _gemm(self, s: Gemm, in_loop: bool) -> Iterator[Statement]:
        if in_loop and not contiguous(s.x):
            # Outside loops a copy by CuPy costs less than it would to read.
            work = self._work(f"{_called(s.x)}_only", (BATCH,), s.x.rows)
            yield from (Pointwise((a,)) for a in self._split(Assign(work, s.x), s.x))
            s = replace(s, x=work)
        if not s.accumulate and contiguous(s.dest):
            yield s
            return
        name = f"{s.weight.buffer.name}_{_called(s.x)}"
        work = self._work(name, lead_of(s.dest, in_loop), s.dest.rows)
        if s.accumulate:
            self.products.add(work.buffer)
        yield replace(s, dest=work, accumulate=False)
        add = Assign(s.dest, work, s.accumulate)
        yield from (Pointwise((a,)) for a in (self._split(add) if in_loop else [add]))

    def _split(self, a: Assign, by: Access | None = None) -> list[Assign]:
        """Work on a packed array as work on its views, which fits what else is done with them."""
        root, start, stop = span(by or a.dest)
        known = {v.offset: v for v in self.views.get(root, ())}
        inside, at = [], start
        while at != stop:
            if at not in known:
                return [a]
            inside.append(known[at])
            at = at + known[at].shape[0]
        if len(inside) < 2:
            return [a]
        return [_some(a, v.offset - start, v.shape[0]) for v in inside]


def _some(a: Assign, offset: Dim, rows: Dim) -> Assign:
    """A statement for some of its rows."""
    value = _rows(a.value, a.dest.rows, offset, rows)
    return replace(a, dest=_part(a.dest, offset, rows), value=value)


def _called(a: Access) -> str:
    return a.buffer.name


def _part(a: Access, offset: Dim, rows: Dim) -> Access:
    first = (a.start or Dim()) + offset
    return Access(a.buffer, a.lag, first, first + rows, a.slot)


def _rows(e: Expr, whole: Dim, offset: Dim, rows: Dim) -> Expr:
    """Some rows of an expression; its scalars stay."""
    if isinstance(e, Access):
        return _part(e, offset, rows) if e.rows == whole and whole != ONE else e
    if isinstance(e, Number | SizeOf):
        return e
    return replace(e, args=tuple(_rows(x, whole, offset, rows) for x in e.args))


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
