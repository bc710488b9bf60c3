"""Terms without operands: variables, exact numbers, and constant matrices."""

from __future__ import annotations

from fractions import Fraction
from numbers import Integral, Real
from typing import Any

from sympy import Expr, Float, Integer, KroneckerDelta, Rational, Symbol, Tuple
from sympy.core.symbol import Str

from gradcheck_rnn.calculus.terms.base import (
    Dim,
    Term,
    TermOperatorError,
    as_dim,
    as_name,
    subterms,
)
from gradcheck_rnn.errors import DefinitionError

__all__ = [
    "KINDS",
    "MARKS",
    "Commutation",
    "Eye",
    "Num",
    "Ones",
    "Size",
    "Sym",
    "Zeros",
    "as_rational",
    "has_bar",
    "is_number",
    "shift",
    "symbols_in",
]

KINDS = frozenset(
    {
        "param",
        "fixed",
        "input",
        "data",
        "static",
        "static_data",
        "sequence",
        "state",
        "equation",
        "const",
    }
)
MARKS = frozenset({"", "bar", "dot", "d", "total", "plus"})

_UNTIMED = Str("untimed")


class Sym(Term):
    """A variable; shape ``(rows, cols)`` as declared.

    Parameters
    ----------
    name : str
        May carry structure: ``W_i`` has the subscript i, ``c_tilde`` an accent, Greek names print
        as Greek letters. With `mark` "total" or "plus", ``"h:W"`` reads "of h with respect to W".
    rows, cols : int, str or SymPy expression
        Dims.
    kind : str
        One of `KINDS`: what the variable is to the cell.
    lag : int, str or None
        None for a variable without time; k for its value at time t − k (−1 is t + 1); a text such
        as ``"1"`` or ``"T−1"`` for its value at that very time, on a page.
    heads : int, str or SymPy expression
        How many heads have such a variable each; 1 for what they share.
    mark : str
        "" the variable, "bar" its adjoint, "dot" its tangent, "d" its differential, "total" the
        total derivative with respect to a parameter, "plus" the immediate derivative.

    Raises
    ------
    DefinitionError
        If `kind`, `mark` or `lag` is not one of the values above.
    DimensionError
        If a dim is not a whole number.
    """

    #: Name, lag, mark and very time, read at every step of every run.
    plain: tuple[str, int | None, str, str]

    def __new__(
        cls,
        name: str | Str,
        rows: Dim,
        cols: Dim = 1,
        kind: str | Str = "param",
        lag: int | Integer | str | Str | None = None,
        mark: str | Str = "",
        heads: Dim = 1,
    ) -> Sym:
        """Check the words and wrap them as SymPy objects."""
        shape = (as_dim(rows), as_dim(cols))
        if _text(kind) not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise DefinitionError(
                f"variable {name}: unknown kind {str(kind)!r}; use one of {known}."
            )
        if _text(mark) not in MARKS:
            known = ", ".join(repr(m) for m in sorted(MARKS))
            raise DefinitionError(
                f"variable {name}: unknown mark {str(mark)!r}; use one of {known}."
            )
        if lag is None or lag == _UNTIMED:
            time: Str | Integer = _UNTIMED
        elif isinstance(lag, (int, Integer)) and not isinstance(lag, bool):
            time = Integer(lag)
        elif isinstance(lag, str | Str) and str(lag):
            time = Str(str(lag))
        else:
            raise DefinitionError(
                f"variable {name}: lag must be None, an integer or a time as text, not {lag!r}."
            )
        args = (as_name(name), *shape, as_name(kind), time, as_name(mark), as_dim(heads))
        made = cls._make(args, shape)
        moves = isinstance(time, Integer)
        at = "" if moves or time == _UNTIMED else str(time)
        made.plain = (args[0].name, int(time) if moves else None, args[5].name, at)
        return made

    @property
    def name(self) -> str:
        """The name as declared, without lag or mark."""
        return self.plain[0]

    @property
    def kind(self) -> str:
        """What the variable is to the cell, one of `KINDS`."""
        return str(self.args[3].name)

    @property
    def lag(self) -> int | None:
        """Lag k of the time index t − k, or None for a variable without one."""
        return self.plain[1]

    @property
    def heads(self) -> Expr:
        """How many heads have such a variable each."""
        return self.args[6]

    @property
    def time(self) -> str:
        """The very time it is taken at, or ''."""
        return self.plain[3]

    @property
    def mark(self) -> str:
        """One of `MARKS`."""
        return self.plain[2]

    def at(self, steps: int) -> Sym:
        """Return the variable `steps` later: ``at(+1)`` of h_{t−1} is h_t; untimed ones stay."""
        return self if self.lag is None else self.with_(lag=self.lag - steps)

    def with_(self, **changes: Any) -> Sym:
        """Return the variable with some of name, rows, cols, kind, lag and mark replaced."""
        fields = ("name", "rows", "cols", "kind", "lag", "mark", "heads")
        now = dict(zip(fields, self.args, strict=True))
        unknown = sorted(set(changes) - set(now))
        if unknown:
            raise DefinitionError(f"a variable has no attribute {unknown[0]!r}.")
        now.update(changes)
        return Sym(**now)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        # A plain symbol, not MatrixElement, which would consult SymPy's own notion of `kind`.
        return Symbol(f"{self}[{i},{j}]")


def _text(word: str | Str) -> str:
    """A word without SymPy's printer, which is slow."""
    return str(word.name) if isinstance(word, Str) else str(word)


def shift(term: Term, steps: int) -> Term:
    """Move every time-indexed variable of `term` by `steps` (``+1``: h_{t−1} becomes h_t).

    Variables under a `TimeSum` are bound by its index and stay.
    """
    from gradcheck_rnn.calculus.terms.structure import TimeSum

    if isinstance(term, Sym):
        return term.at(steps)
    if isinstance(term, TimeSum):
        return term
    if any(isinstance(node, TimeSum) for node in subterms(term)):
        return term.func(*[_shift_argument(a, steps) for a in term.args])
    return term.xreplace({s: s.at(steps) for s in symbols_in(term)})


def _shift_argument(argument: Any, steps: int) -> Any:
    if isinstance(argument, Tuple):  # the grid of a Block
        return Tuple(*[_shift_argument(a, steps) for a in argument])
    return shift(argument, steps) if isinstance(argument, Term) else argument


def symbols_in(term: Term) -> tuple[Sym, ...]:
    """Return the distinct variables of `term` in order of first appearance."""
    if term._symbols is None:
        term._symbols = tuple(dict.fromkeys(s for s in subterms(term) if isinstance(s, Sym)))
    return term._symbols


def has_bar(term: Term) -> bool:
    """Whether an adjoint stands in a term."""
    if term._has_bar is None:
        term._has_bar = any(s.mark == "bar" for s in symbols_in(term))
    return term._has_bar


def is_number(value: object) -> bool:
    """Whether `value` is a real number that `Num` accepts (bool is not)."""
    return isinstance(value, (Real, Rational, Float)) and not isinstance(value, bool)


def as_rational(value: Any) -> Rational:
    """Return the exact value; a float becomes the decimal that it prints as (0.1 is 1/10).

    Raises
    ------
    TermOperatorError
        If `value` is not a finite real number.
    """
    if isinstance(value, Rational):
        return value
    if isinstance(value, Float):
        value = float(value)
    if not is_number(value):
        raise TermOperatorError(f"{value!r} is not a real number; Num takes int, float, Rational.")
    if isinstance(value, Integral):
        return Integer(int(value))
    if isinstance(value, Fraction):
        return Rational(value.numerator, value.denominator)
    text = repr(float(value))
    if text in {"inf", "-inf", "nan"}:
        raise TermOperatorError(f"{value!r} is not finite; Num takes finite numbers.")
    return Rational(text)


class Num(Term):
    """An exact number; shape 1×1."""

    def __new__(cls, value: Any) -> Num:
        """Store the exact rational value."""
        return cls._make((as_rational(value),), (Integer(1), Integer(1)))

    @property
    def value(self) -> Rational:
        """The exact value."""
        return self.args[0]

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.value


class Size(Term):
    """The value of a dim used as a number, such as the p of a mean over units; shape 1×1."""

    def __new__(cls, size: Dim) -> Size:
        """Store the dim."""
        return cls._make((as_dim(size),), (Integer(1), Integer(1)))

    @property
    def size(self) -> Expr:
        """The dim."""
        return self.args[0]

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.size


class Ones(Term):
    """A matrix of ones; shape ``(rows, cols)``."""

    def __new__(cls, rows: Dim, cols: Dim = 1) -> Ones:
        """Store the dims."""
        shape = (as_dim(rows), as_dim(cols))
        return cls._make(shape, shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return Integer(1)


class Zeros(Term):
    """A zero that carries its shape ``(rows, cols)``."""

    def __new__(cls, rows: Dim, cols: Dim = 1) -> Zeros:
        """Store the dims."""
        shape = (as_dim(rows), as_dim(cols))
        return cls._make(shape, shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return Integer(0)


class Eye(Term):
    """The identity matrix; shape n×n."""

    def __new__(cls, n: Dim) -> Eye:
        """Store the dim."""
        size = as_dim(n)
        return cls._make((size,), (size, size))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return KroneckerDelta(i, j)


class Commutation(Term):
    """The commutation matrix K_mn with K_mn vec A = vec Aᵀ for A of shape m×n; shape mn×mn.

    Source: Magnus & Neudecker, Matrix Differential Calculus (2019), section 3.7.
    """

    def __new__(cls, m: Dim, n: Dim) -> Commutation:
        """Store the dims of the matrix that is transposed."""
        rows, cols = as_dim(m), as_dim(n)
        total = as_dim(rows * cols)
        return cls._make((rows, cols), (total, total))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        m, n = self.args
        # Row r·n + c of vec Aᵀ holds A[r, c], which vec A keeps at c·m + r.
        return Integer(1) if j == (i % n) * m + i // n else Integer(0)
