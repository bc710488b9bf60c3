"""The step at which entries are differenced: found in one block, taken over by later ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .oracle.differences import Ladder, Table, start_exponent
from .oracle.noise import Noise
from .scales import scale_of
from .target import Target

__all__ = [
    "balanced",
    "calibrate",
    "guessed_step",
    "known_step",
    "steps_of",
]

Floats = NDArray[np.float64]

MOST_MOVES = 12
#: Truncation ÷ roundoff of a sample at a step taken over. Its ends are two and a half to four
#: times off the best step, which the search itself finds to a factor of two.
BALANCED = (1 / 64, 16.0)


def known_step(target: Target, block: int) -> int | None:
    """Exponent of the step that earlier blocks found, in the scale of this one."""
    if target.found_step is None:
        return None
    return start_exponent(target.scale(block)) + target.found_step


def guessed_step(leaf: NDArray[np.floating], slope: float, noise: Noise) -> int | None:
    """Exponent of a step at which truncation meets noise if slopes vary on the leaf's own scale.

    None where noise or slope are not known.
    """
    scale = scale_of(leaf)
    if not slope > 0:
        return None
    with np.errstate(all="ignore"):
        best = np.log2(scale * np.cbrt(noise.sigma / (slope * scale)))
    return int(np.round(best)) if np.isfinite(best) else None


def balanced(table: Table) -> bool:
    """Whether truncation and roundoff of most sampled entries are of one size at their step."""
    alive = table.value[1, 0] != 0
    if not alive.any():
        return False
    with np.errstate(all="ignore"):
        ratio = table.truncation[1, 0, alive] / table.roundoff[1, 0, alive]
        middle = float(np.median(ratio))
    return BALANCED[0] <= middle <= BALANCED[1]


def calibrate(target: Target, block: int, g: Floats, noise: Noise, rng: np.random.Generator) -> int:
    """Exponent of the smaller step of a pair: the best for two sample entries.

    Blocks of one loss mostly agree, relative to their sizes: later ones look near what earlier ones
    found, and further only if their best is not there.
    """
    leaf = target.tree.leaves[block]
    by_size = np.argsort(np.abs(g))
    samples = np.unique([by_size[-1], rng.integers(len(g))])
    scale = target.scale(block)
    start, known = start_exponent(scale), target.found_step
    top = start - 5 if known is None else start + known + 2
    down = 6 if known is None else 4
    ladder = Ladder(target.lines(block, samples), target.base, noise, top, scale)
    ladder.extend(down=down)
    if not ladder.table().value[:, 0].any():
        # neither has any influence: a line that moves all entries meets those that have
        signs = rng.choice([-1.0, 1.0], size=(1, *leaf.shape))
        ladder = Ladder(target.lines(block, signs), target.base, noise, top, scale)
        ladder.extend(down=down)
    best = 0
    for _ in range(MOST_MOVES):
        table = ladder.table()
        # what does not depend on an entry tells nothing about the step for the others
        alive = np.any(table.value[:, 0] != 0, axis=0)
        alive = alive if alive.any() else ~alive
        pair, slope = np.min(table.error[:, :2], axis=1), np.abs(table.value[:, 0])
        with np.errstate(all="ignore"):
            relative = np.nan_to_num(pair / np.min(pair, axis=0), nan=1e300, posinf=1e300)
        best = int(np.argmin(np.median(np.log(relative[:, alive]), axis=1)))
        if known is not None and best == 2 and len(pair) == 4:
            break
        # a minimum counts when it lies inside the ladder, away from both ends
        if best >= len(pair) - 2:
            ladder.extend(down=4)
        elif (
            best <= 1
            and known is None
            and (ladder.top < ladder.free or bool(np.all(pair[best] < 0.1 * slope[best])))
        ):
            ladder.extend(up=3)
        else:
            break
    found = int(np.log2(ladder.steps[best]))
    target.found_step = found - start
    return found


def steps_of(x: NDArray[np.floating], exponent: int) -> Floats:
    """Steps of entries: a step below a thousand units in the last place of its own is no step."""
    least = np.ceil(np.log2(np.spacing(np.abs(x)).astype(np.float64))) + 10
    return np.ldexp(1.0, np.maximum(exponent, least).astype(np.int64))
