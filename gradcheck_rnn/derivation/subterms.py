"""Places within a term, and which values it reads: what mistakes in one line are made of."""

from __future__ import annotations

from collections.abc import Iterator

from ..calculus.printing.text import to_text
from ..calculus.terms import Broadcast, Neg, Num, Ones, Plus, Sym, Term, symbols_in
from .program import Edge

__all__ = ["instead", "is_complement", "occurrence", "occurrences", "replaced_at", "values_read"]

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
