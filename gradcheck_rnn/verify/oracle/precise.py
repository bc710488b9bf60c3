"""Differences in more digits than double: longdouble, or mpmath numbers where the function can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import UsageError
from .differences import Estimate

__all__ = ["differentiate_precise"]


def differentiate_precise(phi: Callable[[Any], Any], *, digits: int = 50) -> Estimate:
    """Derivative at 0 of a function that takes and returns mpmath numbers.

    Parameters
    ----------
    phi
        Maps an `mpmath.mpf` step to an `mpmath.mpf` value, computed throughout at the working
        precision (parameters as mpf, elementwise functions from mpmath).
    digits
        Decimal digits of the working precision.

    Returns
    -------
    Differences of order 2 at h = 10^(-digits/4) and h/2, extrapolated to order 4, at twice the
    working digits for the quotient. Truncation is the change under extrapolation; roundoff comes
    from comparing with a second run at `digits` - 10, because the noise of phi is unknown.

    Raises
    ------
    UsageError
        If phi returns a float: the digits beyond double would be invented.
    """
    import mpmath

    def quotient(precision: int) -> tuple[Any, Any]:
        with mpmath.workdps(precision):
            h = mpmath.mpf(10) ** -(digits // 4)
            slopes = []
            for step in (h, h / 2):
                plus, minus = phi(step), phi(-step)
                if not isinstance(plus, mpmath.mpf) or not isinstance(minus, mpmath.mpf):
                    raise UsageError(
                        f"high precision needs a function that returns mpmath.mpf, not "
                        f"{type(plus).__name__}; write it with mpmath functions on object arrays"
                    )
                slopes.append((plus - minus) / (2 * step))
            return (4 * slopes[1] - slopes[0]) / 3, abs(slopes[1] - slopes[0]) / 3

    value, truncation = quotient(digits)
    again, _ = quotient(digits - 10)
    # the shorter run carries 10^10 times the roundoff; a thousandth of the gap is still generous
    roundoff = abs(value - again) / 1000
    rounding = abs(float(value)) * float(np.finfo(np.float64).eps) / 2
    error = float(truncation) + float(roundoff) + rounding
    step = 10.0 ** -(digits // 4) / 2
    return Estimate(
        float(value), float(truncation), float(roundoff) + rounding, 0.0, error, 8,
        bool(np.isfinite(error)), f"central differences of order 4 in {digits} digits", step,
    )  # fmt: skip
