"""Structured names: ``c_tilde`` is a letter with an accent, ``W_i`` a letter with a subscript."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

__all__ = ["ACCENTS", "GREEK", "Letter", "Name", "Time", "parse_name", "time_index"]

#: The lag of a variable, its very time as text, or None for a variable without time.
Time = int | str | None

ACCENTS = frozenset({"tilde", "hat", "bar", "dot", "prime"})

GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "zeta": "ζ",
    "eta": "η",
    "theta": "θ",
    "iota": "ι",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "μ",
    "nu": "ν",
    "xi": "ξ",
    "pi": "π",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "upsilon": "υ",
    "phi": "φ",
    "chi": "χ",
    "psi": "ψ",
    "omega": "ω",
    "Gamma": "Γ",
    "Delta": "Δ",
    "Theta": "Θ",
    "Lambda": "Λ",
    "Xi": "Ξ",
    "Pi": "Π",
    "Sigma": "Σ",
    "Phi": "Φ",
    "Psi": "Ψ",
    "Omega": "Ω",
}


@dataclass(frozen=True)
class Letter:
    """One letter or word with its accents, innermost first."""

    base: str
    accents: tuple[str, ...] = ()
    raw: bool = False
    """Whether `base` is already in the target language (from a notation file)."""


@dataclass(frozen=True)
class Name:
    """A letter with subscripts."""

    head: Letter
    subscripts: tuple[Letter, ...] = ()
    of_head: bool = False
    """Whether it is what head h has for itself."""


@lru_cache(maxsize=4096)
def parse_name(name: str) -> Name:
    """Read a structured name: words after ``_`` are accents or subscripts of what precedes."""
    words = [w for w in name.split("_") if w] or [name]
    letters = [Letter(words[0])]
    for word in words[1:]:
        if word in ACCENTS:
            last = letters[-1]
            letters[-1] = Letter(last.base, (*last.accents, word))
        else:
            letters.append(Letter(word))
    return Name(letters[0], tuple(letters[1:]))


def time_index(lag: int | str, minus: str = "−") -> str:
    """Write the time index t − lag: ``t``, ``t−1``, ``t+1``; a time of its own as it is."""
    if isinstance(lag, str):
        return lag.replace("−", minus)
    if lag == 0:
        return "t"
    return f"t{minus}{lag}" if lag > 0 else f"t+{-lag}"
