"""The fewest mistakes that together make what is wrong at one place.

Mistakes are vectors of what they change. Those whose changes add up to the error are found as sums;
where one lies behind another, all first ones are handed to the second at once (`Responses.change`).
What comes after a first mistake has to change exactly the arrays that it leaves wrong, so that most
pairs are never looked at; in cases in which the code returns zeros it may change less than it would
by itself, for nothing arrives there. Effort is limited by counts, not by time: results do not
depend on the machine.

Limits. A set of two has every member on the list, and each leaves right at this place what the code
has right: two mistakes that cancel in some array are not found. A third is looked for behind the
`STATES` sets of two that leave least. What is done to finished gradients comes last, once in a set,
or twice as a sum where the two touch different arrays; of packed gradients those orders are tried
that the wrong arrays show by themselves. Two mistakes that are both silent at one step are looked
for at the next place, and one that is silent beside one that is not; of two of which one hides the
other at one step (a step left out) the other is looked for there too. Two that make no array right
by themselves, or are silent at one step, are looked for beside the few third ones that leave least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate
from .effects import SUM_UNITS as UNITS
from .effects import Effects
from .reach import Reach

__all__ = ["Changes", "Found", "sets_of_mistakes"]

Array = NDArray[Any]
#: First mistakes that a second is looked for behind to be a part of three, and such pairs.
STATES = 60
#: Numbers computed behind first mistakes, and sums of changes that are compared entry by entry.
NUMBERS, COMPARED = 100_000_000, 20_000
#: The place of edits that nothing reads: behind all others.
END = 1 << 60
#: Finished gradients that are changed behind another mistake, and mistakes that are run together.
FINISHED, INTERLEAVED = 1_000, 2_500


@dataclass
class Found:
    """Sets of mistakes that make the gradients at a place."""

    sets: list[tuple[Candidate, ...]]
    changes: Changes

    @property
    def silent(self) -> list[Candidate]:
        """Mistakes that change nothing there."""
        changes = self.changes
        changes.take_all()
        return changes.silent if changes.bad.any() else [*changes.silent, *changes.later]


@dataclass
class _States:
    """Sets of mistakes: what they change and leave, and where the last of them is."""

    members: list[tuple[int, ...]]
    adjoints: Array
    residuals: Array
    left: Array
    last: Array

    def some(self, rows: Sequence[int]) -> _States:
        r = list(rows)
        members = [self.members[k] for k in r]
        return _States(members, self.adjoints[r], self.residuals[r], self.left[r], self.last[r])


class Changes:
    """What candidates change at a place, and what several of them change at once."""

    def __init__(self, effects: Effects, candidates: Sequence[Candidate]) -> None:
        self.effects = effects
        self.error, self.room, self.bad = effects.error, effects.room, effects.bad
        #: Blocks that the code returns as zeros: where a first mistake lets nothing arrive, one
        #: behind it changes nothing, though it would by itself.
        self.dead = ~self.effects.in_blocks(effects.got != 0)
        self.silent: list[Candidate] = []
        self.chosen: list[Candidate] = []  # they leave alone what is right
        #: Those that only the definition itself can be run with: dear, and taken when nothing fits.
        self.later = [c for c in candidates if c.carry is not None]
        self._order = {id(c): k for k, c in enumerate(candidates)}
        self._rows: list[tuple[Array, Array, int, int]] = []
        plain = [c for c in candidates if c.carry is None]
        reach = Reach(effects)
        likely = [c for c in plain if reach.can_make(c)] if self.bad.any() else []
        self._take(likely)
        taken = set(map(id, likely))
        #: Those that do not make the error by themselves.
        self._others = [c for c in plain if id(c) not in taken]

    def take_all(self) -> None:
        """Take those that make the error in no way by themselves."""
        if self._others:
            others, self._others = self._others, []
            self._take(others)

    def take_later(self) -> None:
        """Take those that were left for later."""
        later, self.later = self.later, []
        self._take(later)

    def _take(self, candidates: Sequence[Candidate]) -> None:
        self.__dict__.pop("singles", None)
        size = self.effects.responses.size
        for c in candidates:
            if c.after and c.is_finished_only and self.effects.spoils(c):
                continue
            made = self.effects.bench.tried(c, lambda c=c: self.effects.total(c))  # type: ignore[misc]
            if made is None:
                continue
            total, first, last = made
            if last >= 0 and self.effects.bench.is_at_the_end(c):
                first = last = END
            change = self.effects.finished(c, total[:, size:].ravel())
            felt = np.abs(change) > self.room
            if not felt.any():
                self.silent.append(c)
            elif not (self.effects.in_blocks(felt) & ~self.bad).any():
                self.chosen.append(c)
                self._rows.append((change, total[:, :size], first, last))
        # In the order of the list, whenever they were taken.
        order = sorted(range(len(self.chosen)), key=lambda k: self._order[id(self.chosen[k])])
        self.chosen = [self.chosen[k] for k in order]
        rows = self._rows = [self._rows[k] for k in order]
        self.silent.sort(key=lambda c: self._order[id(c)])
        self.table = np.array([r[0] for r in rows]).reshape(-1, self.error.size)
        self.adjoints = np.array([r[1] for r in rows]).reshape(-1, len(self.effects.cases), size)
        self.first = np.array([r[2] for r in rows], np.int64)
        self.last = np.array([r[3] for r in rows], np.int64)
        self.support = self.effects.in_blocks(np.abs(self.table) > self.room)
        #: Those whose edits of the program can be carried out behind others'.
        self.plain = [
            k for k, c in enumerate(self.chosen)
            if c.carry is None and not c.after and self.last[k] >= 0
        ]  # fmt: skip

    def left(self, residuals: Array, changes: Array) -> Array:
        """Blocks that are wrong still after some changes."""
        with np.errstate(all="ignore"):
            return self.effects.in_blocks(
                ~(np.abs(residuals) <= self.room + UNITS * np.abs(changes))
            )

    def feel(self, left: Array, felt: Array) -> Array:
        """Which states leave just what a mistake changes, where anything arrives at all."""
        found: Array = ((left == felt) | (self.dead & ~left)).all(axis=-1)
        return found

    @cached_property
    def singles(self) -> _States:
        """All chosen candidates by themselves."""
        residuals = self.error - self.table
        left = self.left(residuals, self.table)
        members: list[tuple[int, ...]] = [(k,) for k in range(len(self.chosen))]
        return _States(members, self.adjoints, residuals, left, self.last)

    def alone(self) -> list[tuple[int, ...]]:
        """Candidates that make the error by themselves."""
        return [self.singles.members[k] for k in np.flatnonzero(~self.singles.left.any(axis=1))]

    def apart(self, members: tuple[int, ...], k: int) -> bool:
        """Whether a mistake is none of some others and not in one and the same term."""
        return all(j != k and _are_apart(self.chosen[j], self.chosen[k]) for j in members)

    def sums(self, states: _States) -> Iterator[tuple[int, ...]]:
        """States and candidates whose changes add up to the error."""
        finite = np.isfinite(self.room)
        scale = np.where(finite, np.abs(self.effects.got) + np.abs(self.effects.want), np.inf)
        weights = np.random.default_rng(0).uniform(0.5, 1.5, scale.size)
        weights = np.where(scale > 0, weights / np.maximum(scale, 1e-290), 0.0)
        wanted, given = states.residuals @ weights, self.table @ weights
        slack = np.where(finite, self.room, 0.0) @ weights + UNITS * (
            np.abs(self.table) @ weights
        ).max(initial=0.0)
        order = np.argsort(given, kind="stable")
        low = np.searchsorted(given[order], wanted - slack)
        high = np.searchsorted(given[order], wanted + slack, side="right")
        compared = 0
        for s, (a, b) in enumerate(zip(low, high, strict=True)):
            for k in order[a:b]:
                if not self.apart(states.members[s], int(k)):
                    continue
                compared += 1
                if compared > COMPARED:
                    return
                change = self.table[k]
                if not self.left(states.residuals[s] - change, self.error).any():
                    yield (*states.members[s], int(k))

    def behind(self, states: _States, whole: bool) -> Iterator[_States]:
        """States with one more mistake behind them: those that leave nothing, or less."""
        numbers, width = 0, self.effects.responses.table.shape[1] * len(self.effects.cases)
        size = self.effects.responses.size
        fitting = {}
        for k in self.plain:
            felt = self.support[k]
            if whole:
                fits = self.feel(states.left, felt)
            else:
                fits = (states.left & felt).any(axis=1) & ~(felt & ~states.left).any(axis=1)
            fitting[k] = np.flatnonzero(fits & (states.last <= self.first[k]))
        # Those that few leave room for first: where the numbers end, most has been tried.
        for k in sorted(fitting, key=lambda k: len(fitting[k])):
            rows = [int(s) for s in fitting[k] if self.apart(states.members[s], k)]
            if not rows:
                continue
            numbers += len(rows) * width
            if numbers > NUMBERS:
                return
            c, old = self.chosen[k], states.some(rows)
            made, _, last = self.effects.behind(c, old.adjoints)
            change = made[..., size:].reshape(len(rows), -1)
            residuals = old.residuals - change
            left = self.left(residuals, np.abs(change) + np.abs(self.error))
            good = ~left.any(axis=1) if whole else left.sum(axis=1) < old.left.sum(axis=1)
            if good.any():
                members = [(*m, k) for m in old.members]
                adjoints = old.adjoints + made[..., :size]
                found = _States(members, adjoints, residuals, left, np.full(len(rows), last))
                yield found.some([int(s) for s in np.flatnonzero(good)])

    def interleaved(self) -> Iterator[tuple[int, ...]]:
        """Two mistakes neither of which is behind the other as a whole."""
        left, tried = self.singles.left, 0
        plain = np.array(self.plain, int)
        for i in plain[np.argsort(left[plain].sum(axis=1), kind="stable")]:
            meet = (self.first[plain] < self.last[i]) & (self.last[plain] > self.first[i])
            for k in plain[meet & self.feel(left[i], self.support[plain])]:
                if not self.apart((int(i),), int(k)):
                    continue
                tried += 1
                if tried > INTERLEAVED:
                    return
                made = self.effects.change(self.chosen[i] & self.chosen[k])
                if not self.left(self.error - made, np.abs(made)).any():
                    yield int(i), int(k)

    def finished(self, states: _States) -> Iterator[tuple[int, ...]]:
        """States and something that is done to finished gradients, where they give the error."""
        tried = 0
        done = [k for k, c in enumerate(self.chosen) if c.after]
        # Those that are done to few arrays first: fewest states leave just these.
        for k in sorted(done, key=lambda k: int(self.support[k].sum())):
            c = self.chosen[k]
            for s in np.flatnonzero(self.feel(states.left, self.support[k])):
                members = states.members[s]
                if any(self.chosen[j].after or self.chosen[j].carry for j in members):
                    continue
                tried += 1
                if tried > FINISHED:
                    return
                if self._finishes(c, self.error - states.residuals[s]):
                    yield (*members, k)

    def _finishes(self, c: Candidate, before: Array) -> bool:
        """Whether what is done to finished gradients gives the error; most does not in one case."""
        for n in (self.effects.width, self.error.size):
            change = self.effects.finished(c, before[:n])
            room = self.room[:n] + UNITS * np.abs(change)
            if not np.all(np.abs(self.error[:n] - change) <= room):
                return False
        return True

    def helpful(self) -> list[Candidate]:
        """Candidates that make something right, those that leave least first."""
        return [self.chosen[m[0]] for m in self._helpful().members]

    def _helpful(self) -> _States:
        ones = self.singles
        return _best(ones, np.flatnonzero(ones.left.sum(axis=1) < self.bad.sum()))

    def partial(self) -> _States:
        """The sets of two that leave least, of those of which each explains something."""
        first = self._helpful()
        found = list(self.behind(first, False))
        for s, members in enumerate(first.members):
            felt, left = self.support, first.left[s]
            near = np.flatnonzero((felt & left).any(axis=1) & ~(felt & ~left).any(axis=1))
            near = np.array([k for k in near if self.apart(members, int(k))], int)
            if not len(near):
                continue
            residuals = first.residuals[s] - self.table[near]
            after = self.left(residuals, np.abs(self.error))
            good = np.flatnonzero(after.sum(axis=1) < left.sum())
            more = _States(
                [(*members, int(k)) for k in near], first.adjoints[s] + self.adjoints[near],
                residuals, after, np.maximum(first.last[s], self.last[near]),
            )  # fmt: skip
            found.append(_best(more, good))
        if not found:
            return first.some([])
        parts = [np.concatenate([getattr(f, n) for f in found]) for n in
                 ("adjoints", "residuals", "left", "last")]  # fmt: skip
        together = _States([m for f in found for m in f.members], *parts)
        return _best(together, np.arange(len(together.members)))


def _best(states: _States, rows: Array) -> _States:
    """Of some states those that leave the fewest blocks, one of all that leave the same."""
    seen: dict[bytes, int] = {}
    for k in rows[np.argsort(states.left[rows].sum(axis=1), kind="stable")]:
        top = np.abs(states.residuals[k]).max(initial=1e-290)
        shown = np.round(states.residuals[k] / top, 9).tobytes()
        seen.setdefault(shown, int(k))
        if len(seen) == STATES:
            break
    return states.some(list(seen.values()))


def _are_apart(a: Candidate, b: Candidate) -> bool:
    return not (a.where and a.where == b.where and "<-" in a.where) or a.kind != b.kind


def sets_of_mistakes(
    effects: Effects, candidates: Sequence[Candidate], most: int = 3
) -> Iterator[Found]:
    """Sets of one, then of two, then of three mistakes; empty where nothing is wrong at the place.

    Each kind of set is given out by itself, so that larger ones are looked for only if the smaller
    ones do not hold elsewhere.
    """
    changes = Changes(effects, candidates)
    if not changes.bad.any():
        yield Found([()], changes)
        return

    def named(found: Sequence[tuple[int, ...]]) -> Found:
        sets: dict[frozenset[int], tuple[int, ...]] = {}
        for some in found:
            sets.setdefault(frozenset(some), some)
        return Found([tuple(changes.chosen[k] for k in s) for s in sets.values()], changes)

    yield named(changes.alone())
    if changes.later:
        changes.take_later()
        yield named(changes.alone())
    if most < 2 or not np.isfinite(changes.error).all():
        return
    changes.take_all()
    ones = changes.singles
    for count in range(2, most + 1):
        states = ones if count == 2 else changes.partial()
        found = list(changes.sums(states))
        for more in changes.behind(states, True):
            found += more.members
        found += changes.finished(states)
        yield named(found)
        if count == 2:  # dear, and looked for where the others do not hold elsewhere
            yield named(list(changes.interleaved()))
