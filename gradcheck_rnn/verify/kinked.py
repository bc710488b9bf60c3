"""Entries on a kink or a tie, where no derivative exists: what a gradient may be there.

One of the two slopes, something between them, or what the slope is beside the point, where other
ties are broken (elements of the generalised gradient): whoever has chosen one of these has chosen a
convention. Anything else is no gradient of the loss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .oracle.differences import CONFIDENCE, Ladder, start_exponent
from .oracle.kinks import Kink, find_kink
from .repeats import REORDERED
from .target import Target
from .verdict import EntryCheck, EntryState

__all__ = ["judge_kinks"]

Floats = NDArray[np.float64]
#: Entries whose gradient jumps that are looked at for a kink, and those asked before all are.
MOST, FIRST = 64, 4
#: Entries whose slope is looked for beside the point, and places for each.
ASKED, PLACES = 4, 12
#: Part of an entry that the jumps of its gradient must hide.
HIDDEN = 0.1
#: Part of the distance between two slopes that the noise of a difference may be, that a gradient
#: may be outside of them, and units in the last place that it may be off besides.
SHARP, OUTSIDE, UNITS = 0.01, 0.1, 4.0
#: Steps that a place beside the point is away, the least step and the furthest place, in sizes.
AWAY, LEAST, FURTHEST = 64.0, 2.0**-20, 0.05


def judge_kinks(
    target: Target, check: EntryCheck, gradient: Floats, roundoff: Floats, rng: np.random.Generator
) -> None:
    """Tell kinks from roundoff, and fail what is no slope at a kink, nor beside it or between.

    A gradient that jumps between neighbours of the point has a large roundoff by that measure; on a
    kink it is none, and `roundoff` becomes that of the final operations. One-sided slopes of up to
    64 such entries are looked at, and the slopes beside the point for up to four gradients that are
    not between those at it.
    """
    g, bounds = gradient.ravel(), roundoff.reshape(-1)
    _find_kinks(target, check, g, bounds)
    asked = 0
    for i, kink in check.kinks.items():
        if check.state[i] != EntryState.KINK:
            continue
        slack = 2 * kink.error + UNITS * target.format_eps(check.block) * abs(float(g[i]))
        bounds[i] = slack
        slack += OUTSIDE * abs(kink.right - kink.left)
        if kink.between(float(g[i]), slack) or asked == ASKED:
            continue
        asked += 1
        nearest = _outside(target, check, i, float(g[i]), kink, slack, rng)
        if nearest is not None:
            check.state[i] = EntryState.FAIL
            check.value[i], check.error[i] = nearest, slack


def _find_kinks(target: Target, check: EntryCheck, g: Floats, bounds: Floats) -> None:
    """Mark the entries that agree only because their gradient jumps, and that sit on a kink."""
    top = float(np.max(np.abs(g), initial=0.0))
    with np.errstate(all="ignore"):
        jumps = bounds > REORDERED * target.format_eps(check.block) * top
        jumps &= check.state == EntryState.PASS
        jumps &= bounds > HIDDEN * np.maximum(np.abs(g), np.abs(check.value))
    reach, found = target.reach(check.block).ravel(), 0
    for count, i in enumerate(np.flatnonzero(jumps)[:MOST]):
        if count == FIRST and not found:
            return
        lines = target.lines(check.block, np.array([i]))
        size = float(reach[i])
        ladder = Ladder(lines, target.base, check.noise, start_exponent(size), size)
        ladder.settle(0.0)
        ladder.exhaust()
        kink = find_kink(ladder)
        if kink is not None:
            check.kinks[int(i)], check.state[i] = kink, EntryState.KINK
            found += 1


def _outside(
    target: Target,
    check: EntryCheck,
    entry: int,
    claim: float,
    kink: Kink,
    slack: float,
    rng: np.random.Generator,
) -> float | None:
    """The slope nearest to a claim which is outside of all; None where it is not, or unknown."""
    size = float(target.reach(check.block).reshape(-1)[entry])
    jump = abs(kink.right - kink.left)
    least = CONFIDENCE * check.noise.sigma / (SHARP * jump)
    step = 2.0 ** np.ceil(np.log2(max(LEAST * size, least)))
    if AWAY * step > FURTHEST * size:
        return None
    slopes = [kink.left, kink.right]
    for _ in range(PLACES):
        leaves = [
            (x + AWAY * step / size * target.reach(i) * rng.uniform(-1, 1, x.shape)).astype(x.dtype)
            if i in target.select
            else x
            for i, x in enumerate(target.tree.leaves)
        ]
        values, at = [], []
        for side in (step, -step):
            moved = leaves[check.block].copy()
            moved.reshape(-1)[entry] += side
            there = [moved if i == check.block else x for i, x in enumerate(leaves)]
            values.append(target.evaluate(there))
            at.append(float(moved.reshape(-1)[entry]))
        slope = (values[0] - values[1]) / (at[0] - at[1])
        if not np.isfinite(slope):
            return None
        slopes.append(slope)
    low, high = min(slopes) - slack, max(slopes) + slack
    return None if low <= claim <= high else min(slopes, key=lambda s: abs(s - claim))
