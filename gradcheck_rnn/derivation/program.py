"""A derivation as a program over named equations.

One `Edge` for each place where an equation reads an operand. Its pullback says what the
equation's adjoint gives to the operand's adjoint (BPTT), its pushforward what the operand's
tangent gives to the equation's (RTRL), its Jacobian the same in Kronecker form. Everything that
consumes a derivation (printers, reports, code generation, mutants, proofs) reads edges; nothing
derives again. Cost is linear in the number of edges, because adjoints are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..calculus.rules import RuleTable
from ..calculus.rules.base import product
from ..calculus.terms import Eye, HeadSum, Plus, Sym, Term, Times, Vec, dim, heads_of, shift
from ..errors import UsageError
from ..language.network import Network, Operand, Ref, Scan, State
from .simplification import transposed

__all__ = [
    "Contribution", "Derivation", "Edge", "EquationProgram", "ScanProgram", "Step", "over_heads",
]  # fmt: skip

#: Equations around one of which a slip can take another's values; most cells have no more.
NEAREST = 32


def over_heads(term: Term, operand: Sym) -> Term:
    """What an operand is given: the sum over heads where they share it."""
    heads = heads_of(term) if operand.heads == 1 else operand.heads
    return term if heads == operand.heads else HeadSum(term, heads)


@dataclass(frozen=True)
class Step:
    """One application of one rule: where in the right-hand side, what was, what came of it."""

    rule: str
    path: tuple[int, ...]
    node: Term
    before: Term
    after: Term
    citation: str


@dataclass(frozen=True)
class Edge:
    """The reading of one operand occurrence by one equation.

    Attributes
    ----------
    id : str
        Stable: ``scan/equation<-operand``, with ``@lag`` and ``#occurrence`` where there are any.
    operand, kind, lag : str, str, int or None
        What is read; ``lag`` counts in time (−1 is t + 1, in a scan that runs backwards).
    path : tuple of int
        The way from the root of the right-hand side to the leaf.
    pullback : Term
        The contribution to the operand's adjoint, in terms of the equation's adjoint at t.
    steps : tuple of Step
        The rule applications that made the pullback, outermost first.
    """

    id: str
    scan: str
    equation: Sym
    rhs: Term
    operand: Sym
    path: tuple[int, ...]
    pullback: Term
    steps: tuple[Step, ...]
    rules: RuleTable

    @cached_property
    def kind(self) -> str:
        return self.operand.kind

    @cached_property
    def lag(self) -> int | None:
        return self.operand.lag

    @cached_property
    def adjoint(self) -> Sym:
        """The equation's adjoint at t."""
        return self.equation.with_(mark="bar")

    @property
    def applications(self) -> tuple[Step, ...]:
        """The steps that apply a rule: all but the sum over heads at the end."""
        return self.steps[: len(self.path)]

    def resumed(self, k: int, term: Term) -> Term:
        """The pullback with ``term`` in place of what its k-th step gives."""
        for step, i in zip(self.applications[k + 1 :], self.path[k + 1 :], strict=True):
            term = self.rules[step.node].pullback(step.node, i, term, step.node)
        return over_heads(term, self.operand)

    @cached_property
    def differential(self) -> Term:
        """The part of the equation's differential that is linear in the operand's."""
        return self._forward(self.operand.with_(mark="d"), "differential")

    @cached_property
    def _vec(self) -> tuple[Term, tuple[str, ...]]:
        from ..calculus.vec import vec_coefficient

        return vec_coefficient(self.differential, self.operand.with_(mark="d"))

    @property
    def jacobian(self) -> Term:
        """∂vec(equation)/∂(vec operand)ᵀ of this occurrence, by vec rules from the differential."""
        return self._vec[0]

    @property
    def identities(self) -> tuple[str, ...]:
        """The vec identities that were applied."""
        return self._vec[1]

    @property
    def vec_pullback(self) -> Term:
        """The contribution to vec of the operand's adjoint: Jᵀ δ, or Jᵀ vec δ of a matrix."""
        column = self.equation.shape[1] == 1
        made = Times(transposed(self.jacobian), self.adjoint if column else Vec(self.adjoint))
        return over_heads(made, self.operand)

    @cached_property
    def tangent(self) -> Sym:
        """The operand's tangent: a row for each entry of its vec, a column for each parameter."""
        rows = self.operand.shape[0] * self.operand.shape[1]
        return Sym(
            self.operand.name, rows, dim("m"), self.kind, self.lag, "total", self.operand.heads
        )

    @cached_property
    def pushforward(self) -> Term:
        """The contribution to the equation's tangent, in terms of `tangent`."""
        return self._forward(self.tangent, "pushforward")

    @cached_property
    def immediate(self) -> Term:
        """The pushforward of the identity: the immediate derivative ∂⁺ with respect to operand."""
        return self._forward(Eye(self.tangent.shape[0]), "pushforward")

    def _forward(self, start: Term, family: str) -> Term:
        nodes: list[tuple[Term, int]] = []
        node: Term = self.rhs
        for i in self.path:
            nodes.append((node, i))
            node = node.operands[i]
        out = start
        for depth, (node, i) in reversed(list(enumerate(nodes))):
            rule = self.rules[node]
            value = self.equation if depth == 0 else node
            out = getattr(rule, family)(node, i, out, value)
        return out


@dataclass(frozen=True)
class EquationProgram:
    """One equation with its edges, in the order in which the right-hand side reads them."""

    symbol: Sym
    rhs: Term
    edges: tuple[Edge, ...]
    named_by: str = "user"

    @cached_property
    def name(self) -> str:
        return self.symbol.name


@dataclass(frozen=True)
class ScanProgram:
    """The equations of one scan in definition order."""

    scan: Scan
    equations: tuple[EquationProgram, ...]

    def time_before(self, steps: int, back: int = 0) -> str:
        """The time `steps` before the first step, and `back` before that: 0, or T+1 backwards."""
        if not self.scan.reverse:
            return str(1 - steps - back).replace("-", "−")
        past = steps - back
        return str(self.scan.axis) + (f"+{past}" if past > 0 else f"−{-past}" if past else "")

    def symbol(self, name: str) -> Sym:
        """The symbol of an equation at t."""
        return next(e.symbol for e in self.equations if e.name == name)

    @property
    def edges(self) -> Iterator[Edge]:
        for e in self.equations:
            yield from e.edges

    def near(self, edge: Edge) -> ScanProgram:
        """The states' equations and those next to an edge's own: what a slip takes for another.

        In a long program the values of one shape are many, and all pairs of them too many.
        """
        if len(self.equations) <= NEAREST:
            return self
        names, states = [e.name for e in self.equations], {s.name for s in self.scan.states}
        at = names.index(edge.equation.name) - NEAREST // 2
        near = range(len(names))[max(0, min(at, len(names) - NEAREST)) :][:NEAREST]
        kept = (e for k, e in enumerate(self.equations) if k in near or e.name in states)
        return replace(self, equations=tuple(kept))


@dataclass(frozen=True)
class Contribution:
    """One term of an adjoint: from an edge, or from outside.

    ``source``: an Edge, or ``"loss"``, ``"output"``, ``"final"`` for what the caller supplies.
    ``when``: ``""`` at every step, ``"last"`` only at the last step of the scan.
    """

    source: Edge | str
    term: Term
    when: str = ""

    @property
    def scan(self) -> str:
        """The scan that makes the contribution; empty for what comes from outside."""
        return self.source.scan if isinstance(self.source, Edge) else ""


@dataclass(frozen=True, repr=False)
class Derivation:
    """The derivation of a network: programs of its scans, in forward order."""

    network: Network
    scans: tuple[ScanProgram, ...]
    rules: RuleTable

    def __repr__(self) -> str:
        return f"<derivation of {self.network.name}; render() writes it>"

    @cached_property
    def _readers(self) -> dict[str, list[Edge]]:
        table: dict[str, list[Edge]] = {}
        for program in self.scans:
            for edge in program.edges:
                table.setdefault(edge.operand.name, []).append(edge)
        return table

    @property
    def edges(self) -> Iterator[Edge]:
        for program in self.scans:
            yield from program.edges

    def edge(self, identity: str) -> Edge:
        """The edge with this id; raises UsageError if there is none."""
        found = self._by_id.get(identity)
        if found is None:
            raise UsageError(f"network {self.network.name!r} has no edge {identity!r}")
        return found

    @cached_property
    def _by_id(self) -> dict[str, Edge]:
        return {e.id: e for e in self.edges}

    def readers(self, name: str) -> tuple[Edge, ...]:
        """The edges that read a name, in forward order."""
        return tuple(self._readers.get(name, ()))

    def program(self, scan: str) -> ScanProgram:
        return next(p for p in self.scans if p.scan.name == scan)

    def scan_of(self, equation: str) -> ScanProgram:
        """The scan that makes an equation."""
        return self._made(equation)[0]

    @cached_property
    def _makers(self) -> dict[str, tuple[ScanProgram, EquationProgram]]:
        return {e.name: (p, e) for p in self.scans for e in p.equations}

    def _made(self, equation: str) -> tuple[ScanProgram, EquationProgram]:
        if equation not in self._makers:
            raise UsageError(f"network {self.network.name!r} has no equation {equation!r}")
        return self._makers[equation]

    def equation_edges(self, equation: str) -> tuple[Edge, ...]:
        """The edges out of an equation: one for each reading of an operand."""
        return self._made(equation)[1].edges

    def operand(self, edge: Edge) -> Operand | None:
        """The network's operand an edge reads; None for the scan's own equations and states."""
        return self.program(edge.scan).scan.operands.get(edge.operand.name)

    def state(self, scan: str, name: str) -> State | None:
        return next((s for s in self.program(scan).scan.states if s.name == name), None)

    def adjoint_terms(self, equation: str) -> tuple[Contribution, ...]:
        """What the adjoint of an equation is the sum of, in the order: outside, readers."""
        made_by, made = self._made(equation)
        symbol = made.symbol
        out: list[Contribution] = []
        if any(r.name == equation for r in self.network.loss_terms):
            from ..calculus.terms import Num

            out.append(Contribution("loss", Num(1)))
        for label, ref in self.network.outputs.items():
            if ref.name == equation:
                out.append(Contribution("output", self._cotangent(label, ref, symbol)))
            elif ref.state == equation:
                out.append(Contribution("final", self._cotangent(label, ref, symbol), "last"))
        for edge in self.readers(equation):
            out.append(Contribution(edge, shift(edge.pullback, edge.lag or 0)))
        state = self.state(made_by.scan.name, equation)
        for edge in self.readers(state.final) if state is not None else ():
            out.append(Contribution(edge, edge.pullback, "last"))
        out += self.rows_handed_back(equation)
        for other in self.scans:
            for begun in other.scan.states:
                for start in begun.initial:
                    # A start is another scan's last state, or the value of a scan without steps.
                    if start.ref is not None and start.ref.maker == equation:
                        symbol0 = self._made(begun.name)[1].symbol
                        term = symbol0.with_(mark="bar", lag=other.time_before(start.lag))
                        when = "" if start.ref.state is None else "last"
                        out.append(Contribution("start of " + begun.name, term, when))
        return tuple(out)

    def cotangent_name(self, label: str) -> str:
        """What the cotangent of an output is called: ``g_<output>``, or another free name."""
        name, taken = f"g_{label}", self.network.taken_names
        while name in taken:
            name += "_"
        return name

    def _cotangent(self, label: str, ref: Ref, like: Sym) -> Sym:
        """The cotangent that the caller gives for an output: ∂L/∂output."""
        name = self.cotangent_name(label)
        return like.with_(name=name, kind="input", lag=0 if ref.axis is not None else None)

    def gradient_terms(self, name: str) -> tuple[Contribution, ...]:
        """What the gradient of a parameter or an input is the sum of (a sum over time is implied
        for what does not move with time)."""
        known = {**self.network.parameters, **self.network.inputs}
        if name not in known:
            raise UsageError(
                f"network {self.network.name!r} has no {name!r} to differentiate by; it has "
                f"{', '.join(n for n, r in known.items() if r.kind in DIFFERENTIATED)}"
            )
        edges = (Contribution(e, shift(e.pullback, e.lag or 0)) for e in self.readers(name))
        return (*edges, *self.rows_handed_back(name))

    def rows_handed_back(self, name: str) -> list[Contribution]:
        """What reaches a sequence that is handed on whole: row t of the matrix's adjoint."""
        out: list[Contribution] = []
        for ref in self.network.wholes.values():
            for edge in self.readers(ref.name)[:1] if ref.sequence == name else ():
                units = 1 if ref.shape.column else edge.operand.shape[1]
                row = edge.operand.with_(mark="bar", lag=0, rows=units, cols=1)
                out.append(Contribution(f"rows of {ref.name}", row))
        return out

    def differentiated(self) -> tuple[Ref, ...]:
        """Parameters, inputs and initial states that have a gradient."""
        refs = (*self.network.parameters.values(), *self.network.inputs.values())
        return tuple(r for r in refs if r.kind in DIFFERENTIATED)

    def transition(self, scan: str, to: str, source: str, lag: int = 1) -> Term | None:
        """The block ∂to_t/∂(source_{t−lag})ᵀ with the intermediates substituted through.

        None where there is no path within the step. Of a state that every head has it is the block
        of head h, which is all there is unless `joins_heads`. The cost of closed forms can grow
        with the number of paths; the program itself never needs them.
        """
        program = self.program(scan)
        sign = -1 if program.scan.reverse else 1
        shared = not self.state_is_headed(program, source)
        blocks: dict[str, Term | None] = {}
        for e in program.equations:
            parts: list[Term] = []
            for edge in e.edges:
                if edge.kind == "state" and edge.operand.name == source and edge.lag == sign * lag:
                    parts.append(edge.jacobian)
                elif edge.kind == "equation":
                    inner = blocks.get(edge.operand.name)
                    if inner is not None:
                        part = product(edge.jacobian, inner)
                        parts.append(over_heads(part, e.symbol) if shared else part)
            blocks[e.name] = Plus(*parts) if parts else None
        return blocks[to]

    @staticmethod
    def state_is_headed(program: ScanProgram, state: str) -> bool:
        """Whether every head has such a state."""
        return bool(next(e.symbol.heads != 1 for e in program.equations if e.name == state))

    def joins_heads(self, scan: str, to: str, source: str, lag: int = 1) -> bool:
        """Whether one head's state reaches another head within the step, by what they share."""
        program = self.program(scan)
        if not self.state_is_headed(program, source):
            return False
        sign = -1 if program.scan.reverse else 1
        #: Equation → whether the state reaches it by what the heads share, and so another head.
        shared: dict[str, bool] = {}
        joined: dict[str, bool] = {}
        for e in program.equations:
            headed = e.symbol.heads != 1
            for edge in e.edges:
                name = edge.operand.name
                if edge.kind == "state" and (name, edge.lag) == (source, sign * lag):
                    shared[e.name] = shared.get(e.name, False) or not headed
                elif edge.kind == "equation" and name in shared:
                    shared[e.name] = shared.get(e.name, False) or shared[name] or not headed
                    met = joined.get(name, False) or (shared[name] and headed)
                    joined[e.name] = joined.get(e.name, False) or met
        return joined.get(to, False)

    def paths(self, scan: str, to: str, source: str, lag: int = 1) -> int:
        """How many paths there are within the step: the terms of `transition`."""
        program = self.program(scan)
        sign = -1 if program.scan.reverse else 1
        counts: dict[str, int] = {}
        for e in program.equations:
            counts[e.name] = sum(
                int(edge.operand.name == source and edge.lag == sign * lag)
                if edge.kind == "state"
                else counts.get(edge.operand.name, 0)
                if edge.kind == "equation"
                else 0
                for edge in e.edges
            )
        return counts[to]


DIFFERENTIATED = ("param", "input", "static")
