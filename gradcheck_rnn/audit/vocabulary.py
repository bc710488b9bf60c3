"""What the names in a note may mean: those of a definition, and the author's for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .tokens import words_of
from .tree import Applied, Node, Quantity, Time
from .truth import Values

__all__ = ["Vocabulary"]

_HEAD = re.compile(r"⁽ʰ⁾|\^\{?\(h\)\}?")
_NUMBERED = re.compile(r"(\w+)_(\d+)")


@dataclass(frozen=True)
class Vocabulary:
    """The names of a definition as a note may use them.

    Attributes
    ----------
    known, moves : callable
        Whether the definition has something of a name; whether that changes with time.
    words : frozenset of str
        Words among the names, see `tokens.words_of`.
    names : mapping
        The author's name → the definition's; ``d:i`` is the adjoint of i.
    heads : bool
        Whether the definition has heads, so that (h) marks what each of them has.
    """

    known: Callable[[str], bool]
    moves: Callable[[str], bool]
    words: frozenset[str]
    names: Mapping[str, str] = field(default_factory=dict)
    heads: bool = False

    @classmethod
    def of(cls, values: Values, names: Mapping[str, str] | None = None) -> Vocabulary:
        """The names of a definition at a point, and those of an author."""
        given = dict(names or {})
        words = words_of([*values.values, *given])
        return cls(values.knows, values.moves, words, given, bool(values.heads))

    def mapped(self, name: str) -> bool:
        """Whether a name of the author's is known."""
        return self.known(self.names.get(name, name).removeprefix("d:"))

    def without_heads(self, text: str) -> str:
        """Mathematical text without the marks of a head: everything is read as that of one head."""
        return _HEAD.sub("", text) if self.heads else text

    def meant(self, node: Node, split: Callable[[str], str]) -> Node:
        """A tree in the definition's names; ``split`` spells the name behind ``d:``."""
        if isinstance(node, Applied):
            return replace(node, args=tuple(self.meant(a, split) for a in node.args))
        if not isinstance(node, Quantity):
            return node
        given = self.names.get(node.name)
        if given is None:
            return self._at_number(node)
        if given.startswith("d:"):  # the author's δ_f is the adjoint of the definition's a_f
            return Quantity(split(given[2:]), node.time, adjoint=True)
        return replace(node, name=given)

    def _at_number(self, node: Quantity) -> Quantity:
        """``a_{size,1}`` is a_size at time 1 where a_{size,1} would want a time of its own."""
        m = _NUMBERED.fullmatch(node.name)
        if m is None or node.time is not None:
            return node
        if not all(self.known(n) and self.moves(n) for n in (node.name, m[1])):
            return node
        return replace(node, name=m[1], time=Time("", int(m[2])))
