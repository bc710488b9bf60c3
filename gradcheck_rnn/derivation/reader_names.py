"""The reader's names for a derivation: those of his notation file, and what follows from them."""

from __future__ import annotations

import os
from dataclasses import replace

from ..calculus.printing.notation import Notation, load_notation
from .program import Derivation

__all__ = ["names", "read_notation"]


def names(derivation: Derivation) -> tuple[str, ...]:
    """All names a notation file may rename."""
    network = derivation.network
    found = dict.fromkeys((*network.inputs, *network.parameters))
    for program in derivation.scans:
        found.update(dict.fromkeys(e.name for e in program.equations))
    return tuple(found)


def read_notation(derivation: Derivation, path: str | os.PathLike[str]) -> Notation:
    """A notation file for this derivation.

    Cotangents follow the names of their outputs, and ``a_f``, named by us, that of ``f = σ(a_f)``.

    Raises
    ------
    NotationError
        A file that cannot be read or names an unknown symbol.
    """
    notation = load_notation(path, names(derivation))
    follow: dict[str, str | dict[str, str]] = {}

    def name_after(name: str, letter: str, of: str, final: bool = False) -> None:
        own = notation.names.get(of)
        if isinstance(own, str):
            follow[name] = "_".join([letter, own, *(["final"] if final else [])])
        elif own is not None:
            follow[name] = {
                target: _SUBSCRIPT[target].format(letter, text + (_FINAL[target] if final else ""))
                for target, text in own.items()
            }

    for label, ref in derivation.network.outputs.items():
        name_after(
            derivation.cotangent_name(label), "g", ref.state or ref.name, ref.state is not None
        )
    for program in derivation.scans:
        auto = {e.name for e in program.equations if e.named_by != "user"}
        for e in program.equations:
            if (inner := f"a_{e.name.removesuffix('_tilde')}") in auto:
                name_after(inner, "a", e.name)
    return replace(notation, names={**follow, **notation.names})


_SUBSCRIPT = {"text": "{}_{{{}}}", "latex": "{}_{{{}}}", "typst": "{}_({})"}
_FINAL = {"text": ",final", "latex": r",\mathrm{final}", "typst": ', "final"'}
