"""How far a gradient under test moves: under moves of its inputs by one unit, and along a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...streams import Stream, generator, random_signs
from ..roundoff import noisy_level, spread
from .arrays import Precision
from .layout import Fitted
from .subject import Subject

__all__ = ["deviations", "gap", "line_noise", "neighbour"]

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
        n: form.quantise(a * (1 + random_signs(rng, a.shape) * form.eps)) for n, a in arrays.items()
    }
    return moved if fitted is None else fitted.inside(moved, arrays)


def line_noise(
    subject: Subject,
    fitted: Fitted,
    arrays: Mapping[str, Array],
    given: Mapping[str, Array] | None,
    seed: int,
) -> Arrays:
    """Noise of every entry along a random line, by high differences (Moré and Wild).

    Finds what one unit in the last place cannot: a saturated 1 − h·h keeps its rounding error for
    all neighbours that leave h itself unchanged. A level counts as noise as `noisy_level` says; a
    wrong but smooth gradient has none.
    """
    rng = generator(seed, Stream.DEVIATIONS)
    signs = {n: random_signs(rng, a.shape) for n, a in arrays.items()}
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
            level = noisy_level(np.stack([v[user] for v in values]))
            worst[user] = np.maximum(worst.get(user, 0.0), level)
    return {user: NOISES * spread(level[None]) for user, level in worst.items()}


def gap(now: Array, first: Array) -> Array:
    """How far a value is from the first one; equal infinities deviate by nothing."""
    with np.errstate(all="ignore"):
        return np.where(now == first, 0.0, now - first)


def deviations(runs: Sequence[Mapping[str, Array]], user: str, got: Array) -> Array:
    """How far an array of each run is from what was got, (runs, \\*shape)."""
    return gap(np.array([r[user] for r in runs]), got) if runs else np.zeros((0, *got.shape))
