"""A part of an adjoint read for all of it: one of its terms, some units, one sequence.

Also what a line makes of all that an adjoint is read for alike: a slope where none is, or what a
state hands on without anything that is derived.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..calculus.printing.text import to_text
from ..calculus.terms import Apply, Hadamard, Neg, Ones, Plus, Power, Sym, Term
from ..language.network import State
from .editing import sources
from .edits import Edits, Mask
from .mistaken_axes import packed_blocks
from .mistaken_terms import kinds_of_sources
from .mistaken_values import made_from
from .program import Derivation, Edge, EquationProgram, ScanProgram

__all__ = ["mistaken_shares"]

Loop = tuple[str, str, str, str, Edits]


def mistaken_shares(
    derivation: Derivation, edges: Sequence[Edge], loops: Collection[str] | None = None
) -> Iterator[Loop]:
    """Kind, detail, where, words and edits, of equations and states, or of those named."""
    ends = {e.id for e in edges}
    for program in derivation.scans:
        for e in program.equations:
            own = [x for x in e.edges if x.id in ends]
            lines = list(_lines(program, own))
            yield from _shares(derivation, e, lines)
            yield from _masks(derivation, e, lines)
            yield from packed_blocks(derivation, e.symbol, lines)
            yield from _received(program, e, own)
            if len(own) == len(e.edges):
                yield from _slopes(program, e)
        for state in program.scan.states:
            if loops is None or state.name in loops:
                yield from _passed(derivation, program, state.name)
                yield from _last_for_own(derivation, program, state)
    for edge in edges:
        if edge.kind == "param":
            yield from _one_sequence(derivation, edge)


def _lines(program: ScanProgram, own: Sequence[Edge]) -> Iterator[tuple[str, list[Edge]]]:
    """What lines of code an adjoint is read in: each operand's, parameters', the step's, all."""
    name = to_text(own[0].adjoint) if own else ""
    for edge in own:
        yield f"{to_text(edge.operand.with_(mark='bar'))}: {to_text(edge.pullback)}", [edge]
    for words, some in (
        (
            f"all biases that {name} is read for",
            [x for x in own if x.kind == "param" and x.pullback == x.adjoint],
        ),
        (f"all parameters that {name} is read for", [x for x in own if x.kind == "param"]),
        (f"all that {name} is read for within the step", [x for x in own if x.kind != "state"]),
        (f"all that {name} is read for", list(own)),
    ):
        if len(some) > 1 and (len(some) < len(own) or words.endswith("read for")):
            yield words, some


def _shares(
    derivation: Derivation, e: EquationProgram, lines: Sequence[tuple[str, list[Edge]]]
) -> Iterator[Loop]:
    """Only some of the terms of an adjoint: what outputs ask, what comes back through time."""
    every = sources(derivation, e.name)
    if len(every) < 2:
        return
    groups = kinds_of_sources(derivation, every)
    _, outside, within = groups.values()
    groups["what comes from the step itself and from outputs"] = [*within, *outside]
    bar = to_text(e.symbol.with_(mark="bar"))
    seen: set[frozenset[str]] = set()
    for words, kept in groups.items():
        lost = [s for s in every if s not in kept]
        if not kept or not lost or frozenset(kept) in seen:
            continue
        seen.add(frozenset(kept))
        for what, some in lines:
            if len(some) == 1 and len(lost) == 1:
                continue  # one share lost in one term is told elsewhere
            yield (
                "part-of-adjoint", f"{what}:{words}", some[0].id,
                f"{bar} with nothing but {words}, in {what}",
                Edits(shares={(s, x.id): None for s in lost for x in some}),
            )  # fmt: skip


def _received(program: ScanProgram, e: EquationProgram, own: Sequence[Edge]) -> Iterator[Loop]:
    """What a step receives for another state, before the step adds its own, for an adjoint."""
    made = {x.name: x for x in program.equations}
    behind = {name for name in made_from(made, e.name) if name != e.name}
    carried = {x.operand.name for x in program.edges if x.kind == "state"}
    for state in program.scan.states:
        symbol = made[state.name].symbol if state.name in made else None
        if state.name not in behind & carried or symbol is None or symbol.shape != e.symbol.shape:
            continue
        for edge in own:
            if edge.kind == "equation" and edge.operand.name != state.name:
                bar, adjoint = to_text(edge.operand.with_(mark="bar")), to_text(edge.adjoint)
                words = f"{bar} with what the step receives for δ{to_text(symbol)} instead of "
                words += f"{adjoint} in {to_text(edge.pullback)}"
                edits = Edits(received={edge.id: state.name})
                yield "received-for", f"{edge.id}:{state.name}", edge.id, words, edits


def _masks(
    derivation: Derivation, e: EquationProgram, lines: Sequence[tuple[str, list[Edge]]]
) -> Iterator[Loop]:
    """Only half of the units of an adjoint, or one head."""
    bar = to_text(e.symbol.with_(mark="bar"))
    masks: dict[str, Mask] = {}
    if e.symbol.shape[0] != 1:
        masks["the first half of the units"] = ("unit", "half", True)
        masks["the second half of the units"] = ("unit", "half", False)
    if e.symbol.heads != 1:
        masks["the first head, in all of them"] = ("head", "for all", True)
        masks["the first head"] = ("head", "first", True)
        masks["the last head"] = ("head", "last", True)
    for words, mask in masks.items():
        for what, some in lines[-1:]:
            yield (
                "units", f"{what}:{words}", some[0].id,
                f"{bar} with nothing but {words}, in {what}",
                Edits(masked={x.id: mask for x in some}),
            )  # fmt: skip


def _one_sequence(derivation: Derivation, edge: Edge) -> Iterator[Loop]:
    """The gradient of a parameter from one sequence, at all steps or at one, or without one."""
    bar, whole = to_text(edge.operand.with_(mark="bar")), to_text(edge.pullback)
    for place in ("first", "last"):
        for kept, words in ((True, "with"), (False, "without")):
            yield (
                "sequence", f"{place}{kept}", edge.id,
                f"{bar} {words} the {place} sequence {'alone ' * kept}in Σ {whole}",
                Edits(masked={edge.id: ("sequence", place, kept)}),
            )  # fmt: skip
        for step, when in ((1, "first"), (-1, "last")):
            words = f"{bar} with the {when} step of the {place} sequence alone in Σ {whole}"
            mask = ("sequence", place, True)
            yield (
                "sequence", f"{place}@{step}", edge.id, f"{words}: overwritten, not accumulated",
                Edits(masked={edge.id: mask}, only_steps={edge.id: (step,)}),
            )  # fmt: skip


def _slopes(program: ScanProgram, e: EquationProgram) -> Iterator[Loop]:
    """The slope of σ or tanh in the adjoint of an equation that applies neither."""
    if isinstance(e.rhs, Apply) or not e.edges:
        return
    v, bar = e.symbol, e.symbol.with_(mark="bar")
    one = Ones(*v.shape)
    for name, words, slope in _slopes_of(v, one):
        terms: dict[str, Term | None] = {
            x.id: x.pullback.xreplace({bar: Hadamard(bar, slope)}) for x in e.edges
        }
        yield (
            "slope-where-none", name, e.edges[0].id,
            f"{to_text(bar)} with the factor {to_text(slope)} too many, the slope of {words}",
            Edits(terms=terms),
        )  # fmt: skip


def _slopes_of(v: Sym, one: Term) -> Iterator[tuple[str, str, Term]]:
    for name, words in (("tanh", "tanh"), ("sigmoid", "σ")):
        for of, x in (("value", v), ("argument", Apply(name, v))):
            less = Plus(one, Neg(Power(x, 2) if name == "tanh" else x))
            yield f"{name}{of}", words, less if name == "tanh" else Hadamard(x, less)


def _last_for_own(derivation: Derivation, program: ScanProgram, state: State) -> Iterator[Loop]:
    """The cotangent of the last state in all that goes back from a state to itself."""
    asked = any(r.state == state.name for r in derivation.network.outputs.values())
    own = [x for x in program.edges if x.kind == "state" and x.operand.name == state.name
           and x.equation.name == state.name]  # fmt: skip
    if own and asked:
        words = f"{to_text(own[0].operand.with_(mark='bar'))} with the cotangent of the final state"
        words += f" {state.name} instead of {to_text(own[0].adjoint)} in {to_text(own[0].pullback)}"
        edits = Edits(received={x.id: state.final for x in own})
        yield "last-for-own", state.name, state.name, words, edits


def _passed(derivation: Derivation, program: ScanProgram, state: str) -> Iterator[Loop]:
    """What a step hands on for a state without anything derived: its adjoint, or cotangents."""
    reads = [x.id for x in program.edges if x.kind == "state" and x.operand.name == state]
    asked = [n for n, r in derivation.network.outputs.items() if r.name == state and r.axis]
    if not reads:
        return
    for what, words in (("whole", f"δ{state} as it is"), ("output", "the cotangent of the step")):
        if what == "whole" or asked:
            yield (
                "handed-on", what, state,
                f"what a step hands on for the state {state} is {words}: nothing is differentiated",
                Edits(terms=dict.fromkeys(reads), passed={state: what}),
            )  # fmt: skip
