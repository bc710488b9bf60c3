"""What a rule is: one node of the calculus, three derivatives and a citation.

The three are written separately, because they check each other:

- ``differential``: the part of d(node) that is linear in the differential of operand ``i``
  (Magnus and Neudecker's route; the Kronecker form follows from it by vec identities);
- ``pullback``: what the adjoint of the node contributes to the adjoint of operand ``i`` (BPTT);
- ``pushforward``: what a tangent matrix of operand ``i`` (one row per entry of vec, one column per
  parameter) contributes to the node's tangent matrix (RTRL).

``out`` is the node's value under its own name if it has one, so that derivatives come in saved
outputs (1 − h²), as a person would write them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ...errors import MissingRule
from ..terms import Diag, Eye, Hadamard, Term, Times, Vec

__all__ = ["Derivative", "Rule", "RuleTable", "as_column", "diagonal", "product"]

#: (node, index of the operand, incoming differential/adjoint/tangent, node by name) → term.
Derivative: TypeAlias = Callable[[Term, int, Term, Term], Term]


@dataclass(frozen=True)
class Rule:
    """One rule; see the module's text for the three derivatives.

    ``passive`` operands (a condition, a frozen value) carry no derivative by definition.
    """

    name: str
    node: type[Term]
    differential: Derivative
    pullback: Derivative
    pushforward: Derivative
    citation: str
    passive: tuple[int, ...] = ()


class RuleTable:
    """Rules by node class. A node without a rule raises, it never counts as zero."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = {rule.node: rule for rule in rules}
        if len(self._rules) != len(rules):
            raise MissingRule("two rules are given for one node class")

    def __getitem__(self, node: Term) -> Rule:
        try:
            return self._rules[type(node)]
        except KeyError:
            raise MissingRule(
                f"no rule differentiates a {type(node).__name__}, met in {node}"
            ) from None

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._rules.values())

    def replaced(self, rule: Rule) -> RuleTable:
        """The table with one rule changed (for tests that plant a fault)."""
        return RuleTable(tuple({**self._rules, rule.node: rule}.values()))


def as_column(x: Term) -> Term:
    """vec x; a column is its own vec."""
    return x if x.shape[1] == 1 else Vec(x)


def diagonal(*factors: Term) -> Term:
    """diag of the elementwise product of the factors' vecs."""
    return Diag(as_column(Hadamard(*factors)))


def product(*factors: Term) -> Term:
    """Matrix product without identity factors."""
    kept = [f for f in factors if not isinstance(f, Eye)]
    return Times(*kept) if kept else factors[0]
