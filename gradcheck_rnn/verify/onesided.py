"""Differences on one side: one evaluation an entry, where that is enough.

The error of (f(x + h) - f(x)) / h is h/2 times the curvature, and roundoff. Curvature is measured
at a sample of entries, and taken to be no more than some times its largest; the step is the one at
which both errors meet, about the root of the noise. That leaves seven digits of a typical entry.
What agrees within such an error, a small part of the entry itself, needs no second evaluation; all
else is left to differences on two sides.

One side sees no kink at the point: a line through all entries must have excluded them (`survey`).
That line also sees what is wrong by less than the error of one side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .oracle.differences import CONFIDENCE
from .oracle.noise import Noise
from .survey import Survey
from .target import Target

__all__ = ["OneSided", "one_sided", "worth"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Noise of a difference of two values, in standard deviations that a bound covers.
ROUNDING = CONFIDENCE * float(np.sqrt(2.0))
#: Times the largest curvature of a sample that others are taken to have.
MARGIN = 8.0
#: Relative errors: of a typical entry, as expected before anything is spent, and of an entry itself
#: to be called right.
EXPECTED, SHARP = 1e-4, 1e-3
#: Steps of the sample, in doublings of those of the others: curvature is second order.
WIDER = 4
#: A kink that may be there, relative to a typical entry: differences on two sides pass it as well.
MILD = 1e-5
#: Errors by which an entry must differ to stand as wrong once others have been confirmed.
FAR = 16.0
#: Exponent of a step that is none, where noise and curvature are not known.
LOST = -2000
#: Units in the last place of the largest entry that a step must be.
GRID = 1024.0
#: Sampled entries of a block: one in so many, between the least and the most.
PART, LEAST, MOST = 24, 3, 64
#: Entries evaluated at once; fewer where a budget may end the check between them, more where
#: several processes share them.
CHUNK, LIMITED, SPREAD = 256, 16, 16384


@dataclass(frozen=True)
class OneSided:
    """Derivatives of some `entries` and their errors; `agrees` and `differs` tell what is settled.

    `steps` and `losses` are what they come from, `exponent` is of a step at which slopes have been
    measured for those who look closer, `sampled` the number of entries that errors come from.
    """

    entries: Indices
    steps: Floats
    losses: Floats
    value: Floats
    error: Floats
    agrees: NDArray[np.bool_]
    differs: NDArray[np.bool_]
    exponent: int
    sampled: int


def worth(target: Target, block: int, g: Floats, noise: Noise) -> bool:
    """Whether one side can be expected to be sharp: little noise, a gradient well above it."""
    return _sharp(target.tree.leaves[block], _typical(g), target.scale(block), noise)


def _sharp(leaf: NDArray[np.floating], typical: float, scale: float, noise: Noise) -> bool:
    if not (noise.deterministic and not noise.quantum and typical > 0):
        return False
    expected = float(np.sqrt(2 * MARGIN * ROUNDING * noise.sigma)) * math.sqrt(typical / scale)
    # a step that is lost in the parameters' own format is none
    room = float(np.finfo(leaf.dtype).eps) < EXPECTED**3
    return room and expected <= EXPECTED * typical


def _typical(g: Floats) -> float:
    top = float(np.max(np.abs(g), initial=0.0))
    return float(np.sqrt(np.mean((g / top) ** 2))) * top if 0 < top < np.inf else 0.0


def one_sided(
    target: Target,
    block: int,
    g: Floats,
    b: Floats,
    chosen: Indices,
    noise: Noise,
    line: Survey,
    rng: np.random.Generator,
) -> Iterator[OneSided]:
    """Difference the chosen entries on one side, part by part; nothing where that would be blunt.

    Parameters
    ----------
    target, block
        The loss at its point, and the position of the leaf.
    g, b
        The gradient under test and the bound on its roundoff, flat.
    chosen
        Entries to look at; those whose gradient is too small for one side are left out.
    noise
        Of the loss.
    line
        Through the point, without a kink.
    rng
        Draws the sample, and the side of every entry.

    Yields
    ------
    OneSided
        The sample, differenced on both sides, then the others.
    """
    leaf = target.tree.leaves[block]
    typical, scale = _typical(g), target.scale(block)
    if not _sharp(leaf, typical, scale, noise) or line.kink > MILD * typical * scale:
        return
    rounding = ROUNDING * noise.sigma
    finest = float(np.spacing(np.abs(leaf).max())) * GRID
    most = math.floor(math.log2(line.move * scale))
    exponent = min(_step(rounding, typical / scale) + WIDER, most)
    if math.ldexp(1.0, exponent) < finest:
        return
    count = min(max(len(chosen) // PART, LEAST), MOST)
    sample = np.sort(chosen[rng.permutation(len(chosen))[:count]])

    def judged(
        entries: Indices, steps: Floats, losses: Floats, value: Floats, error: Floats
    ) -> OneSided:
        gap, own = np.abs(value - g[entries]), b[entries]
        agrees = (gap <= error + own) & (error <= SHARP * np.abs(g[entries]))
        return OneSided(
            entries,
            steps,
            losses,
            value,
            error,
            agrees,
            gap > FAR * (error + own),
            exponent,
            len(sample),
        )

    lines, h = target.lines(block, sample), np.full((1, len(sample)), math.ldexp(1.0, exponent))
    values = lines(np.concatenate([h, -h]))
    with np.errstate(all="ignore"):
        slope = (values[0] - values[1]) / (lines.realise(h) - lines.realise(-h))[0]
        sigma = np.max(noise.at(values, target.base), axis=0)
        bend = np.abs((values[0] - target.base) - (target.base - values[1])) + ROUNDING * sigma
        curvature = float(np.ldexp(np.max(bend), -2 * exponent))
        yield judged(
            sample, h[0], values[0], slope, np.ldexp(bend / 2 + ROUNDING * sigma, -exponent)
        )
    if not np.isfinite(curvature):
        return
    step = min(_step(rounding, curvature), most)
    truncation = MARGIN * float(np.ldexp(curvature, step - 1))
    error = truncation + float(np.ldexp(rounding, -step))
    if not error <= SHARP * typical or math.ldexp(1.0, step) < finest:
        return
    fresh = np.zeros(g.size, dtype=bool)
    fresh[chosen], fresh[sample] = True, False
    rest = np.flatnonzero(fresh & (np.abs(g) * SHARP >= error))
    size = LIMITED
    if np.isinf(target.budget.left()):
        size = CHUNK if target.workers == 1 else SPREAD
    for part in np.array_split(rest, -(-len(rest) // size)) if len(rest) > size else [rest]:
        if part.size:
            lines = target.lines(block, part)
            h = np.ldexp(2.0 * rng.integers(2, size=(1, len(part))) - 1.0, step)
            values = lines(h)
            with np.errstate(all="ignore"):
                slope = ((values - target.base) / lines.realise(h))[0]
                grown = np.ldexp(ROUNDING * noise.at(values[0], target.base), -step)
            yield judged(part, h[0], values[0], slope, truncation + grown)


def _step(rounding: float, curvature: float) -> int:
    """Exponent of the step at which the errors of one side meet."""
    if not (0 < rounding < math.inf and 0 < curvature < math.inf):
        return LOST
    return round(0.5 * (math.log2(2 * rounding / MARGIN) - math.log2(curvature)))
