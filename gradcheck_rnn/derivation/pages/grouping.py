"""Lines alike but for one subscript, written once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ...calculus.printing.notation import Notation
from ...calculus.printing.structured_names import ACCENTS
from ...calculus.terms import Term, symbols_in
from .elements import PageLine, Partial

__all__ = ["grouped", "renamed_apart"]


def grouped(lines: Sequence[PageLine]) -> Iterator[PageLine]:
    """Lines alike but for one subscript become one line, "for g ∈ {i, f, o, c}"."""
    letter = _free_letter(lines)
    groups: dict[object, list[tuple[str | None, PageLine, PageLine]]] = {}
    for line in lines:
        index, general = _generalised(line, letter)
        key = (general.left, general.right, general.note) if index else id(line)
        groups.setdefault(key, []).append((index, general, line))
    for members in groups.values():
        _, general, first = members[0]
        if len(members) == 1:
            yield first
        else:
            names = ", ".join(index or "" for index, _, _ in members)
            note = (*general.note, f"for {letter} ∈ {{{names}}}")
            yield replace(general, note=note, members=tuple(line for _, _, line in members))


def renamed_apart(lines: Iterable[PageLine], notation: Notation | None) -> Iterator[PageLine]:
    """A line for all gates as one for each, where the reader renames a symbol of one of them.

    ``W_k, for k ∈ {i, f}`` would hide that W_f is called A_f.
    """
    names = {} if notation is None else notation.names
    for line in lines:
        used = {
            s.name.partition(":")[0]
            for member in line.members
            for term in _terms_of(member)
            for s in symbols_in(term)
        }
        yield from (line,) if used.isdisjoint(names) else line.members


def _subscript(name: str) -> str | None:
    words = name.partition(":")[0].split("_")
    return (
        words[1] if len(words) > 1 and words[1] not in ACCENTS and not words[1].isdigit() else None
    )


def _free_letter(lines: Sequence[PageLine]) -> str:
    used: set[str] = set()
    for line in lines:
        for term in _terms_of(line):
            for s in symbols_in(term):
                used.update(s.name.replace(":", "_").split("_"))
    # Not g, which is the letter of cotangents.
    return next(x for x in ("k", "j", "s", "ell") if x not in used)


def _terms_of(line: PageLine) -> Iterator[Term]:
    yield line.right
    if isinstance(line.left, Partial):
        yield from (line.left.of, line.left.wrt)
    else:
        yield line.left


def _generalised(line: PageLine, letter: str) -> tuple[str | None, PageLine]:
    """The line with its own subscript replaced by a letter, and what the subscript was."""
    heads = (line.left.wrt, line.left.of) if isinstance(line.left, Partial) else (line.left,)
    names = [s.name for t in heads for s in symbols_in(t)]
    index = next((i for n in names if (i := _subscript(n))), None)
    if index is None:
        return None, line

    def general(term: Term) -> Term:
        changes = {
            s: s.with_(name=_with_subscript(s.name, index, letter)) for s in symbols_in(term)
        }
        return term.xreplace({a: b for a, b in changes.items() if a != b})

    left = (
        replace(line.left, of=general(line.left.of), wrt=general(line.left.wrt))
        if isinstance(line.left, Partial)
        else general(line.left)
    )
    return index, PageLine(left, general(line.right), line.note, line.citation)


def _with_subscript(name: str, index: str, letter: str) -> str:
    own, colon, by = name.partition(":")
    words = own.split("_")
    if len(words) > 1 and words[1] == index:
        words[1] = letter
    return "_".join(words) + colon + by
