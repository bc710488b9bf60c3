"""Alias and dependence analysis: which places share memory, which statements may change order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ...language.dims import Dim
from .inspect import reads, writes
from .ops import Access, Buffer, Statement

__all__ = ["Barrier", "Dependence", "Touched", "conflict", "overlap", "span"]


def span(a: Access) -> tuple[Buffer, Dim, Dim]:
    """The buffer that owns the memory, and the rows in it."""
    return a.span


@lru_cache(maxsize=2**16)
def _at_least(a: Dim, b: Dim) -> bool:
    rest = a - b
    return rest.const >= 0 and all(c >= 0 for _, c in rest.terms)


def overlap(a: Access, b: Access, in_loop: bool) -> bool:
    """Whether two places may share memory."""
    if (a.buffer.base or a.buffer).name != (b.buffer.base or b.buffer).name:
        return False
    return _same_time(a, b, in_loop) and _meet(span(a), span(b))


def _same_time(a: Access, b: Access, in_loop: bool) -> bool:
    return not in_loop or a.slot is not None or b.slot is not None or a.lag == b.lag


def _meet(a: tuple[Buffer, Dim, Dim], b: tuple[Buffer, Dim, Dim]) -> bool:
    (one, start, stop), (two, first, last) = a, b
    return (one is two or one == two) and not (_at_least(first, stop) or _at_least(start, last))


def conflict(a: Statement, b: Statement, in_loop: bool) -> bool:
    """Whether the order of two statements matters."""
    for one, two in ((a, b), (b, a)):
        touched = [*reads(two), *writes(two)]
        if any(overlap(w, x, in_loop) for w in writes(one) for x in touched):
            return True
    return False


@dataclass(frozen=True)
class Touched:
    """Numbers of the places an item reads and writes, by the buffer that owns the memory."""

    reads: dict[str, list[int]]
    writes: dict[str, list[int]]


class Dependence:
    """Places by number: the same question about two of them is answered once.

    A long run of statements asks for the order of most pairs, and comparing rows of symbolic
    sizes is slow; there are few different places in one buffer.
    """

    def __init__(self, in_loop: bool) -> None:
        self._in_loop = in_loop
        self._numbers: dict[object, int] = {}
        self._places: list[tuple[Access, tuple[Buffer, Dim, Dim]]] = []
        self._known: dict[tuple[int, int], bool] = {}

    def _number(self, a: Access) -> tuple[str, int]:
        name = a.buffer.name
        key = (name, a.lag, a.start, a.stop, a.slot)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._places)
            self._places.append((a, span(a)))
        return (a.buffer.base or a.buffer).name, number

    def touched(self, read: Iterable[Access], written: Iterable[Access]) -> Touched:
        """What an item reads and writes."""
        out = Touched({}, {})
        for kind, places in ((out.reads, read), (out.writes, written)):
            for place in places:
                root, number = self._number(place)
                kind.setdefault(root, []).append(number)
        return out

    def overlap(self, a: int, b: int) -> bool:
        """Whether two places may share memory."""
        pair = (a, b) if a < b else (b, a)
        found = self._known.get(pair)
        if found is None:
            (one, first), (two, second) = self._places[a], self._places[b]
            found = _same_time(one, two, self._in_loop) and _meet(first, second)
            self._known[pair] = found
        return found


class Barrier:
    """Items in a row; tells whether another one may pass all of them."""

    def __init__(self, regions: Dependence) -> None:
        self._regions = regions
        self._reads: dict[str, dict[int, None]] = {}
        self._writes: dict[str, dict[int, None]] = {}

    def add(self, item: Touched) -> None:
        """One more item."""
        for mine, its in ((self._reads, item.reads), (self._writes, item.writes)):
            for root, numbers in its.items():
                mine.setdefault(root, {}).update(dict.fromkeys(numbers))

    def stops(self, item: Touched) -> bool:
        """Whether the order of the item and one of those here matters."""
        return (
            self._meet(item.writes, self._writes)
            or self._meet(item.writes, self._reads)
            or self._meet(item.reads, self._writes)
        )

    def _meet(self, its: dict[str, list[int]], mine: dict[str, dict[int, None]]) -> bool:
        overlap = self._regions.overlap
        for root, numbers in its.items():
            others = mine.get(root)
            if others and any(n in others or overlap(n, m) for n in numbers for m in others):
                return True
        return False
