"""Noise of a gradient under test that the rounding of its format does not explain.

The bound of an entry contains the noise that the code shows itself. That is right for rounding, but
code that draws random numbers, loses an update now and then, rounds to a coarser format inside or
cancels catastrophically would earn itself a wide bound. So wherever noise is more than the format's
unit times the terms of a sum, it is compared with what the definition's own formulas lose there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..roundoff import spread
from .aggregates import root_mean_square

__all__ = ["Excess", "Suspect", "judge_noise", "lost_precision", "suspicious"]

Array = NDArray[Any]
Indices = NDArray[np.intp]
#: Noise this many times what the definition's own formulas lose is no rounding of that format.
#: Formulas that are written in another way lose a few times as much; float32 has 13 bits more than
#: TF32.
MOST = 32.0
#: The same of calls at one and the same point, whose formulas are the same: only sums may be in
#: another order, which changes no more than rounding does to the definition, or a few times that
#: where the formulas lose more.
MOST_APART = 8.0
#: In formats of a few digits so many units are no longer digits but numbers. Right LSTMs, GRUs and
#: decays, by steps and in chunks with everything in the format, were seen to lose up to 2.5.
MOST_COARSE = 4.0
#: The same for steps that are taken in another order: what is allowed for is twice what chunks by
#: prefix sums were seen to lose, backward and forward.
REORDERED = 0.5
#: Further calls at one point, to tell chance from rounding.
CALLS = 8


@dataclass(frozen=True)
class Excess:
    """Noise of one array in one case, beyond its format.

    Attributes
    ----------
    times : float
        Noise ÷ what rounding explains, by root mean squares of the worst value of the array.
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
    point itself, ``unit`` the rounding of the last sum, by entry; ``most`` is so many times the
    rounding that explains them.
    """

    moves: Array
    repeats: Array
    unit: Array
    most: float = MOST


def suspicious(suspect: Suspect, parts: Sequence[Indices], noise: Array | None = None) -> bool:
    """Whether the rounding of sums alone does not explain the deviations.

    ``parts`` are flat positions of the values that the array holds; each is judged by itself.
    ``noise`` is the spread of all deviations, where that is known.
    """
    noise = _noise(suspect.moves, suspect.repeats) if noise is None else noise
    apart = _apart(suspect)
    return any(
        _rms(noise, at) > suspect.most * _rms(suspect.unit, at)
        or _rms(apart, at) > min(suspect.most, MOST_APART) * _rms(suspect.unit, at)
        for at in parts
    )


def _apart(suspect: Suspect) -> Array:
    """Noise of calls at the point itself, by entry; zeros where all calls gave the same."""
    return _noise(suspect.repeats) if suspect.repeats.any() else np.zeros(suspect.unit.shape)


def _noise(*samples: Array) -> Array:
    found = np.concatenate([s for s in samples if len(s)])
    return spread(np.nan_to_num(found, nan=np.inf, posinf=np.inf, neginf=-np.inf))


def _rms(a: Array, at: Indices) -> float:
    with np.errstate(all="ignore"):
        return root_mean_square(a.reshape(-1)[at])


def judge_noise(
    suspect: Suspect,
    parts: Sequence[Indices],
    want: Array,
    own: Array,
    reordered: Callable[[], Array],
    saved: Callable[[], Array],
    again: Callable[[int], Array] | None,
) -> tuple[float, float, float, bool] | None:
    """(times, noise, kept, chance) of `Excess`, None if rounding explains the deviations.

    Parameters
    ----------
    parts : sequence of int arrays
        As in `suspicious`.
    own : array (draws, \\*shape)
        Deviations of the definition's own gradient under rounding, step by step.
    reordered, saved : callable
        The same of steps in any order, and further ones, under the rounding of saved values; asked
        only if need be.
    again : callable
        Deviation of a further call at neighbour j from the first call there; None: no need to ask.
    """
    noise, apart = _noise(suspect.moves, suspect.repeats), _apart(suspect)
    kept = spread(own) + suspect.unit

    @cache
    def loose() -> Array:
        return spread(reordered())

    def beyond(size: float, at: Indices, most: float = suspect.most) -> bool:
        return size > most * _rms(kept, at) and not size <= REORDERED * _rms(loose(), at)

    def by_chance(at: Indices) -> bool:
        return beyond(_rms(apart, at), at, min(suspect.most, MOST_APART))

    loud = [at for at in parts if beyond(_rms(noise, at), at) or by_chance(at)]
    if not loud:
        return None
    kept = kept + spread(np.nan_to_num(saved()))
    loud = [at for at in loud if beyond(_rms(noise, at), at) or by_chance(at)]
    if not loud:
        return None
    at = max(loud, key=lambda at: _rms(noise, at) / max(_rms(kept, at), 1e-300))
    chance = by_chance(at)
    if not chance and again is not None and len(suspect.moves):
        loudest = int(np.argmax([_rms(m, at) for m in suspect.moves]))
        chance = any(
            beyond(_rms(np.nan_to_num(again(loudest), nan=np.inf), at), at) for _ in range(CALLS)
        )
    size = _rms(want, at) or 1.0
    times = _rms(noise, at) / max(_rms(kept, at), 1e-300)
    return times, _rms(noise, at) / size, _rms(kept, at) / size, chance


def lost_precision(error: Array, want: Array, own: Array) -> tuple[float, float, float, bool]:
    """(times, noise, kept, chance) of `Excess` for an error that is no chance.

    Where it is largest, beside what the definition's own formulas lose there (`own`).
    """
    at = np.unravel_index(int(np.argmax(np.abs(error))), error.shape)
    size = float(np.sqrt(np.mean(want**2))) or 1.0
    noise, kept = float(np.abs(error[at])), float(own[at])
    return noise / max(kept, 1e-300), noise / size, kept / size, False
