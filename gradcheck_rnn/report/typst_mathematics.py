"""Terms, left-hand sides and prose of a derivation as typst markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..calculus.printing.notation import Notation
from ..calculus.printing.text import to_text
from ..calculus.printing.typst import to_typst
from ..calculus.terms import Neg, Plus, Term, Times
from ..derivation.pages import Partial, Prose

__all__ = ["Mathematics", "plain", "sentence_list"]


def plain(text: str) -> str:
    """Words as typst markup in which no character means anything."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'#"{escaped}";'


def sentence_list(items: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = list(items)
    return f"{', '.join(first)} and {last}" if first else last


#: Letters of a product that no longer fits on a line.
LONG = 60
#: What remarks say in words though it is mathematics: a set of subscripts, a time.
_REMARKS = re.compile(r"for (?P<g>\w+) ∈ \{(?P<set>[^}]*)\}|at t = (?P<t>\w+)")


def _remark(found: re.Match[str]) -> str:
    if found["t"] is not None:
        return f"#[at $t = {_letter(found['t'])}$]"
    members = ", ".join(_letter(x) for x in found["set"].split(", "))
    return f"#[for ${_letter(found['g'])} ∈ {{{members}}}$]"


def _letter(x: str) -> str:
    bare = len(x) == 1 or x == "ell" or re.fullmatch(r"\d+[A-Za-z]", x)
    return x if bare else f'"{x}"'


def remark(text: str) -> str:
    """Words of a remark as markup, its mathematics set as such."""
    out, at = "", 0
    for found in _REMARKS.finditer(text):
        out += (plain(text[at : found.start()]) if found.start() > at else "") + _remark(found)
        at = found.end()
    return out + (plain(text[at:]) if text[at:] else "")


class Mathematics:
    """Prints with one notation.

    Parameters
    ----------
    notation : Notation, optional
        The reader's own names; those of the definition when left out.
    """

    def __init__(self, notation: Notation | None = None) -> None:
        self.notation = notation

    @property
    def rows(self) -> bool:
        """Whether vectors are rows: every equation is printed transposed."""
        return self.notation is not None and self.notation.vectors == "row"

    def term(self, t: Term) -> str:
        """A term, without dollars."""
        return to_typst(t, self.notation)

    def inline(self, t: Term) -> str:
        """A term within a sentence."""
        return f"${self.term(t)}$"

    def words(self, prose: Prose) -> str:
        """Words with mathematics between them."""
        return "".join(remark(p) if isinstance(p, str) else self.inline(p) for p in prose)

    def left(self, left: Term | Partial) -> str:
        """A left-hand side, without dollars."""
        return self.partial(left) if isinstance(left, Partial) else self.term(left)

    def partial(self, p: Partial) -> str:
        """``∂of/∂wrtᵀ``, the vec written where the operand is a matrix."""
        by, of = self.term(p.wrt), self.term(p.of)
        mark = "^+" if p.immediate else ""
        if self.rows:
            # The right-hand side is printed transposed: a row for each entry of the operand.
            return f"frac(partial{mark} {of}, partial {by})"
        matrix = p.wrt.shape[1] != 1
        if p.denominator:
            below = f'op("vec") {by}' if matrix else by
            return f"frac(partial{mark} ({of})^top, partial {below})"
        below = f'(op("vec") {by})^top' if matrix else f"{by}^top"
        if not matrix and "^" in by:
            below = f"({by})^top"
        return f"frac(partial{mark} {of}, partial {below})"

    def pieces(self, right: Term, relation: str = "=") -> list[str]:
        """A right-hand side as formulas between which a line may end."""
        terms = right.operands if isinstance(right, Plus) else (right,)
        out = []
        for k, t in enumerate(terms):
            negative = isinstance(t, Neg)
            sign = relation if k == 0 else '"" -' if negative else '"" +'
            body = t.operands[0] if negative and k else t
            text = self.term(body)
            if negative and k and isinstance(body, Plus):
                text = f"({text})"
            out += self._split(body, sign) or [f"${sign} {text}$"]
        return out

    def _split(self, t: Term, sign: str) -> list[str]:
        """A long product that ends in a sum, so that a line may end within its parentheses."""
        if self.rows or not isinstance(t, Times) or not isinstance(t.operands[-1], Plus):
            return []
        if len(to_text(t)) < LONG:
            return []
        head = " ".join(self._factor(f) for f in t.operands[:-1])
        inner = self.pieces(t.operands[-1], "")
        inner[0] = f"${sign} {head} \\({inner[0][1:]}"
        inner[-1] = f"{inner[-1][:-1]}\\)$"
        return inner

    def _factor(self, t: Term) -> str:
        text = self.term(t)
        return f"({text})" if isinstance(t, Plus | Neg) else text
