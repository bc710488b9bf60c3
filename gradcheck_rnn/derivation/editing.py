"""How edits of the adjoint program are carried out: shares of adjoints, orders, other values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..calculus.terms import Sym, Term, symbols_in
from .edits import Edits, Move
from .program import Derivation, Edge, EquationProgram, ScanProgram
from .wholes import wholes_of

__all__ = [
    "Adjoints",
    "Bars",
    "add_finals",
    "cotangents_as_used",
    "cotangents_taken",
    "crosses",
    "in_order",
    "is_cut",
    "mirrored_values",
    "moved_shares",
    "pass_by",
    "pass_whole",
    "pinned_at",
    "read_wrongly",
    "reads_others",
    "sources",
    "split_names",
    "target_time",
    "value_at",
]

Array = Any
Run = Any  # of `evaluate`, which imports this module


class Adjoints:
    """Sums of contributions by name and time, with ``shared`` also each source's share.

    A share goes on under its first source as long as what it goes to has no other reader.
    ``split``: shares of the adjoints of these names only.
    """

    def __init__(
        self,
        shared: bool = False,
        summed: Callable[[Array], Array] = lambda total: total,
        split: Collection[str] | None = None,
    ) -> None:
        self.sums: dict[str, dict[int, Array]] = {}
        self.shared, self.summed, self.split = shared, summed, split
        self._parts: dict[tuple[str, int], dict[str, Array]] = {}
        self._outside: dict[tuple[str, int], Array] = {}
        self.received: dict[str, Array | None] = {}  # by the step at work

    def add(self, name: str, t: int, value: Array, source: str = "") -> None:
        line = self.sums.setdefault(name, {})
        line[t] = self.summed(line[t] + value) if t in line else value
        if source.startswith("g_"):
            key = (name, t)
            self._outside[key] = self._outside[key] + value if key in self._outside else value
        if self.shared:
            self._share(name, t, source, value)

    def splits(self, name: str) -> bool:
        """Whether shares of the adjoint of a name are kept."""
        return self.shared and (self.split is None or name in self.split)

    def _share(self, name: str, t: int, source: str, value: Array) -> None:
        if not self.splits(name):
            return
        line = self._parts.setdefault((name, t), {})
        line[source] = line[source] + value if source in line else value

    def add_shares(self, edge: Edge, t: int, value: Array, parts: Mapping[str, Array]) -> None:
        """Add what an edge gives, whole or by the sources of what it reads."""
        name = edge.operand.name
        line = self.sums.setdefault(name, {})
        line[t] = self.summed(line[t] + value) if t in line else value
        if len(parts) > 1 and edge.kind == "equation":
            for source, part in parts.items():
                self._share(name, t, source, part)
        else:
            self._share(name, t, edge.id, value)

    def parts(self, name: str, t: int) -> dict[str, Array]:
        """Shares of an adjoint by source."""
        return self._parts.get((name, t), {})

    def carried(self, name: str, t: int) -> Array | None:
        """The adjoint without the cotangents of the outputs at this time."""
        whole, out = self.get(name, t), self.outside(name, t)
        return whole if whole is None or out is None else whole - out

    def outside(self, name: str, t: int) -> Array | None:
        """What the cotangents of the outputs give to an adjoint at a time."""
        return self._outside.get((name, t))

    def get(self, name: str, t: int) -> Array | None:
        return self.sums.get(name, {}).get(t)

    def permute(self, taken: Mapping[str, str], t: int) -> None:
        """Give every name the sum of another at one time."""
        found = {n: self.get(m, t) for n, m in taken.items()}
        for n, value in found.items():
            line = self.sums.setdefault(n, {})
            line.pop(t, None)
            if value is not None:
                line[t] = value


class Bars(dict[Sym, Array]):
    """The adjoints of all equations at one time, zero where there is none."""

    def __init__(self, sums: Adjoints, run: Run, t: int) -> None:
        self.sums, self.run, self.t = sums, run, t

    def __contains__(self, s: object) -> bool:
        return isinstance(s, Sym) and s.mark == "bar"

    def __getitem__(self, s: Sym) -> Array:
        found = self.sums.get(s.name, self.t)
        return np.zeros_like(self.run.series[s.name][self.t]) if found is None else found


def sources(derivation: Derivation, equation: str) -> tuple[str, ...]:
    """What the adjoint of an equation is the sum of, by the names that shares go under."""
    network = derivation.network
    out = [e.id for e in derivation.readers(equation)]
    if len(out) == 1:
        (reader,) = derivation.readers(equation)
        behind = sources(derivation, reader.equation.name) if reader.kind == "equation" else ()
        if len(behind) > 1:
            out = list(behind)
    out += ["loss" for r in network.loss_terms if r.name == equation]
    out += [f"rows of {ref.name}" for ref in wholes_of(network, {equation})]
    for label, ref in network.outputs.items():
        if ref.name == equation:
            out.append(f"g_{label}")
        elif ref.state == equation:
            out.append(f"final {equation}")
    return tuple(dict.fromkeys(out))


def cotangents_taken(edits: Edits, cotangents: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Outputs and the cotangents that are taken for theirs."""
    for label in {**cotangents, **edits.taken_outputs}:
        source = edits.taken_outputs.get(label, label)
        if source in cotangents:
            yield label, cotangents[source]


def split_names(derivation: Derivation, edits: Edits) -> frozenset[str]:
    """Names whose adjoints have to be known by share: what edited edges read, and its sources."""
    found: set[str] = set()
    for _, identity in edits.shares:
        name = derivation.edge(identity).equation.name
        while name not in found:
            found.add(name)
            readers = derivation.readers(name)
            if len(readers) != 1 or readers[0].kind != "equation":
                break
            name = readers[0].equation.name
    return frozenset(found)


def target_time(run: Run, edits: Edits, edge: Edge, t: int, times: Sequence[int]) -> int:
    """The time of the operand to which an edge of the step at time t gives something."""
    if edge.lag is None:
        return 0
    name = edge.operand.name
    where = run.at(name, t, edge.lag)
    if edge.id in edits.mirrored and where in times and edge.kind != "param":
        return run.at(name, times[0] + times[-1] - where, 0)
    if edge.kind == "state" and edge.scan in edits.turned:
        where = run.at(name, t, -edge.lag)  # the step that is taken next
        if where not in times:  # after the last one it goes to the start
            beyond = int(abs(where - times[-1]) * run.substeps.get(name, 1)) - 1
            where = run.at(name, times[0], edge.lag - (beyond if edge.lag > 0 else -beyond))
    return where


def mirrored_values(
    run: Run, values: Callable[[Sym], Array], t: int, times: Sequence[int]
) -> Callable[[Sym], Array]:
    """The same adjoints, but values of the steps in reversed order; beyond them lie zeros."""

    def value(s: Sym) -> Array:
        if s.mark or s.lag is None:
            return values(s)
        line = run.series[s.name]
        at = run.at(s.name, times[0] + times[-1] - t, s.lag)
        return line[at] if at in line else np.zeros_like(line[run.at(s.name, t, 0)])

    return value


def cotangents_as_used(
    edits: Edits, label: str, single: bool, given: Array
) -> Iterator[tuple[int, Array]]:
    """Times and values of an output's cotangent, as a backward pass with these edits takes them."""
    factor = edits.scaled_outputs.get(label, 1.0)
    if single:
        g = np.asarray(given)
        yield 0, g if factor == 1.0 else factor * g
        return
    lost, one = edits.lost_outputs.get(label, ()), edits.output_of_step.get(label)
    if label in edits.shifted_outputs:
        given = _shifted(np.asarray(given), edits.shifted_outputs[label])
    for t, own in enumerate(given):
        if t + 1 not in lost and t - len(given) not in lost:
            g = own if one is None else given[one - 1 if one > 0 else one]
            yield t + 1, g if factor == 1.0 else factor * g


def in_order(
    program: ScanProgram, edits: Edits
) -> tuple[list[EquationProgram], list[EquationProgram], dict[str, list[Edge]]]:
    """The equations as the adjoint meets them; those permuted wait for the last of them.

    What reads the adjoint of another equation within the step waits until that is complete. Where
    that adjoint needs what waits, only the edge does: until its operand is met, under whose name it
    is in what is returned last.
    """
    order = list(reversed(program.equations))
    made = {e.name: e for e in program.equations}
    delayed: dict[str, list[Edge]] = {}
    for e in program.equations if edits.terms else ():
        for edge in e.edges:
            term = edits.terms.get(edge.id)
            if term is not None and edge.kind == "equation" and reads_others(edge, term):
                names = {s.name for s in symbols_in(term) if s.mark == "bar"}
                moved = _waiting(order, e, names)
                if moved is None and edge.operand.name in made:
                    moved = _waiting(order, made[edge.operand.name], names)
                    delayed.setdefault(edge.operand.name, []).append(edge)
                order = order if moved is None else moved
    group = [e for e in order if e.name in edits.permuted]
    if group:
        last = order.index(group[-1])
        order = [e for e in order[:last] if e not in group] + group + order[last + 1 :]
    return order, group, delayed


def _waiting(
    order: list[EquationProgram], waits: EquationProgram, names: set[str]
) -> list[EquationProgram] | None:
    """The order with all that the adjoints of some names are made of before an equation.

    None where the equation is part of that.
    """
    first = set(names) - {waits.name}
    for e in reversed(order):  # in the order of the definition
        if any(x.lag == 0 and x.operand.name in first for x in e.edges):
            first.add(e.name)
    if waits.name in first:
        return None
    at = order.index(waits)
    moved = [e for e in order[at:] if e.name in first]
    return order[:at] + moved + [e for e in order[at:] if e not in moved]


def add_finals(sums: Adjoints, program: ScanProgram, times: Sequence[int], edits: Edits) -> None:
    """Give the cotangents of final states to the last step, or to all."""
    for state in program.scan.states:
        final = sums.get(state.final, 0)
        if final is not None and state.name not in edits.lost_finals:
            every = state.name in edits.repeated_finals
            turned = program.scan.name in edits.turned or state.name in edits.first_finals
            first = times[:1] if turned else times[-1:]
            for t in times if every else first:
                sums.add(state.name, t, final, "final " + state.name)


def pass_by(
    run: Run, sums: Adjoints, program: ScanProgram, t: int,
    states: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Carry what arrives at a step to the step before: of all states, or of some."""
    for state in program.scan.states:
        if states is not None and state.name not in states:
            continue
        arrived = sums.carried(state.name, t)
        if arrived is not None:
            sums.add(state.name, run.at(state.name, t, -1 if program.scan.reverse else 1), arrived)


def reads_others(edge: Edge, term: Term) -> bool:
    """Whether a term reads the adjoints of other equations than its own."""
    return any(s.mark == "bar" and s.name != edge.equation.name for s in symbols_in(term))


def _shifted(a: Array, by: int) -> Array:
    """Cotangents of other steps: so many steps later, zero beyond the ends; 0 reverses time."""
    if by == 0:
        return a[::-1]
    out = np.zeros_like(a)
    n = len(a) - abs(by)
    if n > 0 and by > 0:
        out[:n] = a[by:]
    elif n > 0:
        out[-by:] = a[:n]
    return out


def moved_shares(
    run: Run, times: Sequence[int], edge: Edge, move: Move, give: Callable[[int, int], Array | None]
) -> Iterator[tuple[int, Array]]:
    """Times of an operand and what is added there where an edge is moved in time.

    ``give(at, t)`` is what the edge gives with the adjoint at one time and values at another.
    """
    kind, k = move
    line = _own_times(run, edge.operand.name, times)
    for step, t in enumerate(times):
        where, own = run.at(edge.operand.name, t, edge.lag), give(t, t)
        if own is None:
            continue
        if kind in ("goes", "also") and (where in times or kind == "also"):
            place = k - 1 if where not in line else line.index(where) + k
            yield where, 0 * own if where not in line else -own
            if 0 <= place < len(line):
                yield line[place], own
        elif kind == "start" and where not in times:
            other = times[k - 1 if k > 0 else k] if abs(k) <= len(times) else None
            given = None if other is None else give(other, other)
            yield where, -own if given is None else given - own
        elif kind == "reads" and (edge.kind != "state" or where not in times):
            place = step + k if k else len(times) - 1 - step
            given = give(times[place], t) if 0 <= place < len(times) else None
            yield where, -own if given is None else given - own


def _own_times(run: Run, name: str, times: Sequence[int]) -> Sequence[int]:
    """The times of a name in a scan's order: of whole steps, if it has no part in substeps."""
    if not run.substeps or name in run.substeps:
        return times
    return list(dict.fromkeys(run.at(name, t, 0) for t in times))


def value_at(run: Run, name: str, t: int) -> Array:
    """A value at a time; zero where it has none, before its first step."""
    held = run.series[name]
    return held[t] if t in held else np.zeros_like(next(iter(held.values())))


def pinned_at(
    run: Run, values: Callable[[Sym], Array], name: str, at: int
) -> Callable[[Sym], Array]:
    """The same values, but that of one name as the step at time ``at`` reads it."""

    def value(s: Sym) -> Array:
        if s.name == name and not s.mark and s.lag is not None:
            return value_at(run, name, run.at(name, at, s.lag))
        return values(s)

    return value


def read_wrongly(
    run: Run, program: ScanProgram, edits: Edits, t: int, values: Callable[[Sym], Array]
) -> Callable[[Sym], Array]:
    """The same values, but others for some starts, and zero for what is before them."""
    times = run.times(program)

    def value(s: Sym) -> Array:
        if s.lag is None or s.mark:
            return values(s)
        at = run.at(s.name, t, s.lag)
        if at in times:
            return values(s)
        line = _own_times(run, s.name, times)
        first = line[0]
        if (at - times[-1]) * (-1 if program.scan.reverse else 1) > 0:  # beyond the last
            if s.name in edits.held_starts or s.name in edits.wrapped_starts:
                own = line[-1] if s.name in edits.held_starts else line[0]
                return run.series[s.name][own]
            return np.zeros_like(run.series[s.name][first])
        if s.name in edits.wrapped_starts:
            back = line.index(run.at(s.name, t, 0)) - abs(s.lag)
            return run.series[s.name][line[max(back, -len(line))]]
        if s.name in edits.held_starts:
            return run.series[s.name][first]
        if s.name in edits.zero_starts or at not in run.series[s.name]:
            return np.zeros_like(run.series[s.name][first])
        return values(s)

    return value


def is_cut(
    run: Run,
    program: ScanProgram,
    edits: Edits,
    truncate: int | None,
    step: int,
    t: int,
    where: int,
) -> bool:
    """Whether what a step gives to a state that it reads is cut off."""
    name = program.scan.name
    reach, border = edits.carry.get(name), edits.unjoined.get(name)
    left = len(run.times(program)) - step
    return (
        (truncate is not None and crosses(run, program, t, where, truncate))
        or (reach is not None and left >= reach)
        or (border is not None and (step - 1) % border == 0)
    )


def pass_whole(run: Run, sums: Adjoints, program: ScanProgram, edits: Edits, t: int) -> None:
    """Hand on adjoints of states, or the cotangents in them, in place of what is derived."""
    for state in program.scan.states:
        what = edits.passed.get(state.name)
        if what is not None:
            given = (sums.get if what == "whole" else sums.outside)(state.name, t)
            if given is not None:
                before = run.at(state.name, t, -1 if program.scan.reverse else 1)
                sums.add(state.name, before, given)


def crosses(run: Run, program: ScanProgram, t: int, where: int, block: int) -> bool:
    """Whether reading ``where`` from ``t`` goes back over the border between two blocks.

    The start belongs to the first block: it keeps its gradient, as in a window run by itself.
    """
    times = run.times(program)
    position = abs(t - times[0])
    source = max(position - abs(t - where), 0)
    return position // block != source // block
