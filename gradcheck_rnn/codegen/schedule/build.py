"""The pipeline from a derivation to a schedule, as one visible list of passes.

1. `equations`: forward equations and pullbacks as nodes in kernel layout;
2. `graphs` (with `stages`, `hoist`): find recurrences, move out of loops what need not be there,
   choose what forward saves;
3. `neighbours` (with `layout`): which values become neighbours in one buffer;
4. `emit`: give values places;
5. `ordering`: write statements in order;
6. `merge`: join statements on neighbours; `carry`: adjoints that need no zeros.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...derivation.program import DIFFERENTIATED, Derivation
from .carry import write_first
from .emit import LEAVES, Emitter
from .equations import Equations
from .graphs import Graphs
from .inspect import read_buffers, writes
from .layout import common_name
from .merge import Packs, merge
from .naming import Namer, Names
from .neighbours import Neighbours
from .ops import Access, Allocate, Buffer
from .ordering import Ordering
from .places import Places, last_step
from .plan import Routine, Schedule

__all__ = ["Routine", "Schedule", "schedule"]


def schedule(derivation: Derivation, reserved: Iterable[str] = ()) -> Schedule:
    """Schedule a derivation.

    Parameters
    ----------
    derivation : Derivation
        Of a cell or a network.
    reserved : iterable of str
        Names the backend uses itself.

    Raises
    ------
    UnsupportedOperation
        The definition has an operation for which there is no kernel.
    """
    network = derivation.network
    namer = Names(reserved, network.dims, network.axes)
    eq = Equations(derivation, namer)
    places = Places(eq, namer)
    graphs = Graphs(eq, places)
    neighbours = Neighbours(graphs)
    ordering = Ordering(graphs, places)
    forward, first = _forward(graphs, places, namer, neighbours, ordering)
    outputs = _outputs(graphs, places, first)
    backward, gradients = _backward(graphs, places, namer, neighbours, ordering, first)
    _merge(namer, forward, backward)
    write_first(backward.statements, backward.allocations)
    used = {b.base or b for b in read_buffers(backward.statements)}
    made = {a.buffer.base or a.buffer for s in forward.statements for a in writes(s)}
    saved = tuple(sorted(used & made, key=lambda b: b.name))
    return Schedule(
        derivation, places.parameters, places.inputs, saved, outputs, places.cotangents,
        gradients, forward, backward, namer,
    )  # fmt: skip


def _forward(
    graphs: Graphs, places: Places, namer: Namer, neighbours: Neighbours, ordering: Ordering
) -> tuple[Routine, Emitter]:
    handed = dict.fromkeys(graphs.saved, "saved")
    handed.update(dict.fromkeys(graphs.outputs(), "output"))
    handed.update(dict.fromkeys(graphs.loss, "loss"))
    emitter = Emitter(
        graphs.g, graphs.forward, namer, places.leaf, graphs.homes_of_states, handed,
        graphs.labels, (),
    )  # fmt: skip
    emitter.place(neighbours.forward)
    allocations = [*map(Allocate, places.states.values()), *emitter.allocations]
    statements = [*places.starts(), *ordering.statements(emitter, backward=False)]
    return Routine(allocations, statements), emitter


def _outputs(graphs: Graphs, places: Places, emitter: Emitter) -> dict[str, Access]:
    out: dict[str, Access] = {}
    eq = graphs.eq
    for label, ref in eq.network.outputs.items():
        if ref.state is not None:
            out[label] = Access(places.states[ref.state], slot=last_step(eq.states[ref.state][1]))
        else:
            out[label] = emitter.homes[eq.forward[ref.name]]
    for n in graphs.loss:
        out["loss"] = emitter.homes[n]
    return out


def _backward(
    graphs: Graphs,
    places: Places,
    namer: Namer,
    neighbours: Neighbours,
    ordering: Ordering,
    forward: Emitter,
) -> tuple[Routine, dict[str, Access | None]]:
    homes = {n: forward.homes[n] for n in graphs.saved}
    handed = {n: f"d_{name}" for name, n in graphs.roots.items() if n.op not in LEAVES}
    emitter = Emitter(
        graphs.g, graphs.backward, namer, places.leaf, homes, handed, graphs.labels, graphs.saved
    )
    emitter.place(neighbours.backward)
    statements = ordering.statements(emitter, backward=True)
    adjoints = [Allocate(b, zero=True) for b in places.adjoints.values()]
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
