"""Adjoints read in place of others, and shares of an adjoint that are treated unlike the rest.

They are read off the program: which adjoints are at hand where an equation is pulled back, which
shares an adjoint is the sum of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Hadamard,
    Num,
    Plus,
    Scale,
    Sym,
    Term,
    has_bar,
    symbols_in,
)
from .editing import sources
from .edits import Edits
from .program import Derivation, Edge
from .subterms import instead, occurrences, replaced_at

__all__ = [
    "bracket_edits",
    "kinds_of_sources",
    "mistaken_terms",
    "share_edits",
    "widened",
]

Mistake = tuple[str, str, Term, str]


def mistaken_terms(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """Kind, detail, the term, and words for what is wrong in it."""
    yield from _other_adjoints(derivation, edge)
    yield from _in_place(derivation, edge)


def _other_adjoints(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """The adjoint of another equation: another gate's, or one that is not yet pulled back."""
    program = derivation.program(edge.scan)
    place = {e.name: k for k, e in enumerate(program.equations)}
    made = {e.name: [x.operand.name for x in e.edges if x.lag == 0] for e in program.equations}
    below, stack = set[str](), [edge.operand.name]  # their adjoints wait for this edge
    while stack:
        name = stack.pop()
        if name in made and name not in below:
            below.add(name)
            stack += made[name]
    for e in program.near(edge).equations:
        bar = e.symbol.with_(mark="bar")
        if e.name == edge.equation.name or bar.shape != edge.adjoint.shape:
            continue
        if edge.kind == "equation" and e.name in below:
            continue  # it is not there yet
        yield (
            "adjoint", e.name, edge.pullback.xreplace({edge.adjoint: bar}),
            instead(bar, edge.adjoint),
        )  # fmt: skip
    if edge.kind == "state" and edge.operand.name in place:
        bar = program.equations[place[edge.operand.name]].symbol.with_(mark="bar")
        shown = f"the adjoint {to_text(bar)} of the step itself added"
        if bar.shape == edge.pullback.shape:
            yield "added", "", Plus(edge.pullback, bar), shown


def _in_place(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """An adjoint that was overwritten by what another operand gets before it is read again."""
    program = derivation.program(edge.scan)
    equation = next(e for e in program.equations if e.name == edge.equation.name)
    for other in equation.edges:
        made = other.pullback
        if other.id != edge.id and made.shape == edge.adjoint.shape and made != edge.adjoint:
            term = edge.pullback.xreplace({edge.adjoint: made})
            words = f"{to_text(edge.adjoint)} overwritten in place by {to_text(made)}"
            yield "in-place", other.id.partition("<-")[2], term, words


def _source_text(derivation: Derivation, source: str) -> str:
    if "<-" in source:
        return to_text(derivation.edge(source).pullback)
    if source.startswith("final "):
        return f"the cotangent of the final state {source.removeprefix('final ')}"
    return "the loss" if source == "loss" else f"the cotangent of {source.removeprefix('g_')}"


def bracket_edits(derivation: Derivation, edge: Edge) -> Iterator[tuple[str, str, str, Edits]]:
    """A factor of one term of an adjoint that is applied to the whole sum: a bracket too far."""
    if edge.kind != "equation":
        return
    name = edge.operand.name
    others = [s for s in sources(derivation, name) if s != edge.id]
    out = derivation.equation_edges(name)
    if not others:
        return
    bar = out[0].adjoint if out else edge.operand.with_(mark="bar")
    factors: list[tuple[Term, str]] = []
    for step, i in zip(edge.applications, edge.path, strict=True):
        if isinstance(step.node, Apply) and step.node.shape == bar.shape:
            slope = edge.rules[step.node].pullback(step.node, i, bar, step.node)
            factors.append((slope, f"φ′ of {to_text(step.node)}"))
    for s in symbols_in(edge.pullback):
        if not s.mark and s.lag is not None and s.shape == bar.shape and s.name != name:
            factors.append((Hadamard(bar, s), f"the factor {to_text(s)}"))
    for which, some in widened(derivation, others).items():
        for k, (wrong, text) in enumerate(factors):
            edits = {(s, e.id): e.pullback.xreplace({bar: wrong}) for s in some for e in out}
            words = f"{to_text(bar)} with {text} applied {which}, not to "
            words += f"{to_text(edge.pullback)} alone"
            detail = str(k) if some == others else f"{k} {which}"
            yield "bracket-too-far", detail, words, Edits(shares=dict(edits))


def widened(derivation: Derivation, others: list[str]) -> dict[str, list[str]]:
    """Terms of an adjoint over which a bracket may reach: all, or some that are one value."""
    found = {"to all its terms": others}
    for name, some in kinds_of_sources(derivation, others).items():
        if some and len(some) < len(others):
            found[f"to {name} as well"] = some
    return found


def kinds_of_sources(derivation: Derivation, every: Sequence[str]) -> dict[str, list[str]]:
    """The terms of an adjoint: what the carry holds, what is asked of outputs, the step's own."""
    kinds = {x.id: x.kind for x in derivation.edges if x.id in every}
    carried = [s for s in every if s.startswith("final ") or kinds.get(s) == "state"]
    outside = [s for s in every if s.startswith("g_") or s == "loss"]
    return {
        "what comes back through time": carried,
        "the cotangents of outputs": outside,
        "what the step itself gives": [s for s in every if s not in carried and s not in outside],
    }


def share_edits(derivation: Derivation, edge: Edge) -> Iterator[tuple[str, str, str, Edits]]:
    """Kind, detail, words and edits for mistakes in one of the shares of an adjoint."""
    shares = sources(derivation, edge.equation.name)
    if len(shares) < 2:
        return
    target, whole = to_text(edge.operand.with_(mark="bar")), to_text(edge.pullback)
    own = len(derivation.readers(edge.equation.name)) > 1 or any("<-" not in s for s in shares)
    several = own and len(derivation.equation_edges(edge.equation.name)) > 1
    for source in shares:
        text = _source_text(derivation, source)
        for k, step in enumerate(edge.applications):
            if not isinstance(step.node, Apply) or step.before.shape != step.after.shape:
                continue
            term = edge.resumed(k, edge.adjoint if k == 0 else step.before)
            words = f"{target} with φ′ of {to_text(step.node)} on the other terms only, a lost "
            words += f"bracket: the share of {text} in {to_text(edge.adjoint)} goes without φ′"
            yield "bracket", f"{source}/{k}", words, Edits(shares={(source, edge.id): term})
        for k, (rest, factor) in enumerate(_without_a_factor(edge.pullback)):
            words = (
                f"{target} with the factor {factor} on the other terms only, a lost bracket: the "
            )
            words += f"share of {text} in {to_text(edge.adjoint)} goes without it"
            yield "bracket", f"{source}*{k}", words, Edits(shares={(source, edge.id): rest})
        if several:
            yield (
                "share", source,
                f"{target} without the share of {text} in {to_text(edge.adjoint)} in {whole}",
                Edits(shares={(source, edge.id): None}),
            )  # fmt: skip
            yield (
                "share-twice", source,
                f"{target} with twice the share of {text} in {to_text(edge.adjoint)} in {whole}",
                Edits(shares={(source, edge.id): Scale(Num(2), edge.pullback)}),
            )  # fmt: skip


def _without_a_factor(term: Term) -> Iterator[tuple[Term, str]]:
    """A product without one of the factors beside its adjoint."""
    for node, path in occurrences(term):
        if isinstance(node, Hadamard):
            for i, factor in enumerate(node.operands):
                if not has_bar(factor) and isinstance(factor, Sym):
                    rest = Hadamard(*node.operands[:i], *node.operands[i + 1 :])
                    yield replaced_at(term, path, rest), to_text(factor)
        elif isinstance(node, Scale) and not has_bar(node.operands[0]):
            yield replaced_at(term, path, node.operands[1]), to_text(node.operands[0])
