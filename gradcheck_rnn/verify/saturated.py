"""Saturated units: the loss is the same in every bit however a block is moved a little.

Differences of single entries would all be zero, and say no more than a few moves of the whole block
do. A loss on a plateau is told from one that is rounded by what it is with smaller parameters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .budget import OutOfBudget
from .oracle.differences import CONFIDENCE, Ladder, start_exponent
from .oracle.line_functions import Lines
from .oracle.noise import Noise, measure_noise
from .target import Target

__all__ = ["FLAT", "flat_errors", "nothing_along", "plateau"]

Floats = NDArray[np.float64]
#: The method of a block whose entries are differenced together.
FLAT = "no bit of the loss changes with the block"
#: Moves of the whole block that no bit changes with, in sizes of its entries, and lines.
MOVES, LINES = (2.0**-12, 2.0**-6), 2
#: Factors on all parameters at which units may have left saturation, the small move that a smooth
#: loss answers there, and the units in the last place that its noise may then be.
DOWN, SMALL, UNITS = (2.0**-5, 2.0**-10, 2.0**-20), 2.0**-20, 2.0**10


def flat_errors(
    target: Target, block: int, gradient: Floats, noise: Noise, rng: np.random.Generator
) -> Floats | None:
    """Errors of a derivative of zero of every entry, flat; None where the loss is not flat.

    Only where the gradient is too small to be seen in the noise at all.
    """
    reach = target.reach(block)
    if not noise.deterministic or noise.quantum or not _unseen(target, block, gradient, noise):
        return None
    for _ in range(LINES):
        signs = rng.choice([-1.0, 1.0], size=reach.shape)
        along = target.across({block: reach * signs * rng.uniform(0.5, 1.0, reach.shape)})
        for move in MOVES:
            if np.any(along(np.array([move, -move])) != target.base):
                return None
    return np.asarray(2 * CONFIDENCE * noise.sigma / (MOVES[-1] * reach)).ravel()


def _unseen(target: Target, block: int, gradient: Floats, noise: Noise) -> bool:
    """Whether no entry, moved by its size, would by its gradient leave the noise of the loss."""
    reach = target.reach(block)
    moved = np.abs(gradient.reshape(reach.shape)) * reach
    return bool(np.all(moved <= CONFIDENCE * noise.sigma))


def nothing_along(
    target: Target, block: int, gradient: Floats, noise: Noise, rng: np.random.Generator
) -> bool:
    """Whether neither the gradient nor a line that moves all entries leaves the noise.

    Then a ladder of steps for every entry would cost much and show as little.
    """
    if not noise.deterministic or noise.quantum or not _unseen(target, block, gradient, noise):
        return False
    reach = target.reach(block)
    direction = reach * rng.choice([-1.0, 1.0], size=reach.shape) * rng.uniform(0.5, 1, reach.shape)
    along = target.across({block: direction})
    lines = Lines(lambda eps: along(eps[:, 0])[:, None])
    ladder = Ladder(lines, target.base, noise, start_exponent(1.0))
    found = ladder.settle(0.0)[0]
    claim = float(np.sum(gradient.reshape(reach.shape) * direction))
    seen = max(abs(found.value), abs(found.value - claim), found.kink, found.truncation)
    return found.trusted and seen <= found.roundoff


def plateau(target: Target, noise: Noise, rng: np.random.Generator) -> Noise:
    """The noise without steps which are those between plateaus of saturated units.

    Such a loss is smooth once the parameters are scaled down; one that is rounded is not.
    """
    if not noise.quantum or not noise.deterministic:
        return noise
    for factor in DOWN:
        leaves = [
            (x * factor).astype(x.dtype) if i in target.tree.real else x
            for i, x in enumerate(target.tree.leaves)
        ]
        there = target.moved(leaves)
        try:
            smooth = _smooth(there, rng)
        except OutOfBudget:
            raise
        except Exception:  # the functions may not be made for other points
            smooth = False
        target.evaluations += there.evaluations
        if smooth:
            target.find(
                "saturated",
                "the loss does not change in any bit with small moves of the parameters, jumps "
                f"with larger ones, and is smooth with all of them times {factor:.2g}: units are "
                "saturated, and gradients vanish; check at smaller parameters",
            )
            return replace(noise, sigma=noise.floor, quantum=0.0)
    return noise


def _smooth(target: Target, rng: np.random.Generator) -> bool:
    """Whether the loss answers small moves, with little noise."""
    target.base = target.value(target.tree.leaves)
    if not np.isfinite(target.base):
        return False
    along = target.across(
        {i: target.reach(i) * rng.standard_normal(target.reach(i).shape) for i in target.select}
    )
    values = along(np.array([SMALL, -SMALL]))
    if np.any(values == target.base) or not np.isfinite(values).all():
        return False
    eps = max(target.format_eps(i) for i in target.select)
    level = measure_noise(along, 1.0, eps, target.value_eps, target.base)
    return not level.quantum and level.sigma <= UNITS * eps * abs(target.base)
