"""Directional probes: one number a direction, and the chance that a fault hides from all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .budget import OutOfBudget
from .entries import CLEAR
from .oracle.differences import Estimate, Ladder, start_exponent
from .oracle.directions import draw_direction, miss_probability
from .oracle.kinks import find_kink
from .oracle.line_functions import Lines
from .oracle.noise import Noise
from .oracle.three_points import three_points
from .oracle.witnesses import insist
from .roundoff import GradientRoundoff
from .steps_of_losses import step_between
from .target import Target
from .verdict import Probe

__all__ = [
    "CHANCE",
    "FINER",
    "SURE",
    "direction",
    "first_exponent",
    "miss_statement",
    "needed",
    "probe_block",
    "sharp_enough",
]

Floats = NDArray[np.float64]
PROBES, MOST_PROBES = 3, 16
#: Directions that refute a block; one more would tell nothing new.
REFUTED = 2
SURE = 0.05
"""Largest chance with which a fault of the demanded size may slip through a block's probes."""
CHANCE = 1e-3
FINER = 100.0
"""A probe more is idle once a fault FINER times smaller than demanded has chance CHANCE."""


def direction(target: Target, block: int, seed: int, number: int) -> Floats:
    """The unit direction of one probe of a leaf."""
    return draw_direction(target.tree.leaves[block].shape, seed, target.tree.names[block], number)


def probe_block(
    target: Target,
    block: int,
    gradient: Floats,
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    probes: int = PROBES,
    resolve: float = 0.1,
) -> list[Probe]:
    """Probe one leaf along independent directions; a disagreement climbs the whole ladder.

    As a rule `probes`; fewer when those so far agree and are sharp enough that a fault of relative
    size `resolve` / `FINER` would slip through with probability `CHANCE` at most, more where some
    more make a fault of size `resolve` visible that these may miss.
    """
    leaf = target.tree.leaves[block]
    size = float(np.sqrt(leaf.size)) * target.scale(block)
    found: list[Probe] = []
    norm = float(np.linalg.norm(gradient)) if np.isfinite(gradient).all() else 0.0
    cheap = first_exponent(noise, size, norm / float(np.sqrt(leaf.size)))
    while len(found) < max(probes, needed(found, leaf.size, norm, resolve)):
        if sum(p.ratio > 1 and p.kink is None for p in found) >= REFUTED:
            break
        try:
            refuted = any(p.ratio > 1 and p.kink is None for p in found)
            # a jump beside the point of one direction is likely beside that of another
            steps = any(p.beyond for p in found)
            found.append(
                _probe(
                    target, block, gradient, roundoff, noise, seed, len(found), cheap, refuted,
                    steps,
                )
            )  # fmt: skip
        except OutOfBudget:
            if not found:
                raise
            break
        blunt = max(p.bound if p.kink is None else np.inf for p in found)
        size_sought = resolve * norm / FINER
        sharp = miss_probability(leaf.size, blunt, size_sought, len(found)) <= CHANCE
        if (sharp and found[-1].ratio <= 1) or target.budget.left(target.evaluations) <= 0:
            break
    return found


def _probe(
    target: Target,
    block: int,
    gradient: Floats,
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    number: int,
    cheap: int | None,
    sure: bool,
    steps: bool,
) -> Probe:
    """One direction: three losses where they settle it, more where they do not.

    `sure` says that another has refuted the gradient, with no step of the loss in the way; `steps`
    that one was in the way of another.
    A clear disagreement is settled by smaller steps that bear it out, any other by a whole ladder.
    """
    leaf = target.tree.leaves[block]
    size = float(np.sqrt(leaf.size)) * target.scale(block)
    v = direction(target, block, seed, number)
    analytic = float(np.sum(gradient * v))
    own = roundoff.along(block, gradient, v)
    top = float(np.max(np.abs(gradient)))
    norm = float(np.linalg.norm(gradient / top)) * top if top > 0 else 0.0
    enough = sharp_enough(own, norm, leaf.size)
    lines = target.lines(block, v[None])
    estimate = None if cheap is None else three_points(lines, target.base, noise, cheap)
    if estimate is not None and (
        _settled(estimate, analytic, own, enough) or _refuted(target, lines, noise, estimate,
                                                              analytic, own)
    ):  # fmt: skip
        beyond = "" if sure else _beyond_a_step(lines, target.base, noise, size, estimate,
                                                analytic, own, steps)  # fmt: skip
        return _without(beyond, Probe(number, analytic, estimate, own, None))
    ladder = Ladder(lines, target.base, noise, start_exponent(size))
    if cheap is not None:
        ladder.top, ladder.bottom = cheap + 1, cheap + 2
        ladder.extend(down=2)
    estimate, kink = ladder.settle(enough)[0], None
    if not abs(estimate.value - analytic) <= estimate.error + own and not _refuted(
        target, lines, noise, estimate, analytic, own
    ):
        ladder.settle(0.0)
        ladder.exhaust()
        estimate = ladder.contest(analytic, own)
        kink = find_kink(ladder)
    beyond = "" if sure else _beyond_a_step(lines, target.base, noise, size, estimate, analytic,
                                            own, steps)  # fmt: skip
    return _without(beyond, Probe(number, analytic, estimate, own, kink))


def _beyond_a_step(
    lines: Lines,
    base: float,
    noise: Noise,
    size: float,
    estimate: Estimate,
    analytic: float,
    own: float,
    steps: bool,
) -> str:
    """Why an estimate that refutes a gradient is that of one step of the loss, '' if it is not."""
    if not estimate.trusted or abs(estimate.value - analytic) <= estimate.error + own:
        return ""
    return step_between(
        lambda moves: lines(moves[:, None])[:, 0], size, base, analytic,
        estimate.value, noise.sigma, steps,
    )  # fmt: skip


def _without(beyond: str, probe: Probe) -> Probe:
    """A probe, not trusted where slopes beyond a jump of the loss bear the gradient out."""
    if not beyond:
        return probe
    blunt = replace(probe.estimate, error=float("inf"), trusted=False, reason=beyond)
    return replace(probe, estimate=blunt, beyond=True)


def _refuted(
    target: Target, lines: Lines, noise: Noise, estimate: Estimate, analytic: float, own: float
) -> bool:
    """Whether smaller steps bear out an estimate that clearly contradicts the gradient."""
    gap = abs(estimate.value - analytic)
    if not estimate.trusted or not gap > CLEAR * (estimate.error + own):
        return False
    top = int(np.floor(np.log2(estimate.step)))
    sure = insist(lines, target.base, noise, top, np.array([estimate.value]), np.array([gap]))
    return bool(sure[0])


def needed(found: list[Probe], size: int, norm: float, resolve: float) -> int:
    """How many probes like these make a fault of relative size `resolve` visible.

    As many as there are, if no affordable number does or they have found something already.
    """
    if not found or any(p.kink is not None or not p.ratio <= 1 for p in found):
        return len(found)
    one = miss_probability(size, max(p.bound for p in found), resolve * norm)
    count = int(np.ceil(np.log(SURE) / np.log(one))) if 0 < one < 1 else 0
    return max(count, len(found)) if count <= MOST_PROBES else len(found)


def sharp_enough(own: float, norm: float, size: int) -> float:
    """The error of a difference along one direction that needs none smaller."""
    return float(max(own, 1e-6 * norm / np.sqrt(size)))


def _settled(estimate: Estimate, analytic: float, own: float, enough: float) -> bool:
    """Whether a first difference agrees, and resolves all that a probe is to resolve."""
    agrees = abs(estimate.value - analytic) <= estimate.error + own
    return estimate.trusted and agrees and estimate.error <= enough


def first_exponent(noise: Noise, size: float, slope: float) -> int | None:
    """Exponent of the smaller of two steps that may do: truncation h² against noise / h.

    None where the slope to be expected is lost in the noise, or unknown.
    """
    change = slope * size
    if not (np.isfinite(change) and change > 0 and 0 < noise.sigma < 1e-3 * change):
        return None
    best = int(np.round(np.log2(size * np.cbrt(noise.sigma / change))))
    return min(start_exponent(size), best) - 1


def miss_statement(size: int, threshold: float, norm: float, probes: int) -> str:
    """What a set of probes may have missed, in one phrase."""
    if norm == threshold == 0:
        return f"nothing that answers along {probes} random direction{'s' if probes != 1 else ''}"
    if norm == 0 or not np.isfinite(threshold):
        return "any fault: nothing was resolved"
    parts = []
    for words, relative in (("as large as the gradient", 1.0), ("of 1e-2 of it", 1e-2),
                            ("of 1e-4", 1e-4), ("of 1e-6", 1e-6)):  # fmt: skip
        chance = miss_probability(size, threshold, relative * norm, probes)
        parts.append(f"{words} with probability {chance:.1e}")
    return f"a fault {', '.join(parts)} ({probes} random direction{'s' if probes != 1 else ''})"
