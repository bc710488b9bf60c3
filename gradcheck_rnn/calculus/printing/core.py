"""The one ordered, recursive printer; a target supplies only the vocabulary.

Operands are printed in the order in which the term holds them. Parentheses are the fewest that
leave no doubt: products of different kinds (matrix, elementwise, Kronecker) are never mixed
without them, because readers do not agree on their precedence.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from sympy import Expr, Integer, Rational

from gradcheck_rnn.calculus.printing.structured_names import Letter, Name, Time, parse_name
from gradcheck_rnn.calculus.terms import (
    Broadcast,
    Eye,
    Neg,
    Num,
    Sym,
    Term,
    Transpose,
)
from gradcheck_rnn.errors import MissingRule

if TYPE_CHECKING:
    from gradcheck_rnn.calculus.printing.notation import Notation

__all__ = ["Level", "Piece", "Printer"]


class Level(IntEnum):
    """How tightly a printed piece holds together."""

    SUM = 10
    NEGATIVE = 20
    TIME_SUM = 25
    PRODUCT = 30
    CALL = 60
    POSTFIX = 70
    ATOM = 80


@dataclass(frozen=True)
class Piece:
    """Printed text, how tightly it holds, and whether it already carries a superscript."""

    text: str
    level: Level = Level.ATOM
    superscript: bool = False


class Printer(ABC):
    """Walk over a term; subclasses say how each construct looks in one target language."""

    target: str
    minus: str
    plus: str
    hadamard: str
    kron: str
    oslash: str
    times: str
    scale: str
    digits_apart: str

    def __init__(self, notation: Notation | None = None) -> None:
        self.notation = notation
        self.bold = True if notation is None else notation.bold

    # -- entry points --------------------------------------------------------------------------

    def print(self, term: Term) -> str:
        """Return the printed term, transposed where the notation has row vectors."""
        if self.notation is not None and self.notation.vectors == "row":
            from gradcheck_rnn.calculus.printing.row_vectors import transpose_equation

            term = transpose_equation(term)
        return self.piece(term).text

    def piece(self, term: Term) -> Piece:
        """Print one node."""
        method = getattr(self, f"print_{type(term).__name__}", None)
        if method is None:
            raise MissingRule(f"the {self.target} printer has no rule for {type(term).__name__}.")
        result: Piece = method(term)
        return result

    def at_least(self, term: Term, level: Level) -> str:
        """Print with parentheses if the piece holds less tightly than `level`."""
        return self.guard(self.piece(term), level)

    def cell(self, term: Term) -> Term:
        """Inside elementwise operations a repeated scalar is written as the scalar itself."""
        return term.operands[0] if isinstance(term, Broadcast) else term

    def guard(self, piece: Piece, level: Level) -> str:
        """Add parentheses if needed."""
        return piece.text if piece.level >= level else self.paren(piece.text)

    def raised_base(self, piece: Piece) -> str:
        """What carries an exponent: a call f(x) needs no second pair of parentheses."""
        called = piece.level is Level.CALL and piece.text.endswith(")")
        return piece.text if called else self.guard(piece, Level.ATOM)

    # -- names ---------------------------------------------------------------------------------

    def name(self, name: str) -> Name:
        """The reader's name for a variable."""
        if self.notation is not None:
            renamed = self.notation.name_for(name, self.target)
            if renamed is not None:
                return renamed
        return parse_name(name)

    def print_Sym(self, s: Sym) -> Piece:
        bold = self.bold and not s.is_scalar_term
        of_head = bool(s.heads != 1)
        if s.mark in {"total", "plus"}:
            of, _, wrt = s.name.partition(":")
            name = replace(self.name(of), of_head=of_head)
            return self.jacobian(name, self.name(wrt) if wrt else None, s)
        name, time = self.name(s.name), s.time or s.lag
        if s.time and self.notation is not None:
            started = self.notation.start_at(s.name, s.time, self.target)
            name, time = (name, time) if started is None else (started, None)
        name = replace(name, of_head=True) if of_head else name
        if s.mark == "bar":
            if time is None and s.kind in {"param", "fixed"}:
                return self.gradient(name, bold)
            return self.adjoint(name, time, bold)
        plain = self.variable(name, time, bold, dotted=s.mark == "dot")
        return self.differential(plain) if s.mark == "d" else plain

    @abstractmethod
    def letter(self, letter: Letter, bold: bool = False, dotted: bool = False) -> str:
        """Write one letter with its accents."""

    @abstractmethod
    def variable(self, name: Name, lag: Time, bold: bool, dotted: bool = False) -> Piece:
        """Write a variable with subscripts and time index."""

    @abstractmethod
    def adjoint(self, name: Name, lag: Time, bold: bool) -> Piece:
        """Write the adjoint δ of a variable."""

    @abstractmethod
    def gradient(self, name: Name, bold: bool) -> Piece:
        """Write the gradient of the loss with respect to a parameter."""

    @abstractmethod
    def differential(self, variable: Piece) -> Piece:
        """Write the differential of a variable."""

    @abstractmethod
    def jacobian(self, of: Name, wrt: Name | None, s: Sym) -> Piece:
        """Write a total (S) or immediate (∂⁺) derivative of a variable."""

    # -- numbers and dims ----------------------------------------------------------------------

    def dims(self, expr: Expr) -> str:
        """Write a dim; products read ``4p``, ``p·d`` and ``p²``."""
        text = str(expr).replace(" ", "")
        text = re.sub(r"\*\*(\d+)", lambda m: self.dim_power(m.group(1)), text)
        text = re.sub(r"(?<=\d)\*(?=[A-Za-z(])", "", text).replace("*", self.dim_times)
        text = text.replace("-", self.minus)
        return re.sub(r"[A-Za-z][A-Za-z0-9_]*", lambda m: self.dim_name(m.group()), text)

    dim_times: str

    @abstractmethod
    def dim_power(self, exponent: str) -> str:
        """Write the exponent of a dim."""

    def dim_name(self, name: str) -> str:
        """Write the name of a dim."""
        return name

    @abstractmethod
    def fraction(self, value: Rational) -> Piece:
        """Write a positive fraction that is not whole."""

    def number(self, value: Rational) -> Piece:
        """Write an exact number."""
        if value < 0:
            return Piece(self.minus + self.number(-value).text, Level.NEGATIVE)
        if value.is_Integer:
            zeros = len(str(value)) - 1
            if value == 10**zeros and zeros > 6:
                return self.power(Piece("10"), Integer(zeros), elementwise=False)
            return Piece(str(value))
        # A constant such as √(2/π) is a long exact rational; a reader wants its first digits.
        return Piece(f"{float(value):.6g}") if value.q > 10**9 else self.fraction(value)

    def print_Num(self, term: Num) -> Piece:
        return self.number(term.value)

    def print_Size(self, term: Term) -> Piece:
        expr = term.args[0]
        level = Level.ATOM if expr.is_Atom else Level.SUM if expr.is_Add else Level.PRODUCT
        return Piece(self.dims(expr), level)

    @abstractmethod
    def constant(self, letter: str, subscript: str) -> Piece:
        """Write a constant matrix such as the identity, with its dims as subscript."""

    @abstractmethod
    def shape_text(self, rows: Expr, cols: Expr) -> str:
        """Write a shape; a column by its length."""

    def print_Ones(self, term: Term) -> Piece:
        return self.constant("1", self.shape_text(*term.shape))

    def print_Zeros(self, term: Term) -> Piece:
        return self.constant("0", self.shape_text(*term.shape))

    def print_Eye(self, term: Term) -> Piece:
        return self.constant("I", self.dims(term.shape[0]))

    def print_HeadBlock(self, term: Term) -> Piece:
        return self.piece(Sym("I", *term.shape, "fixed", heads=term.args[1]))

    def print_Commutation(self, term: Term) -> Piece:
        m, n = term.args
        return self.constant("K", f"{self.dims(m)},{self.dims(n)}")

    # -- sums and products ---------------------------------------------------------------------

    def _sign(self, term: Term) -> tuple[bool, Piece]:
        """Split a leading minus off, so that sums read ``a − b``."""
        inner = self.cell(term)
        if isinstance(inner, Neg):
            return True, self.piece(self.cell(inner.operands[0]))
        if isinstance(inner, Num) and inner.value < 0:
            return True, self.number(-inner.value)
        return False, self.piece(inner)

    def print_Plus(self, term: Term) -> Piece:
        parts: list[str] = []
        for k, operand in enumerate(term.operands):
            negative, piece = self._sign(operand)
            text = self.guard(piece, Level.TIME_SUM)
            if k:
                parts.append(f" {self.minus if negative else self.plus} {text}")
            else:
                parts.append(f"{self.minus}{text}" if negative else text)
        return Piece("".join(parts), Level.SUM)

    def print_Neg(self, term: Term) -> Piece:
        inner = self.at_least(self.cell(term.operands[0]), Level.TIME_SUM)
        return Piece(self.minus + inner, Level.NEGATIVE)

    def _chain(self, terms: Sequence[Term], joiner: str) -> Piece:
        return Piece(joiner.join(self.at_least(x, Level.CALL) for x in terms), Level.PRODUCT)

    def print_Times(self, term: Term) -> Piece:
        return self._chain(term.operands, self.times)

    def print_Hadamard(self, term: Term) -> Piece:
        joiner = self.scale if term.is_scalar_term else self.hadamard
        return self._chain([self.cell(x) for x in term.operands], joiner)

    def print_Kron(self, term: Term) -> Piece:
        # The product is associative, but a nested one keeps its parentheses: they are the term.
        return self._chain(term.operands, self.kron)

    def print_Scale(self, term: Term) -> Piece:
        factor, x = term.operands
        body = self.at_least(x, Level.PRODUCT)
        sign = self.digits_apart if body[:1].isdigit() else self.scale
        return Piece(self.at_least(factor, Level.CALL) + sign + body, Level.PRODUCT)

    def print_Dot(self, term: Term) -> Piece:
        a, b = term.operands
        left = self.guard(self.transposed(self.piece(a)), Level.CALL)
        return Piece(left + self.times + self.at_least(b, Level.CALL), Level.PRODUCT)

    def print_Divide(self, term: Term) -> Piece:
        x, y = term.operands
        proper = not (term.is_scalar_term or isinstance(x, Broadcast) or isinstance(y, Broadcast))
        return self.quotient(self.cell(x), self.cell(y), proper)

    @abstractmethod
    def quotient(self, x: Term, y: Term, elementwise: bool) -> Piece:
        """Write a quotient; `elementwise` if both sides are proper matrices or columns."""

    def print_Broadcast(self, term: Term) -> Piece:
        scalar = term.operands[0]
        ones = self.constant("1", self.shape_text(*term.shape))
        if isinstance(scalar, Num) and scalar.value == 1:
            return ones
        return Piece(self.at_least(scalar, Level.CALL) + self.scale + ones.text, Level.PRODUCT)

    def print_Power(self, term: Term) -> Piece:
        base = self.cell(term.operands[0])
        return self.power(self.piece(base), term.exponent, elementwise=not term.is_scalar_term)

    @abstractmethod
    def power(self, base: Piece, exponent: Rational, elementwise: bool) -> Piece:
        """Write an elementwise power."""

    def print_Transpose(self, term: Term) -> Piece:
        return self.transposed(self.piece(term.operands[0]))

    @abstractmethod
    def transposed(self, base: Piece) -> Piece:
        """Write a transpose."""

    # -- functions -----------------------------------------------------------------------------

    @abstractmethod
    def call(self, fname: str, *args: str) -> Piece:
        """Write a function call."""

    def _call(self, fname: str, *terms: Term) -> Piece:
        return self.call(fname, *[self.piece(x).text for x in terms])

    def print_Apply(self, term: Term) -> Piece:
        return self._call(term.fname, self.cell(term.operands[0]))

    def print_UnitSum(self, term: Term) -> Piece:
        return self._call("sum", term.operands[0])

    def print_MapUnits(self, term: Term) -> Piece:
        return self._call(term.map.name, term.x)

    print_ChooseUnits = print_MapUnits

    def print_Softmax(self, term: Term) -> Piece:
        return self._call("softmax", term.operands[0])

    def print_LogSoftmax(self, term: Term) -> Piece:
        return self._call("log_softmax", term.operands[0])

    def print_CrossEntropy(self, term: Term) -> Piece:
        return self._call("cross_entropy", *term.operands)

    def print_Maximum(self, term: Term) -> Piece:
        return self._call("max", *[self.cell(x) for x in term.operands])

    def print_Where(self, term: Term) -> Piece:
        return self._call("where", *[self.cell(x) for x in term.operands])

    def print_Sign(self, term: Term) -> Piece:
        return self._call("sign", self.cell(term.operands[0]))

    def print_Frozen(self, term: Term) -> Piece:
        return self._call("frozen", term.operands[0])

    def print_Surrogate(self, term: Term) -> Piece:
        return self._call("surrogate", *term.operands)

    def print_Solve(self, term: Term) -> Piece:
        matrix, b = term.operands
        inverse = self.power(self.piece(matrix), Integer(-1), elementwise=False)
        if isinstance(b, Eye):
            return inverse
        body = self.guard(inverse, Level.CALL) + self.times + self.at_least(b, Level.CALL)
        return Piece(body, Level.PRODUCT)

    def print_Diag(self, term: Term) -> Piece:
        x = term.operands[0]
        if self.notation is not None and self.notation.vectors == "row":
            x = x.operands[0] if isinstance(x, Transpose) else x  # a row has a diagonal matrix too
        return self._call("diag", x)

    def print_Vec(self, term: Term) -> Piece:
        return self._call("vec", term.operands[0])

    def print_Unvec(self, term: Term) -> Piece:
        text = self.piece(term.operands[0]).text
        return self.call("unvec", text, self.shape_text(*term.shape))

    def print_Pad(self, term: Term) -> Piece:
        x, start, total = term.args
        return self.call("pad", self.piece(x).text, self.dims(start), self.dims(total))

    def print_Abs(self, term: Term) -> Piece:
        return self.bars(self.piece(self.cell(term.operands[0])).text)

    def print_Greater(self, term: Term) -> Piece:
        a, b = (self.piece(self.cell(x)).text for x in term.operands)
        return self.indicator(a, b)

    def print_Slice(self, term: Term) -> Piece:
        x, start, stop = term.args
        return self.rows_of(self.piece(x), self.dims(start), self.dims(stop))

    def print_Concat(self, term: Term) -> Piece:
        return self.grid([[self.piece(x).text] for x in term.operands])

    def print_Block(self, term: Term) -> Piece:
        return self.grid([[self.piece(x).text for x in row] for row in term.grid])

    def print_TimeSum(self, term: Term) -> Piece:
        x, lower, upper = term.args
        body = self.at_least(x, Level.PRODUCT)
        return replace(
            self.time_sum(self.dims(lower), self.dims(upper), body), level=Level.TIME_SUM
        )

    def print_HeadSum(self, term: Term) -> Piece:
        body = self.at_least(term.x, Level.PRODUCT)
        return Piece(self.head_sum(self.dims(term.heads), body), Level.TIME_SUM)

    def print_PerHead(self, term: Term) -> Piece:
        return self.piece(term.x)

    @abstractmethod
    def paren(self, text: str) -> str:
        """Write parentheses."""

    @abstractmethod
    def bars(self, text: str) -> Piece:
        """Write an absolute value."""

    @abstractmethod
    def indicator(self, a: str, b: str) -> Piece:
        """Write the indicator of a > b."""

    @abstractmethod
    def rows_of(self, base: Piece, start: str, stop: str) -> Piece:
        """Write a range of rows."""

    @abstractmethod
    def grid(self, rows: list[list[str]]) -> Piece:
        """Write a block matrix."""

    @abstractmethod
    def head_sum(self, heads: str, body: str) -> str:
        """Write a sum over heads."""

    @abstractmethod
    def time_sum(self, lower: str, upper: str, body: str) -> Piece:
        """Write a sum over t."""
