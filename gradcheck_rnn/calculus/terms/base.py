"""The root of the term classes: dims, shape checks, and operators that never reach SymPy's own.

A term is an immutable SymPy expression whose ``args`` are all SymPy objects, so that hashing,
equality, ``subs`` and ``xreplace`` work. SymPy's matrix algebra (``MatMul``, ``doit``,
``simplify``, ``diff``) is switched off: it reorders, accepts wrong shapes and answers some
derivatives with zero, so nothing here may fall into it by accident.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, NoReturn, TypeAlias

from sympy import Basic, Expr, Integer, Symbol, expand, sympify
from sympy.core.symbol import Str
from sympy.matrices.expressions.matexpr import MatrixExpr

from gradcheck_rnn.errors import DimensionError, UnsupportedOperation

__all__ = [
    "OPERATORS",
    "PRINTERS",
    "Dim",
    "Term",
    "TermOperatorError",
    "as_dim",
    "as_name",
    "dim",
    "dims_equal",
    "format_dim",
    "format_shape",
    "require_column",
    "require_same_shape",
    "require_scalar",
    "require_term",
    "subterms",
]

Dim: TypeAlias = int | str | Expr
"""What is accepted as a dim: an integer, a name, or a SymPy expression such as ``4*p``."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


class TermOperatorError(UnsupportedOperation, TypeError):
    """A Python operator that terms do not have, such as ``*``; the message names the way out."""


@cache
def dim(name: str) -> Symbol:
    """Return the dim called `name`: a SymPy symbol assumed to be a positive integer."""
    if not _IDENTIFIER.match(name):
        raise DimensionError(f"{name!r} is not a name for a dim; use letters, digits and '_'.")
    return Symbol(name, integer=True, positive=True)


def as_dim(value: Dim) -> Expr:
    """Turn an integer, a dim's name or a SymPy expression into a dim.

    Raises
    ------
    DimensionError
        If `value` is not a whole number, or is known to be negative.
    """
    if isinstance(value, str):
        return dim(value)
    if isinstance(value, bool):
        raise DimensionError(f"{value!r} is not a dim; give an integer or a dim's name.")
    result = sympify(value, strict=True)
    if not isinstance(result, Expr) or isinstance(result, MatrixExpr):
        raise DimensionError(f"{value!r} is not a dim; give an integer or a dim's name.")
    expanded = result if result.is_Symbol or result.is_Integer else expand(result)
    if expanded.is_integer is False or expanded.is_negative:
        raise DimensionError(f"{value} is not a dim; dims are whole numbers from zero on.")
    return expanded


def as_name(value: str | Str) -> Str:
    """Wrap a Python string as the SymPy object that may stand in a term's ``args``."""
    return value if isinstance(value, Str) else Str(value)


@lru_cache(maxsize=65536)
def dims_equal(a: Expr, b: Expr) -> bool:
    """Tell whether two dims are equal as expressions (``p + p`` and ``2*p`` are)."""
    return bool(a == b or expand(a - b) == 0)


def format_shape(shape: tuple[Expr, Expr]) -> str:
    """Write a shape the way messages show it: ``p×1``, ``p·d×p²``."""
    return "×".join(format_dim(n) for n in shape)


def format_dim(n: Expr) -> str:
    """Write a dim the way messages show it: ``4p``, ``p·d``, ``p²``."""
    superscripts = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    text = re.sub(r"\*\*(\d+)", lambda m: m.group(1).translate(superscripts), str(n))
    text = re.sub(r"(?<=\d)\*(?=[A-Za-z])", "", text).replace("*", "·")
    return f"({text})" if n.is_Add else text


#: What the operators of terms make; entered by the modules of the terms they make.
OPERATORS: dict[str, Callable[..., Any]] = {}
#: Format → how a term is printed in it; entered by `calculus.printing`.
PRINTERS: dict[str, Callable[[Any], str]] = {}


class Term(MatrixExpr):
    """A matrix-valued term with a symbolic shape ``(rows, cols)``; columns and scalars included.

    Subclasses check their operands when they are made, and keep them in the order given.
    """

    # Above SymPy's MatrixExpr (11), so that `sympy_thing * term` is decided here.
    _op_priority = 100.0
    _shape: tuple[Expr, Expr]
    _operands: tuple[Term, ...]
    #: Its variables, once they have been asked for.
    _symbols: tuple[Any, ...] | None = None
    _has_bar: bool | None = None

    @classmethod
    def _make(cls, args: tuple[Basic, ...], shape: tuple[Expr, Expr]) -> Any:
        """Build the object without SymPy's evaluation; ``cls(*args)`` must build it again."""
        obj = Basic.__new__(cls, *args)
        obj._shape = shape
        obj._operands = tuple(a for a in args if isinstance(a, Term))
        return obj

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """Rows and columns, as SymPy expressions of the dims."""
        return self._shape

    @property
    def is_scalar_term(self) -> bool:
        """Whether the shape is 1×1."""
        return bool(self._shape[0] == 1 and self._shape[1] == 1)

    @property
    def operands(self) -> tuple[Term, ...]:
        """The terms among the arguments, in order (dims, names and numbers left out)."""
        return self._operands

    # -- operators: ours, or an error that says which constructor is meant ---------------------

    def __add__(self, other: object) -> Term:
        return OPERATORS["+"](self, OPERATORS["lift"](self, other, "+"))

    def __radd__(self, other: object) -> Term:
        return OPERATORS["+"](OPERATORS["lift"](self, other, "+"), self)

    def __sub__(self, other: object) -> Term:
        return OPERATORS["+"](self, OPERATORS["neg"](OPERATORS["lift"](self, other, "-")))

    def __rsub__(self, other: object) -> Term:
        return OPERATORS["+"](OPERATORS["lift"](self, other, "-"), OPERATORS["neg"](self))

    def __neg__(self) -> Term:
        return OPERATORS["neg"](self)

    def __pos__(self) -> Term:
        return self

    def __matmul__(self, other: object) -> Term:
        if not isinstance(other, Term):
            raise TermOperatorError(f"@ takes two terms, not {type(other).__name__}.")
        return OPERATORS["@"](self, other)

    def __rmatmul__(self, other: object) -> Term:
        raise TermOperatorError(f"@ takes two terms, not {type(other).__name__}.")

    def __truediv__(self, other: object) -> Term:
        return OPERATORS["/"](self, OPERATORS["lift"](self, other, "/"))

    def __rtruediv__(self, other: object) -> Term:
        return OPERATORS["/"](OPERATORS["lift"](self, other, "/"), self)

    def __pow__(self, exponent: object, mod: object = None) -> Term:
        return OPERATORS["**"](self, exponent)

    def __rpow__(self, other: object) -> NoReturn:
        raise TermOperatorError("a term cannot be an exponent; write Apply('exp', ...) instead.")

    def __mul__(self, other: object) -> NoReturn:
        raise TermOperatorError(
            "* is not defined between terms: write Hadamard(a, b) for the elementwise product, "
            "Scale(s, x) for a 1×1 factor, or a @ b for the matrix product."
        )

    __rmul__ = __mul__

    def __abs__(self) -> Term:
        return OPERATORS["abs"](self)

    @property
    def T(self) -> Term:
        """The transpose, as our own term."""
        return OPERATORS["T"](self)

    def transpose(self) -> Term:
        """Return the transpose, as our own term."""
        return self.T

    # -- SymPy's evaluation, switched off ------------------------------------------------------

    def doit(self, **hints: Any) -> Term:
        """Return the term unchanged: SymPy's matrix evaluation is not used."""
        return self

    def simplify(self, **kwargs: Any) -> Term:
        """Return the term unchanged: SymPy's matrix simplification is not used."""
        return self

    def expand(self, *args: Any, **hints: Any) -> Term:
        """Return the term unchanged: SymPy's expansion is not used."""
        return self

    def _eval_simplify(self, **kwargs: Any) -> Term:
        return self

    def _eval_expand_basic(self, **hints: Any) -> Term:
        return self

    def diff(self, *symbols: Any, **assumptions: Any) -> NoReturn:
        """Refuse: SymPy's derivative of matrix expressions is wrong for several nodes."""
        raise TermOperatorError(
            "terms are differentiated by the rules of gradcheck_rnn.calculus, not by .diff()."
        )

    def _eval_derivative(self, x: Any) -> NoReturn:
        self.diff(x)

    # -- display -------------------------------------------------------------------------------

    def __str__(self) -> str:
        return PRINTERS["text"](self)

    __repr__ = __str__

    def _sympystr(self, printer: Any) -> str:
        return str(self)

    _sympyrepr = _sympystr
    _pretty_text = _sympystr

    def _pretty(self, printer: Any) -> Any:
        from sympy.printing.pretty.stringpict import prettyForm

        return prettyForm(str(self))

    def _latex(self, printer: Any) -> str:
        return PRINTERS["latex"](self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self._latex(None)}$"


def subterms(term: Term) -> Iterator[Term]:
    """Yield `term` and every term inside it, in printing order, repeats included."""
    stack: list[Basic] = [term]
    while stack:
        node = stack.pop()
        if isinstance(node, Term):
            yield node
        stack.extend(reversed(node.args))


def require_term(value: object, where: str) -> Term:
    """Return `value` if it is a term, or raise naming the constructor that was given it."""
    if isinstance(value, Term):
        return value
    raise TermOperatorError(
        f"{where} takes terms, not {type(value).__name__} ({value!r}); wrap numbers in Num."
    )


def require_same_shape(where: str, *terms: Term) -> tuple[Expr, Expr]:
    """Return the shape that all `terms` share, or raise naming the first two that differ."""
    first = terms[0]
    for other in terms[1:]:
        same = all(dims_equal(a, b) for a, b in zip(first.shape, other.shape, strict=True))
        if not same:
            raise DimensionError(
                f"{where} needs operands of one shape: {first} is {format_shape(first.shape)}, "
                f"{other} is {format_shape(other.shape)}."
            )
    return first.shape


def require_column(where: str, term: Term) -> Expr:
    """Return the number of rows of a column, or raise naming the term and its shape."""
    if not dims_equal(term.shape[1], Integer(1)):
        raise DimensionError(f"{where} needs a column (n×1): {term} is {format_shape(term.shape)}.")
    return term.shape[0]


def require_scalar(where: str, term: Term) -> None:
    """Raise, naming the term and its shape, unless it is 1×1."""
    if not all(dims_equal(n, Integer(1)) for n in term.shape):
        raise DimensionError(f"{where} needs a 1×1 scalar: {term} is {format_shape(term.shape)}.")
