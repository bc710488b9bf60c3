"""The pipeline from a derivation to a schedule, as one visible list of passes.

forward:   lower the equations; find recurrences; split sums and products (hoist)
backward:  lower the pullbacks; find recurrences; split; choose what forward saves
both:      give values places; write statements in order
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from ...derivation.program import DIFFERENTIATED, Derivation
from ...language.dims import ONE
from ...language.network import Network, Ref, Scan
from .carry import write_first
from .emit import HEAVY, LEAVES, Emitter, shape_of
from .equations import Equations
from .hoist import rewrite
from .inspect import read_buffers, writes
from .layout import common_name, consecutive, gradient_families, product_families
from .merge import Packs, merge
from .naming import Namer
from .nodes import Node
from .ops import (
    BATCH,
    Access,
    Allocate,
    Assign,
    Buffer,
    Loop,
    Number,
    Pointwise,
    Statement,
)
from .stages import Stages

__all__ = ["Routine", "Schedule", "schedule"]


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

    @property
    def network(self) -> Network:
        return self.derivation.network


def schedule(derivation: Derivation, reserved: Iterable[str] = ()) -> Schedule:
    """Schedule a derivation.

    Parameters
    ----------
    reserved : iterable of str
        Names the backend uses itself.
    """
    return _Builder(derivation, reserved).build()


class _Builder:
    def __init__(self, derivation: Derivation, reserved: Iterable[str]) -> None:
        self.eq = Equations(derivation)
        self.network = derivation.network
        self.g = self.eq.g
        self.namer = Namer(reserved)
        network = self.network
        self.parameters = {n: self._given(r, "parameter") for n, r in network.parameters.items()}
        self.inputs = {n: self._given(r, "input") for n, r in network.inputs.items()}
        self.state_buffers: dict[str, Buffer] = {}
        self.adjoint_buffers: dict[str, Buffer] = {}
        self.cotangents: dict[str, Buffer] = {}

    def _given(self, ref: Ref, role: str) -> Buffer:
        lead = self.eq.ref_lead(ref)
        shape = shape_of(ref.shape.rows, ref.shape.cols, lead)
        return Buffer(self.namer.fresh(ref.name), lead, shape, role)

    def build(self) -> Schedule:
        eq = self.eq
        self._hoist_forward()
        self._state_buffers()
        eq.differentiate()
        roots = self._hoist_backward()
        saved = self._choose_saved(roots)
        self._neighbours(roots)
        forward = self._forward(saved)
        outputs = self._outputs()
        backward, gradients = self._backward(roots, saved)
        self._merge(forward, backward)
        write_first(backward.statements, backward.allocations)
        used = {b.base or b for b in read_buffers(backward.statements)}
        made = {a.buffer.base or a.buffer for s in forward.statements for a in writes(s)}
        return Schedule(
            eq.derivation,
            self.parameters,
            self.inputs,
            tuple(sorted(used & made, key=lambda b: b.name)),
            outputs,
            self.cotangents,
            gradients,
            forward,
            backward,
        )

    # -- forward -----------------------------------------------------------------------------

    def _forward_deps(self, n: Node) -> Sequence[Node]:
        if n.op == "state":
            return (self.eq.forward[n.data[0]], *self._start_nodes(n.data[0]))
        if n.op == "final":
            return (self.eq.forward[n.data],)
        return n.args

    def _start_nodes(self, state: str) -> Iterator[Node]:
        """What other scans compute of a state's initial values."""
        for start in self.eq.states[state][0].initial:
            if start.ref is not None:
                name = start.ref.name.removesuffix("_final") if start.ref.kind == "final" else ""
                node = self.eq.forward.get(name or start.ref.name)
                if node is not None:
                    yield node

    def _hoist_forward(self) -> None:
        eq = self.eq
        for _ in range(_PASSES):
            nodes = list(eq.forward.values())
            stages = Stages.of(nodes, self._forward_deps)
            new = rewrite(self.g, nodes, stages, lambda n: False, nodes)
            eq.forward = {name: new[n] for name, n in eq.forward.items()}
            self.g.named.update(eq.forward.values())
        self.labels: dict[Node, str] = {}
        for name in (*eq.states, *eq.forward):
            self.labels.setdefault(eq.forward[name], name)
        if self.network.loss_terms:
            self._loss_node()
        self.forward_roots = [*eq.forward.values(), *self.loss]
        self.forward_stages = Stages.of(self.forward_roots, self._forward_deps)
        self.forward_nodes = set(self.forward_stages.nodes)

    loss: tuple[Node, ...] = ()

    def _loss_node(self) -> None:
        eq, g = self.eq, self.g
        terms = []
        for r in self.network.loss_terms:
            term = eq.forward[r.name]
            value = term.args[0] if term.op == "copy" else term
            terms.append(g.reduce(value, eq.leads[r.name], ()))
        total = g.add(terms)
        self.loss = (total if total.args else g.make("copy", (total,), total.rows, total.cols, (), "loss"),)
        self.labels[self.loss[0]] = "loss" if "loss" not in eq.forward else "total_loss"

    def _state_buffers(self) -> None:
        for name, (state, scan) in self.eq.states.items():
            depth = max(state.lags)
            before, after = (0, depth) if scan.reverse else (depth, 0)
            shape = shape_of(state.shape.rows, state.shape.cols, (BATCH,))
            self.state_buffers[name] = Buffer(
                self.namer.fresh(name), self.eq.scan_lead(scan), shape, "state", before, after
            )

    def _leaf(self, n: Node) -> Access:
        if n.op == "given":
            return Access(self.parameters.get(n.data) or self.inputs[n.data])
        if n.op == "state":
            return Access(self.state_buffers[n.data[0]], n.data[1])
        if n.op == "final":
            scan = self.eq.states[n.data][1]
            return Access(self.state_buffers[n.data], slot=_last(scan))
        if n.op == "cotangent":
            return Access(self._cotangent(n))
        if n.op == "adjoint":
            return Access(self._adjoint_buffer(n.data))
        name, lag = n.data
        scan = self.eq.states[name][1]
        return Access(self._adjoint_buffer(name), slot=_before(scan, lag))

    def _forward(self, saved: set[Node]) -> Routine:
        eq = self.eq
        homes = {
            eq.forward[name]: Access(buffer) for name, buffer in self.state_buffers.items()
        }
        handed = {n: "saved" for n in saved}
        for r in (*self.network.outputs.values(),):
            if r.kind != "final":
                handed[eq.forward[r.name]] = "output"
        for n in self.loss:
            handed[n] = "loss"
        emitter = Emitter(
            self.g, self.forward_stages, self.namer, self._leaf, homes, handed, self.labels, ()
        )
        emitter.place(self._pack_forward)
        self.forward_homes = dict(emitter.homes)
        routine = Routine()
        routine.allocations += [Allocate(b) for b in self.state_buffers.values()]
        routine.allocations += emitter.allocations
        routine.statements += list(self._starts())
        routine.statements += self._ordered(emitter, self.forward_stages, backward=False)
        return routine

    def _starts(self) -> Iterator[Statement]:
        for name, (state, scan) in self.eq.states.items():
            for start in state.initial:
                ref = start.ref
                if ref is not None and ref.kind == "final":
                    continue
                if ref is None or ref.name not in self.eq.forward:
                    yield self._start(name, scan, start.lag, ref)

    def _start(self, name: str, scan: Scan, lag: int, ref: Ref | None) -> Statement:
        dest = Access(self.state_buffers[name], slot=_before(scan, lag))
        if ref is None:
            return Pointwise((Assign(dest, Number(_ZERO)),))
        if ref.kind == "final":
            base = ref.name.removesuffix("_final")
            source = Access(self.state_buffers[base], slot=_last(self.eq.states[base][1]))
        elif ref.name in self.eq.forward:
            source = self.forward_homes[self.eq.forward[ref.name]]
        else:
            source = Access(self.parameters.get(ref.name) or self.inputs[ref.name])
        return Pointwise((Assign(dest, source),))

    def _late_starts(self, component: Iterable[Node], done: set[str]) -> Iterator[Statement]:
        """Starts that other scans compute, written when a recurrence begins."""
        for n in component:
            if n.op == "state" and n.data[0] not in done:
                done.add(n.data[0])
                state, scan = self.eq.states[n.data[0]]
                for start in state.initial:
                    ref = start.ref
                    if ref is not None and (ref.kind == "final" or ref.name in self.eq.forward):
                        yield self._start(n.data[0], scan, start.lag, ref)

    def _outputs(self) -> dict[str, Access]:
        out: dict[str, Access] = {}
        for label, ref in self.network.outputs.items():
            if ref.kind == "final":
                base = ref.name.removesuffix("_final")
                scan = self.eq.states[base][1]
                out[label] = Access(self.state_buffers[base], slot=_last(scan))
            else:
                out[label] = self.forward_homes[self.eq.forward[ref.name]]
        for n in self.loss:
            out["loss"] = self.forward_homes[n]
        return out

    # -- backward ----------------------------------------------------------------------------

    def _adjoint_buffer(self, name: str) -> Buffer:
        if name not in self.adjoint_buffers:
            like = self.state_buffers[name]
            self.adjoint_buffers[name] = Buffer(
                self.namer.fresh(f"d_{name}"), like.lead, like.shape, "adjoint",
                like.before, like.after,
            )  # fmt: skip
        return self.adjoint_buffers[name]

    def _cotangent(self, n: Node) -> Buffer:
        if n.data not in self.cotangents:
            shape = shape_of(n.rows, n.cols, n.lead)
            self.cotangents[n.data] = Buffer(
                self.namer.fresh(f"g_{n.data}"), n.lead, shape, "cotangent"
            )
        return self.cotangents[n.data]

    def _sinks(self, name: str) -> list[Node]:
        return self.sinks.get(name, [])

    def _backward_deps(self, n: Node) -> Sequence[Node]:
        if n.op == "adjoint":
            return self._sinks(n.data)
        if n.op == "start":
            return self._sinks(n.data[0])
        return () if self._available(n) else n.args

    def _available(self, n: Node) -> bool:
        return n in self.forward_nodes and not self._recomputed(n)

    def _recomputed(self, n: Node) -> bool:
        """Cheap values of the forward pass that nobody stored are computed again."""
        return n.op not in LEAVES and n not in self.stored

    def _hoist_backward(self) -> dict[str, Node]:
        eq, g = self.eq, self.g
        tentative = Emitter(
            g, self.forward_stages, Namer(), self._leaf,
            {eq.forward[n]: Access(b) for n, b in self.state_buffers.items()},
            {eq.forward[r.name]: "" for r in self.network.outputs.values() if r.kind != "final"},
            self.labels, (),
        )  # fmt: skip
        tentative.place()
        self.stored = set(tentative.homes)
        self.stored |= {
            n for n in self.forward_nodes if n.lead and (n.op in HEAVY or n.op == "apply")
        }
        self.sinks: dict[str, list[Node]] = {}
        for name, total in eq.sums.items():
            self.sinks[name] = [
                self._sink(name, lag, part) for lag, part in total.parts
            ] + [self._sink(name, "final", part) for part in total.finals]
        roots = {name: n for name, n in eq.gradients.items() if n is not None}
        stages = Stages.of(roots.values(), self._backward_deps)
        self._group_sinks(stages)
        adjoints = dict(eq.adjoints)
        for _ in range(_PASSES):
            stages = Stages.of(roots.values(), self._backward_deps)
            every = [n for n in stages.nodes if n.op == "accumulate"] + list(roots.values())
            new = rewrite(g, every, stages, self._available, list(roots.values()))
            for name, sinks in self.sinks.items():
                self.sinks[name] = [new[n] for n in sinks if n in new]
            roots = {name: new[n] for name, n in roots.items()}
            adjoints = {name: new[n] for name, n in adjoints.items() if n in new}
        for name, node in adjoints.items():
            self.labels.setdefault(node, f"d_{name}")
        self.adjoint_nodes = adjoints
        return self._own_gradients(roots)

    def _sink(self, name: str, lag: int | str, part: Node) -> Node:
        lead = self.eq.scan_lead(self.eq.states[name][1])
        lead = lead[1:] if lag == "final" else lead
        return self.g.make("accumulate", (part,), part.rows, part.cols, lead, (name, lag))

    def _group_sinks(self, stages: Stages) -> None:
        """One sum for all that arrives at one lag inside the loop, and one for the rest."""
        for name, sinks in self.sinks.items():
            groups: dict[tuple[int | str, int | None], list[Node]] = {}
            for s in sinks:
                groups.setdefault((s.data[1], stages.loop.get(s)), []).append(s.args[0])
            self.sinks[name] = [
                self._sink(name, lag, self.g.add(parts)) for (lag, _), parts in groups.items()
            ]

    def _own_gradients(self, roots: dict[str, Node]) -> dict[str, Node]:
        """No two gradients share memory with each other or with what the caller gave."""
        out: dict[str, Node] = {}
        for name, n in roots.items():
            ref = self.eq.refs[name]
            lead = self.eq.ref_lead(ref)
            foreign = n.op in ("cotangent", "given", "state", "broadcast", "slice", "const")
            if foreign or self._available(n) or n in out.values() or n.lead != lead:
                n = self.g.make("copy", (n,), n.rows, n.cols, lead, f"gradient {name}")
            out[name] = n
        return out

    def _choose_saved(self, roots: dict[str, Node]) -> set[Node]:
        stages = Stages.of(roots.values(), self._backward_deps)
        self.backward_stages = stages
        return {
            n for n in stages.nodes if self._available(n) and n.op not in LEAVES
        }

    def _backward(
        self, roots: dict[str, Node], saved: set[Node]
    ) -> tuple[Routine, dict[str, Access | None]]:
        stages = self.backward_stages
        homes = {n: self.forward_homes[n] for n in saved}
        for name, n in roots.items():
            self.labels.setdefault(n, f"d_{name}")
        handed = {n: f"d_{name}" for name, n in roots.items() if n.op not in LEAVES}
        emitter = Emitter(
            self.g, stages, self.namer, self._leaf, homes, handed, self.labels, saved
        )
        emitter.place(self._pack_backward)
        routine = Routine()
        routine.statements += self._ordered(emitter, stages, backward=True)
        routine.allocations += [Allocate(b, zero=True) for b in self.adjoint_buffers.values()]
        routine.allocations += emitter.allocations
        gradients: dict[str, Access | None] = {}
        for ref in self.eq.refs.values():
            if ref.kind in DIFFERENTIATED:
                n = roots.get(ref.name)
                gradients[ref.name] = None if n is None else emitter.access(n)
        return routine, gradients

    def _merge(self, forward: Routine, backward: Routine) -> None:
        """Join statements on neighbours; a pack that both routines read is made by the first."""
        packs = Packs(lambda names: self.namer.fresh(common_name(names, "weights")))
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
                    at = next(
                        i for i, s in enumerate(routine.statements) if b in read_buffers([s])
                    )
                routine.statements.insert(at, pack)

    # -- neighbours --------------------------------------------------------------------------

    def _neighbours(self, roots: dict[str, Node]) -> None:
        """Orders of adjoints and, by the gradients they make, of weights."""
        stages = self.backward_stages
        families = gradient_families(stages.nodes)
        alike = self._alike()
        groups: dict[Node, set[Node]] = {}
        for members in families.values():
            for loop in {stages.loop.get(m) for m in members}:
                block = {m for m in members if stages.loop.get(m) == loop and m.rows != ONE}
                for m in list(block):
                    block |= groups.get(m, set())
                for m in block:
                    groups[m] = block
        self.adjoint_groups: list[list[Node]] = []
        self.family_of = families
        for block in {id(b): b for b in groups.values()}.values():
            order = {n: i for i, n in enumerate(self.adjoint_nodes.values())}
            elements = sorted(block, key=lambda n: (-order.get(n, -1), n.serial))
            inside = [[m for m in f if m in block] for f in (*families.values(), *alike)]
            wanted = [f for f in inside if len(f) > 1]
            local = {n: i for i, n in enumerate(elements)}
            self.adjoint_groups.append(consecutive(elements, wanted, local))
        place = {n: i for group in self.adjoint_groups for i, n in enumerate(group)}
        self.weight_rank: dict[str, int] = {}
        for name, root in roots.items():
            parts = root.args if root.op == "add" else (root,)
            for part in parts:
                if part.op == "outer" and part.args[0] in place:
                    self.weight_rank.setdefault(name, place[part.args[0]])

    def _alike(self) -> list[list[Node]]:
        """Adjoints of values under one function, and adjoints that are multiples of one adjoint."""
        applied: dict[Node, str] = {}
        for n in self.forward_stages.nodes:
            if n.op == "apply":
                applied[n.args[0]] = str(n.data)
        out: dict[object, list[Node]] = {}
        for name, node in self.adjoint_nodes.items():
            function = applied.get(self.eq.forward[name])
            if function is not None:
                out.setdefault(function, []).append(node)
            if node.op == "mul":
                out.setdefault(node.args[0], []).append(node)
        return list(out.values())

    def _pack_forward(
        self, emitter: Emitter
    ) -> Iterator[tuple[list[Node], Callable[[Sequence[str]], str]]]:
        for family in product_families(emitter.stages.nodes, emitter.stages.loop):
            ranked = sorted(
                family, key=lambda n: (self.weight_rank.get(str(n.args[1].data), 0), n.serial)
            )
            carriers = [c for n in ranked if (c := emitter.carrier(n)) is not None]
            weights = [str(n.args[1].data) for n in ranked]
            timed = carriers and carriers[0] in emitter.labels
            name = "gates" if timed else f"{common_name(weights, 'weights')}_{_source(ranked[0])}"
            yield carriers, _constant(name)

    def _pack_backward(
        self, emitter: Emitter
    ) -> Iterator[tuple[list[Node], Callable[[Sequence[str]], str]]]:
        for group in self.adjoint_groups:
            yield group, _adjoint_name
        for op in ("outer", "reduce"):
            made: dict[Node, list[Node]] = {}
            for n in emitter.stages.nodes:
                if n.op == op and not n.lead and n in emitter.handed:
                    made.setdefault(n.args[-1] if op == "outer" else n, []).append(n)
            if op == "reduce":
                made = {n: [n] for n in made}
            for group in self.adjoint_groups:
                if op == "outer":
                    for x in made:
                        by = {n.args[0]: n for n in made[x]}
                        for run in _packed_runs(emitter, group, by):
                            yield [by[m] for m in run], _gradient_name
                else:
                    sums = {n.args[0]: n for n in made}
                    for run in _packed_runs(emitter, group, sums):
                        yield [sums[m] for m in run], _gradient_name

    # -- order -------------------------------------------------------------------------------

    def _ordered(self, emitter: Emitter, stages: Stages, *, backward: bool) -> list[Statement]:
        out: list[Statement] = []
        done: set[str] = set()
        for component in stages.order:
            if component[0] not in stages.loop:
                n = component[0]
                if not backward:
                    out += self._late_starts([n], done)
                out += self._emit(emitter, n)
                continue
            if not backward:
                out += self._late_starts(component, done)
            out.append(self._loop(emitter, component, backward=backward))
        return out

    def _emit(self, emitter: Emitter, n: Node) -> Iterator[Statement]:
        if n.op == "accumulate":
            name, lag = n.data
            buffer = self._adjoint_buffer(name)
            scan = self.eq.states[name][1]
            dest = Access(buffer, slot=_last(scan)) if lag == "final" else Access(buffer, lag)
            yield from emitter.store(dest, n.args[0], True, f"d_{name}")
        elif n in emitter.homes and n not in emitter.given:
            yield from emitter.store(emitter.homes[n], n)

    def _loop(self, emitter: Emitter, component: list[Node], *, backward: bool) -> Loop:
        members = set(component)
        leaf = next(n for n in component if n.op in ("state", "adjoint"))
        name = leaf.data if backward else leaf.data[0]
        scan = self.eq.states[name][1]
        loop = Loop(scan.axis or "", scan.reverse != backward)
        first: list[Node] = []
        last: list[Node] = []
        for n in component:
            (last if n.op == "accumulate" and n.data[1] != 0 else first).append(n)
        order = {n: i for i, n in enumerate(self.eq.forward.values())}
        if not backward:
            first.sort(key=lambda n: (order.get(n, len(order)), n.serial))

        def deps(n: Node) -> Sequence[Node]:
            if n.op == "adjoint":
                return [s for s in self._sinks(n.data) if s in members and s.data[1] == 0]
            if n.op == "state" or n in emitter.given:
                return ()
            return [a for a in n.args if a in members]

        seen: set[Node] = set()
        for root in (*first, *last):
            for n in _postorder(root, deps, seen):
                loop.body += self._emit(emitter, n)
        return loop


def _packed_runs(
    emitter: Emitter, group: Sequence[Node], wanted: Collection[Node]
) -> Iterator[list[Node]]:
    """Neighbours of one packed buffer, as far as they are wanted."""
    inside = [m for m in group if m in emitter.homes and emitter.homes[m].buffer.base]
    run: list[Node] = []
    for m in inside:
        if m in wanted:
            run.append(m)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _constant(name: str) -> Callable[[Sequence[str]], str]:
    return lambda _: name


def _adjoint_name(names: Sequence[str]) -> str:
    return common_name(names, "d_gates") if all(names) else "d_gates"


def _gradient_name(names: Sequence[str]) -> str:
    return common_name(names, "d_weights")


def _source(gemm: Node) -> str:
    x = gemm.args[0]
    return str(x.data[0] if x.op == "state" else x.data if x.op == "given" else "x")


_ZERO = Fraction(0)
#: A factor taken out of a sum in the first pass can meet another product in the second.
_PASSES = 2


def _postorder(
    root: Node, deps: Callable[[Node], Sequence[Node]], seen: set[Node]
) -> Iterator[Node]:
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((a, False) for a in reversed(list(deps(node))))


def _last(scan: Scan) -> tuple[str, int]:
    """The step a scan ends at."""
    return ("start", 0) if scan.reverse else ("end", -1)


def _before(scan: Scan, lag: int) -> tuple[str, int]:
    """The slot of the value ``lag`` steps before the first one."""
    return ("end", lag - 1) if scan.reverse else ("start", -lag)
