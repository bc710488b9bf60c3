"""One direction through several blocks at once: three losses, where all of them are right.

Each block moves along its own random unit direction, all at the same time. The derivative is the
sum of theirs; that the sum agrees says of a block that its part agrees within what the others'
roundoff and the difference leave. Faults of two blocks do not make it easier for one to slip
through: the projection of a fault on a random direction of three dimensions or more is symmetric
and unimodal, and adding what is independent of it lowers the chance that it is small (Anderson's
inequality). Smaller blocks have directions of their own, as have all blocks where the sum differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .offered import offered_rows
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

__all__ = ["probe_together", "settled_at_once"]

Floats = NDArray[np.float64]
#: Entries of a block from which the projection of a fault is unimodal.
LEAST = 3


def probe_together(
    target: Target,
    g: dict[int, Floats],
    blocks: Sequence[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    resolve: float,
) -> dict[int, list[Probe]]:
    """The probe of every block that a common direction settles; none where it differs."""
    norms = {i: norm_of(g[i]) for i in blocks if g[i].size >= LEAST}
    norms = {i: norm for i, norm in norms.items() if 0 < norm < np.inf}
    if len(norms) < 2:
        return {}
    # a block's direction is a unit vector; its entries move by about the size of the leaf
    sizes = {i: target.scale(i) * float(np.sqrt(g[i].size)) for i in norms}
    change = np.linalg.norm([target.scale(i) * norm for i, norm in norms.items()])
    exponent = first_exponent(noise, 1.0, float(change))
    if exponent is None:
        return {}
    directions = {i: direction(target, i, seed, 0) for i in norms}
    for i, v in directions.items():
        v *= sizes[i]
    along = target.across(directions)
    lines = Lines(lambda eps: along(eps[:, 0])[:, None])
    seen = three_points(lines, target.base, noise, exponent)
    claims, own = dict[int, float](), dict[int, float]()
    for i, v in directions.items():
        product = g[i] * v
        claims[i] = float(np.sum(product)) / sizes[i]
        own[i] = roundoff.along(i, g[i], v, product) / sizes[i]
    left = seen.value - sum(sizes[i] * claim for i, claim in claims.items())
    error = seen.error + sum(sizes[i] * rounding for i, rounding in own.items())
    if not (seen.trusted and abs(left) <= error):
        return {}
    found = {}
    for i, norm in norms.items():
        part = replace(
            seen,
            value=claims[i] + left / sizes[i],
            truncation=seen.truncation / sizes[i],
            roundoff=seen.roundoff / sizes[i],
            error=error / sizes[i] - own[i],
        )
        probe = Probe(0, claims[i], part, own[i], None)
        slip = miss_probability(g[i].size, probe.bound, resolve * norm / FINER)
        if slip <= CHANCE and part.error <= sharp_enough(own[i], norm, g[i].size):
            found[i] = [probe]
    return found


def settled_at_once(
    target: Target,
    g: dict[int, Floats],
    blocks: Sequence[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    line: Survey | None,
    seed: int,
    resolve: float,
) -> dict[int, Row]:
    """Rows that one line through all blocks settles: by what the loss offers, or along it alone."""
    if line is not None:
        return offered_rows(target, g, blocks, roundoff, noise, line, seed, resolve)
    probes = probe_together(target, g, blocks, roundoff, noise, seed, resolve)
    return {i: probe_row(target.tree, i, g[i], p, resolve) for i, p in probes.items()}
