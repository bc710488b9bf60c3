"""Lyapunov exponents: the mean logarithmic rates at which ∂h_T/∂h_t grows or decays.

λ₁ is the slope of log ‖∂h_T/∂h_t‖ against the lag, for almost every cotangent; a gradient vanishes
as e^{λ₁·lag} when λ₁ < 0. By QR of the product of transition Jacobians (Benettin et al. 1980;
Eckmann & Ruelle 1985, §V.C), with a burn-in, in memory that does not grow with T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from .accumulate import QRProduct
from .system import System
from .threads import few_threads
from .trajectory import forward

__all__ = ["Lyapunov", "kaplan_yorke", "lyapunov", "spectrum_of"]

Array = np.ndarray[Any, Any]
BATCHES = 20


@dataclass(frozen=True)
class Lyapunov:
    """The Lyapunov spectrum of a recurrence along one trajectory.

    Attributes
    ----------
    exponents : array ``(k,)``
        In nats a step, falling; −∞ for directions lost within finite time.
    errors : array ``(k,)``
        Standard errors by batch means over 20 segments of time (what differs from trajectory to
        trajectory beyond that is not in them).
    steps, burn_in : int
        Steps that count, and steps before them that do not.
    size : int
        Size of the joint state; `k` is smaller if only leading exponents were asked for.
    mean_log_det : float
        Mean of log |det J_t| over the same steps, computed apart from the QR; NaN if not asked for.
    """

    exponents: Array
    errors: Array
    steps: int
    burn_in: int
    size: int
    mean_log_det: float = float("nan")

    @property
    def leading(self) -> float:
        """λ₁."""
        return float(self.exponents[0])

    @property
    def horizons(self) -> Array:
        """1/|λ| in steps: the time in which a perturbation changes by a factor e; ∞ at λ = 0."""
        with np.errstate(divide="ignore"):
            return 1.0 / np.abs(self.exponents)

    @property
    def dimension(self) -> float | None:
        """Kaplan–Yorke dimension; None if not all exponents needed for it were computed."""
        return kaplan_yorke(self.exponents, self.size)

    @property
    def entropy_rate(self) -> float | None:
        """Σ of the positive exponents, nats a step: Pesin's formula for an autonomous system.

        An upper bound in general (Ruelle's inequality). None if only leading exponents are known
        and all of them are positive.
        """
        if len(self.exponents) < self.size and self.exponents[-1] > 0:
            return None
        return float(self.exponents[self.exponents > 0].sum())


def kaplan_yorke(exponents: Array, size: int) -> float | None:
    """D = j + (λ₁ + … + λ_j)/|λ_{j+1}| with j the last index whose partial sum is not negative.

    Source: Kaplan & Yorke 1979; Frederickson et al. 1983.
    """
    sums = np.cumsum(exponents)
    negative = np.flatnonzero(sums < 0)
    if not len(negative):
        return float(size) if len(exponents) == size else None
    j = int(negative[0])
    before = float(sums[j - 1]) if j else 0.0
    if np.isneginf(exponents[j]):
        return float(j)
    return j + before / abs(float(exponents[j]))


def spectrum_of(
    blocks: Iterable[Array],
    n: int,
    *,
    steps: int,
    burn_in: int = 0,
    leading: int | None = None,
    determinant: bool = False,
    seed: int = 0,
    xp: Any = np,
    progress: Callable[[int], None] | None = None,
) -> Lyapunov:
    """Lyapunov exponents of any sequence of Jacobians.

    Parameters
    ----------
    blocks : iterable of array ``(m, n, n)``
        J_1, J_2, … in segments, first steps first; together burn_in + steps of them.
    steps, burn_in : int
        Steps that count, and before them.
    leading : int, optional
        Only so many exponents.
    determinant : bool
        Also average log |det J_t|, which the exponents must sum to.
    xp : module
        NumPy or CuPy.
    progress : callable, optional
        Called with the number of steps done.

    Raises
    ------
    UsageError
        Too few steps for an error estimate, or the blocks end early.
    """
    if steps < 2 * BATCHES:
        raise UsageError(f"{steps} steps are too few for an error estimate; at least {2 * BATCHES}")
    product = QRProduct(n, leading=leading, seed=seed, xp=xp)
    sums = np.zeros((BATCHES, product.kept))
    # Borders between batches, so that every batch has its own number of steps.
    borders = burn_in + np.round(np.linspace(0, steps, BATCHES + 1)).astype(int)
    at, log_det = 0, 0.0
    for block in blocks:
        cuts = borders[(borders > at) & (borders < at + len(block))] - at
        for piece in np.split(block, cuts):
            batch = int(np.searchsorted(borders, at, side="right")) - 1
            grown = product.feed(piece)
            if batch >= 0:
                sums[batch] += grown
                if determinant:
                    log_det += float(np.linalg.slogdet(piece)[1].sum())
            at += len(piece)
        if progress is not None:
            progress(at)
    if at != burn_in + steps:
        raise UsageError(f"{burn_in + steps} steps were announced, {at} came")
    lengths = np.diff(borders)[:, None]
    exponents = sums.sum(axis=0) / steps
    with np.errstate(invalid="ignore"):
        means = sums / lengths
        errors = means.std(axis=0, ddof=1) / np.sqrt(BATCHES)
    order = np.argsort(-exponents, kind="stable")
    errors = np.where(np.isfinite(exponents), errors, 0.0)
    return Lyapunov(
        exponents[order],
        errors[order],
        steps,
        burn_in,
        n,
        log_det / steps if determinant else float("nan"),
    )


def lyapunov(
    system: System,
    steps: int,
    *,
    burn_in: int | None = None,
    leading: int | None = None,
    determinant: bool = False,
    xp: Any = np,
    progress: Callable[[int], None] | None = None,
) -> Lyapunov:
    """Lyapunov exponents of a system along its trajectory.

    Parameters
    ----------
    steps : int
        Length of the trajectory, burn-in included.
    burn_in : int, optional
        Steps that do not count; a tenth when left out.

    Raises
    ------
    UsageError
        Too few steps, or the inputs end early.
    """
    skip = steps // 10 if burn_in is None else burn_in
    with few_threads(system.n):
        return spectrum_of(
            (segment.jacobian() for segment in forward(system, steps)),
            system.n,
            steps=steps - skip,
            burn_in=skip,
            leading=leading,
            determinant=determinant,
            xp=xp,
            progress=progress,
        )
