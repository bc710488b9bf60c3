"""One direction through several blocks at once, where all of them are right.

Each block moves along its own random unit direction, all at the same time. The derivative is the
sum of theirs; that the sum agrees says of a block that its part agrees within what the others'
roundoff and the difference leave. Faults of two blocks do not make it easier for one to slip
through: the projection of a fault on a random direction of three dimensions or more is symmetric
and unimodal, and adding what is independent of it lowers the chance that it is small (Anderson's
inequality; what is added may have any distribution). Smaller blocks have directions of their own,
as have all blocks where the sum differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jumping import LineOfLeaves
from .offered import offered_rows
from .oracle.differences import Estimate
from .oracle.directions import miss_probability
from .oracle.line_functions import Lines
from .oracle.noise import Noise
from .oracle.three_points import three_points
from .probes import CHANCE, FINER, direction, first_exponent, sharp_enough
from .roundoff import GradientRoundoff
from .rows import probe_row
from .scales import norm_of
from .survey import Survey
from .target import Target
from .verdict import Probe, Row

__all__ = ["CommonLine", "settled_at_once"]

Floats = NDArray[np.float64]
#: Entries of a block, one of several, from which the projection of a fault is unimodal.
LEAST = 3


class CommonLine(LineOfLeaves):
    """A line along which each of several blocks moves in a random direction, by about its size.

    Attributes
    ----------
    settles : list of int
        The blocks that it may settle.
    norms : dict of int to float
        Of the gradients, by block.
    sizes : dict of int to float
        Of the moves of a step of 1.
    change : float
        What a step of 1 changes the loss by, typically.
    """

    def __init__(
        self,
        target: Target,
        g: dict[int, Floats],
        blocks: Sequence[int],
        seed: int,
        *,
        all_move: bool = False,
        **options: Any,
    ) -> None:
        """With `all_move` those move along, too, that it cannot settle."""
        least = LEAST if len(blocks) > 1 else 1
        norms = {i: norm_of(g[i]) for i in blocks if g[i].size}
        self.g = g
        self.settles = [i for i, norm in norms.items() if 0 < norm < np.inf and g[i].size >= least]
        self.norms = norms if all_move else {i: norms[i] for i in self.settles}
        # a block's direction is a unit vector; its entries move by about the size of the leaf
        self.sizes = {i: target.scale(i) * float(np.sqrt(g[i].size)) for i in self.norms}
        parts = [target.scale(i) * norms[i] for i in self.settles]
        self.change = float(np.linalg.norm(parts))
        directions = {i: direction(target, i, seed, 0) for i in self.norms}
        for i, v in directions.items():
            v *= self.sizes[i]
        super().__init__(target, directions, **options)

    def claims(self, gradient: dict[int, Floats]) -> dict[int, float]:
        """What a gradient says of every block's part of the slope."""
        return {
            i: float(np.einsum("n,n", gradient[i].reshape(-1), v.reshape(-1)))
            for i, v in self.directions.items()
        }

    def probes(
        self, seen: Estimate, claims: dict[int, float], own: dict[int, float], resolve: float
    ) -> dict[int, list[Probe]]:
        """The probe of every block that the slope of the line settles; none where it differs."""
        left = seen.value - sum(claims.values())
        error = seen.error + sum(own.values())
        if not (seen.trusted and abs(left) <= error):
            return {}
        found = {}
        for i in self.settles:
            size, norm, count = self.sizes[i], self.norms[i], self.g[i].size
            rounding = own[i] / size
            part = replace(
                seen,
                value=(claims[i] + left) / size,
                truncation=seen.truncation / size,
                roundoff=seen.roundoff / size,
                error=error / size - rounding,
            )
            probe = Probe(0, claims[i] / size, part, rounding, None)
            slip = miss_probability(count, probe.bound, resolve * norm / FINER)
            if slip <= CHANCE and part.error <= sharp_enough(rounding, norm, count):
                found[i] = [probe]
        return found


def _probe_together(
    line: CommonLine, roundoff: GradientRoundoff, noise: Noise, resolve: float
) -> dict[int, list[Probe]]:
    """The probe of every block that three losses along a common direction settle."""
    base = line.target.base
    exponent = first_exponent(noise, 1.0, line.change)
    if exponent is None:
        return {}
    lines = Lines(lambda eps: line(eps[:, 0])[:, None])
    claims = line.claims(line.g)
    own = {i: roundoff.along(i, line.g[i], v) for i, v in line.directions.items()}
    # steps at which it has been called already may do as well
    least = min(map(abs, line.known), default=0.0)
    for step in dict.fromkeys([int(np.log2(least)), exponent] if least else [exponent]):
        found = line.probes(three_points(lines, base, noise, step), claims, own, resolve)
        if found:
            return found
    return {}


def settled_at_once(
    target: Target,
    g: dict[int, Floats],
    blocks: Sequence[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    line: Survey | None,
    seed: int,
    resolve: float,
    common: CommonLine | None = None,
) -> dict[int, Row]:
    """Rows that one line through all blocks settles: by what the loss offers, or along it alone.

    `common` is a line of the latter kind along which the loss has been called already.
    """
    if line is not None:
        return offered_rows(target, g, blocks, roundoff, noise, line, seed, resolve)
    common = common or CommonLine(target, g, blocks, seed)
    if len(common.settles) < 2:
        return {}
    probes = _probe_together(common, roundoff, noise, resolve)
    return {i: probe_row(target.tree, i, g[i], p, resolve) for i, p in probes.items()}
