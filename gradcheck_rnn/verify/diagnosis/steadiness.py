"""Does the code compute in the precision it is checked in, and the same thing every time?

The bound of an entry contains the noise that the gradient under test shows itself. That is right
for rounding, but code that rounds to a coarser format inside, or draws random numbers, would earn
itself a wide bound. So its noise is compared with what the declared format explains: the movement
of the definition's own gradient under the same movements of the inputs, and the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Station, neighbour
from ..harness.subject import Subject
from ..verdict import Finding

__all__ = ["unsteady"]

Array = NDArray[Any]
DRAWS = 3
#: Noise this many times what the format explains is no rounding of that format: float32 has 13 bits
#: more than TF32, float64 29 more than float32.
PLAIN = 256.0


def unsteady(
    station: Station,
    subject: Subject,
    seed: int,
    *,
    accepted: bool,
    wanted: Collection[str] | None = None,
) -> list[Finding]:
    """Findings at one station, empty if the noise of the gradient is that of its format.

    ``wanted`` names the arrays that were checked, by default all; ``accepted``: nothing was found
    wrong, so that whatever error there is passed for noise.
    """
    form, fitted, case = subject.form, station.fitted, station.cases[0]
    given = station.users(case) if subject.with_cotangents else None
    got = subject.gradients(fitted, station.arrays, given)
    again = subject.gradients(fitted, station.arrays, given)
    rng = np.random.default_rng([seed, 18])
    near = [neighbour(station.arrays, form, rng, fitted) for _ in range(DRAWS)]
    moved = [subject.gradients(fitted, a, given) for a in near]
    truth = station.truth(station.oracle, [case])
    wants: list[dict[str, Array]] | None = None
    noisy: dict[str, float] = {}
    for user in got if wanted is None else [n for n in got if n in wanted]:
        size = fitted.pull(user, {n: a[0] for n, a in truth.size.items()}, absolute=True)
        base = fitted.pull(user, {n: a[0] for n, a in truth.of.items()})
        noise = _typical([m[user] - got[user] for m in moved])
        if accepted:
            noise = max(noise, _typical([got[user] - base]))
        rounding = form.eps * np.sqrt(np.mean(size**2)) + form.least
        if not noise > PLAIN * rounding:
            continue
        if wants is None:
            wants = [_wanted(station, a, case) for a in near]
        explained = _typical([w[user] - base for w in wants]) + rounding
        if noise > PLAIN * explained:
            noisy[user] = noise / explained
    if not noisy:
        return []
    names = ", ".join(f"d{n}" for n in noisy)
    times = max(noisy.values())
    if any(not np.array_equal(again[n], got[n], equal_nan=True) for n in noisy):
        return [
            Finding(
                "unsteady",
                f"{names} differ from call to call at one point, by {times:.0e} times what "
                f"rounding in {form.name} explains: random numbers in the backward pass? Fix their "
                "seed",
                fatal=True,
            )
        ]
    return [
        Finding(
            "lost-precision",
            f"{names} have noise, {times:.0e} times what rounding in {form.name} explains: "
            "something is computed in a coarser format, or rounded; give the dtype it is computed "
            "in if that is meant",
            fatal=True,
        )
    ]


def _typical(deviations: list[Array]) -> float:
    found = np.nan_to_num(np.stack(deviations), nan=0.0, posinf=0.0, neginf=0.0)
    return float(np.sqrt(np.mean(found**2))) if found.size else 0.0


def _wanted(station: Station, arrays: dict[str, Array], case: Any) -> dict[str, Array]:
    """The definition's gradients at a neighbouring point."""
    doors = {**station.doors, **station.fitted.unpack(arrays)}
    oracle = station.at(doors)
    made = station.truth(oracle, [case])
    gradients = {n: a[0] for n, a in made.of.items()}
    return {u: station.fitted.pull(u, gradients) for u in station.fitted.arguments}
