"""Mistakes as they are in the user's own arrays: values of the other sign, or held twice.

Code whose update gate is 1 − z has weights of the other sign, and another δ for it. Of two biases
that are added, which have one gradient, the lines of code are two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from ...calculus.terms import Neg, symbols_in
from ...derivation import Derivation
from ...derivation.edits import NO_EDITS
from ..harness.compare import Comparison
from ..harness.layout import Fitted
from .candidates import Beside, Candidate
from .postprocessing import alike_arrays, called

__all__ = ["in_one_array", "with_own_signs"]

#: Mistakes that take one gate's δ or weights for another's.
TAKEN = ("adjoint", "sibling", "exchanged", "exchanged-side")


def with_own_signs(
    derivation: Derivation, single: Sequence[Candidate], fitted: Fitted
) -> list[Candidate]:
    """The mistakes with what is taken for something else as the user's arrays have it."""
    signs: dict[str, float] = {}
    for user in fitted.layout.parameters:
        signs.update((piece.name, piece.sign) for piece in fitted.pieces[user])
    if min(signs.values(), default=1.0) > 0:
        return list(single)
    for program in derivation.scans:
        for e in program.equations:
            own = {signs.get(x.operand.name, 1.0) for x in e.edges if x.kind == "param"}
            signs[e.name] = -1.0 if own == {-1.0} else 1.0
    return [_signed(c, derivation, signs) if c.kind in TAKEN else c for c in single]


def _signed(c: Candidate, derivation: Derivation, signs: dict[str, float]) -> Candidate:
    turned = {n: o for n, o in c.edits.permuted.items() if signs[n] * signs[o] < 0}
    terms = dict(c.edits.terms)
    for name, other in turned.items():
        for edge in derivation.equation_edges(name):
            terms[edge.id] = edge.pullback.xreplace({edge.adjoint: edge.adjoint.with_(name=other)})
    for identity, term in terms.items():
        right = derivation.edge(identity).pullback
        before, now = set(symbols_in(right)), set(symbols_in(term)) if term is not None else set()
        new, gone = now - before, before - now
        if term is not None and len(new) == len(gone) == 1:
            (value,), (old,) = new, gone
            if signs.get(value.name, 1.0) * signs.get(old.name, 1.0) < 0:
                terms[identity] = term.xreplace({value: Neg(value)})
    permuted = {n: o for n, o in c.edits.permuted.items() if n not in turned}
    return replace(c, edits=replace(c.edits, terms=terms, permuted=permuted))


def in_one_array(
    derivation: Derivation, single: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> Iterator[Candidate]:
    """Mistakes of a line that is one of several which should make the same gradient.

    Only where one of the arrays that hold a value is right and another is wrong. What else the
    mistake changes it changes as before.
    """
    fitted = comparisons[0].point.fitted
    wrong = {r.user for c in comparisons for r in c.wrong}
    holders = _holders(fitted)
    mixed = {n for n, users in holders.items() if users & wrong and users - wrong}
    bad = sorted(set().union(*(holders[n] for n in mixed)) & wrong) if mixed else []
    names = {e.id: e.operand.name for e in derivation.edges if e.operand.name in mixed}
    for users in alike_arrays(bad):
        held = {n for n in mixed if holders[n] & set(users)}
        lines = {e for e, n in names.items() if n in held}
        for c in single:
            if not lines.isdisjoint(c.edits.edges):
                yield from _of_these(c, lines, users, names)


def _holders(fitted: Fitted) -> dict[str, set[str]]:
    """The user's arrays by the values that they hold."""
    out: dict[str, set[str]] = {}
    for user in fitted.layout.parameters:
        for piece in fitted.pieces[user]:
            out.setdefault(piece.name, set()).add(user)
    return out


def _of_these(
    c: Candidate, lines: Collection[str], users: Sequence[str], names: dict[str, str]
) -> Iterator[Candidate]:
    own, rest = c.edits.split(lines)
    if not own.size or c.beside or c.after or set(names) & rest.edges:
        return
    held = frozenset(names[e] for e in own.edges)
    where = "of arrays that hold the same values " if rest.size else ""
    yield replace(
        c, id=f"{c.id} in {','.join(users)}", edits=rest if rest.size else NO_EDITS,
        beside=(Beside(own, held, frozenset(users)),),
        says=f"{c.says}, {where}in {called(users)} alone", where="", members=(),
    )  # fmt: skip
