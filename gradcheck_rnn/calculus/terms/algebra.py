"""Sums, products and their relatives. Operands keep the order in which they were given."""

from __future__ import annotations

import itertools
from typing import Any

from sympy import Expr, Integer, Matrix, Rational

from gradcheck_rnn.calculus.terms.base import (
    OPERATORS,
    Dim,
    Term,
    TermOperatorError,
    as_dim,
    dims_equal,
    format_shape,
    require_column,
    require_same_shape,
    require_scalar,
    require_term,
)
from gradcheck_rnn.calculus.terms.leaves import Num, as_rational, is_number
from gradcheck_rnn.errors import DimensionError

__all__ = [
    "Broadcast",
    "Divide",
    "Dot",
    "Hadamard",
    "Neg",
    "Plus",
    "Power",
    "Scale",
    "Solve",
    "Times",
    "Transpose",
    "UnitSum",
]


def _flat(cls: type[Term], terms: tuple[object, ...]) -> list[Term]:
    """Check that all are terms and open nested ones of the same class, keeping the order."""
    flat: list[Term] = []
    for value in terms:
        term = require_term(value, cls.__name__)
        flat.extend(term.operands if isinstance(term, cls) else (term,))
    if not flat:
        raise DimensionError(f"{cls.__name__} needs at least one term: without any, no shape.")
    return flat


class Plus(Term):
    """Sum of terms of one shape, in order; shape that of every operand. Nested sums flatten."""

    def __new__(cls, *terms: Term) -> Any:
        """Flatten and check; a lone term is returned as it is."""
        flat = _flat(cls, terms)
        if len(flat) == 1:
            return flat[0]
        return cls._make(tuple(flat), require_same_shape("a sum", *flat))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return sum((x[i, j] for x in self.operands), Integer(0))


class Neg(Term):
    """Negation; shape of the operand. ``Neg(Neg(x))`` is x."""

    def __new__(cls, x: Term) -> Any:
        """Negate, undoing a negation."""
        require_term(x, "Neg")
        return x.operands[0] if isinstance(x, Neg) else cls._make((x,), x.shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return -self.args[0][i, j]


class Times(Term):
    """Matrix product, in order; (m×k)(k×n) gives m×n. Nested products flatten.

    A 1×1 factor of a matrix is `Scale`, not `Times`: neighbouring dims must agree.
    """

    def __new__(cls, *terms: Term) -> Any:
        """Flatten and check neighbours; a lone term is returned as it is."""
        for value in terms:
            require_term(value, "Times")
        for left, right in itertools.pairwise(terms):
            if not dims_equal(left.shape[1], right.shape[0]):
                hint = ""
                if left.is_scalar_term or right.is_scalar_term:
                    hint = " A 1×1 factor is written Scale(s, x)."
                raise DimensionError(
                    f"a matrix product needs equal inner dims: {left} is "
                    f"{format_shape(left.shape)}, {right} is {format_shape(right.shape)}.{hint}"
                )
        flat = _flat(cls, terms)
        if len(flat) == 1:
            return flat[0]
        return cls._make(tuple(flat), (flat[0].shape[0], flat[-1].shape[1]))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        head, tail = self.operands[0], Times(*self.operands[1:])
        return sum((head[i, k] * tail[k, j] for k in range(int(head.shape[1]))), Integer(0))


class Solve(Term):
    """A⁻¹ B for square A: the X of A X = B; n×n and n×m give n×m."""

    def __new__(cls, a: Term, b: Term) -> Any:
        """Check that the matrix is square and fits."""
        a, b = (require_term(x, "Solve") for x in (a, b))
        if not dims_equal(*a.shape) or not dims_equal(a.shape[1], b.shape[0]):
            raise DimensionError(
                f"Solve needs a square matrix and as many rows: {a} is {format_shape(a.shape)}, "
                f"{b} is {format_shape(b.shape)}."
            )
        return cls._make((a, b), b.shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        a, b = self.operands
        n = int(a.shape[0])
        matrix = Matrix(n, n, lambda r, c: a[r, c])
        return matrix.LUsolve(Matrix(n, 1, lambda r, _: b[r, j]))[i]


class Hadamard(Term):
    """Elementwise product of terms of one shape, in order. Nested ones flatten."""

    def __new__(cls, *terms: Term) -> Any:
        """Flatten and check; a lone term is returned as it is."""
        flat = _flat(cls, terms)
        if len(flat) == 1:
            return flat[0]
        return cls._make(tuple(flat), require_same_shape("an elementwise product", *flat))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        result = Integer(1)
        for x in self.operands:
            result = result * x[i, j]
        return result


class Scale(Term):
    """A 1×1 scalar times a term; shape of the term."""

    def __new__(cls, s: Term, x: Term) -> Any:
        """Check that the first operand is a scalar."""
        require_scalar("the factor of Scale", require_term(s, "Scale"))
        require_term(x, "Scale")
        return cls._make((s, x), x.shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][0, 0] * self.args[1][i, j]


class Divide(Term):
    """Elementwise quotient of two terms of one shape."""

    def __new__(cls, x: Term, y: Term) -> Any:
        """Check the shapes."""
        shape = require_same_shape(
            "an elementwise quotient", require_term(x, "Divide"), require_term(y, "Divide")
        )
        return cls._make((x, y), shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][i, j] / self.args[1][i, j]


class Power(Term):
    """Elementwise power with an exact numeric exponent; shape of the base."""

    def __new__(cls, x: Term, exponent: Any) -> Any:
        """Store the exponent exactly (0.5 is 1/2)."""
        require_term(x, "Power")
        return cls._make((x, as_rational(exponent)), x.shape)

    @property
    def exponent(self) -> Rational:
        """The exact exponent."""
        return self.args[1]

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][i, j] ** self.exponent


class Transpose(Term):
    """Transpose; m×n gives n×m. Transposing twice gives the operand back."""

    def __new__(cls, x: Term) -> Any:
        """Transpose, undoing a transpose."""
        require_term(x, "Transpose")
        if isinstance(x, Transpose):
            return x.operands[0]
        return cls._make((x,), (x.shape[1], x.shape[0]))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][j, i]


class Broadcast(Term):
    """A 1×1 scalar repeated to ``(rows, cols)``; sums and elementwise products print the scalar."""

    def __new__(cls, s: Term, rows: Dim, cols: Dim = 1) -> Any:
        """Check that the operand is a scalar."""
        require_scalar("the operand of Broadcast", require_term(s, "Broadcast"))
        shape = (as_dim(rows), as_dim(cols))
        return cls._make((s, *shape), shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][0, 0]


class Dot(Term):
    """Inner product of two columns of equal length; shape 1×1."""

    def __new__(cls, a: Term, b: Term) -> Any:
        """Check that both are columns of one length."""
        require_column("an inner product", require_term(a, "Dot"))
        require_column("an inner product", require_term(b, "Dot"))
        require_same_shape("an inner product", a, b)
        return cls._make((a, b), (Integer(1), Integer(1)))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        a, b = self.operands
        return sum((a[k, 0] * b[k, 0] for k in range(int(a.shape[0]))), Integer(0))


class UnitSum(Term):
    """Sum of the entries of a column; shape 1×1."""

    def __new__(cls, x: Term) -> Any:
        """Check that the operand is a column."""
        require_column("a sum over units", require_term(x, "UnitSum"))
        return cls._make((x,), (Integer(1), Integer(1)))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        x = self.operands[0]
        return sum((x[k, 0] for k in range(int(x.shape[0]))), Integer(0))


def _lift(term: Term, other: object, symbol: str) -> Term:
    """The other operand of ``+``, ``-`` and ``/``; a number is repeated to the term's shape."""
    if isinstance(other, Term):
        return other
    if is_number(other):
        number: Term = Num(other)
        return number if term.is_scalar_term else Broadcast(number, *term.shape)
    raise TermOperatorError(
        f"{symbol} takes two terms or a term and a number, not {type(other).__name__}."
    )


OPERATORS |= {
    "lift": _lift,
    "+": Plus,
    "neg": Neg,
    "@": Times,
    "/": Divide,
    "**": Power,
    "T": Transpose,
}
