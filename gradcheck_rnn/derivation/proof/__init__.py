"""Proof that a derivation is right: an independent scalar oracle and exact comparison.

The oracle (`field`, `scalars`, `slopes`, `setting`, `oracle`) stands on the language alone;
only `prove` sees what it judges. Equality is decided at a random point of a prime field (`prove`),
or without any error (`certificate`, on `graph`, `identities`, `real`).
"""

from .certificate import certify
from .certified import Certificate, CertifiedGroup
from .field import FieldElement, FieldPoint, Redraw
from .oracle import OracleResult, differentiate, unrolled_gradients
from .prove import certify_exactly, check, compare, prove
from .result import Group, ProofResult
from .small_dims import Setting, default_lengths, default_sizes, draw

__all__ = [
    "Certificate",
    "CertifiedGroup",
    "FieldElement",
    "FieldPoint",
    "Group",
    "OracleResult",
    "ProofResult",
    "Redraw",
    "Setting",
    "certify",
    "certify_exactly",
    "check",
    "compare",
    "default_lengths",
    "default_sizes",
    "differentiate",
    "draw",
    "prove",
    "unrolled_gradients",
]
