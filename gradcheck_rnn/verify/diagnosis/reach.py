"""Which mistakes can make what is wrong at a place by themselves, from where they enter alone.

A mistake in an edge puts something into one adjoint or gradient, and the map of the place
(`Responses`) tells where that arrives. It is out if it does not arrive at all that is wrong. With
one step it is out also where it could not be put in without changing something that is right: if
the map to an array that is right has a smallest singular value σ, the map to one with the error e
a largest S, then ‖e‖ / S has to be put in at least, and ‖e‖ σ / S arrives at what is right. Nothing
is evaluated for those, and for most lists they are most.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...derivation.edits import NO_EDITS
from .candidates import Candidate
from .effects import Effects

__all__ = ["Reach"]

Array = NDArray[Any]
Node = tuple[str, int]
#: So many times what is allowed for, a change is no rounding.
CLEAR = 16.0


class Reach:
    """What arrives where, of all that edges put in at a place.

    Parameters
    ----------
    effects : Effects
        The place.
    """

    def __init__(self, effects: Effects) -> None:
        self.effects, self.room = effects, effects.room.reshape(len(effects.cases), -1)
        self.wrong = effects.names(effects.bad)
        self.columns = {
            n: np.flatnonzero(effects.of(n)[: effects.width])
            for n in dict.fromkeys(p.name for _, p in effects.pieces)
        }  # fmt: skip
        self._arrives: dict[Node, frozenset[str]] = {}
        self._refuted: dict[Node, frozenset[str]] = {}

    def can_make(self, c: Candidate) -> bool:
        """Whether a mistake may make all that is wrong and leave what is right."""
        if c.touches is not None and not self.wrong <= c.touches:
            return False
        nodes = self._nodes(c)
        if nodes is None:
            return True
        arrives = [self._arriving(n) for n in nodes]
        if not self.wrong <= set().union(*arrives):
            return False
        return not (nodes and self._one_step and all(self._out(n, nodes) for n in nodes))

    @cached_property
    def _one_step(self) -> bool:
        return all(len(self.effects.responses.run.times(p)) == 1
                   for p in self.effects.responses.derivation.scans)  # fmt: skip

    def _nodes(self, c: Candidate) -> set[Node] | None:
        """Where a mistake puts something in; None if edges do not tell."""
        plain = c.carry is None and c.truncate is None and not c.beside and not c.after
        # Edits of terms put something in where the edge ends, and nowhere else.
        plain = plain and c.edits.size == c.edits.size_of_terms + len(c.edits.shares)
        if not plain or c.edits is NO_EDITS:
            return None
        responses, out = self.effects.responses, set[Node]()
        for identity in c.edits.edges:
            edge = responses.derivation.edge(identity)
            name = edge.operand.name
            if edge.lag is None:
                out.add((name, 0))
                continue
            times = responses.run.times(responses.derivation.program(edge.scan))
            out.update((name, responses.run.at(name, t, edge.lag)) for t in times)
        return out

    def _arriving(self, node: Node) -> frozenset[str]:
        """Names that something put in at a node may arrive at."""
        if node not in self._arrives:
            responses = self.effects.responses
            if node in responses.nodes:
                felt = (responses.table[responses.nodes[node], responses.size :] != 0).any(axis=0)
                found = frozenset(n for n, at in self.columns.items() if felt[at].any())
            else:
                found = frozenset({node[0]} & set(self.columns))
            self._arrives[node] = found
        return self._arrives[node]

    def _out(self, node: Node, nodes: set[Node]) -> bool:
        """Whether what is put in at a node would be seen at something right, and that alone."""
        others = set().union(*(self._arriving(n) for n in nodes if n != node))
        return bool(self._seen(node) - others)

    def _seen(self, node: Node) -> frozenset[str]:
        """Names that are right, and would not be with what a node needs for what is wrong."""
        if node not in self._refuted:
            self._refuted[node] = frozenset(self._changed(node))
        return self._refuted[node]

    def _changed(self, node: Node) -> Iterator[str]:
        responses = self.effects.responses
        if node not in responses.nodes:  # of a parameter or an input: its own gradient is right
            yield from {node[0]} - self.wrong
            return
        rows = responses.table[responses.nodes[node], responses.size :]
        error = self.effects.error.reshape(self.room.shape)
        if not (np.isfinite(rows).all() and np.isfinite(error).all()):
            return
        needed = np.zeros(len(error))  # by case, what has to be put in at least
        for n in self.wrong:
            at = self.columns[n]
            if (gain := np.linalg.norm(rows[:, at], 2)) > 0:
                needed = np.maximum(needed, np.linalg.norm(error[:, at], axis=1) / gain)
        for n in self._arriving(node) - self.wrong:
            at = self.columns[n]
            if len(at) < len(rows):
                continue
            least = np.linalg.svd(rows[:, at], compute_uv=False)[-1]
            room = np.linalg.norm(self.room[:, at], axis=1)
            if np.any(needed * least > CLEAR * room):
                yield n
                return
