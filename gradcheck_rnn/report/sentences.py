"""Sentences of the analyses, written for a terminal, as typst markup with real mathematics."""

from __future__ import annotations

import re

from .mathematics import plain

__all__ = ["sentence"]

_LETTERS = {"σ": "sigma", "ρ": "rho", "λ": "lambda", "γ": "gamma", "τ": "tau", "μ": "mu"}
_NORM = r"[‖|]?(?:∂[A-Za-z]_?\w*/∂[A-Za-z]_?\w*)[‖|]?"
_MATHS = re.compile(
    r"(?P<power>10\^-?\d+)"
    rf"|(?P<partial>{_NORM})"
    r"|(?P<norm>‖[A-Za-z]_\w‖)"
    r"|(?P<name>(?<!\w)[A-Za-zσρλγτμ]_(?:\{[^}]*\}|\w+))"
    r"|(?P<lambda>λ₁)"
    r"|(?P<number>(?<![\w.^-])[-+]\d+(?:\.\d+)?)"
)


def sentence(text: str) -> str:
    """Markup of a sentence such as ``λ₁ = -0.42: W_f decays to 10^-9``."""
    out, at = "", 0
    for found in _MATHS.finditer(text):
        out += (plain(text[at : found.start()]) if found.start() > at else "") + _set(found)
        at = found.end()
    return out + (plain(text[at:]) if text[at:] else "")


def _set(found: re.Match[str]) -> str:
    kind, text = str(found.lastgroup), found[0]
    if kind == "power":
        return f"$10^({text[3:]})$"
    if kind == "number":
        return f"${text}$"
    if kind == "lambda":
        return "$lambda_1$"
    if kind == "name":
        return f"${_name(text)}$"
    inner = text.strip("‖|")
    if kind == "norm":
        return f"$norm({_name(inner)})$"
    above, below = (_name(x.removeprefix("∂")) for x in inner.split("/"))
    whole = f"partial {above} \\/ partial {below}"
    return f"$norm({whole})$" if text != inner else f"${whole}$"


def _name(text: str) -> str:
    """``W_f`` or ``c_{t−1}`` as mathematics; words stay upright."""
    head, _, below = text.partition("_")
    head = _LETTERS.get(head, head)
    parts = re.split(r"([−+])", below.strip("{}"))
    shown = " ".join(p if len(p) == 1 else f'"{p}"' for p in parts if p)
    return f"{head}_({shown})" if shown else head
