"""A segment of a trajectory: states and inputs of some consecutive steps, and the transition
Jacobians there, from the derived edges, all steps at once.

Equation values are computed with the steps as columns (one GEMM for W h), Jacobians with the steps
as leading axis. The blocks are accumulated over named equations, so their cost is linear in the
number of edges, whatever the number of paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..calculus.terms import Sym
from ..derivation.program import Edge, ScanProgram
from ..errors import UsageError
from .entry_columns import from_blocks
from .factors import Factor, factor_of
from .system import System

__all__ = ["Blocks", "Segment", "backward", "forward", "resting"]

Array = Any
#: Most bytes of states that a system keeps, so that no other look at it steps through them again.
HELD = 2**24
#: (state or source name, lag) → its contribution, by equation.
Blocks = dict[str, dict[tuple[str, int], Factor]]


@dataclass
class Segment:
    """Steps ``start`` … ``start + m − 1`` of a system, in the order in which it runs.

    Attributes
    ----------
    line : dict
        State → ``(size, depth + m)``: column ``depth + j`` is its value after step j.
    moving : dict
        What the equations read from outside at every step, ``(n, m)``.
    """

    system: System
    start: int
    steps: int
    line: Mapping[str, Array]
    moving: Mapping[str, Array]
    _equations: dict[str, Array] = field(default_factory=dict)
    _edges: dict[str, Factor] = field(default_factory=dict)

    def previous(self, name: str, lag: int) -> Array:
        """A state as the equations read it, ``(size, m)``."""
        system = self.system
        if not system.variant.mix:
            return self._at(name, lag)
        return sum(w * self._at(name, k) for k, w in system.variant.mix.items())

    def _at(self, name: str, lag: int) -> Array:
        first = self.system.depth - lag
        return self.line[name][:, first : first + self.steps]

    @property
    def equations(self) -> Mapping[str, Array]:
        """Values of all equations, ``(n, m)``, or ``(n, 1)`` for what does not move.

        With matrix states or heads the steps come first, ``(m, n, 1)``, ``(m, H, n, k)``.
        """
        if not self._equations:
            ev = self.system.columns
            for program in self.system.programs:
                for e in program.equations:
                    self._equations[e.name] = ev(e.rhs, self._lookup)
        return self._equations

    def _lookup(self, s: Sym) -> Array:
        if s.kind == "state":
            before = self.previous(s.name, abs(s.lag or 0))
            return self.system.terms_of(before, self.system.shape(s.name))
        if s.name in self._equations:
            return self._equations[s.name]
        if s.name in self.moving:
            return self.system.terms_of(self.moving[s.name], self.system.shape(s.name))
        return self.system.fixed(s.name)

    def leading(self, s: Sym) -> Array:
        """The value of a variable with the steps as leading axis, ``(m, n, 1)``."""
        value = self._lookup(s)
        if self.system.batches.front:
            return value
        moves = s.kind in ("state", "equation", "sequence", "input", "data")
        return value.T[:, :, None] if moves and value.shape[-1] == self.steps else value

    def edge(self, edge: Edge) -> Factor:
        """The Jacobian of one edge at every step."""
        known = self._edges.get(edge.id)
        if known is None:
            if not self._equations:
                _ = self.equations
            known = factor_of(self.system.leading, edge.jacobian, self.leading)
            if self.system.batches.heads:
                heads = (self.system.heads_of(s) for s in (edge.equation, edge.operand))
                known = known.over_heads(*heads)
            if self.system.edit is not None:
                known = self.system.edit(edge, known)
            self._edges[edge.id] = known
        return known

    def blocks(self, keep: Callable[[Edge], bool] | None = None) -> Blocks:
        """∂equation_t/∂(state at a lag) for every equation on the way to a state.

        Parameters
        ----------
        keep : callable, optional
            Which readings of earlier states count; all when left out. Because every path from the
            last step enters through exactly one of them, the blocks are additive over readings.
        """
        out: Blocks = {}
        for program in self.system.programs:
            for e in program.equations:
                if e.name not in self.system.on_the_way:
                    continue
                row: dict[tuple[str, int], Factor] = {}
                for edge in e.edges:
                    self._extend(row, edge, out, keep)
                out[e.name] = row
        return out

    def _extend(
        self,
        row: dict[tuple[str, int], Factor],
        edge: Edge,
        out: Blocks,
        keep: Callable[[Edge], bool] | None,
    ) -> None:
        name = edge.operand.name
        if edge.kind == "state":
            if keep is None or keep(edge):
                _add(row, (name, abs(edge.lag or 0)), self.edge(edge))
        elif name in out:
            for slot, inner in out[name].items():
                _add(row, slot, self.edge(edge) @ inner)

    def jacobian(self, keep: Callable[[Edge], bool] | None = None) -> Array:
        """The transition Jacobian of the whole state (companion form for delays), ``(m, n, n)``."""
        system = self.system
        blocks = self.blocks(keep)
        out = np.zeros((self.steps, system.n, system.n))
        leak = system.variant.leak
        for to in system.slots:
            if to.lag > 1:
                before = system.slot(to.name, to.lag - 1)
                if keep is None:
                    out[:, to.at, before.at] = np.eye(to.stop - to.start)
                continue
            for (name, lag), factor in blocks[to.name].items():
                share = 1.0 if leak is None else leak
                for back, weight in (system.variant.mix or {lag: 1.0}).items():
                    at = system.slot(name, back).at
                    out[:, to.at, at] += share * weight * factor.dense()
            if leak is not None and keep is None:
                out[:, to.at, to.at] += (1.0 - leak) * np.eye(to.stop - to.start)
        return out

    def onward(self, name: str) -> dict[str, Factor]:
        """∂state_t/∂equation_t within the step, by state; only states that depend on it."""
        here: dict[str, Factor] = {}
        for program in self.system.programs:
            for e in program.equations:
                if e.name == name:
                    size = self.system.entries_of(e.symbol)
                    here[name] = Factor(size, size)
                    continue
                parts = [x for x in e.edges if x.kind != "state" and x.operand.name in here]
                for x in parts:
                    term = self.edge(x) @ here[x.operand.name]
                    here[e.name] = here[e.name] + term if e.name in here else term
        return {n: f for n, f in here.items() if n in self.system.sizes}

    def gradient(self, seeds: Iterable[str], column: int) -> Array | None:
        """Σ ∂seed/∂state at one step of the segment (the states made in that step), ``(n,)``.

        None where no seed depends on a state. Steps between are not followed.
        """
        if not self._equations:
            _ = self.equations
        states = {s.name for s in self.system.slots if s.lag == 1}
        reach: dict[str, dict[str, Array]] = {}
        for program in (*self.system.programs, *self.system.after):
            for e in program.equations:
                row: dict[str, Array] = {}
                if e.name in states:
                    # What the state itself is made of counts through the state.
                    slot = self.system.slot(e.name, 1)
                    row[e.name] = np.eye(slot.stop - slot.start)
                    reach[e.name] = row
                    continue
                for edge in e.edges:
                    for name, inner in reach.get(edge.operand.name, {}).items():
                        dense = self.edge(edge).dense()
                        here = dense[column] if dense.ndim == 3 else dense
                        row[name] = row.get(name, 0) + here @ inner
                reach[e.name] = row
        total = np.zeros(self.system.n)
        found = False
        for seed in seeds:
            for name, part in reach.get(seed, {}).items():
                total[self.system.slot(name, 1).at] += part.sum(axis=0)
                found = True
        return total if found else None


def _add(row: dict[tuple[str, int], Factor], slot: tuple[str, int], term: Factor) -> None:
    row[slot] = row[slot] + term if slot in row else term


# -- trajectories, by calling the definitions step by step -----------------------------------------


def forward(system: System, steps: int) -> Iterator[Segment]:
    """The trajectory, a segment at a time; what is not kept by the caller is let go."""
    line = system.start()
    length = system.segment_length
    for at in range(0, steps, length):
        segment = _run(system, line, at, min(length, steps - at), steps)
        line = _tail(system, segment)
        yield segment


def backward(system: System, steps: int) -> Iterator[Segment]:
    """The segments of the first `steps` steps from the last to the first."""
    line = system.start()
    length = system.segment_length
    marks: list[tuple[int, dict[str, Array]]] = []
    for at in range(0, steps, length):
        marks.append((at, line))
        last = _run(system, line, at, min(length, steps - at), steps)
        line = _tail(system, last)
    yield last
    for at, start in reversed(marks[:-1]):
        yield _run(system, start, at, length, steps)


def resting(system: System, steps: int) -> tuple[str, ...]:
    """The states that stay at their start, a fixed point.

    Rounding alone may move a state by some units in the last place.
    """
    line = system.start()
    still = set(line)
    for segment in forward(system, steps):
        for name in tuple(still):
            a, first = segment.line[name], line[name][:, -1:]
            moved = np.abs(a[:, system.depth :] - first).max(initial=0.0)
            if moved > 16 * np.finfo(float).eps * np.abs(first).max(initial=0.0):
                still.discard(name)
        if not still:
            break
    return tuple(n for n in system.sizes if n in still)


def _tail(system: System, segment: Segment) -> dict[str, Array]:
    return {n: a[:, a.shape[1] - system.depth :].copy() for n, a in segment.line.items()}


def _moving(system: System, start: int, stop: int, total: int) -> dict[str, Array]:
    out: dict[str, Array] = {}
    a, b = (total - stop, total - start) if system.reverse else (start, stop)
    for p in system.programs:
        for name, operand in p.scan.operands.items():
            if operand.ref.axis is None or name in system.equations:
                continue
            if name in system.model.sources:
                block = system.model.sources[name].block(a, b)
            else:
                block = system.supplied[name][a:b, ..., 0]
            if len(block) != b - a:
                raise UsageError(
                    f"{system.model.network.name!r}: the input {name!r} ends after "
                    f"{a + len(block)} steps; {total} were asked for"
                )
            block = block[::-1] if system.reverse else block
            out[name] = from_blocks(block, operand.ref.shape, system.model.sizes)
    return out


def _run(system: System, line: Mapping[str, Array], start: int, steps: int, total: int) -> Segment:
    moving, key = _moving(system, start, start + steps, total), (start, steps, total)
    known = system.stepped.get(key)
    if known is not None and all(np.array_equal(a, line[n]) for n, a in _head(system, known)):
        return Segment(system, start, steps, known, moving)
    made = {n: np.concatenate([a, np.empty((len(a), steps))], axis=1) for n, a in line.items()}
    segment = Segment(system, start, steps, made, moving)
    with np.errstate(over="ignore", invalid="ignore"):  # said below, with the step
        _step_through(system, made, moving, steps)
    for name, a in made.items():
        if not np.isfinite(a).all():
            bad = int(np.argwhere(~np.isfinite(a[:, system.depth :]).all(axis=0))[0, 0])
            raise UsageError(
                f"{system.model.network.name!r}: state {name!r} is not finite from step "
                f"{start + bad + 1} on; the forward pass itself diverges, use fewer steps or "
                "smaller weights"
            )
    held = sum(a.nbytes for line in system.stepped.values() for a in line.values())
    if held + sum(a.nbytes for a in made.values()) <= HELD:
        system.stepped[key] = made
    return segment


def _head(system: System, line: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """States before the first step of a segment."""
    return ((n, a[:, : system.depth]) for n, a in line.items())


def _step_through(
    system: System, made: dict[str, Array], moving: Mapping[str, Array], steps: int
) -> None:
    plans = [_plan(system, p) for p in system.running]
    leak, sizes = system.variant.leak, system.model.sizes
    for j in range(steps):
        now: dict[str, Array] = {}
        for program, fixed, states, read in plans:
            values = dict(fixed)
            for own, name, lags in states:
                values[own] = _read(system, name, made[name], j, lags)
            for own, name in read:
                values[own] = (
                    now[name] if name in now else system.defined(name, moving[name][:, [j]])
                )
            new = program.scan.cell.step(values)
            for own, value in new.items():
                now[program.scan.arguments[own]] = value
        for name, a in made.items():
            value = from_blocks(now[name][None], system.shapes[name], sizes)[:, 0]
            if leak is not None:
                value = (1.0 - leak) * a[:, system.depth + j - 1] + leak * value
            a[:, system.depth + j] = value


def _read(system: System, name: str, a: Array, j: int, lags: tuple[int, ...]) -> Any:
    at = system.depth + j
    if system.variant.mix:
        mixed = sum(w * a[:, at - k : at - k + 1] for k, w in system.variant.mix.items())
        return system.defined(name, mixed)
    if lags == (1,):
        return system.defined(name, a[:, at - 1 : at])
    return {k: system.defined(name, a[:, at - k : at - k + 1]) for k in lags}


def _plan(system: System, program: ScanProgram) -> tuple[ScanProgram, Any, Any, Any]:
    scan = program.scan
    fixed: dict[str, Array] = {}
    states, read = [], []
    for own, kind in scan.cell.kinds.items():
        name = scan.arguments[own]
        if kind == "state":
            states.append((own, name, scan.cell.lags[own]))
        elif scan.operands[name].ref.axis is None:
            fixed[own] = system.outside(name)
        else:
            read.append((own, name))
    return program, fixed, states, read
