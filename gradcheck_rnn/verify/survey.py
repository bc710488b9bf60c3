"""One line through all parameters, before entries are differenced: kinks and one sharp derivative.

Six losses on a line that moves every entry by a size of its own give its derivative with an error
of order h⁶, and show whether any entry has a kink at the point or near it. Where there is none, an
entry needs a difference on one side only (`onesided`); the derivative sees what one side is too
blunt for. Where there is a kink, four losses at smaller steps show whether it lies beside the
point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .guard import close, unsteady_loss
from .oracle.differences import CONFIDENCE, Ladder
from .oracle.lattice import SPACING_SIGMA
from .oracle.line_functions import Lines
from .oracle.noise import Noise
from .roundoff import GradientRoundoff
from .target import Target

__all__ = ["Survey", "survey"]

Floats = NDArray[np.float64]
#: Exponent of the first of the steps along the line, in sizes of a leaf, and how many there are.
LADDER, ROWS = -10, 3
#: Smaller ones, where these show a kink, or the slope is less sharp than noise allows.
MORE = 2
#: Exponents of smaller moves, tried where larger ones meet a kink that may lie beside the point.
MOVES = (-15, -20)
#: Standard deviations of its noise that a loss may differ by when it is called again.
NOISES = 64.0
#: Smaller move ÷ larger one.
CLOSER = 0.25
#: Part of what a block's differences add up to along a line that the line may be off from it.
BORNE_OUT = 0.25
#: What noise may make of a kink from `ROWS` steps, in standard deviations ÷ the smallest step.
ROUNDING = CONFIDENCE * 5.0


@dataclass(frozen=True)
class Survey:
    """What a line says: `move` is the least that it moves an entry by, in sizes of its leaf.

    `kink` bounds the sum of all entries' kinks (jumps of slope times the sizes of their leaves);
    `gap` is the derivative's distance from the gradient's, `bound` what errors explain of it.
    `directions` are those of the line by leaf, `value` is the derivative along it, up to `error`,
    and `claim` the gradient's.
    """

    move: float
    kink: float
    gap: float
    bound: float
    directions: Mapping[int, Floats] = field(repr=False)
    value: float
    error: float
    claim: float

    @property
    def agrees(self) -> bool:
        """Whether the gradient's derivative along the line is that of the loss."""
        return self.gap <= self.bound

    def borne_out(self, g: Mapping[int, Floats], values: Mapping[int, Floats]) -> set[int]:
        """Blocks of which the line shows the disagreements that differences of entries do.

        They come from other steps, and moves of all entries at once: noise of the loss does not
        make both say the same. `values` are the differences by leaf, NaN where they are not known.
        """
        with np.errstate(all="ignore"):
            own = {
                i: float(np.sum((values[i].reshape(g[i].shape) - g[i]) * v))
                for i, v in self.directions.items()
                if i in values
            }
        left = abs(self.value - self.claim - sum(own.values())) + self.bound
        return {i for i, part in own.items() if left <= BORNE_OUT * abs(part)}


def survey(
    target: Target,
    g: dict[int, Floats],
    blocks: Iterable[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    rng: np.random.Generator,
) -> Survey | None:
    """Look along a line through the given leaves; None where it meets a kink, or is not finite.

    Six losses; at most sixteen more where it meets a kink, to see whether that lies beside the
    point, and is there again.
    """
    leaves = target.tree.leaves
    directions = {
        i: target.scale(i) * (drawn + np.copysign(1.0, drawn))
        for i in blocks
        for drawn in [rng.uniform(-1.0, 1.0, size=leaves[i].shape)]
    }
    along, noise = target.across(directions), _with_moves(target, g, directions, noise)
    found = _far(along, target.base, noise) or _near(target, along, noise)
    if found is None:
        return None
    own = sum(roundoff.along(i, g[i], v) for i, v in directions.items())
    claim = sum(float(np.sum(g[i] * v)) for i, v in directions.items())
    move, kink, slope, error = found
    return Survey(move, kink, abs(slope - claim), error + own, directions, slope, error, claim)


def _with_moves(
    target: Target, g: dict[int, Floats], directions: Mapping[int, Floats], noise: Noise
) -> Noise:
    """Noise of a loss with what the rounding of every moved parameter does to it.

    A difference of one entry is divided by the step that it took; on a line each entry rounds its
    own, which counts where a small relative move changes the loss by far more (a power of 60).
    """
    with np.errstate(all="ignore"):
        moves = [g[i] * np.spacing(np.abs(target.tree.leaves[i])) for i in directions]
        rounding = np.linalg.norm([np.linalg.norm(m) for m in moves]) * SPACING_SIGMA
    return replace(noise, sigma=float(np.hypot(noise.sigma, np.nan_to_num(rounding))))


#: Least move, kink, slope and its error.
Seen = tuple[float, float, float, float]


def _far(along: Callable[[Floats], Floats], centre: float, noise: Noise) -> Seen | None:
    """From large steps; None where a kink shows in all of them."""
    ladder = Ladder(Lines(lambda eps: along(eps[:, 0])[:, None]), centre, noise, LADDER)
    for down in (ROWS, *[1] * MORE):
        ladder.extend(down=down)
        kink, rounding = _kink(ladder)
        best = ladder.estimates()[0]
        if kink <= rounding and best.error <= 2 * best.roundoff:
            break
    if not (kink <= rounding and best.trusted):
        return None
    return float(ladder.steps[-1]), kink + rounding, best.value, best.error


def _kink(ladder: Ladder) -> tuple[float, float]:
    """What the smallest steps leave of a change of slope at 0, and what noise may make of it."""
    with np.errstate(all="ignore"):
        forth, back = (side[-ROWS:, 0] for side in ladder.slopes())
        bend = forth - back
        # curvature falls like h, what it changes by like h³; a kink stays
        for k in (1, 3):
            bend = (2.0**k * bend[1:] - bend[:-1]) / (2.0**k - 1)
        return abs(float(bend[0])), float(ROUNDING * ladder.noise.sigma / ladder.steps[-1])


def _near(target: Target, along: Callable[[Floats], Floats], noise: Noise) -> Seen | None:
    """From small steps, which kinks beside the point are not within."""
    h = np.array([1.0, CLOSER])
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
                target.note(unsteady_loss(values, again, target.nouns.loss))
            continue
        slope = (plus - minus) / (2 * steps)
        best = float(slope[1] - CLOSER**2 * slope[0]) / (1 - CLOSER**2)
        error = abs(best - float(slope[1])) + CONFIDENCE * sigma / float(steps[1])
        return float(steps[1]), kink + rounding, best, error
    return None
