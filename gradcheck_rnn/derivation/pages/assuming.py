"""Lines as they read where data lie in a declared domain, with what they assume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...calculus.terms import UnitSum
from ...language.domains import Domain
from ...language.network import Network
from ..assumptions import simplified, summing_to_one
from .elements import PageLine, Prose, Section

__all__ = ["assuming", "assuming_line"]

#: Sections that show what is general: the definition, and how a rule is applied.
_GENERAL = ("dims", "forward:", "steps:")


def assuming(section: Section, network: Network) -> Section:
    """The section with one for every sum over units that is one, each such line saying so."""
    names = summing_to_one(network)
    if not names or section.key.startswith(_GENERAL):
        return section
    return replace(section, lines=tuple(assuming_line(x, names) for x in section.lines))


def assuming_line(line: PageLine, names: Mapping[str, Domain]) -> PageLine:
    """The line with one for sums over the units of these names, and a note where that was used."""
    right, used = simplified(line.right, names)
    if not used:
        return line
    note: Prose = (*line.note, "; ") if line.note else ()
    for k, symbol in enumerate(used):
        note += (", " if k else "as ", UnitSum(symbol), " = 1: ", symbol)
        note += (f" {_words(names[symbol.name])}",)
    members = tuple(assuming_line(m, names) for m in line.members)
    return replace(line, right=right, note=note, members=members)


def _words(domain: Domain) -> str:
    return "is one-hot" if domain.kind == "one-hot" else "are probabilities"
