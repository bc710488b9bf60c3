"""Small rewritings for display only: what a person would not write out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from ..calculus.terms import (
    Broadcast,
    Diag,
    Eye,
    Hadamard,
    HeadSum,
    Kron,
    Neg,
    Num,
    Ones,
    Scale,
    Sym,
    Term,
    Times,
    Transpose,
)

__all__ = ["collected", "replaced", "tidy", "transposed"]


#: Numbers that `tidy` looks for.
_UNITS = {k: Num(k) for k in (1, -1)}


@lru_cache(maxsize=65536)
def tidy(term: Term) -> Term:
    """1·X → X, (−1) ⊙ x → −x, I X → X, diag(a) diag(b) → diag(a ⊙ b), (A ⊗ B)ᵀ → Aᵀ ⊗ Bᵀ, …

    A diagonal matrix of one entry in a product is a factor: x diag(s) → s·x.
    """
    args = [tidy(a) if isinstance(a, Term) else a for a in term.args]
    node = term if all(a is b for a, b in zip(args, term.args, strict=True)) else term.func(*args)
    if isinstance(node, Scale) and node.operands[0] == _UNITS[1]:
        return node.operands[1]
    if isinstance(node, Times):
        return _product(node)
    if isinstance(node, Transpose):
        return transposed(node.operands[0])
    if isinstance(node, Diag) and isinstance(node.operands[0], Ones):
        return Eye(node.shape[0])
    if isinstance(node, Hadamard):
        kept = [x for x in node.operands if not _is(x, 1) and not _is(x, -1)]
        if not kept:
            return node
        negative = sum(_is(x, -1) for x in node.operands) % 2
        return Neg(Hadamard(*kept)) if negative else Hadamard(*kept)
    return node


def _is(x: Term, number: int) -> bool:
    """Whether every entry is this number."""
    if isinstance(x, Neg):
        return _is(x.operands[0], -number)
    if isinstance(x, Broadcast):
        return _is(x.operands[0], number)
    return x == _UNITS[number] or (number == 1 and isinstance(x, Ones))


def _product(node: Times) -> Term:
    factors: list[Term] = []
    scalars: list[Term] = []
    for f in node.operands:
        if isinstance(f, Eye):
            continue
        if isinstance(f, Diag) and f.shape[0] == 1:
            scalars.append(f.operands[0])
            continue
        if isinstance(f, Diag) and factors and isinstance(factors[-1], Diag):
            factors[-1] = Diag(Hadamard(factors[-1].operands[0], f.operands[0]))
        else:
            factors.append(f)
    if not factors:  # identities, and diagonal matrices of one entry
        return Diag(Hadamard(*scalars)) if scalars else node.operands[0]
    out = Times(*factors)
    for s in reversed(scalars):
        out = Scale(s, out)
    return out


def transposed(x: Term) -> Term:
    """The transpose, pushed inwards where that reads better."""
    if isinstance(x, Kron):
        return Kron(*(transposed(f) for f in x.operands))
    if isinstance(x, Diag | Eye):
        return x
    if isinstance(x, HeadSum):
        return HeadSum(transposed(x.x), x.heads)
    if isinstance(x, Times):
        return Times(*(transposed(f) for f in reversed(x.operands)))
    return Transpose(x)


def collected(terms: Iterable[Term]) -> list[Term]:
    """The terms of a sum with equal ones counted: x + x → 2·x, where each first stands."""
    counts = Counter(terms)
    out: list[Term] = []
    for term, count in counts.items():
        if count == 1:
            out.append(term)
        elif isinstance(term, Neg):
            out.append(Neg(Scale(Num(count), term.operands[0])))
        else:
            out.append(Scale(Num(count), term))
    return out


def replaced(term: Term, symbols: Mapping[Sym, Term]) -> Term:
    """The term with symbols replaced, tidied."""
    return tidy(term.xreplace(dict(symbols))) if symbols else tidy(term)
