"""The forward equations and the adjoints of a derivation as nodes.

The adjoint of a value lives where the value lives: what all steps share gets the sum over steps.
The adjoint of a state is a buffer over time to which contributions are added, each at its lag;
everything else is the plain sum of its contributions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...calculus.terms import Sym
from ...derivation.program import DIFFERENTIATED, Derivation, Edge, ScanProgram
from ...derivation.wholes import wholes_of
from ...errors import UnsupportedOperation
from ...language.dims import ONE, Dim
from ...language.network import Ref, Scan, State
from .kernel_names import Names
from .lower_heads import HeadLowering
from .lower_stacks import StackLowering
from .lower_terms import Lowering, to_dim
from .nodes import Graph, Node
from .ops import BATCH, Lead

__all__ = ["Accumulation", "Equations"]


@dataclass
class Accumulation:
    """What is added to a state's adjoint: nodes with the lag at which they arrive."""

    state: str
    scan: Scan
    parts: list[tuple[int, Node]] = field(default_factory=list)
    finals: list[Node] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """How many steps before the first one the state's initial values lie."""
        return max(next(s for s in self.scan.states if s.name == self.state).lags)


class Equations:
    """Nodes of every equation and every gradient.

    Attributes
    ----------
    forward : dict
        Equation → node (also the nodes that hoisting put in place of the first ones).
    gradients : dict
        Parameter, input or initial state → node, or None where nothing depends on it.
    sums : dict
        State → what is added to its adjoint.
    """

    def __init__(self, derivation: Derivation, names: Names) -> None:
        self.derivation, self.names = derivation, names
        self.network = derivation.network
        self.g = Graph()
        self.forward: dict[str, Node] = {}
        self.leads: dict[str, Lead] = {}
        self.labels: dict[Node, str] = {}
        self.sums: dict[str, Accumulation] = {}
        self.gradients: dict[str, Node | None] = {}
        self.adjoints: dict[str, Node] = {}
        self.scan_of: dict[str, ScanProgram] = {
            e.name: p for p in derivation.scans for e in p.equations
        }
        outputs = (*self.network.outputs.values(), *self.network.loss_terms)
        self.kept = {r.name for r in outputs if r.kind != "final"}
        self.kept |= {s.name for p in derivation.scans for s in p.scan.states}
        self.states = {s.name: (s, p.scan) for p in derivation.scans for s in p.scan.states}
        self.finals, self.wholes = self.network.finals, self.network.wholes
        self.refs: dict[str, Ref] = {**self.network.inputs, **self.network.parameters}
        for program in derivation.scans:
            self._equations(program)

    # -- forward -----------------------------------------------------------------------------

    def scan_lead(self, scan: Scan) -> Lead:
        return self.names.lead(scan.axis)

    def ref_lead(self, ref: Ref) -> Lead:
        if ref.kind in ("param", "fixed"):
            return ()
        return self.names.lead(ref.axis)

    def shape(self, value: Ref | State) -> tuple[Dim, Dim]:
        """Rows and columns of a value of the network, by the names of local variables."""
        s = value.shape
        heads, rows, cols = (self.names.dim(d) for d in (s.heads, s.rows, s.cols))
        shared = isinstance(value, Ref) and value.kind in ("param", "fixed")
        flat = self.names.flat
        return (flat(heads, rows), cols) if shared else (flat(heads, rows, cols), ONE)

    def resolve(self, s: Sym) -> Node:
        """The node of a variable."""
        heads, rows, cols = (self.names.dim(to_dim(d)) for d in (s.heads, *s.shape))
        if s.kind == "state":
            _, scan = self.states[s.name]
            rows, cols = self.names.flat(heads, rows, cols), ONE
            return self.g.leaf("state", rows, cols, self.scan_lead(scan), (s.name, s.lag))
        if s.name in self.forward:
            return self.forward[s.name]
        if s.name in self.refs:
            ref = self.refs[s.name]
            rows, cols = self.shape(ref)
            return self.g.leaf("given", rows, cols, self.ref_lead(ref), s.name)
        if s.name in self.wholes:
            return self._whole(self.wholes[s.name])
        if s.name in self.finals:
            return self.g.leaf(
                "final", self.names.flat(heads, rows, cols), ONE, (BATCH,), self.finals[s.name]
            )
        raise UnsupportedOperation(f"code generation does not know the variable {s.name!r}")

    def _whole(self, ref: Ref) -> Node:
        """A sequence that is handed on whole: its steps as the rows of a matrix."""
        of = str(ref.sequence)
        given = self.refs.get(of)
        if given is None:
            steps = self.forward[of]
        else:
            steps = self.g.leaf("given", *self.shape(given), self.ref_lead(given), of)
        data = self._step_rows(ref)
        steps = self._along(steps, (data[1], BATCH), data)
        return self.g.make("whole", (steps,), self.shape(ref)[0], ONE, (BATCH,), data)

    def _along(self, n: Node, lead: Lead, data: tuple[str, str, Dim, Dim]) -> Node:
        """A value in an array of its own if it has not all of these axes."""
        return n if n.lead == lead else self.g.make("copy", (n,), n.rows, n.cols, lead, data)

    def _step_rows(self, ref: Ref) -> tuple[str, str, Dim, Dim]:
        """Name, axis, heads and units of a sequence that is handed on whole."""
        names, shape = self.names, ref.shape
        axis = names.sizes[shape.rows.lone or ""]
        return ref.name, axis, names.dim(shape.heads), names.dim(shape.cols)

    def _give_steps(self, ref: Ref) -> None:
        """Give the adjoint of a sequence that was handed on whole to its steps."""
        parts = self._parts.pop(ref.name, None)
        if not parts:
            return
        data = self._step_rows(ref)
        of, lead, rows = str(ref.sequence), (data[1], BATCH), self.names.flat(*data[2:])
        total = self._along(self.g.add(parts), (BATCH,), data)
        made = self.g.make("steps", (total,), rows, ONE, lead, data)
        self._give(of, self.g.reduce(made, lead, self.leads.get(of, lead)))

    def _equations(self, program: ScanProgram) -> None:
        lead = self.scan_lead(program.scan)
        for e in program.equations:
            node = self._lowering(self.resolve, ())(e.rhs)
            if e.name in self.kept:
                node = self._own(e.name, node, lead)
            self.forward[e.name] = node
            self.g.named.add(node)
            self.leads[e.name] = node.lead

    def _lowering(self, resolve: Callable[[Sym], Node], lead: Lead) -> Lowering:
        made = Lowering
        if self.network.front:
            made = HeadLowering if self.network.heads else StackLowering
        return made(self.g, resolve, lead, self.names)

    def _own(self, name: str, node: Node, lead: Lead) -> Node:
        """A state or an output has an array of its own, and moves with time even if constant."""
        plain = node.args and node.op not in ("broadcast", "slice") and node.lead == lead
        if not plain or node in self.forward.values():
            node = self.g.make("copy", (node,), node.rows, node.cols, lead, name)
        return node

    # -- backward ----------------------------------------------------------------------------

    def differentiate(self) -> None:
        """Fill ``gradients`` and ``sums`` from the edges of the derivation."""
        self._parts: dict[str, list[Node]] = {}
        self._alive = self._reaching()
        for name, (_, scan) in self.states.items():
            self.sums[name] = Accumulation(name, scan)
        for label, ref in self.network.outputs.items():
            self._cotangent(label, ref)
        for ref in self.network.loss_terms:
            loss = self.g.leaf("cotangent", *self.shape(ref), (), "loss")
            self._give(ref.name, loss)
        for program in reversed(self.derivation.scans):
            self._scan(program)
        for ref in wholes_of(self.network, self.network.inputs):
            self._give_steps(ref)
        for ref in self.refs.values():
            if ref.kind in DIFFERENTIATED:
                parts = self._parts.get(ref.name)
                self.gradients[ref.name] = self.g.add(parts) if parts else None

    def _reaching(self) -> set[str]:
        """Equations that an output or the loss depends on; only these have an adjoint."""
        outputs = (*self.network.outputs.values(), *self.network.loss_terms)
        todo = [r.maker for r in outputs]
        handed_on = self.network.handed_on
        edges: dict[str, list[str]] = {}
        for program in self.derivation.scans:
            for e in program.edges:
                source = e.operand.name
                edges.setdefault(e.equation.name, []).append(handed_on.get(source, source))
        for name, (state, _) in self.states.items():
            for start in state.initial:
                if start.ref is not None:
                    edges.setdefault(name, []).append(start.ref.maker)
        alive: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in alive:
                alive.add(name)
                todo += edges.get(name, [])
        return alive

    def _cotangent(self, label: str, ref: Ref) -> None:
        rows, cols = self.shape(ref)
        given = self.g.leaf("cotangent", rows, cols, self.ref_lead(ref), label)
        if ref.state is not None:
            self.sums[ref.state].finals.append(given)
        else:
            self._give(ref.name, given)

    def _give(self, name: str, node: Node) -> None:
        """Add to the adjoint of a name at the same step."""
        if name in self.sums:
            self.sums[name].parts.append((0, node))
        else:
            self._parts.setdefault(name, []).append(node)

    def adjoint(self, name: str) -> Node | None:
        """The node of an equation's adjoint, complete when all its readers are done."""
        if name not in self._alive:
            return None
        if name in self.sums:
            _, scan = self.states[name]
            like = self.forward[name]
            return self.g.leaf("adjoint", like.rows, like.cols, self.scan_lead(scan), name)
        parts = self._parts.get(name)
        return self.g.add(parts) if parts else None

    def _scan(self, program: ScanProgram) -> None:
        for ref in wholes_of(self.network, {e.name for e in program.equations}):
            self._give_steps(ref)
        for e in reversed(program.equations):
            bar = self.adjoint(e.name)
            if bar is None:
                continue
            self.adjoints[e.name] = bar
            self.g.named.add(bar)
            for edge in e.edges:
                self._edge(edge, e.symbol, bar)
        for state in program.scan.states:
            for start in state.initial:
                if start.ref is not None:
                    self._start(state.name, start.lag, start.ref)

    def _edge(self, edge: Edge, symbol: Sym, bar: Node) -> None:
        if edge.kind not in ("param", "input", "sequence", "static", "state", "equation"):
            return
        lead = self.leads[edge.equation.name]
        mark = symbol.with_(mark="bar")

        def resolve(s: Sym) -> Node:
            return bar if s == mark else self.resolve(s)

        name = edge.operand.name
        lowering = self._lowering(resolve, lead)
        if edge.kind == "param" or (name in self.leads and not self.leads[name]):
            part = lowering.shared(edge.pullback)
        else:
            part = lowering(edge.pullback)
        if isinstance(lowering, HeadLowering):
            part = lowering.given_to(edge.operand, edge.pullback, part)
        if edge.kind == "state":
            self.sums[name].parts.append((edge.lag or 0, part))
        elif name in self.forward:
            like = self.forward[name]
            part = self._settle(part, lead, self.leads[name])
            self._give(name, self._shaped(part, like.rows, like.cols))
        elif name in self.refs:
            ref = self.refs[name]
            part = self._settle(part, lead, self.ref_lead(ref))
            self._give(name, self._shaped(part, *self.shape(ref)))
        elif name in self.wholes:
            part = self._settle(part, lead, (BATCH,))
            self._give(name, self._shaped(part, *self.shape(self.wholes[name])))
        else:
            self.sums[self.finals[name]].finals.append(self.g.reduce(part, lead, (BATCH,)))

    def _settle(self, part: Node, lead: Lead, target: Lead) -> Node:
        return part if self._summed(part, lead) else self.g.reduce(part, lead, target)

    def _shaped(self, part: Node, rows: Dim, cols: Dim) -> Node:
        """What comes entry by entry, as the matrix of parameters that it is added to."""
        if part.lead or part.scalar or cols == ONE or part.cols == cols:
            return part
        return self.g.reshaped(part, rows, cols)

    def _summed(self, part: Node, lead: Lead) -> bool:
        """Whether a contribution is a sum over steps and sequences already.

        What does not vary with them, such as the derivative of a weight decay, is not.
        """
        stack = [part] if lead and not part.lead else []
        while stack:
            node = stack.pop()
            if node.op in ("outer", "reduce", "length"):
                return True
            if node.op == "contract" and any(a.lead for a in node.args):
                return True
            stack.extend(node.args)
        return False

    def _start(self, state: str, lag: int, ref: Ref) -> None:
        """The gradient of an initial value is what arrives before the first step."""
        if state not in self._alive:
            return
        like = self.forward[state]
        slot = self.g.leaf("start", like.rows, like.cols, (BATCH,), (state, lag))
        if ref.state is not None:
            self.sums[ref.state].finals.append(slot)
        elif ref.name in self.forward:
            self._give(ref.name, slot)
        elif ref.kind in DIFFERENTIATED:
            total = self.g.reduce(slot, (BATCH,), self.ref_lead(ref))
            self._give(ref.name, self._shaped(total, *self.shape(ref)))
