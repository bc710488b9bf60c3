"""A stretch of a trajectory: states and inputs of some consecutive steps, and the transition
Jacobians there, from the derived edges, all steps at once.

Equation values are computed with the steps as columns (one GEMM for W h), Jacobians with the steps
as leading axis. The blocks are accumulated over named equations, so their cost is linear in the
number of edges, whatever the number of paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calculus.terms import Sym
from ..derivation.program import Edge
from .factors import Factor, factor_of

if TYPE_CHECKING:
    from .system import System

__all__ = ["Blocks", "Slot", "Stretch"]

Array = Any
#: (state or source name, lag) → its contribution, by equation.
Blocks = dict[str, dict[tuple[str, int], Factor]]


@dataclass(frozen=True)
class Slot:
    """A part of the whole state: state `name` as it was `lag` − 1 steps before the last one."""

    name: str
    lag: int
    start: int
    stop: int

    @property
    def at(self) -> slice:
        return slice(self.start, self.stop)


@dataclass
class Stretch:
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
        """Values of all equations, ``(n, m)``, or ``(n, 1)`` for what does not move."""
        if not self._equations:
            ev = self.system.columns
            for program in self.system.programs:
                for e in program.equations:
                    self._equations[e.name] = ev(e.rhs, self._lookup)
        return self._equations

    def _lookup(self, s: Sym) -> Array:
        if s.kind == "state":
            return self.previous(s.name, abs(s.lag or 0))
        if s.name in self._equations:
            return self._equations[s.name]
        if s.name in self.moving:
            return self.moving[s.name]
        return self.system.outside(s.name)

    def leading(self, s: Sym) -> Array:
        """The value of a variable with the steps as leading axis, ``(m, n, 1)``."""
        value = self._lookup(s)
        moves = s.kind in ("state", "equation", "sequence", "input", "data")
        return value.T[:, :, None] if moves and value.shape[-1] == self.steps else value

    def edge(self, edge: Edge) -> Factor:
        """The Jacobian of one edge at every step."""
        known = self._edges.get(edge.id)
        if known is None:
            if not self._equations:
                _ = self.equations
            known = factor_of(self.system.leading, edge.jacobian, self.leading)
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
                    size = self.equations[name].shape[0]
                    here[name] = Factor(size, size)
                    continue
                parts = [x for x in e.edges if x.kind != "state" and x.operand.name in here]
                for x in parts:
                    term = self.edge(x) @ here[x.operand.name]
                    here[e.name] = here[e.name] + term if e.name in here else term
        return {n: f for n, f in here.items() if n in self.system.sizes}

    def gradient(self, seeds: Iterable[str], column: int) -> Array | None:
        """Σ ∂seed/∂state at one step of the stretch (the states made in that step), ``(n,)``.

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
