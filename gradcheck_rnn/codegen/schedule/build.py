"""The pipeline from a derivation to a schedule, as one visible list of passes.

1. `equations`: forward equations and pullbacks as nodes in kernel layout;
2. `graphs` (with `distribution`, `hoist`): distribute loops over recurrences, move out of them what
   need not be there, choose what forward saves;
3. `packing`: which values lie side by side in one buffer;
4. `emit`: assign buffers (`buffers` has those of given values, states and adjoints);
5. `Ordering`: write statements in order;
6. `merge`: join statements on adjacent values; `write_first`: adjoints that need no zeros;
   `reuse`: one place for several products; `rings`: adjoints of two steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from ...derivation.program import DIFFERENTIATED, Derivation
from ...language.network import Network
from .buffers import BufferAssignment, last_step
from .emit import LEAVES, Emitter
from .graphs import Graphs
from .inspect import read_buffers, reads, writes
from .kernel_names import Namer, Names
from .lower_equations import Equations
from .merge import Packs, merge
from .nodes import Node, topological
from .ops import (
    Access,
    Allocate,
    Assign,
    Buffer,
    Contract,
    Gemm,
    Loop,
    Number,
    Pointwise,
    Statement,
)
from .packing import Packing, common_name
from .reuse import reuse
from .rings import rings

__all__ = ["Ordering", "Routine", "Schedule", "schedule", "write_first"]


@dataclass
class Routine:
    """One function: its buffers and its statements in order."""

    allocations: list[Allocate] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)


@dataclass
class Schedule:
    """Everything a backend prints.

    Attributes
    ----------
    parameters, inputs : dict
        Name → buffer of what the caller gives (row-major; scalars of a sequence have one unit).
    saved : tuple of Buffer
        What forward hands to backward, besides parameters and inputs.
    outputs : dict
        Output label → where it is after forward; ``loss`` if the network has one.
    cotangents : dict
        Output label → buffer of its cotangent.
    gradients : dict
        Parameter, input, initial state → where its gradient is after backward; None: zero.
    names : Names
        The module's names; sizes in the schedule are local variables of it.
    """

    derivation: Derivation
    parameters: dict[str, Buffer]
    inputs: dict[str, Buffer]
    saved: tuple[Buffer, ...]
    outputs: dict[str, Access]
    cotangents: dict[str, Buffer]
    gradients: dict[str, Access | None]
    forward: Routine
    backward: Routine
    names: Names

    @property
    def network(self) -> Network:
        return self.derivation.network


def schedule(
    derivation: Derivation, reserved: Iterable[str] = (), compact: bool = False,
    stepwise: bool = False, carried: bool = False, inside: bool = False,
) -> Schedule:  # fmt: skip
    """Schedule a derivation.

    Parameters
    ----------
    derivation : Derivation
        Of a cell or a network.
    reserved : iterable of str
        Names the backend uses itself.
    compact : bool
        Whether matrices of the sequences that no recurrence is in are made step by step in the
        loop that reads them, and again by the backward pass, in place of all steps at once.

    stepwise : bool
        Whether such matrices that come after a loop, and what reads them, are made step by step
        too, sums over steps among them.
    carried : bool
        Whether what reads adjoints of matrix states is, too, so that none is kept.
    inside : bool
        Whether entries of vectors and sums over units and steps are made in the loop next to them.

    Raises
    ------
    UnsupportedOperation
        The definition has an operation for which there is no kernel.
    """
    network = derivation.network
    namer = Names(reserved, network.dims, network.axes)
    eq = Equations(derivation, namer)
    buffers = BufferAssignment(eq, namer)
    graphs = Graphs(eq, buffers, compact, stepwise, carried, inside)
    packing = Packing(graphs)
    ordering = Ordering(graphs, buffers)
    forward, first = _forward(graphs, buffers, namer, packing, ordering)
    outputs = _outputs(graphs, buffers, first)
    backward, gradients = _backward(graphs, buffers, namer, packing, ordering, first)
    _merge(namer, forward, backward)
    write_first(backward.statements, backward.allocations)
    used = {b.base or b for b in read_buffers(backward.statements)}
    made = {a.buffer.base or a.buffer for s in forward.statements for a in writes(s)}
    saved = tuple(sorted(used & made, key=lambda b: b.name))
    results = [*outputs.values(), *(a for a in gradients.values() if a is not None)]
    for routine in (forward, backward):
        kept = {*saved, *(a.buffer for a in results)}
        reuse(routine.statements, routine.allocations, kept)
    if stepwise:
        gradients = rings(backward.statements, backward.allocations, gradients)
    return Schedule(
        derivation, buffers.parameters, buffers.inputs, saved, outputs, buffers.cotangents,
        gradients, forward, backward, namer,
    )  # fmt: skip


def _forward(
    graphs: Graphs, buffers: BufferAssignment, namer: Namer, packing: Packing, ordering: Ordering
) -> tuple[Routine, Emitter]:
    handed = dict.fromkeys(graphs.saved, "saved")
    handed.update(dict.fromkeys(graphs.outputs(), "output"))
    handed.update(dict.fromkeys(graphs.starts(), "start"))
    handed.update(dict.fromkeys(graphs.loss, "loss"))
    emitter = Emitter(
        graphs.g, graphs.forward, namer, buffers.leaf, graphs.assigned_states, handed,
        graphs.labels, (),
    )  # fmt: skip
    emitter.place(packing.forward)
    allocations = [*map(Allocate, buffers.states.values()), *emitter.allocations]
    statements = [*buffers.initial_values(), *ordering.statements(emitter, backward=False)]
    return Routine(allocations, statements), emitter


def _outputs(graphs: Graphs, buffers: BufferAssignment, emitter: Emitter) -> dict[str, Access]:
    out: dict[str, Access] = {}
    eq = graphs.eq
    for label, ref in eq.network.outputs.items():
        if ref.state is not None:
            out[label] = Access(buffers.states[ref.state], slot=last_step(eq.states[ref.state][1]))
        else:
            out[label] = emitter.assigned[eq.forward[ref.name]]
    for n in graphs.loss:
        out["loss"] = emitter.assigned[n]
    return out


def _backward(
    graphs: Graphs,
    buffers: BufferAssignment,
    namer: Namer,
    packing: Packing,
    ordering: Ordering,
    forward: Emitter,
) -> tuple[Routine, dict[str, Access | None]]:
    assigned = {n: forward.assigned[n] for n in graphs.saved}
    handed = {n: f"d_{name}" for name, n in graphs.roots.items() if n.op not in LEAVES}
    emitter = Emitter(
        graphs.g,
        graphs.backward,
        namer,
        buffers.leaf,
        assigned,
        handed,
        graphs.labels,
        graphs.saved,
    )
    emitter.place(packing.backward)
    statements = ordering.statements(emitter, backward=True)
    adjoints = [Allocate(b, zero=True) for b in buffers.adjoints.values()]
    gradients: dict[str, Access | None] = {}
    for ref in graphs.eq.refs.values():
        if ref.kind in DIFFERENTIATED:
            root = graphs.roots.get(ref.name)
            gradients[ref.name] = None if root is None else emitter.access(root)
    return Routine([*adjoints, *emitter.allocations], statements), gradients


def _merge(namer: Namer, forward: Routine, backward: Routine) -> None:
    """Join statements on neighbours; a pack that both routines read is made by the first."""
    packs = Packs(lambda names: namer.fresh(common_name(names, "weights")))
    made: set[Buffer] = set()
    for routine in (forward, backward):
        routine.statements = merge(routine.statements, packs)
        wanted = [b for b in read_buffers(routine.statements) if b.role == "pack"]
        for b in sorted((b for b in wanted if b not in made), key=lambda b: b.name):
            made.add(b)
            pack = packs.statement(b)
            at = 0
            if any(p.buffer.role != "parameter" for p in pack.parts):
                # Of matrices that are computed: just before it is used.
                at = next(i for i, s in enumerate(routine.statements) if b in read_buffers([s]))
            routine.statements.insert(at, pack)


def write_first(statements: list[Statement], allocations: list[Allocate]) -> None:
    """Change, in place, the statements and allocations of a backward routine."""
    for i, allocate in enumerate(allocations):
        b = allocate.buffer
        if b.role != "adjoint" or b.before + b.after != 1:
            continue
        loop = _only_loop(statements, b)
        if loop is None:
            continue
        lag = 1 if b.before else -1
        first = _first(loop, b, lag)
        if first is None:
            continue
        loop.body[first] = _written(loop.body[first])
        allocations[i] = Allocate(b)
        last = Access(b, slot=("end", -1) if b.before else ("start", 0))
        statements.insert(0, Pointwise((Assign(last, Number(Fraction(0))),)))


def _only_loop(statements: list[Statement], b: Buffer) -> Loop | None:
    """The loop that works on an adjoint, if all else that writes it is single steps."""
    loop: Loop | None = None
    for s in statements:
        touched = [a for a in writes(s) if a.buffer == b]
        if isinstance(s, Loop):
            if touched:
                if loop is not None:
                    return None
                loop = s
        elif any(a.slot is None for a in touched):
            return None
    return loop


def _first(loop: Loop, b: Buffer, lag: int) -> int | None:
    """The first statement of the body that touches the step before, if it adds to all of it."""
    for i, s in enumerate(loop.body):
        touched = [a for a in (*reads(s), *writes(s)) if a.buffer == b and a.lag == lag]
        if not touched:
            continue
        if isinstance(s, Gemm | Contract):
            return i if s.accumulate and s.dest.whole else None
        if isinstance(s, Pointwise) and s.assigns[0].accumulate and s.assigns[0].dest.whole:
            return i if len(s.assigns) == 1 else None
        return None
    return None


def _written(s: Statement) -> Statement:
    if isinstance(s, Gemm | Contract):
        return replace(s, accumulate=False)
    if isinstance(s, Pointwise):
        return Pointwise((replace(s.assigns[0], accumulate=False),))
    return s


class Ordering:
    """Writes the statements of a routine."""

    def __init__(self, graphs: Graphs, buffers: BufferAssignment) -> None:
        self.graphs, self.buffers, self.eq = graphs, buffers, graphs.eq

    def statements(self, emitter: Emitter, *, backward: bool) -> list[Statement]:
        """All statements of the routine whose values the emitter has placed."""
        distribution = emitter.distribution
        out: list[Statement] = []
        done: set[str] = set()
        for component in distribution.order:
            if not backward:
                named = [n.data[0] if n.op == "state" else n.data for n in component
                         if n.op in ("state", "final")]  # fmt: skip
                out += self.buffers.late_initial_values(named, done, emitter.access)
            if component[0] not in distribution.loop:
                out += self._emit(emitter, component[0])
            else:
                out.append(self._loop(emitter, component, backward=backward))
        if not backward:
            out += self.buffers.late_initial_values(self.graphs.ends, done, emitter.access)
        return out

    def _emit(self, emitter: Emitter, n: Node) -> Iterator[Statement]:
        if n.op == "accumulate":
            name, lag = n.data
            buffer = self.buffers.adjoint(name)
            scan = self.eq.states[name][1]
            dest = Access(buffer, slot=last_step(scan)) if lag == "final" else Access(buffer, lag)
            yield from emitter.store(dest, n.args[0], True, f"d_{name}")
        elif n in emitter.assigned and n not in emitter.given:
            yield from emitter.store(emitter.assigned[n], n, emitter.adds(n))

    def _loop(self, emitter: Emitter, component: list[Node], *, backward: bool) -> Loop:
        members = set(component)
        leaf = next(n for n in component if n.op in ("state", "adjoint"))
        name = leaf.data if backward else leaf.data[0]
        scan = self.eq.states[name][1]
        loop = Loop(self.eq.scan_lead(scan)[0], scan.reverse != backward)
        first: list[Node] = []
        last: list[Node] = []
        for n in component:
            (last if n.op == "accumulate" and n.data[1] != 0 else first).append(n)
        order = {n: i for i, n in enumerate(self.eq.forward.values())}
        if not backward:
            first.sort(key=lambda n: (order.get(n, len(order)), n.serial))

        def deps(n: Node) -> Sequence[Node]:
            if n.op == "adjoint":
                return [s for s in self.graphs.sinks_of(n.data) if s in members and s.data[1] == 0]
            if n.op == "state" or n in emitter.given:
                return ()
            return [a for a in n.args if a in members]

        for n in topological((*first, *last), deps):
            loop.body += self._emit(emitter, n)
        return loop
