"""One name for mistakes that are one and the same edit of the program, the plainest one.

Two edits can give the same gradient for algebraic reasons: h − h for h̃ − h is the term dropped.
Whether they do is decided in double precision at a random point with sizes and lengths of its own,
where what merely escaped the points of the verdict is told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...derivation import Derivation
from ...derivation.evaluate import bptt, forward
from ...language.running import to_columns
from ..points import draw_point
from .candidates import Candidate

__all__ = ["one_name_each"]

Array = NDArray[Any]
STEPS = 22
#: Largest difference of equal gradients, relative to the largest entry of the array.
ROUNDING = 1e-9
#: Kinds whose words say most plainly what to change.
PLAIN = (
    "dropped", "sign", "scale", "step", "factor", "slope", "noslope", "transpose", "time",
    "overwritten", "short", "final", "cotangent", "exchanged", "carry", "truncated",
)  # fmt: skip


def one_name_each(
    derivation: Derivation, found: Sequence[Candidate]
) -> list[tuple[Candidate, tuple[str, ...]]]:
    """The plainest of all that are the same edit of the program, and the ids of the others."""
    out: list[tuple[Candidate, tuple[str, ...]]] = []
    known: list[tuple[Candidate, dict[str, Array]]] = []
    gradients = _Gradients(derivation) if len(found) > 1 else None
    for c in sorted(found, key=_plainness):
        if gradients is None or c.after or c.carry is not None:
            out.append((c, ()))
            continue
        made = gradients(c)
        same = next((a for a, other in known if gradients.are_equal(made, other)), None)
        if same is None:
            known.append((c, made))
            out.append((c, ()))
        else:
            out = [(a, (*ids, c.id) if a is same else ids) for a, ids in out]
    return out


def _plainness(c: Candidate) -> tuple[int, int, int, int]:
    edits = c.edits
    size = sum(len(getattr(edits, n)) for n in edits.__dataclass_fields__)
    kinds = [PLAIN.index(k) if k in PLAIN else len(PLAIN) for k in c.kind.split(" and ")]
    return c.parts, size, max(kinds), len(c.says)


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
            return bptt(self.run, self.cotangents, edits=c.edits, truncate=c.truncate)

    def are_equal(self, a: dict[str, Array], b: dict[str, Array]) -> bool:
        """Whether two gradients differ by rounding only."""
        for n, right in self.right.items():
            size = max(float(np.max(np.abs(x), initial=0.0)) for x in (a[n], b[n], right))
            if not np.allclose(a[n], b[n], rtol=0, atol=ROUNDING * size, equal_nan=True):
                return False
        return True
