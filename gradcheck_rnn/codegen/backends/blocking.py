"""Loop blocking: work before and after a time loop is done for a block of its steps at a time.

What a routine computes for all steps at once, before a loop or after it, needs arrays over all
steps that are read once: fresh memory and slow caches. Here such statements join the loop, which is
cut into blocks of steps: the block's part of them, its steps one by one, the block's part of what
comes after. An array that only they use holds one block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ..schedule.dependence import Barrier, Dependence, Touched, conflict
from ..schedule.inspect import reads, writes
from ..schedule.ops import (
    Access,
    Arrange,
    Buffer,
    Contract,
    Gemm,
    LinearSystem,
    Loop,
    Matrix,
    Outer,
    Pointwise,
    Reduce,
    Statement,
    Units,
)

__all__ = ["Blocked", "block"]

#: Statements of which a block of steps may be made by itself.
KINDS = (Pointwise, Units, Gemm, Arrange, LinearSystem, Outer, Reduce, Contract)


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
    carried : tuple of Buffer
        Of the local ones, adjoints whose first step a block hands to the one before it.
    wide : str
        How many numbers of one sequence a step of the widest array has; empty where that is few.
    """

    loop: Loop
    before: list[Statement]
    after: list[Statement]
    local: frozenset[Buffer]
    sums: tuple[Buffer, ...]
    carried: tuple[Buffer, ...] = ()
    wide: str = ""


def block(
    statements: Sequence[Statement], kept: Collection[Buffer],
    wide: Collection[str] = (), ends: Collection[Buffer] = (),
    kinds: tuple[type[Statement], ...] = KINDS,
) -> list[Statement | Blocked]:  # fmt: skip
    """The statements of a routine with loops blocked where that saves arrays over all steps.

    Matrices of the sequences are read by the block that makes them, while they are near.

    Parameters
    ----------
    statements : sequence of Statement
        In order.
    kept : collection of Buffer
        Arrays that hold all steps because they are given, handed out or start at zero.
    wide : collection of str
        Names of the sizes of matrices of the sequences.
    ends : collection of Buffer
        Adjoints of which nothing but what comes before the first step is handed out.
    kinds : tuple of type
        Statements that may join a loop.
    """
    out: list[Statement | Blocked] = list(statements)
    order = _Order(kinds)
    for loop in statements:
        if not isinstance(loop, Loop):
            continue
        if wide:
            out = _parameters_first(out, loop)
        at = next(i for i, s in enumerate(out) if s is loop)
        near = {b for a in writes(loop) if (b := _root(a)).timed and _as_wide(b, wide)}
        sides = (out[:at][::-1], out[at + 1 :])
        whole, early, late = _blocked(order, loop, *sides, kept, bool(near))
        # Again with those alone that use what a block holds: the others gain nothing by joining,
        # and would lose in the short blocks of wide arrays.
        single = [s for s in out if not isinstance(s, Blocked)]
        if near:
            held = {b for b in whole.local if _as_wide(b, wide)} | near
            useful = _with_operands(single, loop, held)
        else:
            useful = [s for s in single if _uses(s, whole.local)]
        whole, early, late = _blocked(order, loop, *sides, kept, bool(near), useful)
        if near and whole.after:
            whole.carried = _carried(whole, [*early, *late], kept, ends)
            whole.local |= {*whole.carried}
            whole.wide = min(name for b in near for name in _names(b))
        if whole.local or whole.wide:
            out = [*early[::-1], whole, *late]
    return out


class _Order:
    """Which statements may pass others, from the places that each of them is known to touch.

    ``kinds``: those that may join a loop.
    """

    def __init__(self, kinds: tuple[type[Statement], ...]) -> None:
        self.kinds = kinds
        self._places = Dependence(in_loop=False)
        self._known: dict[int, tuple[Statement, Touched]] = {}

    def barrier(self) -> Barrier:
        """Of no statement yet."""
        return Barrier(self._places)

    def touched(self, s: Statement) -> Touched:
        """What a statement reads and writes."""
        found = self._known.get(id(s))
        if found is None:
            found = self._known[id(s)] = s, self._places.touched(reads(s), writes(s))
        return found[1]


def _blocked(
    order: _Order,
    loop: Loop,
    earlier: Sequence[Statement | Blocked],
    later: Sequence[Statement | Blocked],
    kept: Collection[Buffer],
    near: bool,
    useful: Sequence[Statement] | None = None,
) -> tuple[Blocked, list[Statement | Blocked], list[Statement | Blocked]]:
    """The loop with all that can join it (of ``useful``), and the rest on both sides of it.

    ``earlier`` is in reverse order, and so is what is left of it. ``near``: what comes after the
    steps of a block may read what they leave.
    """
    group: list[Statement] = [loop]
    before, early = _joining(order, loop.axis, group, earlier, useful, sums=False)
    after, late = _joining(order, loop.axis, group, later, useful, sums=True, left=near)
    local = _local(loop.axis, group, [*early, *late], kept)
    added, sums = _summed(after, loop.axis)
    return Blocked(loop, before[::-1], added, local, sums), early, late


def _parameters_first(
    statements: Sequence[Statement | Blocked], loop: Loop
) -> list[Statement | Blocked]:
    """What is made of parameters alone put before a loop, so that nothing has to wait for it."""
    at = next(i for i, s in enumerate(statements) if s is loop)
    ahead: list[Statement | Blocked] = []
    rest: list[Statement | Blocked] = [loop]
    for s in statements[at + 1 :]:
        alone = isinstance(s, Matrix) and not any(
            conflict(s, p, in_loop=False) for other in rest for p in _parts(other)
        )
        (ahead if alone else rest).append(s)
    return [*statements[:at], *ahead, *rest]


def _with_operands(
    statements: Sequence[Statement], loop: Loop, held: Collection[Buffer]
) -> list[Statement]:
    """What uses some arrays, and what has to be in the blocks of a loop for its sake.

    What its operands are made by, other than parameters' alone; and before the loop what reads
    it, which would keep it out of the blocks.
    """
    wanted: list[Statement] = []
    needed: set[Buffer] = set()
    for s in reversed(statements):
        uses = _uses(s, held)
        if uses or any(_root(a) in needed for a in writes(s)):
            wanted.append(s)
            if not isinstance(s, Loop):
                needed |= {b for a in reads(s) if (b := _root(a)).timed}
    made: set[Buffer] = set()
    for s in statements:
        if s is loop:
            break
        known = any(s is w for w in wanted)
        if known or (not isinstance(s, Loop) and any(_root(a) in made for a in reads(s))):
            wanted += [] if known else [s]
            made |= {b for a in writes(s) if (b := _root(a)).timed}
    return wanted


def _names(b: Buffer) -> set[str]:
    """What the number of rows is a multiple or a sum of."""
    return {name for name, _ in b.shape[0].terms} if b.shape else set()


def _as_wide(b: Buffer, wide: Collection[str]) -> bool:
    """Whether the rows of an array are those of matrices of the sequences, side by side."""
    return bool(names := _names(b)) and names <= {*wide}


def _uses(s: Statement, local: Collection[Buffer]) -> bool:
    return any(_root(a) in local for a in (*reads(s), *writes(s)))


def _joining(
    order: _Order,
    axis: str,
    group: list[Statement],
    others: Iterable[Statement | Blocked],
    useful: Sequence[Statement] | None,
    *,
    sums: bool,
    left: bool = False,
) -> tuple[list[Statement], list[Statement | Blocked]]:
    """Which statements can join the blocks, and the others; ``others`` begin next to the loop."""
    joining: list[Statement] = []
    staying: list[Statement | Blocked] = []
    passed, wanted = order.barrier(), None if useful is None else {id(u) for u in useful}
    for s in others:
        if (
            not isinstance(s, Blocked)
            and (wanted is None or id(s) in wanted)
            and isinstance(s, order.kinds)
            and not passed.stops(order.touched(s))
            and _splits(s, axis, sums)
            and _agrees(s, group, left)
        ):
            joining.append(s)
            group.append(s)
        else:
            staying.append(s)
            for part in _parts(s):
                passed.add(order.touched(part))
    return joining, staying


def _parts(s: Statement | Blocked) -> list[Statement]:
    return [*s.before, s.loop, *s.after] if isinstance(s, Blocked) else [s]


def _splits(s: Statement, axis: str, sums: bool) -> bool:
    """Whether a block of steps of a statement needs only the same block of its operands."""
    if isinstance(s, Pointwise | Units | Gemm | Arrange | LinearSystem):
        made = all(_over(a, axis) for a in writes(s))
    elif isinstance(s, Outer | Reduce | Contract):
        adds = sums and (s.accumulate or not s.dest.buffer.timed)
        made = _over(s.dest, axis) or (adds and any(_over(a, axis) for a in reads(s)))
    else:
        return False
    timed = [a for a in (*reads(s), *writes(s)) if len(a.lead) == 2]
    return made and all(_over(a, axis) for a in timed)


def _over(a: Access, axis: str) -> bool:
    """Whether a place has all steps of an axis."""
    return a.slot is None and a.buffer.timed and a.buffer.lead[0] == axis


def _agrees(s: Statement, group: Iterable[Statement], late: bool) -> bool:
    """Whether what a statement shares with others is of the same step wherever it is changed.

    Several statements may add to one sum. ``late``: it comes after the steps of a block, and may
    read what these leave as it is from then on.
    """
    mine, made = [*reads(s), *writes(s)], list(writes(s))
    for other in group:
        theirs, changed = [*reads(other), *writes(other)], list(writes(other))
        pairs = [(a, b) for a in made for b in theirs] + [(a, b) for a in mine for b in changed]
        for a, b in pairs:
            if _root(a) != _root(b):
                continue
            together = _same_step(a) and _same_step(b)
            left = late and isinstance(other, Loop) and a not in made and _final(a, other)
            if not (together or left) and not (_sums(s, a) and _sums(other, b)):
                return False
    # What it changes itself it must not read at another step.
    changed_roots = {_root(a) for a in made if len(a.lead) == 2}
    return all(_same_step(a) for a in mine if _root(a) in changed_roots)


def _final(a: Access, loop: Loop) -> bool:
    """Whether the steps of a block have done with what is read of an array after them."""
    written = [w for w in writes(loop) if _root(w) == _root(a)]
    if a.slot is not None or any(w.slot is not None for w in written):
        return False
    lags = [w.lag for w in written]
    return a.lag <= min(lags) if loop.reverse else a.lag >= max(lags)


def _carried(
    whole: Blocked, others: Iterable[Statement | Blocked], kept: Collection[Buffer],
    ends: Collection[Buffer],
) -> tuple[Buffer, ...]:  # fmt: skip
    """Adjoints of which a block's own steps, and one more, are enough."""
    inside = [a for s in _parts(whole) for a in (*reads(s), *writes(s))]
    outside = [a for other in others for s in _parts(other) for a in (*reads(s), *writes(s))]
    held = {k.base or k for k in kept} - set(ends)
    axis, found = whole.loop.axis, {_root(a) for a in inside} - held
    if not whole.loop.reverse:
        return ()
    carried = (
        b for b in found
        if b.role == "adjoint" and b.lead[:1] == (axis,) and (b.before, b.after) == (1, 0)
        and all(a.slot is None and a.lag in (0, 1) for a in inside if _root(a) == b)
        and all(a.slot == ("end", -1) for a in outside if _root(a) == b)
    )  # fmt: skip
    return tuple(sorted(carried, key=lambda b: b.name))


def _root(a: Access) -> Buffer:
    return a.buffer.base or a.buffer


def _same_step(a: Access) -> bool:
    return a.buffer.timed and a.slot is None and a.lag == 0


def _sums(s: Statement, a: Access) -> bool:
    return isinstance(s, Outer | Reduce | Contract) and a == s.dest and len(a.lead) < 2


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
