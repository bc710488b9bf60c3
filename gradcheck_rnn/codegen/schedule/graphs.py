"""The forward and the backward graph of a derivation, with as little as possible in loops."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from .buffers import BufferAssignment
from .distribution import Dependencies, LoopDistribution
from .emit import HEAVY, LEAVES, Emitter
from .hoist import rewrite
from .kernel_names import Namer
from .lower_equations import Equations
from .nodes import POINTWISE, Node
from .ops import Access

__all__ = ["Graphs"]

#: A factor taken out of a sum in the first pass can meet another product in the second.
_PASSES = 2


class Graphs:
    """Nodes of both routines.

    Attributes
    ----------
    forward, backward : LoopDistribution
        The values of each routine in order, with their recurrences.
    roots : dict
        Parameter, input, initial state → the node of its gradient.
    adjoints : dict
        Equation → the node of its adjoint, as far as it is still there after rewriting.
    saved : set of Node
        Values of the forward pass that the backward pass reads.
    labels : dict
        Node → the name a reader knows it by.
    """

    forward: LoopDistribution
    loss: tuple[Node, ...] = ()

    def __init__(
        self, eq: Equations, buffers: BufferAssignment, compact: bool = False,
        stepwise: bool = False, carried: bool = False, inside: bool = False,
    ) -> None:  # fmt: skip
        self.eq, self.g, self.buffers = eq, eq.g, buffers
        self.compact, self.stepwise = compact, stepwise
        # A scan that begins with the last step of another reads it before its own first step: what
        # the loop only begins with would be drawn into it like what every step reads.
        self.inside = inside and not any(
            True for name in eq.states for _ in self._start_nodes(name)
        )
        self.labels: dict[Node, str] = {}
        self._hoist_forward()
        buffers.make_states()
        eq.differentiate()
        self.roots = self._hoist_backward()
        self.backward = LoopDistribution.of(self.roots.values(), self._backward_deps)
        if compact:
            kept, deps = set(self.roots.values()), self._read_beside_starts
            if self.stepwise:
                names = eq.names.matrices(eq.network, in_heads=False)
                adjoints = [
                    n for n in self.backward.loop if n.op == "adjoint" and n.rows.lone in names
                ]
                self.backward = self.backward.drawn_in(
                    deps, lambda n: n not in kept and self._wide(n), read_later=True
                ).with_readers(
                    deps,
                    lambda n: n not in kept and self._wide(n) and not self._available(n),
                    adjoints if carried else (),
                )
            self.backward = self.backward.drawn_in(deps, lambda n: n not in kept and self._wide(n))
        if self.inside:
            self.backward = self._with_entries(
                self.backward, self._read_beside_starts, {*self.roots.values()}
            )
        self.saved = {n for n in self.backward.nodes if self._available(n) and n.op not in LEAVES}
        self.forward = self.forward.only(
            (*self._state_nodes(), *self.outputs(), *self.starts(), *self.loss, *self.saved),
            self._forward_deps,
        )
        for name, n in self.roots.items():
            self.labels.setdefault(n, f"d_{name}")

    @property
    def assigned_states(self) -> dict[Node, Access]:
        return {self.eq.forward[name]: Access(b) for name, b in self.buffers.states.items()}

    def outputs(self) -> Iterator[Node]:
        """The nodes of outputs that are not last states."""
        for r in self.eq.network.outputs.values():
            if r.kind != "final":
                yield self.eq.forward[r.name]

    @property
    def ends(self) -> list[str]:
        """The states whose last values are outputs."""
        return [r.state for r in self.eq.network.outputs.values() if r.state is not None]

    def starts(self) -> Iterator[Node]:
        """What is made once and begins scans, where a step or a last value depends on it."""
        read = {str(n.data[0]) for n in self.forward.nodes if n.op == "state"}
        read |= {n.data for n in self.forward.nodes if n.op == "final"}
        for name in self.eq.states:
            if name in read or name in self.ends:
                nodes = self._start_nodes(name)
                yield from (n for n in nodes if n.op != "slice" and n.op not in LEAVES)

    # -- forward -----------------------------------------------------------------------------

    def _forward_deps(self, n: Node) -> Sequence[Node]:
        if n.op == "state":
            return (self.eq.forward[n.data[0]], *self._start_nodes(n.data[0]))
        if n.op == "final":
            return (self.eq.forward[n.data], *self._start_nodes(n.data))
        return n.args

    def _start_nodes(self, state: str) -> Iterator[Node]:
        """What other scans compute of a state's initial values."""
        for start in self.eq.states[state][0].initial:
            if start.ref is not None:
                node = self.eq.forward.get(start.ref.maker)
                if node is not None:
                    yield node
                if start.ref.state is not None:
                    yield from self._start_nodes(start.ref.state)

    def _hoist_forward(self) -> None:
        eq = self.eq
        for _ in range(_PASSES):
            nodes = list(eq.forward.values())
            distribution = LoopDistribution.of(nodes, self._forward_deps)
            new = rewrite(self.g, nodes, distribution, lambda n: False, nodes)
            eq.forward = {name: new[n] for name, n in eq.forward.items()}
            self.g.named.update(eq.forward.values())
        for name in (*eq.states, *eq.forward):
            self.labels.setdefault(eq.forward[name], name)
        if self.eq.network.loss_terms:
            self._loss_node()
        roots = [*eq.forward.values(), *self.loss]
        self.forward = LoopDistribution.of(roots, self._forward_deps)
        self.forward_nodes = set(self.forward.nodes)
        #: Matrices of the sequences that are no states, nor handed out.
        self._made_again: set[Node] = set()
        if self.compact:
            kept = {*self.outputs(), *self._state_nodes()}
            self._made_again = {n for n in self.forward.nodes if self._wide(n)} - kept
            self.forward = self.forward.drawn_in(
                self._forward_deps, lambda n: n in self._made_again
            )
            if self.stepwise:
                self.forward = self.forward.with_readers(
                    self._forward_deps, lambda n: n in self._made_again
                )
            if self.inside:
                self.forward = self._with_entries(
                    self.forward, self._forward_deps, {*self.outputs(), *self._state_nodes()}
                )

    def _with_entries(
        self, distribution: LoopDistribution, deps: Dependencies, kept: Collection[Node]
    ) -> LoopDistribution:
        """Entries of all steps, sums over units and over steps in the loop that is next to them."""
        loop = distribution.loop

        def step(n: Node) -> bool:
            if n in loop or n.numeric or n.op in LEAVES or not deps(n):
                return False
            if n.op == "accumulate":
                return n.data[1] == 0
            return len(n.lead) == 2 and (n.op in POINTWISE or n.op in ("sum", "pad", "copy"))

        def ahead(made: LoopDistribution) -> LoopDistribution:
            return made.drawn_in(deps, lambda n: n not in kept and step(n), read_later=True)

        made = ahead(distribution).with_readers(
            deps, lambda n: False, entries=lambda n: step(n) or n.op == "reduce"
        )
        return ahead(made)

    def _state_nodes(self) -> set[Node]:
        """The values of states."""
        return {self.eq.forward[name] for name in self.eq.states}

    def _wide(self, n: Node) -> bool:
        """Whether a value computed for all steps is a matrix for every sequence and step."""
        names = self.eq.names.matrices(self.eq.network, in_heads=not self.stepwise)
        matrix = n.rows.lone in names
        return matrix and len(n.lead) == 2 and n.op not in LEAVES and n.op not in ("copy", "slice")

    def _loss_node(self) -> None:
        eq, g = self.eq, self.g
        terms = []
        for r in self.eq.network.loss_terms:
            term = eq.forward[r.name]
            value = term.args[0] if term.op == "copy" else term
            terms.append(g.reduce(value, eq.leads[r.name], ()))
        total = g.add(terms)
        if not total.args:
            total = g.make("copy", (total,), total.rows, total.cols, (), "loss")
        self.loss = (total,)
        self.labels[self.loss[0]] = "loss" if "loss" not in eq.forward else "total_loss"

    # -- backward ----------------------------------------------------------------------------

    def sinks_of(self, name: str) -> list[Node]:
        """The additions to a state's adjoint."""
        return self.sinks.get(name, [])

    def _backward_deps(self, n: Node) -> Sequence[Node]:
        if n.op == "adjoint":
            return self.sinks_of(n.data)
        if n.op == "start":
            return self.sinks_of(n.data[0])
        return () if self._available(n) else n.args

    def _read_beside_starts(self, n: Node) -> Sequence[Node]:
        """What a value reads, but that a start comes behind the loop of its state anyway."""
        return () if n.op == "start" else self._backward_deps(n)

    def _available(self, n: Node) -> bool:
        return n in self.forward_nodes and not self._recomputed(n)

    def _recomputed(self, n: Node) -> bool:
        """Cheap values of the forward pass that nobody stored are computed again."""
        return n.op not in LEAVES and n not in self.stored

    def _hoist_backward(self) -> dict[str, Node]:
        eq, g = self.eq, self.g
        handed = dict.fromkeys(self.outputs(), "")
        tentative = Emitter(
            g,
            self.forward,
            Namer(),
            self.buffers.leaf,
            self.assigned_states,
            handed,
            self.labels,
            (),
        )
        tentative.place()
        self.stored = set(tentative.assigned)
        self.stored |= {
            n for n in self.forward_nodes if n.lead and (n.op in HEAVY or n.op == "apply")
        }
        self.stored -= self._made_again
        self.sinks: dict[str, list[Node]] = {}
        for name, total in eq.sums.items():
            self.sinks[name] = [self._sink(name, lag, part) for lag, part in total.parts] + [
                self._sink(name, "final", part) for part in total.finals
            ]
        roots = {name: n for name, n in eq.gradients.items() if n is not None}
        distribution = LoopDistribution.of(roots.values(), self._backward_deps)
        self._group_sinks(distribution)
        adjoints = dict(eq.adjoints)
        for _ in range(_PASSES):
            distribution = LoopDistribution.of(roots.values(), self._backward_deps)
            every = [n for n in distribution.nodes if n.op == "accumulate"] + list(roots.values())
            new = rewrite(g, every, distribution, self._available, list(roots.values()))
            for name, sinks in self.sinks.items():
                self.sinks[name] = [new[n] for n in sinks if n in new]
            roots = {name: new[n] for name, n in roots.items()}
            adjoints = {name: new[n] for name, n in adjoints.items() if n in new}
        for name, node in adjoints.items():
            self.labels.setdefault(node, f"d_{name}")
        self.adjoints = adjoints
        return self._own_gradients(roots)

    def _sink(self, name: str, lag: int | str, part: Node) -> Node:
        lead = self.eq.scan_lead(self.eq.states[name][1])
        lead = lead[1:] if lag == "final" else lead
        return self.g.make("accumulate", (part,), part.rows, part.cols, lead, (name, lag))

    def _group_sinks(self, distribution: LoopDistribution) -> None:
        """One sum for all that arrives at one lag inside the loop, and one for the rest."""
        for name, sinks in self.sinks.items():
            groups: dict[tuple[int | str, int | None], list[Node]] = {}
            for s in sinks:
                groups.setdefault((s.data[1], distribution.loop.get(s)), []).append(s.args[0])
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
