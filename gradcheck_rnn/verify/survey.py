"""One line through all parameters, before entries are differenced: kinks, and one sharp derivative.

Four losses on a line that moves every entry by a size of its own show whether any entry has a kink
at the point or near it, and give the derivative along the line with an error of order h⁴. Where
there is no kink, an entry needs a difference on one side only (`onesided`); the derivative sees
what those are too blunt for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .oracle.differences import CONFIDENCE
from .oracle.noise import Noise
from .roundoff import GradientRoundoff
from .stepsize import scale_of
from .target import Target

__all__ = ["Survey", "survey"]

Floats = NDArray[np.float64]
#: Exponents of the largest move of the line, in sizes of a leaf: a second, smaller one is tried
#: where the first meets a kink that may lie beside the point.
MOVES = (-15, -20)
#: Smaller move ÷ larger one.
CLOSER = 0.25


@dataclass(frozen=True)
class Survey:
    """What a line says: `move` is the least that it moves an entry by, in sizes of its leaf.

    `kink` bounds the sum of all entries' kinks (jumps of slope times the sizes of their leaves);
    `gap` is the derivative's distance from the gradient's, `bound` what errors explain of it.
    """

    move: float
    kink: float
    gap: float
    bound: float

    @property
    def agrees(self) -> bool:
        """Whether the gradient's derivative along the line is that of the loss."""
        return self.gap <= self.bound


def survey(
    target: Target,
    g: dict[int, Floats],
    blocks: Iterable[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    rng: np.random.Generator,
) -> Survey | None:
    """Look along a line through the given leaves; None where it meets a kink, or is not finite.

    Four losses, eight where the first line meets a kink.
    """
    leaves = target.tree.leaves
    directions = {
        i: scale_of(leaves[i])
        * rng.choice([-1.0, 1.0], size=leaves[i].shape)
        * rng.uniform(1.0, 2.0, size=leaves[i].shape)
        for i in blocks
    }
    along, h = target.across(directions), np.array([1.0, CLOSER])
    for exponent in MOVES:
        steps = np.ldexp(h, exponent)
        with np.errstate(all="ignore"):
            values = along(np.concatenate([steps, -steps]))
            plus, minus = values[:2], values[2:]
            sigma = float(np.max(noise.at(values, target.base)))
            bend = ((plus - target.base) - (target.base - minus)) / steps
            # what is odd in the step is curvature, and falls with it; a kink does not
            kink = abs(float(bend[1] - CLOSER * bend[0])) / (1 - CLOSER)
            rounding = CONFIDENCE * 3.0 * sigma / float(steps[1])
        if not np.isfinite(values).all():
            return None
        if kink > rounding:
            continue
        slope = (plus - minus) / (2 * steps)
        best = (slope[1] - CLOSER**2 * slope[0]) / (1 - CLOSER**2)
        own = sum(roundoff.along(i, g[i], v) for i, v in directions.items())
        claim = sum(float(np.sum(g[i] * v)) for i, v in directions.items())
        error = abs(float(best - slope[1])) + CONFIDENCE * sigma / float(steps[1])
        return Survey(float(steps[1]), kink + rounding, abs(float(best) - claim), error + own)
    return None
