"""Mistakes on no list: lines wrong by themselves, terms near theirs, and two in one term."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from ...calculus.printing.text import to_text
from ...derivation import Derivation
from ...derivation.edits import Edits
from ...derivation.nearmisses import other_terms
from ...derivation.program import Edge
from ...derivation.subterms import both_changes
from ...errors import DimensionError
from ..harness.compare import Comparison
from .candidates import Bench, Candidate
from .effects import Effects, is_affordable
from .equivalence import PLAIN
from .matching import by_length
from .wrong_lines import MOST_LINES, WrongLines, wrong_lines

__all__ = ["edges_into", "located", "named", "names_of", "near_candidates", "told", "twice"]

#: Places at which lines are looked for, the smallest first.
PLACES = 2
#: Sets of lines that are printed.
NAMED = 4


def located(bench: Bench, ill: Sequence[Comparison], most: int = MOST_LINES) -> list[WrongLines]:
    """Lines, ``most`` at once, that can make all that is wrong, where it is told best."""
    best: list[WrongLines] = []
    for place in sorted(ill, key=by_length)[:PLACES]:
        if is_affordable(bench, place):
            found = wrong_lines(Effects(bench, place), most)
            if found and (not best or len(found[0].names) >= len(best[0].names)):
                best = found
    return best


def named(lines: Sequence[WrongLines], derivation: Derivation) -> tuple[tuple[str, ...], ...]:
    """The sets of lines as they are printed: δh_t, dW."""
    return tuple(tuple(_shown(derivation, n) for n in some.names) for some in lines[:NAMED])


def _shown(derivation: Derivation, name: str) -> str:
    edges = edges_into(derivation, name)
    own = [e.operand for e in edges if e.operand.name == name]
    moves = own and own[0].lag is not None and own[0].kind != "input"
    return to_text(own[0].with_(lag=0, mark="bar")) if moves else f"d{name}"


def told(lines: Sequence[WrongLines], derivation: Derivation) -> Iterator[str]:
    """Sentences about lines: how much rests on them, and what they should be."""
    from ...derivation.pages.adjoints import line_of

    for some in lines[:1]:
        if some.adjoints and some.entries > some.unknowns:
            names = " and ".join(named([some], derivation)[0][: len(some.adjoints)])
            yield (
                f"whatever is wrong in {names}: {some.entries} entries of the gradients follow "
                f"from {some.unknowns} numbers"
            )
        for name in some.names:
            line = line_of(derivation, name)
            if line is not None:
                yield f"derived: {_shown(derivation, name)} = {to_text(line.right)}"


def names_of(lines: Sequence[WrongLines]) -> list[str]:
    """What the lines of some sets are the adjoints of."""
    return list(dict.fromkeys(n for some in lines for n in some.names))


def near_candidates(bench: Bench, edges: Sequence[Edge]) -> list[Candidate]:
    """Every term near the derived ones of some edges, as candidates."""
    out = []
    for edge in edges:
        target = to_text(edge.operand.with_(mark="bar"))
        for k, (says, term) in enumerate(other_terms(bench.derivation, edge)):
            edits = Edits(terms={edge.id: term})
            out.append(
                Candidate(
                    f"near:{edge.id}:{k}", "near", f"{target} with {says}", edits,
                    touches=bench.reach.of(edits), where=edge.id,
                )
            )  # fmt: skip
    return out


def twice(bench: Bench, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Two plain mistakes in one term, where they are in different places of it."""
    of_edges: dict[str, list[Candidate]] = {}
    for c in candidates:
        own = c.edits.terms
        plain = c.kind in PLAIN and c.edits.size == len(own) and not c.after
        if own and plain and None not in own.values():
            for identity in own:
                of_edges.setdefault(identity, []).append(c)
    out: dict[str, Candidate] = {}
    for some in of_edges.values():
        for a, b in combinations(some, 2):
            both = _both(bench.derivation, a, b)
            if both is not None:
                out.setdefault(both.id, both)
    return list(out.values())


def _both(derivation: Derivation, a: Candidate, b: Candidate) -> Candidate | None:
    terms = {**a.edits.terms, **b.edits.terms}
    for identity in a.edits.terms.keys() & b.edits.terms.keys():
        one, other = a.edits.terms[identity], b.edits.terms[identity]
        try:
            made = both_changes(derivation.edge(identity).pullback, one, other)
        except DimensionError:  # what one change leaves has another shape
            made = None
        if made in (None, one, other):
            return None
        terms[identity] = made
    touches = None if a.touches is None or b.touches is None else a.touches | b.touches
    return replace(a & b, edits=replace(a.edits, terms=terms), touches=touches)


def edges_into(derivation: Derivation, name: str) -> list[Edge]:
    """The edges that end in a name; a start is read where its state is."""
    found = list(derivation.readers(name))
    for program in derivation.scans:
        for state in program.scan.states:
            if any(s.ref is not None and s.ref.name == name for s in state.initial):
                found += [e for e in derivation.readers(state.name) if e.kind == "state"]
    return list({e.id: e for e in found}.values())
