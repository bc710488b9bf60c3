"""Values that lie on a lattice: rounded to decimals, cast to a narrower format, counted.

Such a function is flat almost everywhere, and its differences at small steps are exactly zero,
which says nothing of the slope that it stands for. Its noise is the rounding to the lattice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPACING_SIGMA", "Lattice", "common_spacing", "find_lattice", "spacing_of"]

Floats = NDArray[np.float64]
#: Standard deviation of rounding to the nearest of values of spacing 1 (1/√12, rounded up).
SPACING_SIGMA = 0.3
#: A lattice is coarser than the format by more than this; below, ordinary noise measures it.
COARSE = 256.0
SAMPLES = 6
GROWTH = 32.0
#: Format units, as relative spacings, whose values scale with the value: float16 and bfloat16.
NARROW = (2.0**-10, 2.0**-7)


@dataclass(frozen=True)
class Lattice:
    """`quantum` is the spacing or 0; `eps` is the unit of a narrow format, relative, or 0."""

    quantum: float
    eps: float
    values: Floats

    @property
    def evaluations(self) -> int:
        """Values of the function that it took."""
        return int(self.values.size)


def spacing_of(value: float, eps: float) -> float:
    """Distance of neighbouring numbers about a value, in a format of unit eps; never zero."""
    tiny = np.finfo(np.float64) if eps < 1e-10 else np.finfo(np.float32)
    return max(eps * abs(value), float(tiny.smallest_subnormal))


def common_spacing(values: Floats, unit: float) -> float:
    """Spacing of the lattice that contains all values, known up to `unit` each; 0 if there is none.

    Euclid's algorithm on the differences. On numbers of no common spacing it descends to a few
    units; only a divisor far above them is one.
    """
    distinct = np.unique(values[np.isfinite(values)])
    if distinct.size < 4:
        return 0.0
    found = own = 0.0
    for gap in np.sort(np.diff(distinct)):
        # a remainder carries the error of its parts, once for every multiple that was taken away
        a, a_error, b, b_error = float(gap), 2 * unit, found, own
        while b > 2 * b_error:
            times = np.round(a / b)
            a, b = b, abs(a - times * b)
            a_error, b_error = b_error, a_error + times * b_error
        found, own = a, min(own, a_error) if a == found else a_error
        if found < COARSE * unit:
            return 0.0
    multiples = (distinct - distinct[0]) / found
    on = np.abs(multiples - np.round(multiples)) <= 0.02 + 2 * unit / found
    return found if bool(on.all()) else 0.0


def find_lattice(
    phi: Callable[[Floats], Floats], scale: float, step: float, centre: float, eps: float
) -> Lattice:
    """Sample phi at irregular steps, larger and larger, until its values tell a spacing.

    Equispaced steps would not do: a linear function has equispaced values there.
    """
    rng = np.random.default_rng(1)
    values = np.array([centre])
    size = step * GROWTH
    while True:
        last = size >= scale
        offsets = min(size, scale) * rng.uniform(-1, 1, 4 * SAMPLES if last else SAMPLES)
        values = np.append(values, np.asarray(phi(offsets), dtype=np.float64))
        distinct = np.unique(values[np.isfinite(values)])
        if distinct.size >= SAMPLES or last:
            break
        size *= GROWTH
    top = float(np.max(np.abs(distinct), initial=0.0))
    quantum = common_spacing(distinct, spacing_of(top, eps))
    if 2 <= distinct.size < 4:  # a few levels that most values share
        quantum = float(np.min(np.diff(distinct)))
    return Lattice(quantum, _narrow(quantum, top), values[1:])


def _narrow(quantum: float, top: float) -> float:
    """The unit of a narrow floating-point format, where the lattice is that of its numbers."""
    if quantum <= 0 or np.frexp(quantum)[0] != 0.5:
        return 0.0
    below = 2.0 ** np.floor(np.log2(top)) if top > 0 else 0.0
    return next((e for e in NARROW if 0.25 <= quantum / (e * below) <= 1), 0.0) if below else 0.0
