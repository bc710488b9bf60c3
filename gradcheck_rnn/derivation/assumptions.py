"""What a derivation becomes where the definition says in which sets its data lie.

The program holds for all values. A page may say more: the units of a one-hot vector and of
probabilities sum to one, so that the cross-entropy's (1ᵀy) p − y is p − y. Every line that uses
this says so, and the proof covers it at points that satisfy it (`proof.prove`).
"""

from __future__ import annotations

from collections.abc import Mapping

from ..calculus.terms import Num, Sym, Term, UnitSum
from ..language.domains import Domain
from ..language.network import Network
from .program import Derivation
from .simplification import tidy

__all__ = ["assumed_terms", "simplified", "summing_to_one"]


def summing_to_one(network: Network) -> dict[str, Domain]:
    """Names of inputs and fixed parameters whose units sum to one, and what they are."""
    return {n: d for n, d in network.domains.items() if d.sums_to_one}


def simplified(term: Term, names: Mapping[str, Domain]) -> tuple[Term, tuple[Sym, ...]]:
    """The term with 1 for every sum over units that is one, and the symbols it was used of."""
    used: dict[Sym, None] = {}

    def walk(node: Term) -> Term:
        if isinstance(node, UnitSum):
            inner = node.operands[0]
            if isinstance(inner, Sym) and inner.name in names and not inner.mark:
                used[inner] = None
                return Num(1)
        args = [walk(a) if isinstance(a, Term) else a for a in node.args]
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        return node if same else node.func(*args)

    found = walk(term) if names else term
    return (tidy(found), tuple(used)) if used else (term, ())


def assumed_terms(derivation: Derivation) -> tuple[dict[str, Term], tuple[str, ...]]:
    """Edge id → its pullback under the assumptions, where they change it, and the names used."""
    names = summing_to_one(derivation.network)
    out: dict[str, Term] = {}
    assumed: dict[str, None] = {}
    for edge in derivation.edges:
        term, used = simplified(edge.pullback, names)
        if used:
            out[edge.id] = term
            assumed.update(dict.fromkeys(s.name for s in used))
    return out, tuple(assumed)
