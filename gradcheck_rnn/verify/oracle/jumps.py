"""Jumps exactly at the point: the function's value there against its limits from either side.

A threshold that holds at the point itself, a tie, a special value for x = 0: differences at ±h do
not meet the value at 0, and the complex step takes one branch for all. What f(h) and f(-h) tend to
as h goes to 0 does meet it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lattice import spacing_of

__all__ = ["Jump", "find_jump"]

Floats = NDArray[np.float64]
#: Weights that extrapolate values at h, 2h, 3h, 4h to 0, exact for cubics.
LIMIT = np.array([4.0, -6.0, 4.0, -1.0])
AMPLIFICATION = float(np.sqrt(1 + np.sum(LIMIT**2)))
SIDE = np.arange(1.0, 5.0)
#: Samples a side where a jump is confirmed, and how many times closer to the point.
CONFIRMING, CLOSER = 8, 16.0
#: Times its noise that a jump must reach to be looked at again, and to be believed.
SUSPECT, CLEAR = 8.0, 12.0


@dataclass(frozen=True)
class Jump:
    """`value` is f(0), `below` and `above` are its limits from either side, known up to `error`."""

    value: float
    below: float
    above: float
    error: float

    @property
    def alone(self) -> bool:
        """Whether both sides agree, so that only the value at the point itself is another one."""
        return abs(self.above - self.below) <= 0.1 * abs(self.above - self.value)


def _sides(phi: Callable[[Floats], Floats], step: float, count: int) -> tuple[Floats, Floats]:
    offsets = step * np.arange(1.0, count + 1)
    values = np.asarray(phi(np.concatenate([-offsets, offsets])), dtype=np.float64)
    return values[:count], values[count:]


def find_jump(
    phi: Callable[[Floats], Floats], step: float, centre: float, eps: float
) -> Jump | None:
    """The jump of phi at 0, if both limits are clear; eight values, 16 more on suspicion.

    Parameters
    ----------
    phi
        Maps steps (k,) to values (k,); deterministic.
    step
        A few hundred units in the last place of the argument.
    centre
        phi(0).
    eps
        Unit in the last place of the values, relative.
    """
    least = spacing_of(centre, eps)
    below, above = _sides(phi, step, len(SIDE))
    if not (np.isfinite(below).all() and np.isfinite(above).all()):
        return None
    # the third difference of a side is its noise, times √20
    noise = max(float(np.abs(np.diff(s, n=3))[0]) for s in (below, above)) / np.sqrt(20)
    gaps = np.array([LIMIT @ below - centre, LIMIT @ above - centre])
    if not np.max(np.abs(gaps)) > SUSPECT * AMPLIFICATION * max(noise, 0.3 * least):
        return None
    found, spread = [], 0.3 * least
    for side in _sides(phi, step / CLOSER, CONFIRMING):
        if not np.isfinite(side).all():
            return None
        offsets = np.arange(1.0, CONFIRMING + 1)
        line = np.polyfit(offsets, side, 1)
        found.append(float(line[1]))
        # fewer degrees of freedom than samples, and a limit one step outside them
        spread = max(spread, float(np.std(side - np.polyval(line, offsets))) * 1.5)
    closer = np.array(found) - centre
    same = np.abs(closer - gaps) <= 0.2 * np.max(np.abs(gaps)) + AMPLIFICATION * spread
    if not same.all() or np.max(np.abs(closer)) < CLEAR * spread:
        return None
    return Jump(centre, found[0], found[1], 6 * spread)
