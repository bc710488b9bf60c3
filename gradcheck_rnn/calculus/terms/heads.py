"""Terms of many heads: the sum over them, and what they share taken by each."""

from __future__ import annotations

from typing import Any

from sympy import Expr, Integer

from gradcheck_rnn.calculus.terms.base import Dim, Term, as_dim, require_term
from gradcheck_rnn.calculus.terms.leaves import Sym

__all__ = ["HeadBlock", "HeadSum", "PerHead", "heads_of"]


class HeadBlock(Term):
    """Of every head the columns of the identity of H·n units that are its own; shape H·n × n.

    I⁽ʰ⁾ᵀ x takes the units of head h from a vector of all of them, Σ_h I⁽ʰ⁾ u⁽ʰ⁾ puts them there.
    """

    def __new__(cls, n: Dim, heads: Dim) -> Any:
        """Store the units of a head and the number of heads."""
        units, count = as_dim(n), as_dim(heads)
        return cls._make((units, count), (as_dim(count * units), units))

    @property
    def heads(self) -> Expr:
        """How many heads there are."""
        return self.args[1]


class HeadSum(Term):
    """Sum over heads of a term that each head has; shape of the term."""

    def __new__(cls, x: Term, heads: Dim) -> Any:
        """Store the number of heads."""
        return cls._make((require_term(x, "HeadSum"), as_dim(heads)), x.shape)

    @property
    def x(self) -> Term:
        """The summand, that of head h."""
        return self.args[0]

    @property
    def heads(self) -> Expr:
        """How many heads there are."""
        return self.args[1]


class PerHead(Term):
    """A term that the heads share, taken as one that each of them has; shape of the term."""

    def __new__(cls, x: Term, heads: Dim) -> Any:
        """Store the number of heads."""
        return cls._make((require_term(x, "PerHead"), as_dim(heads)), x.shape)

    @property
    def x(self) -> Term:
        """The shared term."""
        return self.args[0]

    @property
    def heads(self) -> Expr:
        """How many heads there are."""
        return self.args[1]


def heads_of(term: Term) -> Expr:
    """The number of heads of which each has such a value, or 1 for what they share."""
    stack = [term]
    while stack:
        node = stack.pop()
        if isinstance(node, PerHead | HeadBlock) or (isinstance(node, Sym) and node.heads != 1):
            return node.heads
        if not isinstance(node, HeadSum):
            stack.extend(node.operands)
    return Integer(1)
