"""List scheduling: bring together what can be done together, without changing the result."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .dependence import Barrier, Dependence, Touched
from .ops import Access

__all__ = ["list_schedule"]

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class _Item(Generic[S]):
    value: S
    key: Hashable | None
    touched: Touched


def list_schedule(
    block: Sequence[S],
    key: Callable[[S], Hashable | None],
    touched: Callable[[S], tuple[Iterable[Access], Iterable[Access]]],
    in_loop: bool,
) -> list[list[S]]:
    """The block in an order where items of one key are together as far as possible.

    Parameters
    ----------
    touched : callable
        Item → places it reads, places it writes. Items are moved only past items that touch
        nothing they touch.
    """
    regions = Dependence(in_loop)
    todo = [_Item(s, key(s), regions.touched(*touched(s))) for s in block]
    out: list[list[S]] = []
    while todo:
        head = todo.pop(0)
        group = [head]
        if head.key is not None:
            last, up = _movable(todo, head.key, regions)
            if not up and last is not None and _sinkable(head, todo[:last], regions):
                # The head waits for its partner.
                todo.insert(last, head)
                continue
            moved = set(map(id, up))
            todo = [s for s in todo if id(s) not in moved] if moved else todo
            group += up
        out.append([s.value for s in group])
    return out


def _movable(
    todo: list[_Item[S]], key: Hashable, regions: Dependence
) -> tuple[int | None, list[_Item[S]]]:
    """Where the first of the same key is; those that may come before all in front of them."""
    first: int | None = None
    moved: list[_Item[S]] = []
    between = Barrier(regions)
    for i, s in enumerate(todo):
        if s.key == key:
            first = i if first is None else first
            if not between.stops(s.touched):
                moved.append(s)
                continue
        between.add(s.touched)
    return first, moved


def _sinkable(head: _Item[S], between: list[_Item[S]], regions: Dependence) -> bool:
    """Whether the head may wait until its first partner."""
    barrier = Barrier(regions)
    for s in between:
        barrier.add(s.touched)
    return bool(between) and not barrier.stops(head.touched)
