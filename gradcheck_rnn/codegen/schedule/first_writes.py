"""Adjoints that only the loop adds to need no zeros: the first contribution is written.

The adjoint of a state at lag one is made by the step after it. If nothing came from outside the
loop (no cotangent of the sequence, no readout), that step can write instead of add.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from .inspect import reads, writes
from .ops import (
    Access,
    Allocate,
    Assign,
    Buffer,
    Contract,
    Gemm,
    Loop,
    Number,
    Pointwise,
    Statement,
)

__all__ = ["write_first"]


def write_first(statements: list[Statement], allocations: list[Allocate]) -> None:
    """Change, in place, the statements and allocations of a backward routine."""
    for i, allocate in enumerate(allocations):
        b = allocate.buffer
        if b.role != "adjoint" or b.before + b.after != 1:
            continue
        loop = _only_loop(statements, b)
        if loop is None:
            continue
        lag = 1 if b.before else -1
        first = _first(loop, b, lag)
        if first is None:
            continue
        loop.body[first] = _written(loop.body[first])
        allocations[i] = Allocate(b)
        last = Access(b, slot=("end", -1) if b.before else ("start", 0))
        statements.insert(0, Pointwise((Assign(last, Number(Fraction(0))),)))


def _only_loop(statements: list[Statement], b: Buffer) -> Loop | None:
    """The loop that works on an adjoint, if all else that writes it is single steps."""
    loop: Loop | None = None
    for s in statements:
        touched = [a for a in writes(s) if a.buffer == b]
        if isinstance(s, Loop):
            if touched:
                if loop is not None:
                    return None
                loop = s
        elif any(a.slot is None for a in touched):
            return None
    return loop


def _first(loop: Loop, b: Buffer, lag: int) -> int | None:
    """The first statement of the body that touches the step before, if it adds to all of it."""
    for i, s in enumerate(loop.body):
        touched = [a for a in (*reads(s), *writes(s)) if a.buffer == b and a.lag == lag]
        if not touched:
            continue
        if isinstance(s, Gemm | Contract):
            return i if s.accumulate and s.dest.whole else None
        if isinstance(s, Pointwise) and s.assigns[0].accumulate and s.assigns[0].dest.whole:
            return i if len(s.assigns) == 1 else None
        return None
    return None


def _written(s: Statement) -> Statement:
    if isinstance(s, Gemm | Contract):
        return replace(s, accumulate=False)
    if isinstance(s, Pointwise):
        return Pointwise((replace(s.assigns[0], accumulate=False),))
    return s
