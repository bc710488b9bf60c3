"""What mistakes change in the gradients at one place, as vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...derivation.edits import NO_EDITS
from ...derivation.evaluate import gathered
from ...derivation.responses import Responses
from ...language.running import to_rows
from ..harness.compare import ORACLE_UNITS, UNITS, Comparison, Record
from ..harness.plan import Case
from .candidates import Bench, Beside, Candidate
from .parts import PassPart
from .stacked_cotangents import as_program_takes, stacked_columns

__all__ = ["SUM_UNITS", "Effects", "is_affordable", "is_one_step"]

Array = NDArray[Any]
#: Numbers of the map between all adjoints and gradients of a place.
MOST_NUMBERS = 10_000_000
#: Bytes of what candidates change by themselves that are kept for the lists to come.
MOST_HELD = 2**27
#: Units of double precision that program, oracle and sums of changes may differ by.
SUM_UNITS = 2.0**-52 * 64
#: Units in the last place that the program and the oracle may differ by.
BOTH_UNITS = 2.0**-52 * (ORACLE_UNITS + UNITS)


def is_one_step(comparison: Comparison) -> bool:
    """Whether all sequences have one step."""
    return all(n == 1 for n in comparison.point.lengths.values())


def is_affordable(bench: Bench, comparison: Comparison, part: PassPart | None = None) -> bool:
    """Whether the map between all adjoints of a place, or of a part, can be made."""
    run = bench.run(comparison.point)
    names = {e.name for program in bench.derivation.scans for e in program.equations}
    ends = {r.name for r in bench.derivation.differentiated()}
    if part is not None:
        names, ends = names & part.nodes, ends & part.names
    units = sum(a.size for n in names for a in run.series[n].values())
    width = sum(a.size for n in ends for a in run.series[n].values())
    return units * (units + width) <= MOST_NUMBERS


class Effects:
    """The gradients at a place as vectors: those under test, and what candidates change in them.

    Parameters
    ----------
    part : PassPart, optional
        The part of the program that is looked at; by default all of it.
    base : Candidate, optional
        Mistakes that the program makes already.

    Attributes
    ----------
    got, want, error : array
        The gradients of the code, of the definition (with the mistakes of ``base``), and their
        difference.
    bound : array
        Bounds of the verdict, infinite where nothing is known of an entry.
    blocks : array of int
        Where each block begins: the entries of one of the definition's values in one case.
    """

    def __init__(
        self,
        bench: Bench,
        comparison: Comparison,
        part: PassPart | None = None,
        base: Candidate | None = None,
    ) -> None:
        self.bench, self.comparison, self.base = bench, comparison, base
        self.point = comparison.point
        self.cases = list(self.point.cases)
        users = dict.fromkeys(r.user for r in comparison.records)
        self.pieces = [
            (u, p) for u in users for p in self.point.fitted.pieces[u]
            if p.index.size and (part is None or p.name in part.names)
        ]  # fmt: skip
        self._places: dict[str, list[tuple[slice, float]]] = {}
        at = 0
        starts = []
        for _, piece in self.pieces:
            starts.append(at)
            self._places.setdefault(piece.name, []).append(
                (slice(at, at + piece.index.size), piece.sign)
            )
            at += piece.index.size
        self.width = at
        self.blocks = np.array([k * at + s for k in range(len(self.cases)) for s in starts], int)
        self.got = self._of_records(lambda r: r.got, 0.0)
        self.bound = self._of_records(lambda r: r.bound, np.inf)
        self.want = self._of_records(lambda r: self._wanted(r), 0.0)
        self.widest = self._of_records(
            lambda r: np.full(r.bound.shape, np.max(r.bound, initial=0.0)), np.inf
        )
        with np.errstate(all="ignore"):
            self.error = np.where(np.isfinite(self.bound), self.got - self.want, 0.0)
            #: What an entry may be off by, and the blocks in which one is off by more.
            self.room = self.bound + SUM_UNITS * np.abs(self.got)
            self.bad = self.in_blocks(~(np.abs(self.error) <= self.room))
        key = (id(self.point), *users, part and part.scan, part and part.names, base and base.id)
        if key not in bench.responses:
            given = as_program_takes(self.point, stacked_columns(self.point, self.cases))
            run = bench.run(self.point)
            bench.responses[key] = Responses(
                run, given, len(self.cases), self.width, self._flatten,
                only=None if part is None else part.nodes, last=part.scan if part else "",
                edits=base.edits if base else NO_EDITS, truncate=base.truncate if base else None,
            )  # fmt: skip
        self.responses = bench.responses[key]
        self._totals = bench.totals.setdefault(key, {})

    def _wanted(self, record: Record) -> Array:
        """What the program with its mistakes gives for a record."""
        if self.base is None:
            return record.want
        return self.bench.gradients(self.base, self.comparison, record.case)[record.user]

    def in_blocks(self, entries: Array) -> Array:
        """The blocks in which any entry is true."""
        if not len(self.blocks):
            return np.zeros((*entries.shape[:-1], 0), bool)
        found: Array = np.logical_or.reduceat(entries, self.blocks, axis=-1)
        return found

    def names(self, blocks: Array) -> set[str]:
        """The definition's names of some blocks (a boolean for each)."""
        return {self.pieces[int(k) % len(self.pieces)][1].name for k in np.flatnonzero(blocks)}

    def of(self, name: str) -> Array:
        """Which entries are those of a name of the definition."""
        one = np.zeros(self.width, bool)
        for place, _ in self._places.get(name, []):
            one[place] = True
        return np.tile(one, len(self.cases))

    def _of_records(self, part: Callable[[Any], Array], without: float) -> Array:
        found = {(r.user, id(r.case)): part(r).reshape(-1) for r in self.comparison.records}
        rows = []
        for case in self.cases:
            for user, piece in self.pieces:
                a = found.get((user, id(case)))
                rows.append(
                    np.full(piece.index.size, without) if a is None else a[piece.index].ravel()
                )
        return np.concatenate(rows) if rows else np.zeros(0)

    def flat(self, gradients: Sequence[Mapping[str, Array]]) -> Array:
        """Gradients of the user's arrays, one mapping a case, as one vector."""
        parts = []
        for made in gradients:
            for user, piece in self.pieces:
                parts.append(made[user].reshape(-1)[piece.index].ravel())
        return np.concatenate(parts) if parts else np.zeros(0)

    def _flatten(self, sums: Mapping[str, Mapping[int, Array]], count: int) -> Array:
        """Gradients by the program, ``count`` at once, as rows (count, entry)."""
        run = self.bench.run(self.point)
        network = run.derivation.network
        refs = {**network.parameters, **network.inputs}
        found = gathered(run, sums, self._places)
        out = np.zeros((count, self.width))
        for name, places in self._places.items():
            if name not in sums:
                continue
            ref, g = refs[name], found[name]
            moving = ref.axis is not None
            if g.ndim == 2 + moving + ref.shape.stack:
                g = np.broadcast_to(g, (count, *g.shape))
            elif moving:
                g = g.swapaxes(0, 1)
            made = to_rows(ref, g).reshape(count, -1)
            for place, sign in places:
                out[:, place] = sign * made
        return out

    @cached_property
    def _whole(self) -> dict[int, dict[str, Array]]:
        """The gradients `want` by case, as the user holds them."""
        users = {u for u, _ in self.pieces}
        out: dict[int, dict[str, Array]] = {id(c): {} for c in self.cases}
        for r in self.comparison.records:
            if r.user in users:
                out[id(r.case)][r.user] = r.want
        if self.base is not None:
            rows = self.want.reshape(len(self.cases), -1)
            out = {
                id(c): self._filled(out[id(c)], row)
                for c, row in zip(self.cases, rows, strict=True)
            }
        return out

    def _filled(self, arrays: Mapping[str, Array], row: Array) -> dict[str, Array]:
        """The user's arrays with the entries of a row in place of their own."""
        out, at = {u: a.copy() for u, a in arrays.items()}, 0
        for user, piece in self.pieces:
            values = row[at : at + piece.index.size].reshape(piece.index.shape)
            out[user].reshape(-1)[piece.index] = values
            at += piece.index.size
        return out

    def change(self, candidate: Candidate) -> Array:
        """What a candidate changes: an entry for each entry of `error`."""
        total = self.total(candidate)[0]
        return self.finished(candidate, total[:, self.responses.size :].ravel())

    def makes(self, candidate: Candidate) -> bool:
        """Whether a candidate gives the gradients under test."""
        change = self.change(candidate)
        with np.errstate(all="ignore"):
            room = self.bound + BOTH_UNITS * np.abs(self.want + change)
            # As in `search.misfit`: where a mask makes the right gradient vanish.
            room = np.where(np.abs(change) > room, np.maximum(room, self.widest), room)
            return bool(np.all((np.abs(self.error - change) <= room) | ~np.isfinite(self.got)))

    def left(self, candidate: Candidate | None) -> int:
        """How many entries are wrong still after a mistake."""
        change = np.zeros_like(self.error) if candidate is None else self.change(candidate)
        with np.errstate(all="ignore"):
            return int(np.sum(np.abs(self.error - change) > self.bound))

    def total(self, candidate: Candidate) -> tuple[Array, int, int]:
        """Changes of adjoints and gradients before what is done to finished gradients."""
        if id(candidate) not in self._totals:
            made = self._total(candidate)
            self.bench.held += made[0].nbytes
            if self.bench.held > MOST_HELD:
                return made
            self._totals[id(candidate)] = candidate, made
        return self._totals[id(candidate)][1]

    def _total(self, candidate: Candidate) -> tuple[Array, int, int]:
        size = self.responses.table.shape[1]
        if candidate.carry is not None or candidate.edits.reorders:  # as a whole
            plain = replace(candidate, id=f"{candidate.id} alone", after=())
            plain = plain if self.base is None else self.base & plain
            given = [self.bench.gradients(plain, self.comparison, c) for c in self.cases]
            change = np.nan_to_num(self.flat(given) - self.want, nan=0.0, posinf=0.0, neginf=0.0)
            out = np.zeros((len(self.cases), size))
            out[:, self.responses.size :] = change.reshape(len(self.cases), -1)
            return out, -1, -1
        if candidate.is_finished_only:
            return np.zeros((len(self.cases), size)), -1, -1
        self.bench.work += sum(self.point.lengths.values()) * candidate.size
        return self.behind(candidate, None)

    def behind(self, candidate: Candidate, base: Array | None) -> tuple[Array, int, int]:
        """What a candidate changes besides others, which are before it and change ``base``."""
        change = self.responses.change
        made, first, last = change(candidate.edits, candidate.truncate, base)
        for own in candidate.beside:
            more, start, end = change(candidate.edits | own.edits, candidate.truncate, base)
            for columns in self._columns(own):
                made[..., columns] = more[..., columns]
            if own.users:  # a line, which others can be before
                first, last = min(first, start), max(last, end)
        return np.nan_to_num(made, nan=0.0, posinf=0.0, neginf=0.0), first, last

    def _columns(self, own: Beside) -> Iterator[slice]:
        """Where gradients that have edits of their own are in a row of the map."""
        at = self.responses.size
        for user, piece in self.pieces:
            if piece.name in own.names and (user in own.users or not own.users):
                yield slice(at, at + piece.index.size)
            at += piece.index.size

    def finished(self, candidate: Candidate, change: Array) -> Array:
        """A change, in all cases or the first ones, with what a candidate does to the finished."""
        if not candidate.after:
            return change
        rows = change.reshape(-1, self.width)
        return self._finish(candidate, self.cases[: len(rows)], rows if rows.any() else None)

    def spoils(self, candidate: Candidate) -> bool:
        """Whether what is done to right gradients changes some that are right in the first case.

        Most that is done to finished gradients does, and need not be done in all cases.
        """
        blocks = len(self.pieces)
        felt = np.abs(self._finish(candidate, self.cases[:1], None)) > self.room[: self.width]
        if not felt.any():
            return False
        return bool((np.logical_or.reduceat(felt, self.blocks[:blocks]) & ~self.bad[:blocks]).any())

    def _finish(self, candidate: Candidate, cases: Sequence[Case], change: Array | None) -> Array:
        """What a candidate changes in finished gradients of some cases, with a change before it.

        ``change`` has a row for each case; None for nothing.
        """
        out = np.zeros((len(cases), self.width)) if change is None else change.copy()
        want = self.want.reshape(len(self.cases), -1)
        for k, case in enumerate(cases):
            arrays = self._whole[id(case)]
            if change is not None:
                arrays = self._filled(arrays, want[k] + change[k])
            made = arrays
            for step in candidate.after:
                made = step(self.point, case, made)
            at = 0
            for user, piece in self.pieces:
                if made[user] is not arrays[user]:
                    here = slice(at, at + piece.index.size)
                    out[k, here] = made[user].reshape(-1)[piece.index].ravel() - want[k, here]
                at += piece.index.size
        return np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0).ravel()
