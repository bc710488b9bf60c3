"""Proof that a derivation is right: an independent scalar oracle and exact comparison.

The oracle (`field`, `scalars`, `certificates`, `setting`, `oracle`) stands on the language alone;
only `prove` sees what it judges.
"""

from .field import FieldElement, Point, Redraw
from .oracle import OracleResult, differentiate, unrolled_gradients
from .prove import check, compare, prove
from .result import Group, ProofResult
from .setting import Setting, default_lengths, default_sizes, draw

__all__ = [
    "FieldElement",
    "Group",
    "OracleResult",
    "Point",
    "ProofResult",
    "Redraw",
    "Setting",
    "check",
    "compare",
    "default_lengths",
    "default_sizes",
    "differentiate",
    "draw",
    "prove",
    "unrolled_gradients",
]
