"""What mistakes change at a place of one step, all at once.

At one step everything behind an adjoint is linear in it and the same for all mistakes before it. So
the map from each adjoint to the gradients is made once, by one stacked run of the adjoint program,
and a mistake in a term costs the evaluation of this term. Several mistakes that do not lie behind
one another add up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calculus.terms import Sym, Term
from ...derivation.editing import Adjoints, Bars, read_wrongly
from ...derivation.edits import NO_EDITS, Edits
from ...derivation.evaluate import adjoints, bptt
from ...derivation.local import _fitted
from ...derivation.program import Edge
from ...language.running import to_rows
from ..harness.compare import Comparison
from .candidates import Bench, Candidate
from .stacked import as_program_takes, stacked_columns

__all__ = ["Effects", "is_one_step"]

Array = NDArray[Any]
#: Bounds below which nothing is compared: their reciprocals overflow.
LEAST = 1e-290


def is_one_step(comparison: Comparison) -> bool:
    """Whether all sequences have one step, and the loss is not mixed with cotangents."""
    place = comparison.station.place
    mixed = bool(place.network.loss_terms) and any(c.cotangents for c in comparison.station.cases)
    return all(n == 1 for n in place.lengths.values()) and not mixed


class Effects:
    """The gradients at a place as vectors: those under test, and what candidates change in them.

    Attributes
    ----------
    error : array
        What the code has too much against the derived program with the edits of ``base``.
    bound : array
        Bounds of the verdict, infinite where nothing is known of an entry.
    blocks : array of int
        Number of the definition's value and case that an entry belongs to.
    """

    def __init__(self, bench: Bench, comparison: Comparison, base: Candidate | None = None) -> None:
        self.bench, self.comparison = bench, comparison
        self.station = comparison.station
        self.cases = list(self.station.cases)
        self.base = NO_EDITS if base is None else base.edits
        users = dict.fromkeys(r.user for r in comparison.records)
        self.pieces = [(u, p) for u in users for p in self.station.fitted.pieces[u]]
        self._places: dict[str, list[tuple[slice, float]]] = {}
        at = 0
        for _, piece in self.pieces:
            self._places.setdefault(piece.name, []).append(
                (slice(at, at + piece.index.size), piece.sign)
            )
            at += piece.index.size
        self.width = at
        got = self._of_records(lambda r: r.got, 0.0)
        self.bound = self._of_records(lambda r: r.bound, np.inf)
        if base is None:
            want = self._of_records(lambda r: r.want, 0.0)
        else:
            want = self.flat([bench.gradients(base, comparison, c) for c in self.cases])
        self.got, self.want = got, want
        self.error = np.where(np.isfinite(self.bound), got - want, 0.0)
        self.blocks = np.concatenate([
            np.full(p.index.size, k * len(self.pieces) + j)
            for k in range(len(self.cases)) for j, (_, p) in enumerate(self.pieces)
        ]) if self.pieces else np.zeros(0, int)  # fmt: skip
        self._run = bench.run(self.station)
        self._sums = Adjoints(shared=True)
        given = stacked_columns(self.station, self.cases)
        with np.errstate(all="ignore"):
            adjoints(
                self._run, as_program_takes(self.station, given), edits=self.base, shares=self._sums
            )
        self._rows: dict[tuple[str, int], slice] = {}
        self._behind = self._maps()
        self._known: dict[str, Array] = {}

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

    def _maps(self) -> Array:
        """Gradients (unit, entry) of every unit of every adjoint."""
        run, derivation = self._run, self.bench.derivation
        shapes: dict[tuple[str, int], tuple[int, ...]] = {}
        for program in derivation.scans:
            times = run.times(program)
            for e in program.equations:
                shapes[e.name, times[0]] = run.series[e.name][times[0]].shape[-2:]
            for state in program.scan.states:
                for start in state.initial:
                    at = run.before(program, start.lag)
                    shapes[state.name, at] = run.series[state.name][at].shape[-2:]
        count = 0
        for key, (n, b) in shapes.items():
            self._rows[key] = slice(count, count + n * b)
            count += n * b
        seeds: dict[str, dict[int, Array]] = {}
        for (name, t), (n, b) in shapes.items():
            unit = np.zeros((count, n * b))
            unit[self._rows[name, t]] = np.eye(n * b)
            seeds.setdefault(name, {})[t] = unit.reshape(count, n, b)
        with np.errstate(all="ignore"):
            found = bptt(run, {}, edits=self.base, seeds=seeds)
            silent = bptt(run, {}, edits=self.base)
        network = derivation.network
        refs = {**network.parameters, **network.inputs}
        out = np.zeros((count, self.width))
        for name, places in self._places.items():
            if name not in found:
                continue
            made = self._by_case(name, found[name], refs, count)
            made = made - self._by_case(name, silent[name], refs, 1)
            for place, sign in places:
                out[:, place] = sign * made
        return out

    @staticmethod
    def _by_case(name: str, value: Array, refs: Mapping[str, Any], count: int) -> Array:
        """A stacked gradient by the program as rows (count, entry) of the definition's shape."""
        inner = 3 if refs[name].axis is not None else 2
        if value.ndim == inner:
            value = np.broadcast_to(value, (count, *value.shape))
        elif inner == 3:
            value = value.swapaxes(0, 1)
        return to_rows(refs[name], value).reshape(len(value), -1)

    def change(self, candidate: Candidate) -> Array:
        """What a candidate changes: an entry for each entry of `error`."""
        if candidate.id not in self._known:
            with np.errstate(all="ignore"):
                edits = candidate.edits
                quick = (
                    edits is not NO_EDITS and not candidate.after and candidate.truncate is None
                    and candidate.carry is None and self._is_local(edits)
                )  # fmt: skip
                found = self._local(edits) if quick else self._whole(candidate)
            self._known[candidate.id] = np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)
        return self._known[candidate.id]

    def _whole(self, candidate: Candidate) -> Array:
        both = candidate if self.base is NO_EDITS else _over(self.base, candidate)
        made = [self.bench.gradients(both, self.comparison, c) for c in self.cases]
        return self.flat(made) - self.want

    def _is_local(self, edits: Edits) -> bool:
        """Whether edits are of terms only, none of which lies behind another."""
        if edits != Edits(terms=edits.terms, shares=edits.shares):
            return False
        names = [*edits.terms, *(e for _, e in edits.shares)]
        if any(n in self.base.terms for n in names):
            return False
        edges = [self.bench.derivation.edge(n) for n in names]
        if len(edges) == 1:
            return True
        made = {e.equation.name for e in edges}
        return not any(made & self.bench.reach.upstream(e.operand.name) for e in edges)

    def _local(self, edits: Edits) -> Array:
        out = np.zeros((len(self.cases), self.width))
        for identity, term in edits.terms.items():
            edge = self.bench.derivation.edge(identity)
            self._add(out, edge, term, None)
        for (source, identity), term in edits.shares.items():
            self._add(out, self.bench.derivation.edge(identity), term, source)
        return out.ravel()

    def _add(self, out: Array, edge: Edge, term: Term | None, source: str | None) -> None:
        run = self._run
        program = self.bench.derivation.program(edge.scan)
        t = run.times(program)[0]
        bar = self._sums.get(edge.equation.name, t)
        parts = self._sums.parts(edge.equation.name, t)
        if bar is None or (source is not None and source not in parts):
            return
        held = Bars(self._sums, run, t)
        own = edge.adjoint
        share = bar if source is None else parts[source]

        values = read_wrongly(run, program, self.base.zero_starts, t, run.lookup(t, held))

        def seen(s: Sym) -> Array:
            return share if s == own else values(s)

        like = values(edge.operand)
        delta = -_fitted(run.terms(edge.pullback, seen), like)
        if term is not None:
            delta = delta + _fitted(run.terms(term, seen), like)
        at = 0 if edge.lag is None else t - edge.lag
        rows = self._rows.get((edge.operand.name, at))
        if rows is not None:
            units = np.broadcast_to(delta, (len(self.cases), *delta.shape[-2:]))
            size = rows.stop - rows.start
            if units[0].size != size:
                units = np.broadcast_to(units, (len(self.cases), *like.shape[-2:]))
            out += units.reshape(len(self.cases), size) @ self._behind[rows]
            return
        name = edge.operand.name
        network = self.bench.derivation.network
        refs = {**network.parameters, **network.inputs}
        if name in self._places:
            full = np.broadcast_to(delta, (*delta.shape[:-2], *like.shape[-2:]))
            if refs[name].axis is not None:
                full = full[None]  # one step
            made = self._by_case(name, full, refs, len(self.cases))
            for place, sign in self._places[name]:
                out[:, place] += sign * made


def _over(base: Edits, candidate: Candidate) -> Candidate:
    from dataclasses import replace

    edits = base if candidate.edits is NO_EDITS else base | candidate.edits
    return replace(candidate, id=f"{hash_of(base)} & {candidate.id}", edits=edits)


def hash_of(edits: Edits) -> str:
    """A name for edits of terms, for what is remembered by name."""
    return "|".join([*map(str, edits.terms.items()), *map(str, edits.shares.items())])
