"""One name for mistakes that are one and the same edit of the program, the plainest one.

Two edits can give the same gradient for algebraic reasons: h − h for h̃ − h is the term dropped.
Whether they do is decided in double precision at a random point with sizes and lengths of its own,
where what merely escaped the points of the verdict is told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...derivation import Derivation
from ...derivation.evaluate import bptt, forward
from ...language.running import to_columns
from ..points import draw_point
from .candidates import Candidate

__all__ = ["Alike", "one_name_each", "plainness"]

Array = NDArray[Any]
STEPS = 22
#: Largest difference of equal gradients, relative to the largest entry of the array.
ROUNDING = 1e-9
#: Kinds whose words say most plainly what to change.
PLAIN = (
    "one-reader", "dropped", "sign", "scale", "step", "factor", "slope", "noslope", "transpose",
    "time", "overwritten", "short", "final", "cotangent", "exchanged", "carry", "truncated",
)  # fmt: skip


def one_name_each(
    alike: Alike, found: Sequence[Candidate]
) -> list[tuple[Candidate, tuple[str, ...]]]:
    """The plainest of all that are the same edit of the program, and the ids of the others."""
    if len(found) < 2:
        return [(c, c.same) for c in found]
    out: dict[str, tuple[Candidate, tuple[str, ...]]] = {}
    for c in sorted(found, key=plainness):
        first, ids = out.setdefault(alike(c), (c, c.same))
        if first is not c:
            out[alike(c)] = first, (*ids, c.id, *c.same)
    return list(out.values())


class Alike:
    """Mistakes by what they do to the program: those that are the same edit have the same name.

    What is done to finished gradients, and to the carry between steps, is not compared.
    """

    def __init__(self, derivation: Derivation) -> None:
        self._derivation = derivation
        self._names: dict[str, str] = {}
        self._known: list[tuple[str, dict[str, Array]]] = []

    @cached_property
    def _gradients(self) -> _Gradients:
        return _Gradients(self._derivation)

    def __call__(self, c: Candidate) -> str:
        """The id of the first that was asked for of all that are this edit."""
        if c.id not in self._names:
            self._names[c.id] = c.id if c.after or c.carry is not None else self._named(c)
        return self._names[c.id]

    def _named(self, c: Candidate) -> str:
        made = self._gradients(c)
        for name, other in self._known:
            if self._gradients.are_equal(made, other):
                return name
        self._known.append((c.id, made))
        return c.id


def plainness(c: Candidate) -> tuple[int, int, int, int]:
    """Sorts the plainest first: fewest mistakes and edits, plain kinds, few words."""
    kinds = [PLAIN.index(k) if k in PLAIN else len(PLAIN) for k in c.kind.split(" and ")]
    return c.parts, c.size, max(kinds), len(c.says)


class _Gradients:
    """What code with a mistake returns at a point of its own."""

    def __init__(self, derivation: Derivation) -> None:
        network = derivation.network
        lengths = {a: STEPS + k for k, a in enumerate(network.axes)}
        point = draw_point(network, 0, shape=1, sizes=lengths)
        refs = {**network.parameters, **network.inputs}
        columns = {n: to_columns(refs[n], a) for n, a in point.values.items()}
        self.run = forward(derivation, columns, point.sizes, point.lengths)
        rng = np.random.default_rng(31)
        self.cotangents = {
            n: rng.standard_normal(self.run.output(n).shape) for n in network.outputs
        }

        self.right = bptt(self.run, self.cotangents)

    def __call__(self, c: Candidate) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            made = bptt(self.run, self.cotangents, edits=c.edits, truncate=c.truncate)
            for own in c.beside:
                edits = c.edits | own.edits
                more = bptt(self.run, self.cotangents, edits=edits, truncate=c.truncate)
                place = " of " + ",".join(sorted(own.users)) if own.users else ""
                made |= {n + place: more[n] for n in own.names}
            return made

    def are_equal(self, a: dict[str, Array], b: dict[str, Array]) -> bool:
        """Whether two gradients differ by rounding only."""
        if a.keys() != b.keys():
            return False
        for n in a:
            right = self.right[n.partition(" of ")[0]]
            size = max(float(np.max(np.abs(x), initial=0.0)) for x in (a[n], b[n], right))
            if not np.allclose(a[n], b[n], rtol=0, atol=ROUNDING * size, equal_nan=True):
                return False
        return True
