"""Softmax, maps of units, slices, stacks and padding of what lies in rows entry by entry.

In plain cells a vector of the sequences is one row of units. With heads the units of each are a
group in such a row, and the rows of a matrix are groups of columns; what stands here works group by
group.
"""

from __future__ import annotations

from typing import Protocol

from ...calculus import terms as T
from ...errors import UnsupportedOperation
from ...language.dims import ONE, Dim
from .kernel_names import Names
from .nodes import Graph, Node

__all__ = ["WITHIN", "InRows", "within"]

#: Terms that take units in their order.
WITHIN = (T.Softmax, T.LogSoftmax, T.MapUnits, T.Concat, T.Slice, T.Pad)


class InRows(Protocol):
    """A lowering that gives an operand as its entries in a row, those of all heads."""

    g: Graph
    names: Names

    def shape(self, term: T.Term) -> tuple[Dim, Dim]: ...
    def dim(self, e: object) -> Dim: ...
    def row(self, term: T.Term, heads: Dim) -> Node: ...


def within(low: InRows, term: T.Term, heads: Dim) -> Node:
    """One of `WITHIN`, head by head."""
    g, flat = low.g, low.names.flat
    rows, cols = low.shape(term)
    if not isinstance(term, T.Concat | T.Slice | T.Pad):
        x = low.row(term.operands[0], heads)
        if cols != ONE:
            raise UnsupportedOperation(
                f"no kernel has {type(term).__name__} of a matrix per sequence: {term}"
            )
        if isinstance(term, T.MapUnits):
            return g.unit_map(term.map.name, x, heads)
        return g.softmax("softmax" if isinstance(term, T.Softmax) else "log_softmax", x, heads)
    parts = [low.row(x, heads) for x in term.operands]
    widths = [low.shape(x)[0] for x in term.operands]
    moves, at = [], Dim()
    for width in widths:
        if isinstance(term, T.Slice):
            start, stop = low.dim(term.args[1]), low.dim(term.args[2])
            moves.append((width, start, Dim(), stop - start))
        else:
            place = low.dim(term.args[1]) if isinstance(term, T.Pad) else at
            moves.append((width, Dim(), place, width))
        at = at + width
    return g.arrange(parts, heads, rows, cols, tuple(moves), flat(heads, rows, cols))
