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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .oracle.differences import CONFIDENCE
from .oracle.noise import Noise
from .scales import root_mean_square
from .survey import Survey
from .target import Target

__all__ = ["OneSided", "Part", "one_sided", "worth"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Noise of a difference of two values, in standard deviations that a bound covers.
ROUNDING = CONFIDENCE * float(np.sqrt(2.0))
#: Times the largest curvature of a sample that others are taken to have.
MARGIN = 8.0
#: Curvature that is taken for chance where a sample has less, in slopes ÷ sizes.
LITTLE = 0.25
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
PART, LEAST, MOST = 24, 1, 64
#: Entries that one side may leave open for the other side to be looked at as well; and those of a
#: block that it is tried on although it cannot call them right.
FEW = 10
#: Entries evaluated at once; fewer where a budget may end the check between them, more where
#: several processes share them.
CHUNK, LIMITED, SPREAD = 256, 16, 16384


@dataclass(frozen=True)
class Part:
    """Entries of one leaf: its position, the gradient under test and its roundoff, flat."""

    block: int
    g: Floats
    b: Floats
    chosen: Indices

    @cached_property
    def typical(self) -> float:
        """The gradient's size."""
        return root_mean_square(self.g)


@dataclass(frozen=True)
class OneSided:
    """Derivatives of some `entries` and their errors; `agrees` and `differs` tell what is settled.

    `part` is the position of theirs, `steps` and `losses` are what they come from, `exponent` is of
    a step at which slopes have been measured for those who look closer, `sampled` the number of
    entries that errors come from.
    """

    part: int
    entries: Indices
    steps: Floats
    losses: Floats
    value: Floats
    error: Floats
    agrees: NDArray[np.bool_]
    differs: NDArray[np.bool_]
    exponent: int
    sampled: int


@dataclass(frozen=True)
class _Piece:
    """Entries of a part that are differenced at one step, and what the others of it go by."""

    part: int
    entries: Indices
    exponent: int
    sampled: int
    step: int
    truncation: float = 0.0


def worth(target: Target, block: int, g: Floats, noise: Noise) -> bool:
    """Whether one side can be expected to be sharp: little noise, a gradient well above it."""
    return _sharp(target.tree.leaves[block], root_mean_square(g), target.scale(block), noise)


def _sharp(leaf: NDArray[np.floating], typical: float, scale: float, noise: Noise) -> bool:
    if not (noise.deterministic and not noise.quantum and typical > 0):
        return False
    expected = float(np.sqrt(2 * MARGIN * ROUNDING * noise.sigma)) * math.sqrt(typical / scale)
    # a step that is lost in the parameters' own format is none
    room = float(np.finfo(leaf.dtype).eps) < EXPECTED**3
    return room and expected <= EXPECTED * typical


def one_sided(
    target: Target,
    parts: Sequence[Part],
    noise: Noise,
    line: Survey,
    rng: np.random.Generator,
) -> Iterator[OneSided]:
    """Difference entries on one side, those of several leaves at once.

    Nothing where that would be blunt.

    Parameters
    ----------
    target
        The loss at its point.
    parts
        Entries to look at; many whose gradient is too small for one side are left out.
    noise
        Of the loss.
    line
        Through the point, without a kink.
    rng
        Draws the samples, and the side of every entry.

    Yields
    ------
    OneSided
        The samples, differenced on both sides, then the others, of which a few may come twice.
    """
    samples = [
        piece
        for k, part in enumerate(parts)
        if (piece := _sample(target, k, part, noise, line, rng)) is not None
    ]
    if not samples:
        return
    rounding = ROUNDING * noise.sigma
    with np.errstate(all="ignore"):
        h, values, width = _differenced(target, parts, samples, None)
        sigma = np.max(noise.at(values, target.base), axis=0)
        bend = np.abs((values[0] - target.base) - (target.base - values[1])) + ROUNDING * sigma
        exponents = np.repeat([p.exponent for p in samples], [p.entries.size for p in samples])
        error = np.ldexp(bend / 2 + ROUNDING * sigma, -exponents)
        slope = (values[0] - values[1]) / width
        seen = _judged(parts, samples, h[0], values[0], slope, error)
        starts = np.cumsum([0, *(p.entries.size for p in samples[:-1])])
        curvatures = np.ldexp(np.maximum.reduceat(bend, starts), [-2 * p.exponent for p in samples])
    yield from seen
    rest = [
        piece
        for sample, curvature in zip(samples, curvatures, strict=True)
        for piece in _others(target, parts[sample.part], sample, rounding, float(curvature), line)
    ]
    for pieces in _batches(rest, _at_once(target)):
        with np.errstate(all="ignore"):
            h, values, width = _differenced(target, parts, pieces, rng)
            counts = [p.entries.size for p in pieces]
            steps = np.repeat([-p.step for p in pieces], counts)
            grown = np.ldexp(ROUNDING * noise.at(values[0], target.base), steps)
            error = np.repeat([p.truncation for p in pieces], counts) + grown
            slope = (values[0] - target.base) / width
            seen = _judged(parts, pieces, h[0], values[0], slope, error)
        yield from seen
        doubtful = [(s, at) for s in seen if (at := np.flatnonzero(~(s.agrees | s.differs))).size]
        if sum(at.size for _, at in doubtful) <= FEW:
            yield from (_other_side(target, parts, s, at, noise) for s, at in doubtful)


def _other_side(
    target: Target, parts: Sequence[Part], seen: OneSided, at: Indices, noise: Noise
) -> OneSided:
    """A few entries that bend more than those sampled, with their own curvature as the error."""
    entries, h = seen.entries[at], seen.steps[at]
    lines = target.lines(parts[seen.part].block, entries)
    with np.errstate(all="ignore"):
        there, here = lines(-h[None])[0], seen.losses[at]
        width = lines.realise(np.stack([h, -h]))
        sigma = np.maximum(noise.at(there, target.base), noise.at(here, target.base))
        bend = np.abs((here - target.base) - (target.base - there)) + ROUNDING * sigma
        error = (bend / 2 + ROUNDING * sigma) / np.abs(h)
        slope = (here - there) / (width[0] - width[1])
        piece = _Piece(seen.part, entries, seen.exponent, seen.sampled, 0)
        return _judged(parts, [piece], h, here, slope, error)[0]


def _sample(
    target: Target, k: int, part: Part, noise: Noise, line: Survey, rng: np.random.Generator
) -> _Piece | None:
    """Entries of a part that show its curvature; None where one side would be blunt."""
    leaf, typical, scale = (
        target.tree.leaves[part.block],
        part.typical,
        target.scale(part.block),
    )
    if not _sharp(leaf, typical, scale, noise) or line.kink > MILD * typical * scale:
        return None
    exponent = min(
        _step(ROUNDING * noise.sigma, typical / scale) + WIDER,
        math.floor(math.log2(line.move * scale)),
    )
    if math.ldexp(1.0, exponent) < _finest(leaf):
        return None
    chosen = part.chosen
    count = min(max(chosen.size // PART, LEAST), MOST)
    sample = np.sort(chosen[rng.permutation(chosen.size)[:count]])
    return _Piece(k, sample, exponent, sample.size, exponent)


def _finest(leaf: NDArray[np.floating]) -> float:
    """The least step that the format of a leaf resolves well."""
    return float(np.spacing(np.abs(leaf).max())) * GRID


def _others(
    target: Target, part: Part, sample: _Piece, rounding: float, curvature: float, line: Survey
) -> Iterator[_Piece]:
    """The entries of a part that were not sampled, at the step where both errors meet."""
    leaf, scale = target.tree.leaves[part.block], target.scale(part.block)
    if not np.isfinite(curvature):
        return
    typical = part.typical
    # a few that bend little by chance say nothing of the others
    curvature = max(curvature, LITTLE * typical / scale)
    step = min(_step(rounding, curvature), math.floor(math.log2(line.move * scale)))
    truncation = MARGIN * float(np.ldexp(curvature, step - 1))
    error = truncation + float(np.ldexp(rounding, -step))
    if not error <= SHARP * typical or math.ldexp(1.0, step) < _finest(leaf):
        return
    fresh = np.zeros(part.g.size, dtype=bool)
    fresh[part.chosen], fresh[sample.entries] = True, False
    rest, small = np.flatnonzero(fresh), np.abs(part.g) * SHARP < error
    if np.count_nonzero(small[rest]) > FEW:
        # a few may be lost, many are as small as they say
        rest = rest[~small[rest]]
    size = _at_once(target)
    for entries in np.array_split(rest, -(-len(rest) // size)) if len(rest) > size else [rest]:
        if entries.size:
            yield _Piece(sample.part, entries, sample.exponent, sample.sampled, step, truncation)


def _at_once(target: Target) -> int:
    """How many entries are evaluated at once."""
    if np.isfinite(target.budget.left()):
        return LIMITED
    return CHUNK if target.workers == 1 else SPREAD


def _batches(pieces: Sequence[_Piece], most: int) -> Iterator[list[_Piece]]:
    """Pieces in order, together while they have so many entries at most."""
    batch: list[_Piece] = []
    for piece in pieces:
        if batch and sum(p.entries.size for p in batch) + piece.entries.size > most:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _differenced(
    target: Target,
    parts: Sequence[Part],
    pieces: Sequence[_Piece],
    rng: np.random.Generator | None,
) -> tuple[Floats, Floats, Floats]:
    """Steps, losses and realised widths: on one side that is drawn, on both without a generator."""
    steps, losses, widths = [], [], []
    for piece in pieces:
        lines = target.lines(parts[piece.part].block, piece.entries)
        h = np.full((1, piece.entries.size), math.ldexp(1.0, piece.step))
        if rng is None:
            width = lines.realise(h) - lines.realise(-h)
            h = np.concatenate([h, -h])
        else:
            h *= 2.0 * rng.integers(2, size=h.shape) - 1.0
            width = lines.realise(h)
        steps.append(h)
        losses.append(lines(h))
        widths.append(width[0])
    return np.concatenate(steps, axis=1), np.concatenate(losses, axis=1), np.concatenate(widths)


def _judged(
    parts: Sequence[Part],
    pieces: Sequence[_Piece],
    steps: Floats,
    losses: Floats,
    value: Floats,
    error: Floats,
) -> list[OneSided]:
    """What differences say of the gradient, piece by piece."""
    g = np.concatenate([parts[p.part].g[p.entries] for p in pieces])
    bound = error + np.concatenate([parts[p.part].b[p.entries] for p in pieces])
    gap = np.abs(value - g)
    agrees = (gap <= bound) & (error <= SHARP * np.abs(g))
    differs = gap > FAR * bound
    found, first = [], 0
    for p in pieces:
        at = slice(first, first + p.entries.size)
        first = at.stop
        claim = agrees[at], differs[at]
        here = steps[at], losses[at], value[at], error[at]
        found.append(OneSided(p.part, p.entries, *here, *claim, p.exponent, p.sampled))
    return found


def _step(rounding: float, curvature: float) -> int:
    """Exponent of the step at which the errors of one side meet."""
    if not (0 < rounding < math.inf and 0 < curvature < math.inf):
        return LOST
    return round(0.5 * (math.log2(2 * rounding / MARGIN) - math.log2(curvature)))
