"""Places within a term, and which values it reads: what mistakes in one line are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..calculus.printing.text import to_text
from ..calculus.terms import Broadcast, Hadamard, Neg, Num, Ones, Plus, Sym, Term, symbols_in
from .program import Edge

__all__ = [
    "both_changes", "instead", "is_complement", "occurrence", "occurrences", "replaced_at",
    "values_read",
]  # fmt: skip

Path = tuple[int, ...]


def occurrences(term: Term) -> Iterator[tuple[Term, Path]]:
    """Every subterm with the positions of arguments that lead to it."""
    stack: list[tuple[Term, Path]] = [(term, ())]
    while stack:
        node, path = stack.pop()
        yield node, path
        for i, a in enumerate(node.args):
            if isinstance(a, Term):
                stack.append((a, (*path, i)))


def occurrence(term: Term, path: Path) -> Term:
    """The subterm at the end of a path."""
    for i in path:
        term = term.args[i]
    return term


def replaced_at(term: Term, path: Path, new: Term) -> Term:
    """A term with another subterm at the end of a path."""
    if not path:
        return new
    args = list(term.args)
    args[path[0]] = replaced_at(args[path[0]], path[1:], new)
    return term.func(*args)


def values_read(edge: Edge) -> list[Sym]:
    """Values that a pullback reads, each once: neither adjoints nor parameters."""
    found = (s for s in symbols_in(edge.pullback) if not s.mark)
    return list(dict.fromkeys(s for s in found if s.kind not in ("param", "fixed")))


def is_complement(node: Term) -> bool:
    """Whether it is 1 − z."""
    if not isinstance(node, Plus) or len(node.operands) != 2:
        return False
    first, second = node.operands
    return isinstance(first, Ones | Num | Broadcast) and isinstance(second, Neg)


def instead(new: Term, old: Term) -> str:
    """``c_t instead of h_t``."""
    return f"{to_text(new)} instead of {to_text(old)}"


def both_changes(term: Any, one: Any, other: Any) -> Any:
    """A term with what two changes of it have made, at once; None where they are in one place."""
    if other in (term, one):
        return one
    if one == term:
        return other
    if not isinstance(term, Term):  # an exponent or a name
        return None
    for a, b in ((one, other), (other, one)):
        if any(node == term for node, _ in occurrences(a)):  # something is put around the term
            return a.xreplace({term: b})
    if isinstance(term, Hadamard | Plus):
        return _both_of_many(term, one, other)
    for a, b in ((one, other), (other, one)):
        if a in term.args and b.func == term.func:  # what is around an operand is taken away
            k = term.args.index(a)
            if _rest(b, k) == _rest(term, k):
                return b.args[k]
    if any(x.func != term.func or len(x.args) != len(term.args) for x in (one, other)):
        return None
    if not term.operands:  # a value for another one
        return None
    made = [both_changes(*x) for x in zip(term.args, one.args, other.args, strict=True)]
    return None if None in made else term.func(*made)


def _rest(term: Term, k: int) -> tuple[Any, ...]:
    return (*term.args[:k], *term.args[k + 1 :])


def _both_of_many(term: Term, one: Term, other: Term) -> Term | None:
    """Of a product or a sum: operands that either change leaves out or puts in."""
    func = term.func
    own, a, b = (Counter(x.operands if x.func == func else (x,)) for x in (term, one, other))
    lost, new = (own - a, own - b), (a - own, b - own)
    put = [*new[0].elements(), *new[1].elements()]
    if lost[0] & lost[1]:
        if lost[0] != lost[1] or [x.total() for x in (lost[0], *new)] != [1, 1, 1]:
            return None
        made = both_changes(next(iter(lost[0])), *put)
        put, lost = [made], (lost[0], Counter())
    kept = own - lost[0] - lost[1]
    found = [*kept.elements(), *put]
    return func(*found) if found and None not in found else None
