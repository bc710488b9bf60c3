"""The adjoint program gone through at edited edges only, for what they change (`Responses`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calculus.terms import Sym, Term, symbols_in
from .contributions import cotangents_inward, masked_values
from .editing import (
    cotangents_taken,
    crosses,
    in_order,
    moved_shares,
    reads_others,
    sources,
    value_at,
)
from .edits import NO_EDITS, Edits
from .program import Edge, EquationProgram, ScanProgram
from .wholes import rows_given

__all__ = ["EditedValues", "Known", "Walk"]

Array = NDArray[Any]
#: Terms by identity, and their values.
Known = dict[int, tuple[Term, Array]]
Responses = Any  # of `responses`, which imports this module


class EditedValues:
    """Values of symbols at a time of a scan, with what has been evaluated from them."""

    def __init__(self, lookup: Callable[[Sym], Array], still: Known) -> None:
        self.lookup = lookup
        self.still = still  # terms without adjoints
        self.moving: Known = {}

    def __call__(self, s: Sym) -> Array:
        return self.lookup(s)


def _adjoints_in(term: Term) -> frozenset[str]:
    return frozenset(s.name for s in symbols_in(term) if s.mark)


class Walk:
    """The adjoint program gone through in its order, at edited edges only."""

    def __init__(
        self, responses: Responses, edits: Edits, truncate: int | None, base: Array | None
    ) -> None:
        self.of, self.edits, self.truncate = responses, edits, truncate
        self.run = responses.run
        lead = (responses.cases,) if base is None else base.shape[:-1]
        self.lead = lead
        self.total = np.zeros((*lead, responses.table.shape[1]))
        self.base = base
        self.now, self.first, self.last = 0, 1 << 60, -1
        self.restarted = edits.restarted
        self.given: dict[tuple[str, int], Array] = {}
        self.edges = edits.edges - edits.mirrored
        self.by_scan: dict[str, list[Edge]] = {}
        for edge in map(responses.derivation.edge, self.edges):
            self.by_scan.setdefault(edge.scan, []).append(edge)

    def inject(self, name: str, t: int, value: Array) -> None:
        """Add something to an adjoint or a gradient, and to all that is behind it."""
        if not np.any(value):
            return
        self.first, self.last = min(self.first, self.now), max(self.last, self.now)
        rows = self.of.nodes.get((name, t))
        if rows is not None:
            shape = self.of.shapes[name, t]
            units = np.broadcast_to(value, (*self.lead, *shape)).reshape(*self.lead, -1)
            self.total += units @ self.of.table[rows]
        elif (name, t) in self.of.direct:
            at, source, sign = self.of.direct[name, t]
            shape = self.run.series[name][t].shape
            flat = np.broadcast_to(value, (*self.lead, *shape)).reshape(*self.lead, -1)
            self.total[..., at] += sign * flat[..., source]

    def shift(self, name: str, t: int) -> Array | None:
        """What has been added to an adjoint so far; None for nothing."""
        rows = self.of.nodes.get((name, t))
        if rows is None:  # nothing of what is looked at changes it
            return None
        own = self.total[..., rows]
        if self.base is not None:
            own = own + self.base[..., rows]
        if not own.any():
            return None
        return own.reshape(*self.lead, *self.of.shapes[name, t])

    def bar(self, name: str, t: int) -> Array:
        more, own = self.shift(name, t), self.of.bar(name, t)
        return own if more is None else own + more

    def whole(self) -> None:
        self._cotangents()
        for program in reversed(self.of.derivation.scans):
            times = self.run.times(program)
            self._finals(program, times)
            edited = self._edited(program)
            if not edited and not self.edits.permuted and not self.edits.leaves_out:
                self.now += (len(program.equations) + 2) * len(times)
                self._moved(program, times)
                self._starts(program)
                continue
            order, permuted, delayed = in_order(program, self.edits)
            waiting = {edge.id for some in delayed.values() for edge in some}
            # Only what is edited is met; everything else is in the map.
            met = [
                (k, e)
                for k, e in enumerate(order)
                if e.name in edited or e in permuted or e.name in delayed
            ]
            for step, t in reversed(list(enumerate(times, start=1))):
                late: list[tuple[int, Edge]] = []
                left = self.edits.leaves_out and self.edits.lacks(
                    program.scan.name, step, len(times)
                )
                for k, e in met:
                    self.now += 1 + k
                    if permuted and e is permuted[0]:
                        self._permute(t)
                    for edge in delayed.get(e.name, ()):
                        self._edge(program, None, edge, step, t, times)
                    for edge in edited.get(e.name, ()):
                        if edge.id in waiting:
                            continue
                        term = self.edits.term_of(edge, step, len(times))
                        if (
                            edge.kind != "equation"
                            and term is not None
                            and reads_others(edge, term)
                        ):
                            late.append((step, edge))
                        else:
                            self._edge(program, e, edge, step, t, times)
                    self.now -= 1 + k
                for step_, edge in late:
                    self.now += len(order) + 1
                    self._edge(program, None, edge, step_, t, times)
                    self.now -= len(order) + 1
                if left:
                    self._pass_by(program, t)
                self.now += len(order) + 2
            self._moved(program, times)
            self._starts(program)

    def _moved(self, program: ScanProgram, times: Sequence[int]) -> None:
        """What edges give at another time, once all that they read is there."""
        for edge in program.edges if self.edits.moved else ():
            if edge.id not in self.edits.moved:
                continue

            def give(at: int, t: int, edge: Edge = edge) -> Array | None:
                term = self.edits.term_of(edge, 1 + times.index(t), len(times))
                if term is None:
                    return None
                plain = self.of.lookup(program, t, self.bar, self.edits)
                bar = self.bar(edge.equation.name, at)
                seen = EditedValues(lambda s: bar if s == edge.adjoint else plain(s), {})
                return self.run.batches.fit(self.of.terms(term, seen), plain(edge.operand))

            for where, value in moved_shares(
                self.run, times, edge, self.edits.moved[edge.id], give
            ):
                self.inject(edge.operand.name, where, value)

    def _edited(self, program: ScanProgram) -> dict[str, list[Edge]]:
        """The edges of a scan that the edits change, by equation."""
        edits, scan = self.edits, program.scan
        cut = scan.name in edits.carry or self.truncate is not None
        left = scan.name in edits.missed or scan.name in edits.remainders
        if not (cut or left or self.restarted):
            edges = self.by_scan.get(scan.name, [])
        else:
            edges = [
                e for e in program.edges
                if e.id in self.edges or left or (cut and e.kind == "state")
                or any(s.name in self.restarted for s in symbols_in(e.pullback))
            ]  # fmt: skip
        out: dict[str, list[Edge]] = {}
        for edge in edges:
            out.setdefault(edge.equation.name, []).append(edge)
        return out

    def _edge(
        self, program: ScanProgram, e: EquationProgram | None, edge: Edge, step: int, t: int,
        times: Sequence[int],
    ) -> None:  # fmt: skip
        """Add what an edge gives with the edits more than without."""
        of, edits, run = self.of, self.edits, self.run
        term = edits.term_of(edge, step, len(times))
        seen = self._values(program, edge, term, t)
        like = seen(edge.operand)
        right = run.batches.fit(of.terms(edge.pullback, seen), like)
        where = run.at(edge.operand.name, t, edge.lag or 0)
        kept = term is not None and edits.takes_part(edge.id, step, len(times))
        if edge.kind == "state" and kept:
            reach = edits.carry.get(program.scan.name)
            kept = not (
                (self.truncate and crosses(run, program, t, where, self.truncate))
                or (reach is not None and len(times) - step >= reach)
            )
        if edits.leaves_out and edits.lacks(program.scan.name, step, len(times)):
            kept = False
        if not kept or term is None:
            more = -right
        else:
            read = self._as_edited(program, edge, t, times, seen)
            rows = edits.rows.get(edge.id)
            changed = read is not seen or term is not edge.pullback or rows is not None
            given = run.batches.fit(of.terms(term, read), like) if changed else right
            more = (given if rows is None else rows_given(given, rows)) - right
            for (source, name), own in edits.shares.items():
                if name == edge.id:
                    part = self._part(edge.equation.name, t, source)
                    if part is not None:
                        more = more + self._share(program, edge, t, part, term, own, like)
        if edits.shares:
            self.given[edge.id, t] = more
        self.inject(edge.operand.name, 0 if edge.lag is None else where, more)

    def _values(self, program: ScanProgram, edge: Edge, term: Term | None, t: int) -> EditedValues:
        """Values at a time; those kept from other edits where no adjoint has changed."""
        names = {edge.equation.name}
        if term is not None and term is not edge.pullback:
            names |= _adjoints_in(term)
        if all(self.shift(n, t) is None for n in names):
            return self.of.untouched(program, t)
        still = self.of.still(program.scan.name, t)
        return EditedValues(self.of.lookup(program, t, self.bar), still)

    def _as_edited(
        self, program: ScanProgram, edge: Edge, t: int, times: Sequence[int], seen: EditedValues
    ) -> EditedValues:
        """The values that an edge with another saved value or a lost start reads."""
        pinned = self.edits.pinned.get(edge.id)
        if edge.id in self.edits.masked:
            plain = self.of.lookup(program, t, self.bar, self.edits)
            return EditedValues(masked_values(self.run, plain, edge, self.edits), {})
        if edge.id in self.edits.received:
            bar = self._received(self.edits.received[edge.id], t)
            plain = self.of.lookup(program, t, self.bar, self.edits)
            return EditedValues(lambda s: bar if s == edge.adjoint else plain(s), {})
        if pinned is None and not self.restarted:
            return seen
        if pinned is None:
            return EditedValues(self.of.lookup(program, t, self.bar, self.edits), {})
        name, pin = pinned
        at = times[pin - 1 if pin > 0 else pin]
        plain = self.of.lookup(program, t, self.bar, self.edits)

        def value(s: Sym) -> Array:
            if s.name == name and not s.mark and s.lag is not None:
                return value_at(self.run, name, self.run.at(name, at, s.lag))
            return plain(s)

        return EditedValues(value, {})

    def _received(self, state: str, t: int) -> Array:
        """What a step receives for a state, without the cotangents of outputs."""
        if state in self.of.derivation.network.finals:
            return self.bar(state, 0)
        found = np.zeros(self.of.shapes[state, t])
        for source in sources(self.of.derivation, state):
            if source.startswith("final ") or f"<-{state}@" in source:
                part = self._part(state, t, source)
                found = found if part is None else found + part
        return found

    def _share(
        self, program: ScanProgram, edge: Edge, t: int, part: Array, term: Term,
        own: Term | None, like: Array,
    ) -> Array:  # fmt: skip
        """What a share of an adjoint gives by its own term more than by the common one."""
        plain, bar = self.of.lookup(program, t, self.bar, self.edits), edge.adjoint

        def value(s: Sym) -> Array:
            return part if s == bar else plain(s)

        still = {} if self.restarted else self.of.still(program.scan.name, t)
        seen = EditedValues(value, still)
        less = -self.run.batches.fit(self.of.terms(term, seen), like)
        return less if own is None else less + self.run.batches.fit(self.of.terms(own, seen), like)

    def _part(self, name: str, t: int, source: str) -> Array | None:
        """A share of an adjoint as the edits before have left it."""
        part = self.of.part(name, t, source)
        readers = self.of.derivation.readers(name)
        for edge in readers if "<-" in source else ():
            at = self.run.at(name, t, -(edge.lag or 0))
            program = self.of.derivation.program(edge.scan)
            if at not in self.run.times(program):
                continue
            more = self.shift(edge.equation.name, at) if edge.id == source else None
            if len(readers) == 1 and edge.id != source:  # handed on by the only reader
                behind = self._part(edge.equation.name, at, source)
                first = self.of.part(edge.equation.name, at, source)
                if behind is not None and first is not None and behind is not first:
                    more = behind - first
            given = self.given.get((edge.id, at)) if edge.id == source else None
            if more is not None:
                behind = self._right(program, edge, at, more)
                given = behind if given is None else behind + given
            if given is not None:
                part = given if part is None else part + given
        return part

    def _right(self, program: ScanProgram, edge: Edge, t: int, own: Array) -> Array:
        """What an edge should make of an adjoint."""
        plain = self.of.lookup(program, t, self.bar)

        def value(s: Sym) -> Array:
            return own if s == edge.adjoint else plain(s)

        seen = EditedValues(value, self.of.still(program.scan.name, t))
        return self.run.batches.fit(self.of.terms(edge.pullback, seen), plain(edge.operand))

    def _permute(self, t: int) -> None:
        taken = self.edits.permuted
        found = {n: self.bar(m, t) - self.bar(n, t) for n, m in taken.items() if n != m}
        for n, value in found.items():
            if (n, t) in self.of.nodes:
                self.inject(n, t, value)

    def _cotangents(self) -> None:
        edits, network = self.edits, self.of.derivation.network
        known = dict(cotangents_taken(edits, self.of.cotangents))
        changed = (
            edits.scaled_outputs, edits.lost_outputs, edits.output_of_step, edits.taken_outputs,
            edits.shifted_outputs, edits.masked_outputs,
        )  # fmt: skip
        for label in dict.fromkeys(n for some in changed for n in some):
            used, own = {}, self.of.cotangents.get(label)
            if label in known:
                used = dict(cotangents_inward(self.run, edits, label, known[label]))
            right = {}
            if own is not None:
                right = dict(cotangents_inward(self.run, NO_EDITS, label, own))
            for t in {**used, **right}:
                more = np.asarray(used.get(t, 0.0)) - np.asarray(right.get(t, 0.0))
                self.inject(network.outputs[label].name, t, more)

    def _finals(self, program: ScanProgram, times: Sequence[int]) -> None:
        for state in program.scan.states:
            lost = state.name in self.edits.lost_finals
            if lost:
                self.inject(state.name, times[-1], -self.bar(state.final, 0))
            elif state.name in self.edits.repeated_finals:
                for t in times[:-1]:
                    self.inject(state.name, t, self.bar(state.final, 0))
            elif state.name in self.edits.first_finals and len(times) > 1:
                self.inject(state.name, times[-1], -self.bar(state.final, 0))
                self.inject(state.name, times[0], self.bar(state.final, 0))

    def _pass_by(self, program: ScanProgram, t: int) -> None:
        for state in program.scan.states:
            before = self.run.at(state.name, t, -1 if program.scan.reverse else 1)
            outside = self.of.outside(state.name, t)
            carried = self.bar(state.name, t)
            self.inject(state.name, before, carried if outside is None else carried - outside)

    def _starts(self, program: ScanProgram) -> None:
        for state in program.scan.states:
            if state.name not in self.edits.lost_starts:
                continue
            for start in state.initial:
                if start.ref is not None:
                    got = self.bar(state.name, self.run.before(program, start.lag))
                    like = self.run.series[start.ref.name][0]
                    self.inject(start.ref.name, 0, -self.run.batches.fit(got, like))
