"""A model on arrays, its systems (the scans that run together), and their trajectories.

Scans along one time axis and in one direction are one dynamical system: a stack of two layers has
the joint state of both. Trajectories are made by calling the definitions step by step, a segment
at a time; a backward pass keeps one state per segment and makes the segments again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..calculus.terms import Sym
from ..derivation import derive
from ..derivation.batches import Batches
from ..derivation.numeric_terms import TermEvaluator
from ..derivation.program import Derivation, Edge, ScanProgram
from ..errors import UsageError
from ..language.dims import Shape
from ..language.network import Network, Ref
from ..language.running import run
from ..language.stacks import entries_of, unflat
from .entry_columns import as_defined, as_terms, from_blocks
from .factors import Factor, LeadingEvaluator
from .inputs import InputSource

__all__ = ["Model", "Slot", "System", "Variant"]

Array = Any
#: Bytes of dense Jacobians held at a time.
BUDGET = 8 << 20


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


@dataclass(frozen=True)
class Variant:
    """A change of the recurrence s ↦ F(s) that leaves the parameters alone.

    Attributes
    ----------
    leak : float, optional
        a in s ↦ (1 − a) s₋ + a F(s₋); the survey's 1/τ of eq. (27), put around the whole state.
    mix : mapping, optional
        Lag → weight: F reads Σ_k w_k s_{t−k}; for h = tanh(W h₋ + …) this is eq. (26) with
        W_k = w_k W.
    """

    leak: float | None = None
    mix: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A network with its parameters and inputs.

    Attributes
    ----------
    values : dict
        Parameters and what is one vector a sequence, as columns ``(n, k)``.
    sources : dict
        Input or data sequence → where its vectors come from.
    first : dict
        State → ``(size, depth)``, its values before the first step, the last one last; where a
        state is missing, it starts as its definition says.
    """

    network: Network
    sizes: Mapping[str, int]
    values: Mapping[str, Array]
    sources: Mapping[str, InputSource]
    first: Mapping[str, Array] = field(default_factory=dict)

    @cached_property
    def derivation(self) -> Derivation:
        return derive(self.network)

    def with_values(self, **changed: Array) -> Model:
        """The model with some parameters replaced; the derivation is kept."""
        made = replace(self, values={**self.values, **changed})
        made.__dict__["derivation"] = self.derivation
        return made

    @property
    def longest(self) -> int | None:
        """The number of steps the inputs last; None if without end."""
        ends = [s.steps for s in self.sources.values() if s.steps is not None]
        return min(ends) if ends else None

    def systems(self, variant: Variant | None = None, steps: int | None = None) -> list[System]:
        """The recurrences of the network, one for each time axis and direction.

        Parameters
        ----------
        steps : int, optional
            Needed when one of them reads another: then all sequences are made first.

        Raises
        ------
        UsageError
            The network has no recurrent state.
        """
        groups: dict[tuple[str, bool], list[ScanProgram]] = {}
        for p in self.derivation.scans:
            if p.scan.axis is not None:
                groups.setdefault((p.scan.axis, p.scan.reverse), []).append(p)
        groups = {k: v for k, v in groups.items() if any(p.scan.states for p in v)}
        if not groups:
            raise UsageError(f"{self.network.name!r} has no recurrent state to follow")
        model = self
        if self.network.wholes and steps is not None:  # what is read whole has as many rows
            model = replace(self, sizes={**self.sizes, **dict.fromkeys(self.network.axes, steps)})
            model.__dict__["derivation"] = self.derivation
        made = [System(model, tuple(g), variant or Variant()) for g in groups.values()]
        if any(s.foreign for s in made):
            if steps is None:
                raise UsageError(f"{self.network.name!r}: give the number of steps")
            if steps not in self._supplied:
                everything = self._run(steps)
                foreign = {n for s in made for n in s.foreign}
                self._supplied[steps] = {n: everything[n] for n in foreign}
            for s in made:
                s.supplied.update({n: self._supplied[steps][n] for n in s.foreign})
        return made

    @cached_property
    def _supplied(self) -> dict[int, dict[str, Array]]:
        """Number of steps → sequences that recurrences read from each other."""
        return {}

    def _run(self, steps: int) -> Mapping[str, Array]:
        values = dict(self.values)
        for name, source in self.sources.items():
            shape = self.network.inputs[name].shape
            values[name] = unflat(source.block(0, steps)[:, :, None], shape, self.sizes)
        lengths = dict.fromkeys(self.network.axes, steps)
        out: Mapping[str, Array] = run(self.network, values, lengths, everything=True)["everything"]
        return out


class System:
    """A recurrence s_t = F_t(s_{t−1}) of the joint state of some scans.

    Attributes
    ----------
    slots : tuple of Slot
        Where each state (and each of its delays) lies in the joint state; lag 1 first.
    n : int
        Size of the joint state.
    edit : callable, optional
        Changes the Jacobian of an edge where it is read (the trajectory stays): what a cause is
        measured by.
    """

    edit: Callable[[Edge, Factor], Factor] | None = None

    def __init__(self, model: Model, programs: tuple[ScanProgram, ...], variant: Variant) -> None:
        self.model, self.programs, self.variant = model, programs, variant
        self.columns = TermEvaluator(model.sizes, float)
        self.leading = LeadingEvaluator(model.sizes, float)
        self.supplied: dict[str, Array] = {}
        #: (first step, steps, steps in all) → states there, of trajectories that have been run.
        self.stepped: dict[tuple[int, int, int], Mapping[str, Array]] = {}
        states = [s for p in programs for s in p.scan.states]
        if variant.mix and any(s.lags != (1,) for s in states):
            raise UsageError("delays can be mixed in only where every state is read at lag 1")
        depths = {s.name: max((*s.lags, *variant.mix)) for s in states}
        self.depth = max(depths.values())
        self.batches = Batches(model.network)
        self.shapes = {s.name: s.shape for s in states}
        self.sizes = {s.name: entries_of(s.shape, model.sizes) for s in states}
        slots: list[Slot] = []
        at = 0
        for lag in range(1, self.depth + 1):
            for s in states:
                if lag <= depths[s.name]:
                    slots.append(Slot(s.name, lag, at, at + self.sizes[s.name]))
                    at += self.sizes[s.name]
        self.slots = tuple(slots)
        self.n = at
        self.reverse = programs[0].scan.reverse

    @property
    def name(self) -> str:
        return " and ".join(p.scan.name for p in self.programs if p.scan.states)

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def slot(self, name: str, lag: int) -> Slot:
        return next(s for s in self.slots if s.name == name and s.lag == lag)

    def parts(self, name: str) -> list[slice]:
        """Where each head of a state lies in the joint state; empty where it has no heads."""
        if not self.shapes[name].headed:
            return []
        slot, heads = self.slot(name, 1), self.shapes[name].heads.size(self.model.sizes)
        size = (slot.stop - slot.start) // heads
        return [slice(slot.start + h * size, slot.start + (h + 1) * size) for h in range(heads)]

    @cached_property
    def equations(self) -> dict[str, Any]:
        return {e.name: e for p in self.programs for e in p.equations}

    @cached_property
    def foreign(self) -> tuple[str, ...]:
        """What the scans read that other scans make."""
        own, known = self.equations, {*self.model.values, *self.model.sources}
        read = {name for p in self.programs for name in p.scan.operands}
        starts = (i.ref for p in self.programs for s in p.scan.states for i in s.initial)
        read |= {ref.name for ref in starts if ref is not None}
        return tuple(sorted(n for n in read if n not in own and n not in known))

    @property
    def after(self) -> tuple[ScanProgram, ...]:
        """Scans without a time axis that read the last states (a readout of h_T)."""
        return tuple(p for p in self.model.derivation.scans if p.scan.axis is None)

    @cached_property
    def on_the_way(self) -> set[str]:
        """Equations that a state depends on within the step."""
        needed = set(self.sizes)
        for p in reversed(self.programs):
            for e in reversed(p.equations):
                if e.name in needed:
                    needed |= {x.operand.name for x in e.edges if x.operand.name in self.equations}
        return needed

    @cached_property
    def running(self) -> tuple[ScanProgram, ...]:
        """The scans that have to be stepped: those with a state, and those they read."""
        needed: set[str] = set()
        out: list[ScanProgram] = []
        for p in reversed(self.programs):
            if p.scan.states or needed & {e.name for e in p.equations}:
                needed |= set(p.scan.operands)
                out.append(p)
        return tuple(reversed(out))

    @cached_property
    def entries(self) -> tuple[Edge, ...]:
        """The readings of earlier states, in forward order."""
        edges = (x for p in self.programs for e in p.equations for x in e.edges)
        return tuple(x for x in edges if x.kind == "state" and x.equation.name in self.on_the_way)

    def port(self, edge: Edge) -> str:
        """The gate through which a reading enters: the first named equation on its way.

        A state that reads a state without a nonlinearity in between is ``"c direct"``.
        """
        name = edge.equation.name
        if name in self.sizes:
            return f"{name} direct"
        e = self.equations[name]
        while e.named_by != "user":
            readers = [
                x.equation.name
                for x in self.model.derivation.readers(e.name)
                if x.equation.name in self.equations
            ]
            if len(set(readers)) != 1:
                break
            e = self.equations[readers[0]]
        return str(e.name)

    @cached_property
    def ports(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.port(e) for e in self.entries))

    @property
    def segment_length(self) -> int:
        """Steps whose dense Jacobians fit the budget: 1 to 256."""
        return max(1, min(256, BUDGET // (8 * self.n * self.n)))

    # -- trajectories --------------------------------------------------------------------------

    def start(self) -> dict[str, Array]:
        """State → ``(size, depth)``, the column before the first step last; zero if not given."""
        out = {n: np.zeros((size, self.depth)) for n, size in self.sizes.items()}
        for p in self.programs:
            for s in p.scan.states:
                for first in s.initial:
                    if first.ref is not None:
                        value = self.outside(first.ref.name)[None]
                        column = from_blocks(value, s.shape, self.model.sizes)[:, 0]
                        out[s.name][:, self.depth - first.lag] = column
        for name, given in self.model.first.items():
            if name in out:
                out[name][:, self.depth - given.shape[1] :] = given
        return out

    def outside(self, name: str) -> Array:
        """A parameter, or what is one vector a sequence, as columns."""
        return self.model.values[name] if name in self.model.values else self.supplied[name]

    def terms_of(self, columns: Array, shape: Shape) -> Array:
        """Columns ``(size, m)`` of a state or of what moves, as terms take them."""
        if not self.batches.front:
            return columns
        return as_terms(columns, shape, self.model.sizes, self.batches.heads)

    def defined(self, name: str, column: Array) -> Array:
        """A column ``(size, 1)`` of a state or of what moves, as a definition takes it."""
        if not self.batches.front:
            return column
        return as_defined(column, self.shape(name), self.model.sizes)

    def heads_of(self, s: Sym) -> int:
        """How many heads have such a value of their own; 0 where they share it."""
        return 0 if s.heads == 1 else self.leading.size(s.heads)

    def entries_of(self, s: Sym) -> int:
        """How many numbers a value has at one step."""
        return math.prod(map(self.leading.size, (*s.shape, s.heads)))

    @cached_property
    def _fixed(self) -> dict[str, Array]:
        return {}

    def fixed(self, name: str) -> Array:
        """What `outside` gives, as terms take it."""
        made = self._fixed.get(name)
        if made is None:
            network = self.model.network
            ref = network.parameters.get(name) or network.inputs.get(name) or self.refs.get(name)
            array = self.outside(name)
            made = array if ref is None else self.batches.inward(ref, array)
            self._fixed[name] = made
        return made

    @cached_property
    def refs(self) -> dict[str, Ref]:
        return {n: o.ref for p in self.programs for n, o in p.scan.operands.items()}

    def shape(self, name: str) -> Shape:
        """The shape of a state, or of what a scan reads."""
        return self.shapes[name] if name in self.shapes else self.refs[name].shape
