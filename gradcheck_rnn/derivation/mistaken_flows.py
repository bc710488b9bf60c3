"""Mistakes of the loop rather than of an equation: what is carried, exchanged or passed by."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations

from ..calculus.printing.text import to_text
from ..calculus.terms import Term
from .edits import Edits
from .mistaken_norms import mistaken_norms
from .program import Derivation, Edge, EquationProgram, ScanProgram

__all__ = ["Mutant", "flow_mutants"]


@dataclass(frozen=True)
class Mutant:
    """One mistake: its kind, where it is, what the program does then, and how to say it."""

    id: str
    kind: str
    where: str
    says: str
    edits: Edits

    def __str__(self) -> str:
        return self.says


def _exchanges(program: ScanProgram) -> Iterator[tuple[EquationProgram, EquationProgram]]:
    """Pairs of gates, that is of equations with weights, whose adjoints can be exchanged.

    Both adjoints must be there before either is used: no equation between the two may be read by
    the later one.
    """
    moving: set[str] = set()  # what only parameters make is one for all sequences, and no gate
    for e in program.equations:
        if any(x.kind in ("state", "input", "static") or x.operand.name in moving for x in e.edges):
            moving.add(e.name)
    gates = [
        e for e in program.equations
        if e.name in moving and any(edge.kind == "param" for edge in e.edges)
    ]  # fmt: skip
    place = {e.name: k for k, e in enumerate(program.equations)}
    for first, second in combinations(gates, 2):
        read = [place[edge.operand.name] for edge in second.edges
                if edge.lag == 0 and edge.operand.name in place]  # fmt: skip
        if first.symbol.shape == second.symbol.shape and all(k < place[first.name] for k in read):
            yield first, second


def flow_mutants(derivation: Derivation, loops: Collection[str] | None) -> Iterator[Mutant]:
    """Mistakes of the loop rather than of an equation, in all scans, states and outputs or some."""
    for program in derivation.scans:
        scan = program.scan
        if loops is not None and scan.name not in loops:
            continue
        for a, b in _exchanges(program):
            yield Mutant(
                f"exchanged:{scan.name}/{a.name}:{b.name}", "exchanged", f"{scan.name}/{a.name}",
                f"δ{to_text(a.symbol)} and δ{to_text(b.symbol)} exchanged: gates in another order "
                "than in the forward pass",
                Edits(permuted={a.name: b.name, b.name: a.name}),
            )  # fmt: skip
            yield from _exchanged_sides(scan.name, a, b)
        for name, words, terms in _inner_bypasses(derivation, program):
            yield Mutant(
                f"bypassed:{scan.name}/{name}", "bypassed", f"{scan.name}/{name.split(':')[0]}",
                words, Edits(terms=terms),
            )  # fmt: skip
        for kind, detail, where, says, edits in mistaken_norms(derivation, program):
            yield Mutant(f"{kind}:{where}:{detail}", kind, where, says, edits)
        for x, y in _bypasses(program):
            yield Mutant(
                f"bypassed:{scan.name}/{x.name}:{y.name}", "bypassed", f"{scan.name}/{x.name}",
                f"{to_text(x.symbol.with_(mark='bar'))} = {to_text(y.symbol.with_(mark='bar'))}: "
                f"what lies between them is not differentiated",
                Edits(terms=_straight(derivation, x, y)),
            )  # fmt: skip
        if scan.states:
            for k in (0, 1, 2, 5):
                yield Mutant(
                    f"carry:{scan.name}:{k}", "carry", scan.name,
                    f"the carry of scan {scan.name} cut after {k} step{'s' * (k != 1)}"
                    if k else f"nothing carried from step to step in scan {scan.name}",
                    Edits(carry={scan.name: k}),
                )  # fmt: skip
        for state in scan.states:
            if loops is not None and state.name not in loops:
                continue
            reads = [e.id for e in derivation.readers(state.name) if e.kind == "state"]
            if any(r.state == state.name for r in derivation.network.outputs.values()):
                yield Mutant(
                    f"final:{state.name}", "final", state.name,
                    f"the cotangent of the final state {state.name} is lost",
                    Edits(lost_finals=frozenset({state.name})),
                )  # fmt: skip
            if reads and any(i.ref is not None for i in state.initial):
                yield Mutant(
                    f"zero_start:{state.name}", "zero_start", state.name,
                    f"the initial state of {state.name} is taken as zero in the backward pass",
                    Edits(zero_starts=frozenset({state.name})),
                )  # fmt: skip
                yield Mutant(
                    f"wrapped_start:{state.name}", "wrapped_start", state.name,
                    f"the last {state.name} is read in place of its initial state, an index of −1",
                    Edits(wrapped_starts=frozenset({state.name})),
                )  # fmt: skip
                yield Mutant(
                    f"held_start:{state.name}", "held_start", state.name,
                    f"the first step reads its own {state.name} in place of the initial state",
                    Edits(held_starts=frozenset({state.name})),
                )  # fmt: skip
                yield Mutant(
                    f"lost_start:{state.name}", "lost_start", state.name,
                    f"the initial state of {state.name} receives no gradient",
                    Edits(lost_starts=frozenset({state.name})),
                )  # fmt: skip
                if len(scan.states) > 1:
                    yield Mutant(
                        f"carry_of:{state.name}", "carry_of", state.name,
                        f"nothing is carried through the state {state.name}",
                        Edits(terms=dict.fromkeys(reads)),
                    )  # fmt: skip
    for label, ref in derivation.network.outputs.items():
        if ref.axis is not None and (loops is None or label in loops):
            for step, name in ((1, "first"), (-1, "last")):
                yield Mutant(
                    f"output:{label}:{step}", "output", label,
                    f"the cotangent of {label} at the {name} step is lost",
                    Edits(lost_outputs={label: (step,)}),
                )  # fmt: skip


def _exchanged_sides(scan: str, a: EquationProgram, b: EquationProgram) -> Iterator[Mutant]:
    """Two gates' adjoints exchanged on the side of the input, or of the state, or in one line."""
    if len(a.edges) != len(b.edges):
        return
    sides: dict[bool, list[tuple[Edge, Edge]]] = {False: [], True: []}
    biases: list[tuple[Edge, Edge]] = []
    factors: dict[tuple[int, ...], list[str]] = {}
    states = {x.path[:1] for x in a.edges if x.kind == "state"}
    alone = [x.path[:1] for x in a.edges]
    for x, y in zip(a.edges, b.edges, strict=True):
        if x.kind == "param" and alone.count(x.path[:1]) == 1:
            biases.append((x, y))
        else:
            sides[x.path[:1] in states].append((x, y))
        if x.kind == "param":
            factors[x.path[:1]] = [to_text(x.operand), to_text(y.operand)]
    first, second = f"δ{to_text(a.symbol)}", f"δ{to_text(b.symbol)}"
    lines: list[tuple[list[tuple[Edge, Edge]], str]] = []
    for state, pairs in sides.items():
        back = [(x, y) for x, y in pairs if x.kind != "param"]
        if not back:
            continue
        side = "the state" if state else "the input"
        said = f"{first} and {second} exchanged on the side of {side}"
        lines.append((pairs, said))
        if biases:
            lines.append(([*pairs, *biases], f"{said} and of biases"))
        for pair in biases if len(biases) > 1 else ():
            lines.append(([*pairs, pair], f"{said} and of {to_text(pair[0].operand)}"))
        if len(back) > 1:
            lines.append((back, f"{said} alone, not for weights"))
        for x, y in back:
            if x.operand == y.operand:
                names = " and ".join(factors.get(x.path[:1], ()))
                these = f", or {names}," if names else ""
                bar = to_text(x.operand.with_(mark="bar"))
                lines.append(([(x, y)], f"{first} and {second}{these} exchanged in {bar} alone"))
    for k, (some, words) in enumerate(lines):
        terms: dict[str, Term | None] = {}
        for x, y in some:
            terms[x.id] = x.pullback.xreplace({x.adjoint: y.adjoint})
            terms[y.id] = y.pullback.xreplace({y.adjoint: x.adjoint})
        yield Mutant(
            f"exchanged-side:{scan}/{a.name}:{b.name}:{k}", "exchanged-side",
            f"{scan}/{a.name}", words, Edits(terms=terms),
        )  # fmt: skip


def _bypasses(program: ScanProgram) -> Iterator[tuple[EquationProgram, EquationProgram]]:
    """Equations and what of one shape is made from them, over another one at least."""
    made = {e.name: e for e in program.equations}
    behind: dict[str, set[str]] = {}  # all that an equation is made from within the step
    for y in program.equations:
        direct = {x.operand.name for x in y.edges if x.lag == 0 and x.operand.name in made}
        for n in set().union(*(behind[d] for d in direct)):
            if made[n].symbol.shape == y.symbol.shape:
                yield made[n], y
        behind[y.name] = direct.union(*(behind[d] for d in direct))


def _straight(
    derivation: Derivation, x: EquationProgram, y: EquationProgram
) -> dict[str, Term | None]:
    """Terms that give an equation the adjoint of another one and nothing else within the step."""
    program = derivation.scan_of(x.name)
    edges = [
        e for e in derivation.readers(x.name) if e.scan == program.scan.name and e.lag == 0
    ]  # fmt: skip
    terms: dict[str, Term | None] = dict.fromkeys(e.id for e in edges)
    terms[edges[0].id] = y.symbol.with_(mark="bar")
    return terms


def _inner_bypasses(
    derivation: Derivation, program: ScanProgram
) -> Iterator[tuple[str, str, dict[str, Term | None]]]:
    """Values that are given the adjoint of a part of an equation that is made from them.

    The part has no name of its own: the quotient of a normalisation within g ⊙ (s / σ) + b.
    """
    made = {e.name: e for e in program.equations}
    behind: dict[str, set[str]] = {}
    for y in program.equations:
        direct = {x.operand.name for x in y.edges if x.lag == 0 and x.operand.name in made}
        behind[y.name] = direct.union(*(behind[d] for d in direct))
        seen: set[Term] = set()
        for edge in y.edges:
            if edge.lag != 0 or edge.operand.name not in made:
                continue
            reached = {edge.operand.name} | behind[edge.operand.name]
            for step in edge.steps[1:]:
                if step.before in seen or step.node.shape != step.before.shape:
                    continue
                seen.add(step.before)
                for name in sorted(reached):
                    if made[name].symbol.shape != step.before.shape:
                        continue
                    terms: dict[str, Term | None] = dict.fromkeys(
                        e.id for e in derivation.readers(name)
                        if e.scan == program.scan.name and e.lag == 0
                    )  # fmt: skip
                    terms[next(iter(terms))] = step.before
                    bar = to_text(made[name].symbol.with_(mark="bar"))
                    words = f"{bar} = {to_text(step.before)}, the adjoint of {to_text(step.node)}: "
                    words += "what lies between them is not differentiated"
                    yield f"{name}:{y.name}:{to_text(step.node)}", words, terms
