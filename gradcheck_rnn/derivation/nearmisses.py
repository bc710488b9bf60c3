"""Terms that somebody may have written in place of a derived one: mutants, and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Divide,
    Greater,
    Hadamard,
    Neg,
    Ones,
    Plus,
    Power,
    Sym,
    Term,
    Zeros,
    has_bar,
)
from .mutants import edge_mutants
from .program import Derivation, Edge
from .subterms import occurrences, replaced_at

__all__ = ["near_misses", "other_terms"]

#: Steps of a sum that take part, for sums over time that are not.
_STEPS: dict[tuple[int, ...], slice] = {(1,): slice(0, 1), (-1,): slice(-1, None)}
_SKIPPED: dict[tuple[int, ...], slice] = {(1,): slice(1, None), (-1,): slice(0, -1)}


def near_misses(derivation: Derivation, edge: Edge) -> Iterator[tuple[str, Term | None, slice]]:
    """Words, the term in place of the edge's pullback (None: nothing), and the steps it is at."""
    seen = {edge.pullback}
    for mutant in edge_mutants(derivation, edge):
        edits = mutant.edits
        if edge.id in edits.terms:
            term = edits.terms[edge.id]
            if term is not None:
                seen.add(term)
            yield mutant.says, term, slice(None)
        elif edge.id in edits.only_steps:
            yield mutant.says, edge.pullback, _STEPS[edits.only_steps[edge.id]]
        elif edge.id in edits.skip_steps:
            yield mutant.says, edge.pullback, _SKIPPED[edits.skip_steps[edge.id]]
    for says, term in other_terms(derivation, edge):
        if term not in seen:
            seen.add(term)
            yield says, term, slice(None)


def other_terms(derivation: Derivation, edge: Edge) -> Iterator[tuple[str, Term]]:
    """Words and terms one change away from a derived one, whether anybody writes such or not.

    In one place, or in all places of a value: any value or parameter of that shape at the steps
    around, another adjoint or the sum of two, another operation, a value's square, reciprocal, sign
    or complement, what lies within a function. Thousands for a cell, so they are for lines that are
    known to be wrong.
    """
    whole = to_text(edge.pullback)
    for term in _other_slopes(edge):
        yield f"{to_text(term)} instead of {whole}", term
    values = _values_of_shapes(derivation, edge)
    adjoints = [
        e.symbol.with_(mark="bar") for e in derivation.program(edge.scan).near(edge).equations
    ]
    places: dict[Term, list[tuple[int, ...]]] = {}
    for node, path in occurrences(edge.pullback):
        places.setdefault(node, []).append(path)
    for node, paths in places.items():
        for new in _instead_of(node, values, adjoints):
            words = f"{to_text(new)} instead of {to_text(node)} in {whole}"
            yield words, edge.pullback.xreplace({node: new})
            for path in paths if len(paths) > 1 else ():
                yield f"once {words}", replaced_at(edge.pullback, path, new)


def _values_of_shapes(derivation: Derivation, edge: Edge) -> dict[Any, list[Sym]]:
    """Values and parameters that a step can read, by shape and heads."""
    program = derivation.program(edge.scan).near(edge)
    found = [e.symbol for e in program.equations]
    found += [x.operand for x in program.edges if x.lag is None or x.operand.lag is not None]
    moving = [s.with_(lag=s.lag + by) for s in found if s.lag is not None for by in (-1, 1)]
    made = {e.name: e.symbol for p in derivation.scans for e in p.equations}
    last = [
        made[s.name].with_(name=s.final, kind="static", lag=None)
        for p in derivation.scans for s in p.scan.states if s.name in made
    ]  # fmt: skip
    out: dict[Any, list[Sym]] = {}
    for s in dict.fromkeys(s for s in (*found, *moving, *last) if not s.mark):
        out.setdefault((s.shape, s.heads), []).append(s)
    return out


def _instead_of(
    node: Term, values: Mapping[Any, Sequence[Sym]], adjoints: Sequence[Sym]
) -> Iterator[Term]:
    """What may stand in a node's place, of its own shape."""
    if isinstance(node, Sym):
        key = node.shape, node.heads
        if node.mark:
            alike = [a for a in adjoints if (a.shape, a.heads) == key]
            yield from (a for a in alike if a != node)
            yield from (Plus(a, b) for a, b in combinations(alike, 2))
        else:
            yield from (s for s in values.get(key, []) if s != node)
            yield from _made_of(node)
    elif isinstance(node, Hadamard):
        for a, b in combinations(node.operands, 2):
            rest = [x for x in node.operands if x is not a and x is not b]
            for other in (Plus(a, b), Plus(a, Neg(b)), Plus(b, Neg(a)), *_quotients(a, b)):
                yield Hadamard(*rest, other) if rest else other
    elif isinstance(node, Plus) and len(node.operands) == 2:
        a, b = node.operands
        yield from (Plus(a, Neg(b)), Plus(b, Neg(a)), a, b)
        if a.shape == b.shape and not (has_bar(a) and has_bar(b)):
            yield Hadamard(a, b)
    elif isinstance(node, Divide):
        a, b = node.operands
        if a.shape == b.shape:
            yield from (Hadamard(a, b), a)
    elif isinstance(node, Apply | Greater) and not has_bar(node):
        yield from _made_of(node)
        yield from values.get((node.shape, 1), [])
        yield from (Greater(a, Zeros(*a.shape)) for a in adjoints if a.shape == node.shape)
    elif isinstance(node, Power) and not has_bar(node):
        yield from _made_of(node.operands[0])
        yield node.operands[0]


def _quotients(a: Term, b: Term) -> Iterator[Term]:
    if a.shape == b.shape:
        yield from (Divide(*pair) for pair in ((a, b), (b, a)) if not has_bar(pair[1]))


def _made_of(x: Term) -> Iterator[Term]:
    one = Ones(*x.shape)
    yield from (Plus(one, Neg(x)), Plus(one, Neg(Power(x, 2))), Power(x, 2), Power(x, 3))
    yield from (Neg(x), Divide(one, x), Hadamard(x, Plus(one, Neg(x))), one)
    yield Greater(x, Zeros(*x.shape))


def _other_slopes(edge: Edge) -> Iterator[Term]:
    """σ′ for tanh′ and the reverse, half of σ′, and φ for φ′."""
    if isinstance(edge.rhs, Apply) and len(edge.path) == 1:
        y, one = edge.equation, Ones(*edge.equation.shape)
        less = Plus(one, Neg(y))
        for slope in (Plus(one, Neg(Power(y, 2))), Hadamard(y, less), less, y):
            yield Hadamard(edge.adjoint, slope)
