"""Unicode text: ``h_t = tanh(W h_{t−1} + U x_t + b_i)``, ``diag(1 − h_t ⊙ h_t)``."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from unicodedata import normalize

from sympy import Expr, Rational

from gradcheck_rnn.calculus.printing.core import Level, Piece, Printer
from gradcheck_rnn.calculus.printing.structured_names import GREEK, Letter, Name, Time, time_index
from gradcheck_rnn.calculus.terms import Sym, Term
from gradcheck_rnn.language.ops.elementwise import ELEMENTWISE

if TYPE_CHECKING:
    from gradcheck_rnn.calculus.printing.notation import Notation

__all__ = ["TextPrinter", "to_text"]

_COMBINING = {
    "tilde": "\u0303",
    "hat": "\u0302",
    "bar": "\u0304",
    "dot": "\u0307",
    "prime": "′",
}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class TextPrinter(Printer):
    """Unicode text for the shell, docstrings and error messages."""

    target = "text"
    minus = "−"
    plus = "+"
    hadamard = " ⊙ "
    kron = " ⊗ "
    oslash = " ⊘ "
    times = " "
    scale = " · "
    digits_apart = " · "
    dim_times = "·"

    def paren(self, text: str) -> str:
        return f"({text})"

    def letter(self, letter: Letter, bold: bool = False, dotted: bool = False) -> str:
        base = letter.base if letter.raw else GREEK.get(letter.base, letter.base)
        accents = (*letter.accents, *(("dot",) if dotted else ()))
        # One character where Unicode has it, because combining marks are often drawn badly.
        return normalize("NFC", base + "".join(_COMBINING[a] for a in accents))

    def variable(self, name: Name, lag: Time, bold: bool, dotted: bool = False) -> Piece:
        head = self.letter(name.head, dotted=dotted) + "⁽ʰ⁾" * name.of_head
        subscripts = [self.letter(s) for s in name.subscripts]
        if lag is not None:
            subscripts.append(time_index(lag))
        inner = ",".join(subscripts)
        if not inner:
            return Piece(head)
        # Braces as soon as the index has structure: `h_t − 1` and `h_{t−1}` must look different.
        simple = len(subscripts) == 1 and not set(inner) & set("+−,")
        return Piece(f"{head}_{inner}" if simple else f"{head}_{{{inner}}}")

    def adjoint(self, name: Name, lag: Time, bold: bool) -> Piece:
        return Piece("δ" + self.variable(name, lag, bold).text)

    def gradient(self, name: Name, bold: bool) -> Piece:
        return Piece("∇" + self.variable(name, None, bold).text)

    def differential(self, variable: Piece) -> Piece:
        return Piece("d" + variable.text, Level.CALL)

    def jacobian(self, of: Name, wrt: Name | None, s: Sym) -> Piece:
        if s.mark == "total":
            index = "" if s.lag is None else f"_{{{time_index(s.lag)}}}" if s.lag else "_t"
            names = [self.variable(n, None, False).text for n in (of, wrt) if n is not None]
            return Piece(f"S[{','.join(names)}]{index}")
        upper = self.variable(of, s.lag, False).text
        if wrt is None:
            return Piece(f"∂⁺{upper}", Level.CALL)
        return Piece(f"∂⁺{upper}/∂{self.variable(wrt, None, False).text}", Level.PRODUCT)

    def dim_power(self, exponent: str) -> str:
        return exponent.translate(_SUPERSCRIPT)

    def fraction(self, value: Rational) -> Piece:
        return Piece(f"{value.p}/{value.q}", Level.PRODUCT)

    def constant(self, letter: str, subscript: str) -> Piece:
        simple = subscript.isalnum()
        return Piece(f"{letter}_{subscript}" if simple else f"{letter}_{{{subscript}}}")

    def shape_text(self, rows: Expr, cols: Expr) -> str:
        return self.dims(rows) if cols == 1 else f"{self.dims(rows)}×{self.dims(cols)}"

    def quotient(self, x: Term, y: Term, elementwise: bool) -> Piece:
        sign = self.oslash if elementwise else " / "
        text = self.at_least(x, Level.CALL) + sign + self.at_least(y, Level.CALL)
        return Piece(text, Level.PRODUCT)

    def power(self, base: Piece, exponent: Rational, elementwise: bool) -> Piece:
        text = self.raised_base(base)
        if exponent.is_Integer and exponent >= 0:
            return Piece(text + str(exponent).translate(_SUPERSCRIPT), Level.POSTFIX)
        mark = "^⊙" if elementwise else "^"
        return Piece(f"{text}{mark}({str(exponent).replace('-', self.minus)})", Level.POSTFIX)

    def transposed(self, base: Piece) -> Piece:
        return Piece(self.raised_base(base) + "ᵀ", Level.POSTFIX)

    def call(self, fname: str, *args: str) -> Piece:
        shown = ELEMENTWISE[fname].text if fname in ELEMENTWISE else ""
        return Piece(f"{shown or fname}({', '.join(args)})", Level.CALL)

    def bars(self, text: str) -> Piece:
        return Piece(f"|{text}|")

    def indicator(self, a: str, b: str) -> Piece:
        return Piece(f"[{a} > {b}]")

    def rows_of(self, base: Piece, start: str, stop: str) -> Piece:
        return Piece(f"{self.guard(base, Level.ATOM)}[{start}:{stop}]", Level.POSTFIX)

    def grid(self, rows: list[list[str]]) -> Piece:
        return Piece("[" + "; ".join(", ".join(row) for row in rows) + "]")

    def head_sum(self, heads: str, body: str) -> str:
        return f"Σ_{{h=1}}^{{{heads}}} {body}"

    def time_sum(self, lower: str, upper: str, body: str) -> Piece:
        return Piece(f"Σ_{{t={lower}}}^{{{upper}}} {body}")


def to_text(term: Term, notation: Notation | None = None) -> str:
    """Print a term as Unicode text, operands in the order the term holds them."""
    return _plain(term) if notation is None else TextPrinter(notation).print(term)


@lru_cache(maxsize=65536)
def _plain(term: Term) -> str:
    return TextPrinter(None).print(term)
