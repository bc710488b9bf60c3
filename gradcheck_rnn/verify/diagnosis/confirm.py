"""Is the oracle itself right here? Differences of the whole forward pass along random directions.

The oracle takes the complex step for a derivative; that holds where the definition is analytic.
So it is checked: along a random direction through everything that has a gradient, Ridders' central
differences of the definition as a whole must agree with the oracle within their own error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.running import to_columns
from ..harness.compare import Station
from ..harness.sweep import differentiated
from ..oracle.differences import Ladder, start_exponent
from ..oracle.lines import Lines
from ..oracle.noise import measure_noise
from ..verdict import Finding

__all__ = ["confirm"]

Floats = NDArray[np.float64]
DIRECTIONS = 2


def confirm(station: Station, seed: int) -> list[Finding]:
    """Findings, empty if the oracle is confirmed."""
    oracle, network = station.oracle, station.place.network
    case = station.cases[0]
    cotangents, loss = station.columns(case), None if case.cotangents else 1.0
    truth = station.truth(oracle, [case])
    rng = np.random.default_rng([seed, 16])
    refs = differentiated(network)
    for number in range(DIRECTIONS):
        scale = {n: float(np.sqrt(np.mean(station.doors[n] ** 2))) or 1.0 for n in refs}
        v = {n: scale[n] * rng.standard_normal(station.doors[n].shape) for n in refs}
        expected = sum(float(np.sum(truth.of[n][0] * v[n])) for n in refs)
        size = sum(float(np.sum(truth.size[n][0] * np.abs(v[n]))) for n in refs)
        columns = {n: to_columns(refs[n], a) for n, a in v.items()}

        def along(eps: Floats, columns: dict[str, Any] = columns) -> Floats:
            moved = dict(oracle.values)
            for n, w in columns.items():
                x, e = moved[n], eps
                moving = refs[n].axis is not None
                stack = e.reshape(-1, 1, 1)
                moved[n] = (x[:, None] + stack * w[:, None]) if moving else x + stack * w
            made = oracle.value(moved, cotangents, loss)
            return np.broadcast_to(np.asarray(made, dtype=np.float64), e.shape).copy()

        centre = float(along(np.zeros(1))[0])
        noise = measure_noise(along, 1.0, 2.0**-52)
        lines = Lines(lambda eps, along=along: along(eps[:, 0])[:, None])  # type: ignore[misc]
        ladder = Ladder(lines, centre, noise, start_exponent(1.0))
        slack = 64 * 2.0**-52 * size
        found = ladder.settle(0.0)[0]
        if not abs(found.value - expected) <= found.error + slack:
            ladder.exhaust()
            found = ladder.contest(expected, slack)
        if found.trusted and not abs(found.value - expected) <= found.error + slack:
            return [
                Finding(
                    "oracle",
                    f"along a random direction ({number + 1}) the complex step of "
                    f"{network.name!r} gives {expected:.9g}, differences give {found.value:.9g} "
                    f"± {found.error:.1e}: the definition is not analytic here (a kink nearby?), "
                    "so this verdict does not hold; choose another seed",
                    fatal=True,
                )
            ]
    return []
