"""Is the oracle itself right here? Differences of the whole forward pass along random directions.

The oracle takes the complex step for a derivative; that holds where the definition is analytic.
So it is checked: along a random direction through everything that has a gradient, Ridders' central
differences of the definition as a whole must agree with the oracle within their own error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...language.network import Ref
from ...language.running import to_columns
from ...streams import Stream, generator
from ..harness.modelpoint import ModelPoint
from ..harness.sweep import differentiated
from ..oracle.differences import Ladder, start_exponent
from ..oracle.lines import Lines
from ..oracle.noise import measure_noise
from ..verdict import Finding

__all__ = ["cross_check"]

Floats = NDArray[np.float64]
DIRECTIONS = 2
#: Error of a difference, relative to the terms of the derivative, that is small enough: where a
#: definition is not analytic the complex step is wrong by far more.
SHARP = 2.0**-33


def cross_check(point: ModelPoint, seed: int) -> list[Finding]:
    """Findings, empty if the oracle is confirmed."""
    oracle, network = point.oracle, point.network
    case = point.cases[0]
    cotangents, loss = point.cotangents(case), None if case.cotangents else 1.0
    truth = point.truth(oracle, [case])
    rng = generator(seed, Stream.CONFIRMATION)
    refs = differentiated(network)
    scale = {n: float(np.sqrt(np.mean(point.values[n] ** 2))) or 1.0 for n in refs}
    directions = [
        {n: scale[n] * rng.standard_normal(point.values[n].shape) for n in refs}
        for _ in range(DIRECTIONS)
    ]
    columns = {
        n: np.stack([to_columns(refs[n], v[n]) for v in directions], axis=_stacked(refs[n]))
        for n in refs
    }

    def along(eps: Floats) -> Floats:
        """Values at steps (k, m): column i goes along direction i, all in one run."""
        line = np.tile(np.arange(eps.shape[1]), len(eps))
        moved = dict(oracle.values)
        for n, w in columns.items():
            at = _stacked(refs[n])
            taken = np.take(w, line, axis=at)
            by = eps.reshape(-1, *[1] * (taken.ndim - at - 1))
            moved[n] = np.expand_dims(moved[n], at) + by * taken
        made = oracle.value(moved, cotangents, loss)
        return np.broadcast_to(np.asarray(made, dtype=np.float64), eps.size).reshape(eps.shape)

    lines = Lines(along, DIRECTIONS)
    centre = float(along(np.zeros((1, DIRECTIONS)))[0, 0])
    # Noise is the function's own: along one direction it is measured for both.
    noise = measure_noise(lambda eps: along(eps[:, None])[:, 0].copy(), 1.0, 2.0**-52)
    ladder = Ladder(lines, centre, noise, start_exponent(1.0))
    sizes = [sum(float(np.sum(truth.size[n][0] * np.abs(v[n]))) for n in refs) for v in directions]
    settled = ladder.settle(SHARP * np.array(sizes))
    for k, v in enumerate(directions):
        expected = sum(float(np.sum(truth.of[n][0] * v[n])) for n in refs)
        slack = 64 * 2.0**-52 * sizes[k]
        found = settled[k]
        if not abs(found.value - expected) <= found.error + slack:
            ladder.exhaust()
            found = ladder.contest(expected, slack, k)
        if found.trusted and not abs(found.value - expected) <= found.error + slack:
            return [
                Finding(
                    "oracle",
                    f"along a random direction ({k + 1}) the complex step of "
                    f"{network.name!r} gives {expected:.9g}, differences give {found.value:.9g} "
                    f"± {found.error:.1e}: the definition is not analytic here (a kink nearby?), "
                    "so this verdict does not hold; choose another seed",
                    fatal=True,
                )
            ]
    return []


def _stacked(ref: Ref) -> int:
    """Where perturbations are stacked: behind the time axis, or in front."""
    return int(ref.axis is not None)
