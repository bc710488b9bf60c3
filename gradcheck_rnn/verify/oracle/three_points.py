"""One central difference whose error three evaluations tell: f(h), f(-h) and f(2h), beside f(0).

f(2h) - 3f(h) + 3f(0) - f(-h) = h³f''' + O(h⁴), so that the truncation h²f'''/6 of the central
difference is known from it. A kink inside the stencil cannot be told from curvature by so few
points: it makes the difference disagree with a right derivative. Whatever disagrees, and what this
error leaves in doubt, is for the ladder (see `differences`). Steps are meant to be small, of the
size at which roundoff is as large as truncation; at larger ones f''' may be cancelled by chance.
"""

from __future__ import annotations

import numpy as np

from .differences import CONFIDENCE, Estimate
from .line_functions import Lines
from .noise import Noise

__all__ = ["three_points"]

#: Of the central difference alone, in units of sigma/h.
AMPLIFICATION = float(np.sqrt(0.5))
#: The O(h⁴) may take away up to half of h³f''' before the error is too small.
SAFETY = 2.0


def three_points(lines: Lines, centre: float, noise: Noise, exponent: int) -> Estimate:
    """The derivative of one line at 0 by a step of 2**exponent; `centre` is f(0)."""
    h = 2.0**exponent
    with np.errstate(all="ignore"):
        values = lines(np.array([[h], [-h], [2 * h]]))[:, 0]
        plus, minus, far = (float(v) for v in values)
        third = (far - plus) - 2 * (plus - centre) + (centre - minus)
        sigma = float(np.max(noise.at(values, centre)))
        truncation = SAFETY * abs(third) / (6 * h)
        roundoff = CONFIDENCE * AMPLIFICATION * sigma / h
        error, value = truncation + roundoff, (plus - minus) / (2 * h)
    trusted = bool(np.isfinite(error) and np.isfinite(value))
    if not trusted:
        truncation = error = float("inf")
    return Estimate(
        value, truncation, roundoff, noise.sigma, error, 3, trusted,
        "central difference, its error from f(2h)", h,
        reason="" if trusted else "the function is not finite at the steps tried",
    )  # fmt: skip
