"""The fewest mistakes that together make what is wrong at one step.

A mistake that changes an array that is right is out. Those left are vectors; one, or two or three
whose sum is the error, are looked for directly, and mistakes behind one another by starting again
from a program that makes the first of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison
from .candidates import Bench, Candidate
from .effects import Effects

__all__ = ["Found", "sets_at_one_step"]

Array = NDArray[np.float64]
#: Units of double precision that program, oracle and sums of changes may differ by.
UNITS = 2.0**-52 * 64
#: Mistakes a search starts again from, pairs and thirds that are looked at, columns of a search.
BASES, PAIRS, THIRDS, COLUMNS = 24, 60, 12, 1200


@dataclass
class Found:
    """Sets of mistakes that make the gradients at one step, and which mistakes are silent there."""

    sets: list[tuple[Candidate, ...]]
    silent: list[Candidate]
    tried: int


class _Columns:
    """Changes of the candidates that leave right arrays alone."""

    def __init__(self, effects: Effects, candidates: Sequence[Candidate]) -> None:
        self.effects = effects
        error, room = effects.error, effects.bound + UNITS * np.abs(effects.got)
        self.error, self.room = error, room
        count = int(effects.blocks.max(initial=-1)) + 1
        bad = np.zeros(count, bool)
        with np.errstate(all="ignore"):
            np.logical_or.at(bad, effects.blocks, ~(np.abs(error) <= room))
        self.bad = bad
        fine = ~bad[effects.blocks]
        self.silent: list[Candidate] = []
        self.chosen: list[Candidate] = []
        columns = []
        for c in candidates:
            change = effects.change(c)
            felt = np.abs(change) > room
            if not felt.any():
                self.silent.append(c)
            elif not felt[fine].any():
                self.chosen.append(c)
                columns.append(change)
        self.table = np.stack(columns) if columns else np.zeros((0, error.size))
        size = np.zeros(count)
        np.maximum.at(size, effects.blocks, np.abs(effects.got) + np.abs(effects.want))
        known = np.isfinite(effects.bound) & ~fine
        self.weight = np.where(known, 1 / np.maximum(size[effects.blocks], 1e-290), 0.0)

    def explained(self, *rows: int) -> bool:
        changes = self.table[list(rows)]
        room = self.room + UNITS * np.abs(changes).sum(axis=0)
        return bool(np.all(np.abs(self.error - changes.sum(axis=0)) <= room))

    def singles(self) -> list[int]:
        with np.errstate(all="ignore"):
            room = self.room + UNITS * np.abs(self.table)
            good = np.all(np.abs(self.error - self.table) <= room, axis=1)
        return [int(k) for k in np.flatnonzero(good)]

    def ranked(self) -> list[int]:
        """Candidates by the arrays that they explain alone, then by what they leave."""
        if not len(self.table):
            return []
        left = np.abs(self.error - self.table) > self.room + UNITS * np.abs(self.table)
        blocks = np.zeros((len(self.table), len(self.bad)), bool)
        for b in np.flatnonzero(self.bad):
            blocks[:, b] = left[:, self.effects.blocks == b].any(axis=1)
        rest = ((self.error - self.table) * self.weight) ** 2
        return [int(k) for k in np.lexsort((rest.sum(axis=1), blocks.sum(axis=1)))]

    def several(self, most: int) -> Iterator[tuple[int, ...]]:
        """Two, or else three, whose changes add up to the error."""
        if len(self.table) < 2 or not np.isfinite(self.error).all():
            return
        keep = self.ranked()[:COLUMNS]
        D = self.table[keep] * self.weight
        e = self.error * self.weight
        gram, along = D @ D.T, D @ e
        cost = np.diag(gram) - 2 * along
        pairs = cost[:, None] + cost[None] + 2 * gram
        np.fill_diagonal(pairs, np.inf)
        pairs[np.tril_indices(len(keep))] = np.inf
        seen = False
        for k in _least(pairs, PAIRS):
            i, j = (keep[n] for n in divmod(k, len(keep)))
            if self._apart(i, j) and self.explained(i, j):
                seen = True
                yield i, j
        if seen or most < 3:
            return
        for first in range(min(THIRDS, len(keep))):
            rest = pairs + 2 * gram[first][:, None] + 2 * gram[first][None] + cost[first]
            rest[first], rest[:, first] = np.inf, np.inf
            for k in _least(rest, 4):
                i, j = (keep[n] for n in divmod(k, len(keep)))
                if self._apart(keep[first], i) and self._apart(i, j) and self.explained(
                    keep[first], i, j
                ):  # fmt: skip
                    yield keep[first], i, j

    def _apart(self, i: int, j: int) -> bool:
        """Whether two mistakes are not in one and the same term."""
        a, b = self.chosen[i], self.chosen[j]
        return not (a.where and a.where == b.where and "<-" in a.where) or a.kind != b.kind


def _least(table: Array, count: int) -> list[int]:
    flat = table.ravel()
    count = min(count, flat.size - 1)
    order = np.argpartition(flat, count)[:count]
    return [int(k) for k in order[np.argsort(flat[order])] if np.isfinite(flat[k])]


def sets_at_one_step(
    bench: Bench, comparison: Comparison, candidates: Sequence[Candidate], seconds: float
) -> Iterator[Found]:
    """Sets of one, then of two, then of three mistakes; empty where nothing is wrong at one step.

    Each kind of set is given out by itself, so that larger ones are looked for only if the smaller
    ones do not hold elsewhere.
    """
    started = time.perf_counter()
    columns = _Columns(Effects(bench, comparison), candidates)
    many = len(candidates)
    silent = columns.silent
    if not columns.bad.any():
        yield Found([()], silent, many)
        return
    chosen = columns.chosen
    single: list[tuple[Candidate, ...]] = [(chosen[k],) for k in columns.singles()]
    if single:
        yield Found(single, silent, many)
    pairs: list[tuple[Candidate, ...]] = [
        tuple(chosen[k] for k in rows) for rows in columns.several(2)
    ]
    behind: list[tuple[Candidate, _Columns]] = []
    for k in columns.ranked()[:BASES]:
        if time.perf_counter() - started > seconds:
            break
        base = chosen[k]
        if base.after or base.carry is not None or base.truncate is not None:
            continue
        again = _Columns(Effects(bench, comparison, base), chosen)
        behind.append((base, again))
        pairs += [(base, again.chosen[j]) for j in again.singles() if again.chosen[j] is not base]
    if pairs:
        yield Found(_once(pairs), silent, many)
    threes: list[tuple[Candidate, ...]] = [
        tuple(chosen[k] for k in rows) for rows in columns.several(3) if len(rows) == 3
    ]
    for base, again in behind[:THIRDS]:
        if time.perf_counter() - started > seconds:
            break
        threes += [
            (base, *(again.chosen[k] for k in rows)) for rows in again.several(2)
        ]  # fmt: skip
    if threes:
        yield Found(_once(threes), silent, many)


def _once(found: Sequence[tuple[Candidate, ...]]) -> list[tuple[Candidate, ...]]:
    out: dict[frozenset[str], tuple[Candidate, ...]] = {}
    for some in found:
        out.setdefault(frozenset(c.id for c in some), some)
    return list(out.values())
