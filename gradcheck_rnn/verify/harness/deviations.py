"""How far a gradient under test moves: under moves of its inputs by one unit, and along a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...streams import Stream, generator
from .arrays import Precision
from .layout import Fitted
from .subject import Subject

__all__ = ["line_noise", "neighbour", "spread"]

Array = NDArray[Any]
Arrays = dict[str, Array]
#: Standard deviations of noise in a bound: four differences estimate one, which can be low by half.
NOISES = 12.0


def neighbour(
    arrays: Mapping[str, Array],
    form: Precision,
    rng: np.random.Generator,
    fitted: Fitted | None = None,
) -> Arrays:
    """The arrays with every entry moved by one unit in the last place, inside its domain."""
    moved = {
        n: form.quantise(a * (1 + rng.choice([-1.0, 1.0], size=a.shape) * form.eps))
        for n, a in arrays.items()
    }
    return moved if fitted is None else fitted.inside(moved, arrays)


def spread(samples: Array) -> Array:
    """Largest deviation of each entry, but not below the typical one of its row or column."""
    largest = np.max(np.abs(samples), axis=0)
    if largest.ndim == 0 or not largest.size:
        return np.asarray(largest)
    squares = np.mean(samples**2, axis=0)
    typical = np.min(
        [np.broadcast_to(np.sqrt(squares.mean(axis=k, keepdims=True)), largest.shape)
         for k in range(largest.ndim)], axis=0,
    )  # fmt: skip
    return np.asarray(np.maximum(largest, typical))


def line_noise(
    subject: Subject,
    fitted: Fitted,
    arrays: Mapping[str, Array],
    given: Mapping[str, Array] | None,
    seed: int,
) -> Arrays:
    """Noise of every entry along a random line, by high differences (Moré and Wild).

    Finds what one unit in the last place cannot: a saturated 1 − h·h keeps its rounding error for
    all neighbours that leave h itself unchanged. A level counts as noise if the fifth and the
    sixth differences agree on it; a wrong but smooth gradient has none.
    """
    rng = generator(seed, Stream.DEVIATIONS)
    signs = {n: rng.choice([-1.0, 1.0], size=a.shape) for n, a in arrays.items()}
    worst: Arrays = {}
    # From ten units to a thousandth, a hundredfold each; coarse formats have one distance only.
    count = 1 + max(0, int(np.log(2e-3 / (8.0 * subject.form.eps)) / np.log(100.0)))
    for distance in 8.0 * subject.form.eps * 100.0 ** np.arange(count):
        values: list[Arrays] = []
        for k in range(-5, 5):
            near = {
                n: subject.form.quantise(a * (1 + k * distance * signs[n]))
                for n, a in arrays.items()
            }
            values.append(subject.gradients(fitted, fitted.inside(near, arrays), given))
        for user in values[0]:
            series = np.stack([v[user] for v in values])
            fifth, sixth = (_level(series, order) for order in (5, 6))
            level = np.where(fifth <= 4 * sixth, sixth, 0.0)
            worst[user] = np.maximum(worst.get(user, 0.0), level)
    return {user: NOISES * spread(level[None]) for user, level in worst.items()}


def _level(values: Array, order: int) -> Array:
    gamma = float(np.prod([0.5 * k / (2 * k - 1) for k in range(1, order + 1)]))
    with np.errstate(all="ignore"):
        differences = np.diff(values, n=order, axis=0)
        level = np.sqrt(gamma * np.mean(differences**2, axis=0))
    return np.asarray(np.nan_to_num(level, nan=0.0, posinf=0.0, neginf=0.0))
