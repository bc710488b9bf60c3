"""Elementwise functions, comparisons and the softmax family."""

from __future__ import annotations

import re
from typing import Any

import sympy
from sympy import Expr, Integer
from sympy.core.symbol import Str

from gradcheck_rnn.calculus.terms.base import (
    OPERATORS,
    Term,
    as_name,
    require_column,
    require_same_shape,
    require_term,
)
from gradcheck_rnn.errors import DefinitionError

__all__ = [
    "Abs",
    "Apply",
    "CrossEntropy",
    "Frozen",
    "Greater",
    "LogSoftmax",
    "Maximum",
    "Sign",
    "Softmax",
    "Surrogate",
    "Where",
]

_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Apply(Term):
    """A named function applied to every entry; shape of the operand."""

    def __new__(cls, fname: str | Str, x: Term) -> Any:
        """Check the name."""
        require_term(x, "Apply")
        if not _FUNCTION_NAME.match(str(fname)):
            raise DefinitionError(f"{str(fname)!r} is not a function name; use an identifier.")
        return cls._make((as_name(fname), x), x.shape)

    @property
    def fname(self) -> str:
        """The function's name."""
        return str(self.args[0].name)

    @property
    def x(self) -> Term:
        """The operand."""
        return self.args[1]

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return sympy.Function(self.fname)(self.x[i, j])


class _Unary(Term):
    """Elementwise, one operand; shape of the operand."""

    def __new__(cls, x: Term) -> Any:
        """Take the operand's shape."""
        require_term(x, cls.__name__)
        return cls._make((x,), x.shape)

    @property
    def x(self) -> Term:
        """The operand."""
        return self.args[0]


class Abs(_Unary):
    """Elementwise absolute value; shape of the operand."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return sympy.Abs(self.x[i, j])


OPERATORS["abs"] = Abs


class Sign(_Unary):
    """Elementwise sign, −1, 0 or 1; shape of the operand."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return sympy.sign(self.x[i, j])


class Frozen(_Unary):
    """A stopped gradient: the operand's value, treated as constant; shape of the operand."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.x[i, j]


class _OverUnits(Term):
    """A function of a whole column; shape of the column."""

    def __new__(cls, x: Term) -> Any:
        """Check that the operand is a column."""
        require_column(cls.__name__, require_term(x, cls.__name__))
        return cls._make((x,), x.shape)

    @property
    def x(self) -> Term:
        """The operand."""
        return self.args[0]

    def _normaliser(self) -> Expr:
        return sum((sympy.exp(self.x[k, 0]) for k in range(int(self.x.shape[0]))), Integer(0))


class Softmax(_OverUnits):
    """Softmax over the units of a column; shape of the column."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return sympy.exp(self.x[i, 0]) / self._normaliser()


class LogSoftmax(_OverUnits):
    """Logarithm of the softmax of a column; shape of the column."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.x[i, 0] - sympy.log(self._normaliser())


class CrossEntropy(Term):
    """−Σ target · log softmax(y) for columns of one length; shape 1×1."""

    def __new__(cls, y: Term, target: Term) -> Any:
        """Check that both are columns of one length."""
        require_column("CrossEntropy", require_term(y, "CrossEntropy"))
        require_same_shape("CrossEntropy", y, require_term(target, "CrossEntropy"))
        return cls._make((y, target), (Integer(1), Integer(1)))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        y, target = self.operands
        logs = LogSoftmax(y)
        return -sum((target[k, 0] * logs[k, 0] for k in range(int(y.shape[0]))), Integer(0))


class _Binary(Term):
    """Elementwise, two operands of one shape."""

    def __new__(cls, a: Term, b: Term) -> Any:
        """Check the shapes."""
        name = cls.__name__
        shape = require_same_shape(name, require_term(a, name), require_term(b, name))
        return cls._make((a, b), shape)


class Maximum(_Binary):
    """Elementwise larger of two terms of one shape."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return sympy.Max(self.args[0][i, j], self.args[1][i, j])


class Greater(_Binary):
    """Elementwise indicator [a > b], 1 or 0, of two terms of one shape."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        a, b = self.args[0][i, j], self.args[1][i, j]
        return sympy.Piecewise((Integer(1), a > b), (Integer(0), True))


class Where(Term):
    """Elementwise choice: `a` where `cond` is not zero, else `b`; all of one shape."""

    def __new__(cls, cond: Term, a: Term, b: Term) -> Any:
        """Check the shapes."""
        parts = tuple(require_term(x, "Where") for x in (cond, a, b))
        return cls._make(parts, require_same_shape("Where", *parts))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        cond, a, b = (x[i, j] for x in self.operands)
        return sympy.Piecewise((a, sympy.Ne(cond, 0)), (b, True))


class Surrogate(Term):
    """The value of one operand with a declared derivative: all of one shape.

    ``Surrogate(value, slope, x)`` is `value`, whose differential is ``slope ⊙ dx`` by declaration.
    """

    def __new__(cls, value: Term, slope: Term, x: Term) -> Any:
        """Check the shapes."""
        parts = tuple(require_term(t, "Surrogate") for t in (value, slope, x))
        return cls._make(parts, require_same_shape("Surrogate", *parts))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.operands[0][i, j]
