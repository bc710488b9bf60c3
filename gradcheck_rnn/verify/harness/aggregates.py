"""Errors of whole arrays: finer than those of entries, since rounding averages and faults do not.

In a format of eight bits an entry is known to a few percent only. Along the gradient itself,
⟨error, gradient⟩ ÷ ⟨gradient, gradient⟩, the rounding of n entries is about 1/√n of that of one,
while a factor, a gate or a term that is wrong everywhere stays what it is. How much the rounding
of this code averages is measured: neighbouring points give as many samples of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COARSE",
    "Along",
    "Whole",
    "along",
    "combine_along",
    "over_pieces",
    "root_mean_square",
    "whole",
]

Array = NDArray[Any]
#: Formats whose unit is above this resolve no fault of a tenth of a percent entry by entry.
COARSE = 2.0**-12
SPREADS = 4.0


@dataclass(frozen=True)
class Along:
    """The error of one value of the definition along its gradient, and samples of its rounding."""

    value: float
    moves: Array

    def in_doubt(self, last: float) -> bool:
        """Whether the error is more than this rounding explains."""
        return abs(self.value) > SPREADS * float(np.sqrt(np.mean(self.moves**2))) + last

    def with_moves(self, others: Array) -> Along:
        """With further rounding, as many samples, that is independent of this."""
        return Along(self.value, self.moves + others)


@dataclass(frozen=True)
class Whole:
    """Root mean square of an array's error, and its bound, relative to the array."""

    error: float
    bound: float

    def with_moves(self, want: Array, others: Array) -> Whole:
        """With further rounding."""
        typical = float(np.sqrt(np.mean(others**2) / np.mean(want**2)))
        return Whole(self.error, self.bound + SPREADS * typical)


def along(got: Array, want: Array, moves: Array, sunk: float = 0.0) -> Along | None:
    """None for a gradient that is zero, or small beside what underflows, or not finite.

    Parameters
    ----------
    moves : array (draws, \\*shape)
        Deviations at neighbouring points.
    sunk : float
        What may have been lost to underflow in every entry.
    """
    size = float(np.sum(want * want))
    if not size > SPREADS * sunk / COARSE * float(np.sum(np.abs(want))):
        return None
    axes = tuple(range(1, moves.ndim))
    found = Along(float(np.sum((got - want) * want)) / size, np.sum(moves * want, axis=axes) / size)
    return found if np.isfinite(found.value) and np.isfinite(found.moves).all() else None


def root_mean_square(a: Array) -> float:
    """√ of the mean square of all entries, not a number where there are none."""
    return float(np.sqrt(np.add.reduce(a * a, axis=None) / a.size)) if a.size else float("nan")


def whole(got: Array, want: Array, moves: Array, unit: Array, last: float) -> Whole | None:
    """The error of all entries together.

    ``unit`` is the rounding of the last sum, by entry, and ``last`` the unit of the result.
    """
    size = root_mean_square(want)
    if not size > 0 or not np.isfinite(got).all():
        return None
    error, typical, sums = (root_mean_square(a) / size for a in (got - want, moves, unit))
    return Whole(error, SPREADS * typical + sums + last)


def combine_along(points: Sequence[Sequence[Along]], last: float) -> tuple[float, float] | None:
    """Error along the gradient over all cases of all points, and its bound.

    The cases of a point share their moves, so that what they have in common does not average.
    Results that are cut off, not rounded, are low by half a unit, saved values too: hence a unit.
    """
    values, noises = [], []
    for found in points:
        if not found:
            continue
        values.append(float(np.mean([a.value for a in found])))
        noises.append(float(np.sqrt(np.mean(np.mean([a.moves for a in found], axis=0) ** 2))))
    if not values:
        return None
    weights = 1 / (np.array(noises) ** 2 + (last / 8) ** 2)
    value = float(np.sum(weights * values) / np.sum(weights))
    return value, SPREADS / float(np.sqrt(np.sum(weights))) + last


def over_pieces(
    pieces: Mapping[str, Array], got: Array, want: Array, moves: Array, sunk: float
) -> dict[str, Along]:
    """`along` of every value (name → flat positions) that an array holds."""
    out = {}
    for name, index in pieces.items():
        flat = moves.reshape(len(moves), -1)[:, index]
        found = along(got.reshape(-1)[index], want.reshape(-1)[index], flat, sunk)
        if found is not None:
            out[name] = found
    return out
