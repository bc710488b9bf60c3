"""Printers: one ordered walk over a term, several target languages."""

from __future__ import annotations

from gradcheck_rnn.calculus.printing.json import from_json, to_json
from gradcheck_rnn.calculus.printing.latex import to_latex
from gradcheck_rnn.calculus.printing.notation import Notation, load_notation, transpose_equation
from gradcheck_rnn.calculus.printing.text import to_text
from gradcheck_rnn.calculus.printing.typst import to_typst
from gradcheck_rnn.calculus.terms.base import PRINTERS

__all__ = [
    "Notation",
    "from_json",
    "load_notation",
    "to_json",
    "to_latex",
    "to_text",
    "to_typst",
    "transpose_equation",
]

PRINTERS |= {"text": to_text, "latex": to_latex}
