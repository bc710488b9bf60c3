"""Wrong versions of a rule: edits of the term that the right version gives.

A fault gets the right term and what came in (an adjoint, a differential or a tangent) and gives a
wrong term of the same shape, or None where it does not apply. A term left as it was counts as not
applied, so that a fault which never applies is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sympy import Integer

from gradcheck_rnn.calculus.rules import RULES, Rule, RuleTable
from gradcheck_rnn.calculus.terms import (
    Broadcast,
    Diag,
    Divide,
    Eye,
    Hadamard,
    Kron,
    MapUnits,
    Neg,
    Num,
    Pad,
    Plus,
    Scale,
    Slice,
    Term,
    Times,
    Transpose,
    Where,
    Zeros,
)

__all__ = ["FAMILIES", "FAULTS", "Fault", "Planted", "plant"]

Fault = Callable[[Term, Term], "Term | None"]
FAMILIES = ("pullback", "differential", "pushforward")


def _same_shape(wrong: Term | None, right: Term) -> Term | None:
    return wrong if wrong is not None and wrong.shape == right.shape else None


def _without(k: int) -> Fault:
    """The product without its factor k."""

    def fault(right: Term, incoming: Term) -> Term | None:
        if not isinstance(right, Hadamard | Times | Scale) or len(right.operands) <= k:
            return None
        kept = right.operands[:k] + right.operands[k + 1 :]
        if len(kept) == 1:
            return _same_shape(kept[0], right)
        try:
            return _same_shape(type(right)(*kept), right)
        except Exception:  # the shapes do not fit without the factor: the edit is no term
            return None

    return fault


def _without_summand(k: int) -> Fault:
    def fault(right: Term, incoming: Term) -> Term | None:
        if not isinstance(right, Plus) or len(right.operands) <= k:
            return None
        kept = right.operands[:k] + right.operands[k + 1 :]
        return kept[0] if len(kept) == 1 else Plus(*kept)

    return fault


def _rebuilt(term: Term, edit: Callable[[Term], Term | None]) -> Term | None:
    """The term with its first subterm that ``edit`` changes, changed; searched from the top."""
    made = edit(term)
    if made is not None:
        return made
    places = [k for k, a in enumerate(term.args) if isinstance(a, Term)]
    for k in places:
        inner = _rebuilt(term.args[k], edit)
        if inner is not None and inner.shape == term.args[k].shape:
            return term.func(*term.args[:k], inner, *term.args[k + 1 :])
    return None


def _untransposed(right: Term, incoming: Term) -> Term | None:
    """A square factor with its transpose forgotten, or put where none belongs."""

    def edit(x: Term) -> Term | None:
        if isinstance(x, Transpose) and x.shape[0] == x.shape[1] != 1:
            return x.operands[0]
        return None

    return _rebuilt(right, edit)


def _misplaced(right: Term, incoming: Term) -> Term | None:
    """A slice or a pad that starts at unit 0."""

    def edit(x: Term) -> Term | None:
        if isinstance(x, Slice) and x.args[1] != 0:
            return Slice(x.operands[0], Integer(0), x.args[2] - x.args[1])
        if isinstance(x, Pad) and x.args[1] != 0:
            return Pad(x.operands[0], Integer(0), x.args[2])
        return None

    return _rebuilt(right, edit)


def _swapped_factors(right: Term, incoming: Term) -> Term | None:
    if isinstance(right, Times) and len(right.operands) == 2:
        a, b = right.operands
        if a.shape == b.shape and a.shape[0] == a.shape[1]:
            return Times(b, a)
    if isinstance(right, Kron | Divide):
        a, b = right.operands
        return _same_shape(type(right)(b, a), right)
    return None


def _other_branch(right: Term, incoming: Term) -> Term | None:
    """where(c, x, y) for where(c, y, x)."""

    def edit(x: Term) -> Term | None:
        return Where(x.operands[0], x.operands[2], x.operands[1]) if isinstance(x, Where) else None

    return _rebuilt(right, edit)


def _sign_inside(right: Term, incoming: Term) -> Term | None:
    """A forgotten minus."""

    def edit(x: Term) -> Term | None:
        return x.operands[0] if isinstance(x, Neg) else None

    return _rebuilt(right, edit)


def _no_diagonal(right: Term, incoming: Term) -> Term | None:
    """The identity for a diagonal matrix."""
    return _rebuilt(right, lambda x: Eye(x.shape[0]) if isinstance(x, Diag) else None)


def _inverse_factor(right: Term, incoming: Term) -> Term | None:
    """a ⊙ b for a / b."""
    return _rebuilt(right, lambda x: Hadamard(*x.operands) if isinstance(x, Divide) else None)


def _other_map(right: Term, incoming: Term) -> Term | None:
    """L for Lᵀ, or Lᵀ for L."""
    return _rebuilt(right, lambda x: MapUnits(x.x, x.map.adjoint) if type(x) is MapUnits else None)


FAULTS: dict[str, Fault] = {
    "negated": lambda right, incoming: Neg(right),
    "doubled": lambda right, incoming: Scale(Num(2), right),
    "shifted by one": lambda right, incoming: Plus(right, Broadcast(Num(1), *right.shape)),
    "dropped": lambda right, incoming: Zeros(*right.shape),
    "bare": lambda right, incoming: _same_shape(incoming, right),
    "without factor 1": _without(0),
    "without factor 2": _without(1),
    "without factor 3": _without(2),
    "without summand 1": _without_summand(0),
    "without summand 2": _without_summand(1),
    "untransposed": _untransposed,
    "misplaced": _misplaced,
    "factors swapped": _swapped_factors,
    "other branch": _other_branch,
    "minus forgotten": _sign_inside,
    "diagonal forgotten": _no_diagonal,
    "product for quotient": _inverse_factor,
    "map for its adjoint": _other_map,
}


class Planted:
    """A rule table with one family of one rule wrong; `applied` counts the edits made."""

    def __init__(self, rule: Rule, family: str, fault: Fault) -> None:
        self.applied = 0
        right = getattr(rule, family)

        def wrong(node: Term, i: int, incoming: Term, out: Term) -> Term:
            term: Term = right(node, i, incoming, out)
            made = fault(term, incoming)
            if made is None or made == term:
                return term
            self.applied += 1
            return made

        self.table: RuleTable = RULES.replaced(replace(rule, **{family: wrong}))

    @classmethod
    def operands_swapped(cls, rule: Rule, family: str) -> Planted:
        """The derivative by the other operand, where the shapes allow it."""
        planted = cls(rule, family, lambda right, incoming: None)
        right = getattr(rule, family)

        def wrong(node: Term, i: int, incoming: Term, out: Term) -> Term:
            term: Term = right(node, i, incoming, out)
            count = len(node.operands)
            j = (i + 1) % count
            if count < 2 or j in rule.passive or node.operands[j].shape != node.operands[i].shape:
                return term
            other: Term = right(node, j, incoming, out)
            if other == term or other.shape != term.shape:
                return term
            planted.applied += 1
            return other

        planted.table = RULES.replaced(replace(rule, **{family: wrong}))
        return planted

    @classmethod
    def argument_for_output(cls, rule: Rule, family: str) -> Planted:
        """φ′ taken at the saved output where it needs the argument, and the other way round."""
        planted = cls(rule, family, lambda right, incoming: None)
        right = getattr(rule, family)

        def wrong(node: Term, i: int, incoming: Term, out: Term) -> Term:
            term: Term = right(node, i, incoming, out)
            x = node.operands[0]
            if x.shape != out.shape:
                return term
            other: Term = right(node, i, incoming, x)
            if other == term:
                return term
            planted.applied += 1
            return other

        planted.table = RULES.replaced(replace(rule, **{family: wrong}))
        return planted


def plant(rule: Rule, family: str) -> dict[str, Planted]:
    """All wrong versions of one family of a rule, by what is wrong with them."""
    out = {name: Planted(rule, family, fault) for name, fault in FAULTS.items()}
    out["operands swapped"] = Planted.operands_swapped(rule, family)
    out["argument for output"] = Planted.argument_for_output(rule, family)
    return out
