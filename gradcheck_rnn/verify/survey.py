"""One line through all parameters, before entries are differenced: kinks, and one sharp derivative.

Four losses on a line that moves every entry by a size of its own show whether any entry has a kink
at the point or near it. Where there is none, an entry needs a difference on one side only
(`onesided`). Eight more, at larger steps, give the derivative along the line with an error of order
h⁸: it sees what one side is too blunt for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .guard import close, unsteady_loss
from .oracle.differences import COLUMNS, CONFIDENCE, Estimate, Ladder
from .oracle.lines import Lines
from .oracle.noise import Noise
from .roundoff import GradientRoundoff
from .stepsize import scale_of
from .target import Target

__all__ = ["Survey", "survey"]

Floats = NDArray[np.float64]
#: Exponents of the largest move of the line, in sizes of a leaf: a second, smaller one is tried
#: where the first meets a kink that may lie beside the point.
MOVES = (-15, -20)
#: Standard deviations of its noise that a loss may differ by when it is called again.
NOISES = 64.0
#: Smaller move ÷ larger one.
CLOSER = 0.25
#: Exponent of the first of the steps that a sharp derivative comes from.
LADDER = -10


@dataclass(frozen=True)
class Survey:
    """What a line says: `move` is the least that it moves an entry by, in sizes of its leaf.

    `kink` bounds the sum of all entries' kinks (jumps of slope times the sizes of their leaves);
    `gap` is the derivative's distance from the gradient's, `bound` what errors explain of it.
    `directions` are those of the line by leaf, `value` is the derivative along it, up to `error`.
    """

    move: float
    kink: float
    gap: float
    bound: float
    directions: Mapping[int, Floats] = field(repr=False)
    value: float
    error: float

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

    Twelve losses; eight more where the first line meets a kink, to see whether it is there again.
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
        if not kink <= rounding:
            again = along(np.concatenate([steps, -steps]))
            if not close(values, again, target.value_eps, NOISES * sigma):
                target.note(unsteady_loss(values, again))
            continue
        slope = (plus - minus) / (2 * steps)
        best = float(slope[1] - CLOSER**2 * slope[0]) / (1 - CLOSER**2)
        error = abs(best - float(slope[1])) + CONFIDENCE * sigma / float(steps[1])
        finer = _ladder(along, target.base, noise)
        if finer.trusted and finer.error < error:
            best, error = finer.value, finer.error
        own = sum(roundoff.along(i, g[i], v) for i, v in directions.items())
        claim = sum(float(np.sum(g[i] * v)) for i, v in directions.items())
        return Survey(
            float(steps[1]), kink + rounding, abs(best - claim), error + own,
            directions, best, error,
        )  # fmt: skip
    return None


def _ladder(along: Callable[[Floats], Floats], centre: float, noise: Noise) -> Estimate:
    """The derivative along the line from larger steps, where the loss is smooth that far."""
    ladder = Ladder(Lines(lambda eps: along(eps[:, 0])[:, None]), centre, noise, LADDER)
    ladder.extend(down=COLUMNS)
    return ladder.estimates()[0]
