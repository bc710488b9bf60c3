"""Lines through a function: the one shape in which every oracle sees what it differentiates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lines"]

Floats = NDArray[np.float64]


def _identity(eps: Floats) -> Floats:
    return eps


@dataclass
class Lines:
    """m one-dimensional functions phi_1 .. phi_m sharing the value at eps = 0.

    Parameters
    ----------
    evaluate
        Maps steps of shape (k, m) to values of shape (k, m); column i is line i. A loss that takes
        perturbations stacked on a leading axis evaluates all of them in one call.
    count
        m, the number of lines.
    realise
        Maps wanted steps (k, m) to the ones that the parameter's floating-point grid makes of
        them, (x + h) - x, also (k, m). Quotients divide by realised steps, so that the rounding
        of x + h is no error of the derivative. Default: steps are exact.
    """

    evaluate: Callable[[Floats], Floats]
    count: int = 1
    realise: Callable[[Floats], Floats] = _identity
    evaluations: int = field(default=0, init=False)

    @classmethod
    def scalar(cls, phi: Callable[[float], float], at: float = 0.0) -> Lines:
        """One line, eps -> phi(at + eps), from a function of a float."""

        def evaluate(eps: Floats) -> Floats:
            return np.array([float(phi(float(at + e))) for e in eps.ravel()]).reshape(eps.shape)

        return cls(evaluate, 1, lambda eps: (at + eps) - at)

    def __call__(self, eps: Floats) -> Floats:
        """Values at steps (k, m), float64; evaluations are counted one a value."""
        self.evaluations += eps.size
        with np.errstate(all="ignore"):
            return np.asarray(self.evaluate(eps), dtype=np.float64)
