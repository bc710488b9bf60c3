"""Scans with the same equations, as directions and layers have them, written once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from sympy import Basic, Symbol

from ...calculus.terms import Hadamard, Plus, Slice, Sym, Term, symbols_in
from .elements import PageLine, Partial, Prose, Section

__all__ = ["written_once"]

#: Sections that stand for one scan each, by the first word of their key.
KINDS = ("forward", "adjoint", "tangent", "transition", "differential", "passed")
#: Equations from which on a reference is shorter than what it stands for, and terms that may
#: differ by more than their subscript.
FEWEST, OTHER = 3, 2
_TIME = re.compile(r"\bt = \S+")


def written_once(sections: Sequence[Section], names: Collection[str] = ()) -> Iterator[Section]:
    """Sections whose equations are those of an earlier one up to names refer to it.

    Parameters
    ----------
    sections : sequence of Section
        Those of one kind are compared, the kind being the key up to its colon.
    names : collection of str
        Symbols that the reader renames one by one; a section with such a one stays as it is.

    Yields
    ------
    Section
        As given, or without lines, with `Section.like` and a sentence that says what differs.
    """
    whole: list[Section] = []
    for section in sections:
        found = None
        kind = section.key.partition(":")[0]
        for known in whole:
            if known.key.partition(":")[0] == kind and kind in KINDS:
                found = _differences(known, section, names)
                if found is not None:
                    said = ("As in scan ", known.key.partition(":")[2], *found)
                    yield replace(section, text=(*section.text, said), lines=(), like=known.key)
                    break
        if found is None:
            whole.append(section)
            yield section


def _differences(a: Section, b: Section, names: Collection[str]) -> Prose | None:
    """What to change in the equations of `a` to have those of `b`; None where it is too much."""
    if len(a.lines) != len(b.lines) or len(a.lines) < FEWEST:
        return None
    old, new = _subscripts(a), _subscripts(b)
    if not old or not new or old == new:
        return None
    used = {s.name for x in (a, b) for line in x.lines for t in _terms(line) for s in symbols_in(t)}
    if names and any(n.partition(":")[0] in names for n in used):
        return None
    match = _Match("_".join(old), "_".join(new))
    if not all(match.line(x, y) for x, y in zip(a.lines, b.lines, strict=True)):
        return None
    said: list[str | Term] = [f", with subscript {','.join(old)} → {','.join(new)}"]
    for one, other in match.other.items():
        said += [", ", one, " → ", other]
    if match.turned == {True}:
        said.append(" and the steps in the opposite order")
    return (*said, ".")


def _subscripts(section: Section) -> list[str]:
    """The last subscripts that everything defined in a section has."""
    heads = [
        s.name.partition(":")[0].split("_")[1:]
        for line in section.lines
        for t in ((line.left.of,) if isinstance(line.left, Partial) else (line.left,))
        for s in symbols_in(t)
    ]
    common: list[str] = []
    for words in zip(*(reversed(h) for h in heads), strict=False):
        if len(set(words)) > 1:
            break
        common.insert(0, words[0])
    return common


def _terms(line: PageLine) -> tuple[Term, ...]:
    left = (line.left.of, line.left.wrt) if isinstance(line.left, Partial) else (line.left,)
    return (*left, line.right, *(x for x in line.note if not isinstance(x, str)))


@dataclass
class _Match:
    """Terms compared up to a change of subscripts, of the order of steps, and a few operands."""

    old: str
    new: str
    other: dict[Term, Term] = field(default_factory=dict)
    turned: set[bool] = field(default_factory=set)
    sizes: dict[Symbol, Symbol] = field(default_factory=dict)

    def line(self, a: PageLine, b: PageLine) -> bool:
        words = [
            [_TIME.sub("t", x) for x in line.note if isinstance(x, str)] + [line.citation]
            for line in (a, b)
        ]
        terms = zip_longest(_terms(a), _terms(b))
        return (
            type(a.left) is type(b.left)
            and words[0] == words[1]
            and all(x is not None and y is not None and self.term(x, y) for x, y in terms)
            and len(self.other) <= OTHER
            and len(self.turned) < 2
        )

    def term(self, a: Term, b: Term) -> bool:
        if isinstance(a, Sym) and isinstance(b, Sym):
            return self._symbol(a, b) or self._operand(a, b)
        if type(a) is not type(b) or isinstance(a, Sym):
            return self._operand(a, b)
        if isinstance(a, Plus | Hadamard):
            return self._any_order(_operands(a), _operands(b))
        if len(a.args) != len(b.args):
            return False
        pairs = list(zip(a.args, b.args, strict=True))
        if any(not self._size(x, y) for x, y in pairs if not isinstance(x, Term)):
            return self._operand(a, b)
        return all(isinstance(y, Term) and self.term(x, y) for x, y in pairs if isinstance(x, Term))

    def _size(self, a: Basic, b: Basic) -> bool:
        """Sizes, as of a number that is repeated for every unit: each width has a counterpart."""
        if isinstance(a, Symbol) and isinstance(b, Symbol):
            return self.sizes.setdefault(a, b) == b
        return bool(a == b)

    def _any_order(self, left: list[Term], right: list[Term]) -> bool:
        """Summands, or factors of an elementwise product; fewest other operands first."""
        if not left or not right:
            return not left and not right
        before = self.other, self.turned
        found = []
        for k, y in enumerate(right):
            self.other, self.turned = dict(before[0]), set(before[1])
            if self.term(left[0], y):
                found.append((len(self.other), k, self.other, self.turned))
        for _, k, self.other, self.turned in sorted(found, key=lambda x: x[:2]):
            if self._any_order(left[1:], right[:k] + right[k + 1 :]):
                return True
        self.other, self.turned = before
        return False

    def _symbol(self, a: Sym, b: Sym) -> bool:
        if (self._renamed(a.name), a.mark) != (b.name, b.mark):
            return False
        if isinstance(a.lag, int) and isinstance(b.lag, int) and a.lag and a.lag == -b.lag:
            self.turned.add(True)
        elif a.lag != b.lag:
            return False
        elif isinstance(a.lag, int) and a.lag:
            self.turned.add(False)
        return True

    def _renamed(self, name: str) -> str:
        own, colon, by = name.partition(":")
        return self._one(own) + colon + self._one(by)

    def _one(self, name: str) -> str:
        return re.sub(rf"_{self.old}(?=_|$)", f"_{self.new}", name, count=1)

    def _operand(self, a: Term, b: Term) -> bool:
        """Operands that the two read in the same place, each one symbol or a part of one."""
        if not all(isinstance(x.args[0] if isinstance(x, Slice) else x, Sym) for x in (a, b)):
            return False
        return self.other.setdefault(a, b) == b


def _operands(a: Term) -> list[Term]:
    """Summands of a sum, factors of an elementwise product."""
    return [x for arg in a.args for x in (_operands(arg) if type(arg) is type(a) else [arg])]
