"""Which buffers statements read and write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar, cast

from ...language.dims import Dim
from .ops import (
    Access,
    Allocate,
    Arrange,
    Assign,
    Buffer,
    Call,
    Contract,
    Gemm,
    LinearSystem,
    Loop,
    Matrix,
    Outer,
    Pack,
    Pointwise,
    Reduce,
    Statement,
    StepRows,
    Units,
    accesses,
)

__all__ = ["read_buffers", "reads", "touched", "views_of", "with_buffers", "writes"]

_T = TypeVar("_T")


def reads(s: Statement) -> Iterator[Access]:
    """The places a statement reads, the ones it adds to included; loops look inside."""
    if isinstance(s, Loop):
        for inner in s.body:
            yield from reads(inner)
    elif isinstance(s, Pointwise):
        for a in s.assigns:
            yield from accesses(a.value)
            if a.accumulate:
                yield a.dest
    elif isinstance(s, Gemm):
        yield from (s.x, s.weight)
    elif isinstance(s, Outer):
        yield from (s.delta, s.x)
    elif isinstance(s, Contract):
        yield from s.operands
    elif isinstance(s, Pack | Arrange):
        yield from s.parts
    elif isinstance(s, LinearSystem):
        yield from (s.matrix, s.value)
    elif isinstance(s, StepRows):
        yield s.source
    elif isinstance(s, Units | Reduce | Matrix):
        yield from accesses(s.value)
    if isinstance(s, Gemm | Outer | Reduce | Contract) and s.accumulate:
        yield s.dest


def writes(s: Statement) -> Iterator[Access]:
    """The places a statement writes."""
    if isinstance(s, Loop):
        for inner in s.body:
            yield from writes(inner)
    elif isinstance(s, Pointwise):
        for a in s.assigns:
            yield a.dest
    elif isinstance(s, Pack | Matrix):
        yield Access(s.dest)
    elif not isinstance(s, Allocate):
        yield s.dest


def read_buffers(statements: Iterable[Statement]) -> set[Buffer]:
    """Every buffer that is read."""
    return {a.buffer for s in statements for a in reads(s)}


def touched(statements: Iterable[Statement]) -> set[Buffer]:
    """Every buffer that is read or written, and what it is a view of."""
    places = [a for s in statements for a in (*reads(s), *writes(s))]
    return {b for a in places for b in (a.buffer, a.buffer.base) if b is not None}


def views_of(buffers: Iterable[Buffer]) -> dict[Buffer, list[Buffer]]:
    """Views by base, in the order of their rows."""
    out: dict[Buffer, list[Buffer]] = {}
    for b in sorted(buffers, key=lambda b: b.name):
        if b.base is not None:
            out.setdefault(b.base, []).append(b)
    return {base: _in_order(views) for base, views in out.items()}


def _in_order(views: list[Buffer]) -> list[Buffer]:
    by, at, out = {v.offset: v for v in views}, Dim(), []
    while at in by:
        out.append(by[at])
        at = at + by[at].shape[0]
    return [*out, *(v for v in views if v not in out)]


def with_buffers(item: _T, other: Mapping[Buffer, Buffer]) -> _T:
    """A statement, an expression or a place with other buffers; a loop is changed in place."""
    made: Any = item
    if isinstance(item, Buffer):
        made = other.get(item, item)
    elif isinstance(item, tuple):
        made = tuple(with_buffers(x, other) for x in item)
    elif isinstance(item, Loop):
        item.body[:] = [with_buffers(s, other) for s in item.body]
    elif isinstance(item, Access | Assign | Call | Statement):
        made = replace(made, **{
            f.name: with_buffers(getattr(item, f.name), other) for f in fields(made) if f.init
        })  # fmt: skip
    return cast(_T, made)
