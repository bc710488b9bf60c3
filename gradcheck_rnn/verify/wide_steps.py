"""What a loss changes by over wide steps, against its gradient along them.

By the mean value theorem a change over a step is the step times the slope somewhere along it. Where
the gradient's own slopes along a line keep close to the one at the point, and the change is neither
of them times the step, no noise at the point excuses the gradient. One side is enough: on the other
the loss may not be finite.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import of_users_code
from ..streams import Stream, generator
from .budget import OutOfBudget
from .constants import looked_at
from .oracle.differences import CONFIDENCE, Estimate
from .oracle.noise import Noise
from .oracle.random_rounding import spread_of_rounding
from .probes import direction
from .roundoff import GradientRoundoff
from .rows import entry_row, probe_row
from .target import Target
from .verdict import EntryState, Row

__all__ = ["refuted_over_wide_steps"]

Floats = NDArray[np.float64]
#: Steps, in sizes of the parameter along the line, and parts of each at which slopes are taken.
STEPS, PLACES = 2.0 ** np.arange(-3, 2), (0.625, 0.75, 0.875, 1.0)
#: Times the range of the gradient's slopes that a change may lie outside of it; steps that must
#: refute it, and draws of random rounding at the end of each.
RANGES, WITNESSES, DRAWS = 2.0, 2, 4


def refuted_over_wide_steps(
    row: Row,
    again: Row,
    block: int,
    target: Target,
    g: dict[int, Floats],
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    resolve: float,
) -> Row | None:
    """The row of a gradient that wide steps refute; None where they do not.

    Parameters
    ----------
    row
        By differences, with wrong entries or directions: a few of them are looked at.
    again
        The same for `noise`, which hides them.
    """
    look = _Look(target, block, g[block], noise, seed)
    if row.check is not None and again.check is not None:
        check, found = again.check, False
        entries, _, _ = looked_at(row, block, target, g, seed)
        bounds = roundoff.bounds[block]
        for i in entries:
            v = np.zeros(bounds.shape)
            v.reshape(-1)[i] = 1.0
            seen = look.along(v, float(target.reach(block).ravel()[i]), float(bounds.ravel()[i]))
            if seen is not None:
                check.value[i], check.error[i] = seen.value, seen.error
                check.state[i], found = EntryState.FAIL, True
                check.kinks.pop(int(i), None)
                check.methods.add(seen.method)
        return entry_row(target.tree, check, g[block], bounds, resolve) if found else None
    size = float(np.sqrt(g[block].size)) * target.scale(block)
    probes = {p.number: p for p in again.probes}
    refuted = False
    for p in (p for p in row.probes if p.ratio > 1 and p.kink is None):
        v = direction(target, block, seed, p.number)
        seen = look.along(v, size, p.roundoff)
        if seen is not None:
            probes[p.number], refuted = replace(p, estimate=seen, beyond=False), True
    judged = list(probes.values())
    return probe_row(target.tree, block, g[block], judged, resolve) if refuted else None


class _Look:
    """Changes of the loss along lines through the point, and the gradient's slopes there."""

    def __init__(
        self, target: Target, block: int, gradient: Floats, noise: Noise, seed: int
    ) -> None:
        self.target, self.block, self.gradient, self.noise = target, block, gradient, noise
        self.rng = generator(seed, Stream.CANCELLING, 5)

    def _there(self, v: Floats, step: float) -> list[NDArray[np.floating]]:
        leaves = list(self.target.tree.leaves)
        leaf = leaves[self.block]
        leaves[self.block] = (leaf + step * v).astype(leaf.dtype)
        return leaves

    def along(self, v: Floats, size: float, own: float) -> Estimate | None:
        """The slope over a wide step that refutes the gradient along `v`, None if there is none.

        Of the two that refute it best the one that is kinder to it; `own` is the roundoff of the
        slope that the gradient claims.
        """
        claim = float(np.sum(self.gradient * v))
        seen: list[Estimate] = []
        for side in (1.0, -1.0):
            try:
                with np.errstate(all="ignore"):
                    seen += self._side(v, side * size, claim, own)
            except Exception as error:
                if isinstance(error, OutOfBudget) or not of_users_code(error):
                    raise
                continue  # the functions may not be made for other points
        seen.sort(key=lambda e: -abs(e.value - claim) / (e.error + own))
        return seen[WITNESSES - 1] if len(seen) >= WITNESSES else None

    def _side(self, v: Floats, size: float, claim: float, own: float) -> list[Estimate]:
        """Slopes over steps on one side that refute a claim."""
        seen = dict[float, tuple[float, float]]()
        for step in size * STEPS:
            value, sigma = self._end(v, step)
            roundoff = CONFIDENCE * float(np.hypot(sigma, self.noise.sigma)) / abs(step)
            slope = (value - self.target.base) / step
            if abs(slope - claim) > roundoff + own:  # not so where the loss is no number
                seen[step] = slope, roundoff
        found, slopes = list[Estimate](), [claim]
        for step in size * STEPS if seen else ():
            slopes += [self._slope(v, part * step) for part in PLACES]
            if step not in seen:
                continue
            slope, roundoff = seen[step]
            drift = RANGES * float(np.ptp(slopes))
            if abs(slope - claim) > roundoff + drift + own:
                found.append(Estimate(
                    slope, drift, roundoff, self.noise.sigma, roundoff + drift, len(seen), True,
                    "differences over wide steps on one side", abs(step),
                ))  # fmt: skip
        return found

    def _end(self, v: Floats, step: float) -> tuple[float, float]:
        """The loss at the end of a step, and its noise there by random rounding."""
        leaves = self._there(v, step)
        value = self.target.evaluate(leaves)
        drawn = spread_of_rounding(self.target.raw, leaves, self.rng, DRAWS)
        if drawn is None or not np.isfinite([value, *drawn.ravel()]).all():
            return value, np.inf
        off = drawn.ravel().astype(np.float64) - value
        return value, max(float(np.sqrt(np.mean(off**2))), self.noise.eps * abs(value))

    def _slope(self, v: Floats, step: float) -> float:
        return float(np.sum(self.target.gradient(self._there(v, step))[self.block] * v))
