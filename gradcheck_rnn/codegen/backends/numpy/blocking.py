"""Loop blocking: work before and after a time loop is done for a block of its steps at a time.

What a routine computes for all steps at once, before a loop or after it, needs arrays over all
steps that are read once: fresh memory and slow caches. Here such statements join the loop, which is
cut into blocks of steps: the block's part of them, its steps one by one, the block's part of what
comes after. An array that only they use holds one block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ...schedule.dependence import conflict
from ...schedule.inspect import reads, writes
from ...schedule.ops import (
    Access,
    Arrange,
    Buffer,
    Contract,
    Gemm,
    Loop,
    Outer,
    Pointwise,
    Reduce,
    Statement,
    Units,
)

__all__ = ["Blocked", "block"]


@dataclass
class Blocked:
    """A loop in blocks of steps.

    Attributes
    ----------
    before, after : list of Statement
        Done for a whole block before its steps, and after them.
    local : frozenset of Buffer
        Arrays that hold one block.
    sums : tuple of Buffer
        Arrays that blocks add to and that must be zero before the first one.
    """

    loop: Loop
    before: list[Statement]
    after: list[Statement]
    local: frozenset[Buffer]
    sums: tuple[Buffer, ...]


def block(statements: Sequence[Statement], kept: Collection[Buffer]) -> list[Statement | Blocked]:
    """The statements of a routine with loops blocked where that saves arrays over all steps.

    Parameters
    ----------
    statements : sequence of Statement
        In order.
    kept : collection of Buffer
        Arrays that hold all steps because they are given, handed out or start at zero.
    """
    out: list[Statement | Blocked] = list(statements)
    for loop in statements:
        if not isinstance(loop, Loop):
            continue
        at = next(i for i, s in enumerate(out) if s is loop)
        whole, early, late = _blocked(loop, out[:at][::-1], out[at + 1 :], kept)
        # Again with those alone that use what a block holds: the others gain nothing by joining.
        useful = [s for s in out if not isinstance(s, Blocked) and _uses(s, whole.local)]
        whole, early, late = _blocked(loop, out[:at][::-1], out[at + 1 :], kept, useful)
        if whole.local:
            out = [*early[::-1], whole, *late]
    return out


def _blocked(
    loop: Loop,
    earlier: Sequence[Statement | Blocked],
    later: Sequence[Statement | Blocked],
    kept: Collection[Buffer],
    useful: Sequence[Statement] | None = None,
) -> tuple[Blocked, list[Statement | Blocked], list[Statement | Blocked]]:
    """The loop with all that can join it (of ``useful``), and the rest on both sides of it.

    ``earlier`` is in reverse order, and so is what is left of it.
    """
    group: list[Statement] = [loop]
    before, early = _joining(loop.axis, group, earlier, useful, sums=False)
    after, late = _joining(loop.axis, group, later, useful, sums=True)
    local = _local(loop.axis, group, [*early, *late], kept)
    added, sums = _summed(after, loop.axis)
    return Blocked(loop, before[::-1], added, local, sums), early, late


def _uses(s: Statement, local: Collection[Buffer]) -> bool:
    return any(_root(a) in local for a in (*reads(s), *writes(s)))


def _joining(
    axis: str,
    group: list[Statement],
    others: Iterable[Statement | Blocked],
    useful: Sequence[Statement] | None,
    *,
    sums: bool,
) -> tuple[list[Statement], list[Statement | Blocked]]:
    """Which statements can join the blocks, and the others; ``others`` begin next to the loop."""
    joining: list[Statement] = []
    staying: list[Statement | Blocked] = []
    for s in others:
        wanted = useful is None or any(s is u for u in useful)
        if (
            not isinstance(s, Blocked)
            and wanted
            and not any(conflict(s, p, in_loop=False) for other in staying for p in _parts(other))
            and _splits(s, axis, sums)
            and _agrees(s, group)
        ):
            joining.append(s)
            group.append(s)
        else:
            staying.append(s)
    return joining, staying


def _parts(s: Statement | Blocked) -> list[Statement]:
    return [*s.before, s.loop, *s.after] if isinstance(s, Blocked) else [s]


def _splits(s: Statement, axis: str, sums: bool) -> bool:
    """Whether a block of steps of a statement needs only the same block of its operands."""
    if isinstance(s, Pointwise | Units | Gemm | Arrange):
        made = all(_over(a, axis) for a in writes(s))
    elif isinstance(s, Outer | Reduce | Contract):
        made = _over(s.dest, axis) or (sums and any(_over(a, axis) for a in reads(s)))
    else:
        return False
    timed = [a for a in (*reads(s), *writes(s)) if a.buffer.timed]
    return made and all(_over(a, axis) for a in timed)


def _over(a: Access, axis: str) -> bool:
    """Whether a place has all steps of an axis."""
    return a.slot is None and a.buffer.timed and a.buffer.lead[0] == axis


def _agrees(s: Statement, group: Iterable[Statement]) -> bool:
    """Whether what a statement shares with others is of the same step wherever it is changed.

    Several statements may add to one sum.
    """
    mine, made = [*reads(s), *writes(s)], list(writes(s))
    for other in group:
        theirs, changed = [*reads(other), *writes(other)], list(writes(other))
        pairs = [(a, b) for a in made for b in theirs] + [(a, b) for a in mine for b in changed]
        for a, b in pairs:
            if _root(a) != _root(b):
                continue
            together = _same_step(a) and _same_step(b)
            if not together and not (_sums(s, a) and _sums(other, b)):
                return False
    # What it changes itself it must not read at another step.
    changed_roots = {_root(a) for a in made if a.buffer.timed}
    return all(_same_step(a) for a in mine if _root(a) in changed_roots)


def _root(a: Access) -> Buffer:
    return a.buffer.base or a.buffer


def _same_step(a: Access) -> bool:
    return a.buffer.timed and a.slot is None and a.lag == 0


def _sums(s: Statement, a: Access) -> bool:
    return isinstance(s, Outer | Reduce | Contract) and a == s.dest and not a.buffer.timed


def _local(
    axis: str, group: Iterable[Statement], others: Iterable[Statement | Blocked],
    kept: Collection[Buffer],
) -> frozenset[Buffer]:  # fmt: skip
    """Arrays over all steps that only a block's own steps use."""

    def touched(some: Iterable[Statement]) -> list[Access]:
        return [a for s in some for a in (*reads(s), *writes(s))]

    inside = touched(group)
    outside = {_root(a) for a in touched(part for s in others for part in _parts(s))}
    moving = {_root(a) for a in inside if not _same_step(a)}
    # What only the loop's own statements use is not over all steps for their sake.
    joined = {_root(a) for s in group if not isinstance(s, Loop) for a in writes(s)}
    joined |= {_root(a) for s in group if not isinstance(s, Loop) for a in reads(s)}
    return frozenset(
        b for b in joined - outside - moving - {k.base or k for k in kept}
        if b.role == "value" and b.lead[:1] == (axis,) and b.timed and not b.before + b.after
    )  # fmt: skip


def _summed(
    statements: Iterable[Statement], axis: str
) -> tuple[list[Statement], tuple[Buffer, ...]]:
    """The statements with every sum over steps added to; which sums they began."""
    out: list[Statement] = []
    begun: dict[Buffer, None] = {}
    for s in statements:
        if isinstance(s, Outer | Reduce | Contract) and not (s.accumulate or _over(s.dest, axis)):
            begun.setdefault(_root(s.dest))
            s = replace(s, accumulate=True)
        out.append(s)
    return out, tuple(begun)
