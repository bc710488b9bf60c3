"""What a page is made of: prose with mathematics, equations, sections."""

from __future__ import annotations

from dataclasses import dataclass

from ...calculus.terms import Term
from ..program import ScanProgram

__all__ = ["Document", "PageLine", "Partial", "Prose", "Section", "heading"]

#: Words and inline mathematics.
Prose = tuple["str | Term", ...]


@dataclass(frozen=True)
class Partial:
    """The name of a derivative, ∂of/∂wrt, for a left-hand side.

    With `adjoint` it is the adjoint of `wrt`, an expression without a name, within `of`.
    """

    of: Term
    wrt: Term
    immediate: bool = False
    denominator: bool = False
    adjoint: bool = False


@dataclass(frozen=True)
class PageLine:
    """An equation ``left = right`` with a remark; ``citation`` names the rule it comes from.

    `members` are the lines that this one stands for, where it stands for several. With `adds`,
    the left side receives the right one, beside others: it is written with an arrow.
    """

    left: Term | Partial
    right: Term
    note: Prose = ()
    citation: str = ""
    members: tuple[PageLine, ...] = ()
    adds: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, some words, equations; or, with `like`, a reference to the section of that key."""

    key: str
    title: str
    text: tuple[Prose, ...] = ()
    lines: tuple[PageLine, ...] = ()
    like: str = ""


@dataclass(frozen=True)
class Document:
    """All sections of one derivation."""

    name: str
    what: str
    source: str
    sections: tuple[Section, ...]


def heading(title: str, program: ScanProgram, several: bool) -> str:
    """The title of a section about one scan; the scan is named where there are several."""
    return f"{title}, scan {program.scan.name}" if several else title
