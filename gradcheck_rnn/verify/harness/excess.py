"""Noise of a gradient under test that the rounding of its format does not explain.

The bound of an entry contains the noise that the code shows itself. That is right for rounding, but
code that draws random numbers, loses an update now and then, rounds to a coarser format inside or
cancels catastrophically would earn itself a wide bound. So wherever noise is more than the format's
unit times the terms of a sum, it is compared with what the definition's own formulas lose there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .deviations import spread

__all__ = ["Excess", "Suspect", "judge_noise", "suspicious"]

Array = NDArray[Any]
#: Noise this many times what the format explains is no rounding of that format. Formulas that are
#: written in another way lose a few times as much; float32 has 13 bits more than TF32.
MOST = 64.0
#: Further calls at one point, to tell chance from rounding.
CALLS = 8


@dataclass(frozen=True)
class Excess:
    """Noise of one array in one case, beyond its format.

    Attributes
    ----------
    times : float
        Noise ÷ what rounding explains, at the worst entry.
    noise, kept : float
        The code's noise and that of the definition's own formulas, relative to the array.
    chance : bool
        Whether calls at one and the same point differ.
    """

    user: str
    place: str
    case: str
    times: float
    noise: float
    kept: float
    chance: bool


@dataclass(frozen=True)
class Suspect:
    """What is kept of an array in a case until its noise is judged.

    ``moves`` are deviations at neighbouring points, ``repeats`` those of further calls at the
    point itself, ``unit`` the rounding of the last sum, by entry.
    """

    moves: Array
    repeats: Array
    unit: Array


def suspicious(suspect: Suspect) -> bool:
    """Whether the rounding of sums alone does not explain the deviations."""
    with np.errstate(all="ignore"):
        return bool(np.any(_noise(suspect.moves, suspect.repeats) > MOST * suspect.unit))


def _noise(*samples: Array) -> Array:
    found = np.concatenate([s for s in samples if len(s)])
    return spread(np.nan_to_num(found, nan=np.inf, posinf=np.inf, neginf=-np.inf))


def judge_noise(
    suspect: Suspect,
    want: Array,
    explained: Array,
    saved: Callable[[], Array],
    again: Callable[[int], Array] | None,
) -> tuple[float, float, float, bool] | None:
    """(times, noise, kept, chance) of `Excess`, None if rounding explains the deviations.

    Parameters
    ----------
    explained : array (draws, \\*shape)
        Deviations of the definition's own gradient under rounding.
    saved : callable
        Further such deviations, under the rounding of saved values; asked only if need be.
    again : callable
        Deviation of a further call at neighbour j from the first call there; None: no need to ask.
    """
    with np.errstate(all="ignore"):
        noise = _noise(suspect.moves, suspect.repeats)
        kept = spread(explained) + suspect.unit
        if not np.any(noise > MOST * kept):
            return None
        kept = kept + spread(saved())
        ratio = np.where(noise > 0, noise / kept, 0.0)
        ratio = np.nan_to_num(ratio, nan=0.0, posinf=1e300)
        if not np.any(ratio > MOST):
            return None
        chance = bool(len(suspect.repeats) and np.any(_noise(suspect.repeats) > MOST * kept))
        if not chance and again is not None and len(suspect.moves):
            loudest = int(np.argmax([np.max(np.abs(m)) for m in suspect.moves]))
            calls = (np.abs(np.nan_to_num(again(loudest), nan=np.inf)) for _ in range(CALLS))
            chance = any(bool(np.any(off > MOST * kept)) for off in calls)
        size = float(np.sqrt(np.mean(want**2))) or 1.0
        rms = [float(np.sqrt(np.mean(a**2))) / size for a in (noise, kept)]
    return float(np.max(ratio)), rms[0], rms[1], chance
