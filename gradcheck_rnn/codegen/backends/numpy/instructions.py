"""Single NumPy calls, joined where they do the same to neighbours.

``sigmoid(i, out=i)``, ``sigmoid(f, out=f)`` become one call on the rows of both: for small arrays
the time of a step is the number of its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from ....language.dims import ONE
from ...schedule.dependence import span
from ...schedule.list_scheduling import list_schedule
from ...schedule.merge import chain, wide
from ...schedule.ops import Access

__all__ = ["RawLines", "Ufunc", "join"]


@dataclass(frozen=True)
class Ufunc:
    """``op(args, out=out)``, or ``out op args[0]`` when the op is an assignment such as ``+=``.

    An argument is a place, or text for what is not an array of the step.
    """

    op: str
    args: tuple[Access | str, ...]
    out: Access
    notes: tuple[str, ...] = ()

    def render(self, access: Callable[[Access], str]) -> list[str]:
        """The line."""
        out = access(self.out)
        args = [a if isinstance(a, str) else access(a) for a in self.args]
        if self.op == "=":
            return [f"{out if out.endswith(']') else out + '[...]'} = {args[0]}"]
        if self.op.endswith("="):
            return [f"{out} {self.op} {args[0]}"]
        return [f"{self.op}({', '.join(args)}, out={out})"]

    @property
    def reads(self) -> list[Access]:
        places = [a for a in self.args if isinstance(a, Access)]
        return [*places, self.out] if self.op.endswith("=") else places

    @property
    def writes(self) -> list[Access]:
        return [self.out]


@dataclass(frozen=True)
class RawLines:
    """Any other lines, with what they read and write."""

    text: Callable[[Callable[[Access], str]], list[str]]
    reads: Sequence[Access]
    writes: Sequence[Access]
    notes: tuple[str, ...] = ()

    def render(self, access: Callable[[Access], str]) -> list[str]:
        """The lines."""
        return self.text(access)


def _shape_of(a: Access | str) -> Hashable | None:
    if isinstance(a, str):
        return a
    if a.rows == ONE:
        return a
    root = a.buffer.base
    return None if root is None else (root, a.lag, a.slot)


def _key(c: Ufunc | RawLines) -> Hashable | None:
    if not isinstance(c, Ufunc) or c.out.buffer.base is None or c.op in ("np.matmul", "="):
        return None
    parts = tuple(_shape_of(a) for a in c.args)
    # Only operands that are neighbours themselves, or the same scalar for all, go together.
    return None if None in parts else (c.op, c.out.buffer.base, c.out.lag, c.out.slot, parts)


def join(calls: Sequence[Ufunc | RawLines], in_loop: bool) -> list[Ufunc | RawLines]:
    """The calls with neighbours joined, in an order that gives the same result."""
    out: list[Ufunc | RawLines] = []
    for group in list_schedule(calls, _key, lambda c: (c.reads, c.writes), in_loop):
        members = [c for c in group if isinstance(c, Ufunc)]
        if len(group) == 1 or len(members) != len(group):
            out += group
            continue
        for run in chain([span(c.out)[1:] for c in members]):
            out += _wide([members[i] for i in run])
    return out


def _wide(run: list[Ufunc]) -> list[Ufunc | RawLines]:
    if len(run) == 1:
        return [run[0]]
    columns = list(zip(*(c.args for c in run), strict=True))
    args: list[Access | str] = []
    for column in columns:
        places = [a for a in column if isinstance(a, Access)]
        if not places or places[0].rows == ONE:
            args.append(column[0])
            continue
        ranges = [span(a)[1:] for a in places]
        if any(ranges[i][1] != ranges[i + 1][0] for i in range(len(ranges) - 1)):
            return list(run)
        args.append(wide(places))
    notes = tuple(dict.fromkeys(n for c in run for n in c.notes))
    return [replace(run[0], args=tuple(args), out=wide([c.out for c in run]), notes=notes)]
