r"""LaTeX that needs amsmath and amssymb only: ``\mathbf{W} \mathbf{h}_{t-1}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sympy import Expr, Rational

from gradcheck_rnn.calculus.printing.core import Level, Piece, Printer
from gradcheck_rnn.calculus.printing.structured_names import GREEK, Letter, Name, Time, time_index
from gradcheck_rnn.calculus.terms import Sym, Term
from gradcheck_rnn.language.ops.elementwise import ELEMENTWISE

if TYPE_CHECKING:
    from gradcheck_rnn.calculus.printing.notation import Notation

__all__ = ["LatexPrinter", "to_latex"]

_ACCENTS = {"tilde": r"\tilde", "hat": r"\hat", "bar": r"\bar", "dot": r"\dot"}
_FUNCTIONS = {
    "cross_entropy": r"\operatorname{CE}",
    "log_softmax": r"\log\operatorname{softmax}",
    "max": r"\max",
    "sign": r"\operatorname{sgn}",
}
_TALL = (r"\frac", r"\begin", r"\sum", r"\left")


class LatexPrinter(Printer):
    """LaTeX; matrices and columns bold, 1×1 variables not."""

    target = "latex"
    minus = "-"
    plus = "+"
    hadamard = r" \odot "
    kron = r" \otimes "
    oslash = r" \oslash "
    times = " "
    scale = r" \, "
    digits_apart = r" \cdot "
    dim_times = r"\,"

    def paren(self, text: str) -> str:
        if any(mark in text for mark in _TALL):
            return rf"\left( {text} \right)"
        return f"({text})"

    def letter(self, letter: Letter, bold: bool = False, dotted: bool = False) -> str:
        if letter.raw:
            text = rf"\boldsymbol{{{letter.base}}}" if bold else letter.base
        elif letter.base in GREEK:
            text = rf"\boldsymbol{{\{letter.base}}}" if bold else rf"\{letter.base}"
        elif bold:
            text = rf"\mathbf{{{letter.base}}}"
        else:
            text = letter.base if len(letter.base) <= 2 else rf"\mathrm{{{letter.base}}}"
        for accent in (*letter.accents, *(("dot",) if dotted else ())):
            # Braces keep the prime's superscript from colliding with a transpose.
            text = f"{{{text}'}}" if accent == "prime" else f"{_ACCENTS[accent]}{{{text}}}"
        return text

    def variable(self, name: Name, lag: Time, bold: bool, dotted: bool = False) -> Piece:
        subscripts = [self.letter(s) for s in name.subscripts]
        if lag is not None:
            subscripts.append(time_index(lag, "-"))
        index = f"_{{{','.join(subscripts)}}}" if subscripts else ""
        head = self.letter(name.head, bold, dotted) + "^{(h)}" * name.of_head
        return Piece(head + index, superscript=name.of_head)

    def adjoint(self, name: Name, lag: Time, bold: bool) -> Piece:
        delta = r"\boldsymbol{\delta}" if bold else r"\delta"
        of = self.variable(name, None, False).text
        index = "" if lag is None else f"_{{{time_index(lag, '-')}}}"
        return Piece(f"{delta}^{{{of}}}{index}", superscript=True)

    def gradient(self, name: Name, bold: bool) -> Piece:
        return Piece(rf"\nabla_{{{self.variable(name, None, bold).text}}} L", Level.PRODUCT)

    def differential(self, variable: Piece) -> Piece:
        return Piece(rf"\mathrm{{d}}{variable.text}", Level.CALL, variable.superscript)

    def jacobian(self, of: Name, wrt: Name | None, s: Sym) -> Piece:
        if s.mark == "total":
            head = r"\mathbf{S}" if self.bold else "S"
            names = [self.variable(n, None, False).text for n in (of, wrt) if n is not None]
            index = "" if s.lag is None else f"_{{{time_index(s.lag, '-')}}}"
            return Piece(f"{head}^{{{','.join(names)}}}{index}", superscript=True)
        upper = rf"\partial^{{+}} {self.variable(of, s.lag, self.bold).text}"
        if wrt is None:
            return Piece(upper, Level.CALL)
        below = rf"\partial {self.variable(wrt, None, self.bold).text}"
        return Piece(rf"\frac{{{upper}}}{{{below}}}", Level.CALL)

    def dim_power(self, exponent: str) -> str:
        return f"^{{{exponent}}}"

    def dim_name(self, name: str) -> str:
        head, _, tail = name.partition("_")
        text = head if len(head) == 1 else rf"\mathrm{{{head}}}"
        return f"{text}_{{{tail.replace('_', ',')}}}" if tail else text

    def fraction(self, value: Rational) -> Piece:
        return Piece(rf"\tfrac{{{value.p}}}{{{value.q}}}", Level.POSTFIX)

    def constant(self, letter: str, subscript: str) -> Piece:
        head = rf"\mathbf{{{letter}}}" if self.bold else letter
        return Piece(f"{head}_{{{subscript}}}")

    def shape_text(self, rows: Expr, cols: Expr) -> str:
        return self.dims(rows) if cols == 1 else rf"{self.dims(rows)} \times {self.dims(cols)}"

    def quotient(self, x: Term, y: Term, elementwise: bool) -> Piece:
        if elementwise:
            text = self.at_least(x, Level.CALL) + self.oslash + self.at_least(y, Level.CALL)
            return Piece(text, Level.PRODUCT)
        return Piece(rf"\frac{{{self.piece(x).text}}}{{{self.piece(y).text}}}", Level.CALL)

    def _raised(self, base: Piece, mark: str) -> Piece:
        text = self.raised_base(base)
        if base.superscript:
            text = f"{{{text}}}"
        return Piece(f"{text}^{{{mark}}}", Level.POSTFIX, superscript=True)

    def power(self, base: Piece, exponent: Rational, elementwise: bool) -> Piece:
        mark = r"\odot " if elementwise else ""
        shown = f"({exponent})" if elementwise and exponent < 0 else str(exponent)
        return self._raised(base, mark + shown)

    def transposed(self, base: Piece) -> Piece:
        return self._raised(base, r"\top")

    def call(self, fname: str, *args: str) -> Piece:
        if fname == "sqrt":
            return Piece(rf"\sqrt{{{args[0]}}}", Level.CALL)
        known = _FUNCTIONS.get(fname)
        if fname in ELEMENTWISE:
            known = ELEMENTWISE[fname].latex or None
        if known is None and fname in GREEK:
            known = rf"\{fname}"
        if known is None:
            escaped = fname.replace("_", r"\_")
            known = rf"\operatorname{{{escaped}}}" if len(fname) > 1 else fname
        return Piece(known + self.paren(", ".join(args)), Level.CALL)

    def print_UnitSum(self, term: Term) -> Piece:
        head = r"\mathbf{1}" if self.bold else "1"
        body = self.at_least(term.operands[0], Level.CALL)
        return Piece(rf"{head}^{{\top}} {body}", Level.PRODUCT)

    def bars(self, text: str) -> Piece:
        return Piece(rf"\left\lvert {text} \right\rvert")

    def indicator(self, a: str, b: str) -> Piece:
        return Piece(rf"\left[ {a} > {b} \right]")

    def rows_of(self, base: Piece, start: str, stop: str) -> Piece:
        return Piece(rf"\left[ {base.text} \right]_{{{start}:{stop}}}")

    def grid(self, rows: list[list[str]]) -> Piece:
        # A row may start with '[', which would read as the optional argument of '\\'.
        body = r" \\ ".join(
            " & ".join(f"{{}}{cell}" if cell.startswith("[") else cell for cell in row)
            for row in rows
        )
        return Piece(rf"\begin{{bmatrix}} {body} \end{{bmatrix}}")

    def head_sum(self, heads: str, body: str) -> str:
        return rf"\sum_{{h=1}}^{{{heads}}} {body}"

    def time_sum(self, lower: str, upper: str, body: str) -> Piece:
        return Piece(rf"\sum_{{t={lower}}}^{{{upper}}} {body}")


def to_latex(term: Term, notation: Notation | None = None) -> str:
    """Print a term as LaTeX for math mode; amsmath and amssymb suffice.

    Parameters
    ----------
    term : Term
        What to print; operands come in the order the term holds them.
    notation : Notation, optional
        The reader's names and conventions; with row vectors the term is printed transposed.
    """
    printer = LatexPrinter(notation)
    return re.sub(r" {2,}", " ", printer.print(term))
