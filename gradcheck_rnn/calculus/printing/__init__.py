"""Printers: one ordered walk over a term, several target languages."""

from __future__ import annotations

from gradcheck_rnn.calculus.printing.text import to_text

__all__ = ["to_text"]
