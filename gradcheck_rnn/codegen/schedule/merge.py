"""Join statements that do the same to neighbours: one GEMM for all gates, one sum for all biases.

Statements are moved next to each other only past statements that touch nothing they touch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from ...language.dims import Dim
from .dependence import span
from .inspect import reads, writes
from .list_scheduling import list_schedule
from .ops import (
    Access,
    Assign,
    Buffer,
    Gemm,
    Loop,
    Outer,
    Pack,
    Pointwise,
    Reduce,
    Statement,
)

__all__ = ["Packs", "chain", "merge", "wide"]


class Packs:
    """Parameters stacked side by side, each combination once."""

    def __init__(self, name: Callable[[Sequence[str]], str]) -> None:
        self.made: dict[tuple[Access, ...], Buffer] = {}
        self._name = name

    def of(self, parts: Sequence[Access]) -> Access:
        key = tuple(parts)
        if key not in self.made:
            total = Dim()
            for p in parts:
                total = total + p.rows
            name = self._name([p.buffer.name for p in parts])
            self.made[key] = Buffer(name, (), (total, *parts[0].buffer.shape[1:]), "pack")
        return Access(self.made[key])

    def statement(self, b: Buffer) -> Pack:
        return Pack(b, next(k for k, v in self.made.items() if v == b))


def chain(places: Sequence[tuple[Dim, Dim]]) -> list[list[int]]:
    """Indices of (start, stop) ranges in runs where each begins where the last one ends."""
    starts: dict[Dim, int] = {}
    for i, (start, _) in enumerate(places):
        starts.setdefault(start, i)
    ends = {stop for _, stop in places}
    out: list[list[int]] = []
    used: set[int] = set()
    heads = [i for i, (start, _) in enumerate(places) if start not in ends or start == Dim()]
    for i in [*heads, *range(len(places))]:
        run: list[int] = []
        at: int | None = i
        while at is not None and at not in used:
            used.add(at)
            run.append(at)
            at = starts.get(places[at][1])
        if run:
            out.append(run)
    return out


def merge(statements: list[Statement], packs: Packs, in_loop: bool = False) -> list[Statement]:
    """Merge within straight runs; loops are borders and are merged inside."""
    out: list[Statement] = []
    run: list[Statement] = []
    for s in statements:
        if isinstance(s, Loop):
            out += _merge_run(run, packs, in_loop)
            run = []
            s.body = merge(s.body, packs, in_loop=True)
            out.append(s)
        else:
            run.append(s)
    return out + _merge_run(run, packs, in_loop)


def _merge_run(run: list[Statement], packs: Packs, in_loop: bool) -> list[Statement]:
    out: list[Statement] = []
    for group in list_schedule(run, _key, lambda s: (reads(s), writes(s)), in_loop):
        out += _join(group, packs) if len(group) > 1 else group
    return out


def _time(a: Access) -> tuple[object, ...]:
    return a.lag, a.slot, a.start is None


def _key(s: Statement) -> Hashable | None:
    if isinstance(s, Gemm) and s.transposed and s.dest.buffer.base:
        return ("gemm", s.x, s.dest.buffer.base, _time(s.dest), s.accumulate)
    if isinstance(s, Gemm) and not s.transposed and s.x.buffer.base:
        return ("sum", s.dest, s.x.buffer.base, _time(s.x))
    if isinstance(s, Outer) and s.dest.buffer.base and s.delta.buffer.base:
        return ("outer", s.x, s.delta.buffer.base, s.dest.buffer.base, s.accumulate)
    if isinstance(s, Reduce) and isinstance(s.value, Access) and s.dest.buffer.base:
        if s.value.buffer.base is None:
            return None
        return ("reduce", s.value.buffer.base, s.dest.buffer.base, s.over, s.accumulate)
    if isinstance(s, Pointwise) and len(s.assigns) == 1:
        a = s.assigns[0]
        bias = isinstance(a.value, Access) and not a.value.lead and a.value.buffer.shape
        if a.accumulate and bias and a.dest.buffer.base:
            return ("bias", a.dest.buffer.base, _time(a.dest))
    return None


def wide(accesses: Sequence[Access]) -> Access:
    """Neighbouring views as one place in their base."""
    base, start, _ = span(accesses[0])
    stop = span(accesses[-1])[2]
    if start == Dim() and stop == base.shape[0]:
        return Access(base, accesses[0].lag, slot=accesses[0].slot)
    return Access(base, accesses[0].lag, start, stop, accesses[0].slot)


def _ranges(accesses: Sequence[Access]) -> list[tuple[Dim, Dim]]:
    return [span(a)[1:] for a in accesses]


def _join(group: list[Statement], packs: Packs) -> list[Statement]:
    gemms = [s for s in group if isinstance(s, Gemm)]
    outers = [s for s in group if isinstance(s, Outer)]
    sums = [s for s in group if isinstance(s, Reduce)]
    biases = [s for s in group if isinstance(s, Pointwise)]
    out: list[Statement] = []
    if gemms and gemms[0].transposed:
        for run in chain(_ranges([s.dest for s in gemms])):
            out.append(_join_gemm([gemms[i] for i in run], packs))
    elif gemms:
        joined = [
            _join_gemm_sum([gemms[i] for i in run], packs)
            for run in chain(_ranges([s.x for s in gemms]))
        ]
        # The one that does not add comes first.
        joined.sort(key=_adds)
        out += joined
    for run in chain(_ranges([s.dest for s in outers])):
        out += _join_outer([outers[i] for i in run])
    for run in chain(_ranges([s.dest for s in sums])):
        out += _join_reduce([sums[i] for i in run])
    for run in chain(_ranges([s.assigns[0].dest for s in biases])):
        out.append(_join_bias([biases[i] for i in run], packs))
    return out


def _adds(s: Gemm) -> bool:
    return s.accumulate


def _join_gemm(gemms: Sequence[Gemm], packs: Packs) -> Gemm:
    if len(gemms) == 1:
        return gemms[0]
    weight = packs.of([s.weight for s in gemms])
    return replace(gemms[0], dest=wide([s.dest for s in gemms]), weight=weight, note="")


def _join_gemm_sum(gemms: Sequence[Gemm], packs: Packs) -> Gemm:
    if len(gemms) == 1:
        return gemms[0]
    weight = packs.of([s.weight for s in gemms])
    adds = all(s.accumulate for s in gemms)
    return replace(gemms[0], x=wide([s.x for s in gemms]), weight=weight, accumulate=adds)


def _join_outer(outers: Sequence[Outer]) -> list[Statement]:
    made: list[Statement] = []
    for part in chain(_ranges([s.delta for s in outers])):
        inner = [outers[i] for i in part]
        if len(inner) > 1 and chain(_ranges([s.dest for s in inner])) == [list(range(len(inner)))]:
            dest, delta = wide([s.dest for s in inner]), wide([s.delta for s in inner])
            made.append(replace(inner[0], dest=dest, delta=delta, note=""))
        else:
            made += inner
    return made


def _join_reduce(sums: Sequence[Reduce]) -> list[Statement]:
    values = [s.value for s in sums if isinstance(s.value, Access)]
    if len(sums) > 1 and chain(_ranges(values)) == [list(range(len(sums)))]:
        return [replace(sums[0], dest=wide([s.dest for s in sums]), value=wide(values), note="")]
    return list(sums)


def _join_bias(run: Sequence[Pointwise], packs: Packs) -> Statement:
    assigns = [s.assigns[0] for s in run]
    if len(assigns) == 1:
        return Pointwise((assigns[0],))
    value = packs.of([a.value for a in assigns if isinstance(a.value, Access)])
    return Pointwise((Assign(wide([a.dest for a in assigns]), value, True),))
