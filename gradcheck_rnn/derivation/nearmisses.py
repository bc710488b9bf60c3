"""Terms that somebody may have written in place of a derived one: mutants, and others."""

from __future__ import annotations

from collections.abc import Iterator

from ..calculus.printing.text import to_text
from ..calculus.terms import Apply, Hadamard, Neg, Ones, Plus, Power, Sym, Term, symbols_in
from .mutants import edge_mutants
from .program import Derivation, Edge

__all__ = ["near_misses"]

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
    whole = to_text(edge.pullback)
    for term in _other_slopes(edge):
        if term not in seen:
            seen.add(term)
            yield f"{to_text(term)} instead of {whole}", term, slice(None)
    for before, after in _exchanges(derivation, edge):
        term = edge.pullback.xreplace({before: after})
        if term not in seen:
            seen.add(term)
            yield f"{to_text(after)} instead of {to_text(before)} in {whole}", term, slice(None)


def _other_slopes(edge: Edge) -> Iterator[Term]:
    """σ′ for tanh′ and the reverse, half of σ′, and φ for φ′."""
    if isinstance(edge.rhs, Apply) and len(edge.path) == 1:
        y, one = edge.equation, Ones(*edge.equation.shape)
        less = Plus(one, Neg(y))
        for slope in (Plus(one, Neg(Power(y, 2))), Hadamard(y, less), less, y):
            yield Hadamard(edge.adjoint, slope)


def _exchanges(derivation: Derivation, edge: Edge) -> Iterator[tuple[Sym, Term]]:
    program = derivation.program(edge.scan)
    equations = [e.symbol for e in program.equations]
    for s in symbols_in(edge.pullback):
        if s.lag is not None:
            for by in (-2, -1, 1, 2):
                if isinstance(s.lag, int):
                    yield s, s.with_(lag=s.lag + by)
        for other in equations:
            if other.name != s.name and other.shape == s.shape and s.lag is not None:
                yield s, s.with_(name=other.name, kind=other.kind)
                if s.lag and not s.mark:
                    yield s, s.with_(name=other.name, kind=other.kind, lag=0)
        if not s.mark and s.lag is not None:
            yield s, Plus(Ones(*s.shape), Neg(s))
            yield s, Plus(Ones(*s.shape), Neg(Power(s, 2)))
            yield s, Power(s, 2)
