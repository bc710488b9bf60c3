"""Typst math: ``bold(W) bold(h)_(t - 1)``, for a ``$ … $`` of typst 0.13 to 0.15."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Expr, Rational

from gradcheck_rnn.calculus.printing.core import Level, Piece, Printer
from gradcheck_rnn.calculus.printing.structured_names import GREEK, Letter, Name, Time
from gradcheck_rnn.calculus.terms import Sym, Term
from gradcheck_rnn.language.ops.elementwise import ELEMENTWISE

if TYPE_CHECKING:
    from gradcheck_rnn.calculus.printing.notation import Notation

__all__ = ["TypstPrinter", "to_typst"]

_ACCENTS = {"tilde": "tilde", "hat": "hat", "bar": "macron", "dot": "dot"}
_FUNCTIONS = {
    "cross_entropy": 'op("CE")',
    "log_softmax": 'log op("softmax")',
    "max": "max",
    "sign": 'op("sgn")',
}


class TypstPrinter(Printer):
    """Typst math; matrices and columns bold, 1×1 variables not."""

    target = "typst"
    minus = "-"
    plus = "+"
    # The characters themselves: the symbols' names changed between typst releases.
    hadamard = " ⊙ "
    kron = " ⊗ "
    oslash = " ⊘ "
    times = " "
    scale = " thin "
    digits_apart = " dot.c "
    dim_times = " "

    def paren(self, text: str) -> str:
        return f"({text})"

    def _word(self, text: str) -> str:
        return text if len(text) == 1 or text.isdigit() else f'"{text}"'

    def letter(self, letter: Letter, bold: bool = False, dotted: bool = False) -> str:
        text = letter.base if letter.raw or letter.base in GREEK else self._word(letter.base)
        if bold:
            text = f"bold({text})"
        for accent in (*letter.accents, *(("dot",) if dotted else ())):
            text = f"{text}'" if accent == "prime" else f"{_ACCENTS[accent]}({text})"
        return text

    def _time(self, lag: int | str) -> str:
        if isinstance(lag, str):
            return lag.replace("−", " - ").replace("+", " + ")
        return "t" if lag == 0 else f"t - {lag}" if lag > 0 else f"t + {-lag}"

    def _index(self, subscripts: list[str]) -> str:
        if not subscripts:
            return ""
        inner = ", ".join(subscripts)
        return f"_{inner}" if len(inner) == 1 else f"_({inner})"

    def variable(self, name: Name, lag: Time, bold: bool, dotted: bool = False) -> Piece:
        subscripts = [self.letter(s) for s in name.subscripts]
        if lag is not None:
            subscripts.append(self._time(lag))
        text = self.letter(name.head, bold, dotted) + self._index(subscripts)
        return Piece(text + "^((h))" * name.of_head, superscript=name.of_head)

    def adjoint(self, name: Name, lag: Time, bold: bool) -> Piece:
        delta = "bold(delta)" if bold else "delta"
        of = self.variable(name, None, False).text
        index = self._index([] if lag is None else [self._time(lag)])
        return Piece(f"{delta}{index}^({of})", superscript=True)

    def gradient(self, name: Name, bold: bool) -> Piece:
        return Piece(f"nabla_({self.variable(name, None, bold).text}) L", Level.PRODUCT)

    def differential(self, variable: Piece) -> Piece:
        return Piece(f"dif {variable.text}", Level.CALL, variable.superscript)

    def jacobian(self, of: Name, wrt: Name | None, s: Sym) -> Piece:
        if s.mark == "total":
            head = "bold(S)" if self.bold else "S"
            names = [self.variable(n, None, False).text for n in (of, wrt) if n is not None]
            index = self._index([] if s.lag is None else [self._time(s.lag)])
            return Piece(f"{head}{index}^({', '.join(names)})", superscript=True)
        upper = f"partial^+ {self.variable(of, s.lag, self.bold).text}"
        if wrt is None:
            return Piece(upper, Level.CALL)
        below = f"partial {self.variable(wrt, None, self.bold).text}"
        return Piece(f"frac({upper}, {below})", Level.CALL)

    def dim_power(self, exponent: str) -> str:
        return f"^{exponent} "

    def dim_name(self, name: str) -> str:
        head, *tail = name.split("_")
        return self._word(head) + self._index([self._word(word) for word in tail if word])

    def fraction(self, value: Rational) -> Piece:
        return Piece(f"frac({value.p}, {value.q})", Level.POSTFIX)

    def constant(self, letter: str, subscript: str) -> Piece:
        head = f"bold({letter})" if self.bold else letter
        return Piece(f"{head}_({subscript})")

    def shape_text(self, rows: Expr, cols: Expr) -> str:
        return self.dims(rows) if cols == 1 else f"{self.dims(rows)} times {self.dims(cols)}"

    def quotient(self, x: Term, y: Term, elementwise: bool) -> Piece:
        if elementwise:
            text = self.at_least(x, Level.CALL) + self.oslash + self.at_least(y, Level.CALL)
            return Piece(text, Level.PRODUCT)
        return Piece(f"frac({self.piece(x).text}, {self.piece(y).text})", Level.CALL)

    def _raised(self, base: Piece, mark: str) -> Piece:
        text = self.raised_base(base)
        if base.superscript:
            # Typst has no invisible group; attach() puts the second superscript on the whole.
            return Piece(f"attach({text}, t: {mark})", Level.POSTFIX, superscript=True)
        shown = mark if mark.isalnum() else f"({mark})"
        return Piece(f"{text}^{shown}", Level.POSTFIX, superscript=True)

    def power(self, base: Piece, exponent: Rational, elementwise: bool) -> Piece:
        shown = str(exponent).replace("/", "\\/")
        return self._raised(base, f"⊙ {shown}" if elementwise else shown)

    def transposed(self, base: Piece) -> Piece:
        return self._raised(base, "top")

    def call(self, fname: str, *args: str) -> Piece:
        if fname == "sqrt":
            return Piece(f"sqrt({args[0]})", Level.CALL)
        known = _FUNCTIONS.get(fname)
        if fname in ELEMENTWISE:
            known = ELEMENTWISE[fname].typst or None
        if known is None:
            single = fname in GREEK or len(fname) == 1
            known = fname if single else f'op("{fname}")'
        return Piece(f"{known}({', '.join(args)})", Level.CALL)

    def print_UnitSum(self, term: Term) -> Piece:
        head = "bold(1)" if self.bold else "1"
        body = self.at_least(term.operands[0], Level.CALL)
        return Piece(f"{head}^top {body}", Level.PRODUCT)

    def bars(self, text: str) -> Piece:
        return Piece(f"abs({text})")

    def indicator(self, a: str, b: str) -> Piece:
        return Piece(f"[{a} > {b}]")

    def rows_of(self, base: Piece, start: str, stop: str) -> Piece:
        return Piece(f"[{base.text}]_({start} : {stop})")

    def grid(self, rows: list[list[str]]) -> Piece:
        body = "; ".join(", ".join(row) for row in rows)
        return Piece(f'mat(delim: "[", {body})')

    def head_sum(self, heads: str, body: str) -> str:
        return f"sum_(h = 1)^({heads}) {body}"

    def time_sum(self, lower: str, upper: str, body: str) -> Piece:
        return Piece(f"sum_(t = {lower})^({upper}) {body}")


def to_typst(term: Term, notation: Notation | None = None) -> str:
    """Print a term as typst math, operands in the order the term holds them."""
    return TypstPrinter(notation).print(term)
