"""The derivative of a line, its error and the noise of its values, from seven of them at 0 to ±3h.

Differences of order k of a smooth function vanish as h^k, those of its noise do not (Moré and Wild,
see `noise`): the fourth to the sixth of seven values are noise where h is small. What is left of
the function in them, a kink or a jump within the steps, widens the noise that they show and with it
the error. Three independent numbers may all be small by chance, so that it is no measure of noise
for anything else: they are off by a factor of eight once in a hundred times, and a right derivative
then disagrees with one in 250.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .differences import CONFIDENCE, Estimate
from .lattice import SPACING_SIGMA

__all__ = ["OFFSETS", "seven_points"]

Floats = NDArray[np.float64]
#: Where the values are, in steps, and weights that make of them h times the derivatives at 0 and
#: at h, exact for polynomials of degree six.
OFFSETS = np.arange(-3.0, 4.0)
WEIGHTS = np.array([[-1, 9, -45, 0, 45, -9, 1], [1, -8, 30, -80, 35, 24, -2]]) / 60.0
#: Noise of these in units of that of a value.
AMPLIFICATION = np.linalg.norm(WEIGHTS, axis=1)
#: The variance of a difference of the orders that show noise, in units of that of a value.
USUAL = {order: float(math.comb(2 * order, order)) for order in (4, 5, 6)}


def seven_points(values: Floats, h: float, eps: float) -> tuple[Estimate, Estimate]:
    """The derivatives at 0 and at h of a line, of which `values` are those at ``h * OFFSETS``.

    `eps` is the unit in the last place of the values, relative. Noise is what the differences show,
    at least the rounding of a result to this format.
    """
    with np.errstate(all="ignore"):
        level = SPACING_SIGMA * eps * float(np.max(np.abs(values)))
        table = values - values[3]
        for order in range(1, len(OFFSETS)):
            table = table[1:] - table[:-1]
            if order in USUAL:
                level = max(level, math.sqrt(float(table @ table) / len(table) / USUAL[order]))
        slopes = WEIGHTS @ (values - values[3]) / h
    found = []
    for slope, amplification in zip(slopes.tolist(), AMPLIFICATION.tolist(), strict=True):
        error = CONFIDENCE * amplification * level / h
        trusted = math.isfinite(error) and math.isfinite(slope)
        found.append(
            Estimate(
                slope, 0.0, error, level, error if trusted else math.inf, len(OFFSETS) - 1, trusted,
                "seven values on a line, their high differences as noise", h,
            )
        )  # fmt: skip
    return found[0], found[1]
