"""Fixed matrices, such as the shifts of a convolution, that are transposed or once too many.

One line of a hand-written convolution is all of its taps at once: these mistakes are grouped over
all terms that go back through one matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..calculus.printing.text import to_text
from ..calculus.terms import Sym, Term, Times, Transpose, dims_equal, symbols_in
from .program import Edge

__all__ = ["fixed_matrices", "mistaken_shifts"]


def fixed_matrices(term: Term) -> list[Sym]:
    """Square matrices without a gradient that a term reads."""
    found = dict.fromkeys(s for s in symbols_in(term) if s.kind == "fixed" and not s.mark)
    return [s for s in found if dims_equal(*s.shape)]


def mistaken_shifts(edge: Edge) -> Iterator[tuple[str, str, Term, str]]:
    """Kind, detail, the term, and words for what is wrong in it."""
    whole = edge.pullback
    for s in fixed_matrices(whole):
        exchanged: dict[Term, Term] = {s: Transpose(s), Transpose(s): s}
        words = f"{to_text(s)} and {to_text(Transpose(s))} exchanged"
        yield "flipped", s.name, whole.xreplace(exchanged), words
    for s in fixed_matrices(edge.rhs) if edge.kind != "param" else ():
        if not dims_equal(whole.shape[1], s.shape[0]):
            continue
        last = whole.operands[-1] if isinstance(whole, Times) else None
        for more, less in ((s, Transpose(s)), (Transpose(s), s)):
            # what was shifted to the other side stays where it was
            back = isinstance(whole, Times) and last == less
            term = Times(*whole.operands[:-1]) if back else Times(whole, more)
            words = f"one {to_text(more)} too many, or one {to_text(less)} less,"
            yield "shifted", to_text(more), term, words
