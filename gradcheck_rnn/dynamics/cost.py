"""What an analysis will cost, measured on a few steps of the system itself before it begins."""

from __future__ import annotations

import time

from .accumulate import QRProduct
from .system import System
from .threads import few_threads
from .trajectory import forward

__all__ = ["SHORT", "estimate"]

#: Steps that are measured.
SHORT = 8
#: Passes over the whole trajectory (exponents, products, bounds, expansions), over its first steps
#: (causes), and with remedies, each in units of one pass that also orthogonalises.
WHOLE, CAUSES, REMEDIES = 5, 8, 20
#: Steps that causes and remedies see at most, and steps whose Jacobian's eigenvalues are taken,
#: in units of one step.
PROBE, SPECTRA = 1000, 64 * 10


def estimate(system: System, steps: int, remedies: bool, draws: int) -> float:
    """Seconds that the analysis of a system takes, to a factor of about three.

    Parameters
    ----------
    steps : int
        T.
    remedies : bool
        Whether they are tried.
    draws : int
        Draws of weights in all.
    """
    short = min(SHORT, steps, system.segment_length)
    with few_threads(system.n):
        _pass(system, 1)
        started = time.perf_counter()
        _pass(system, short)
        step = (time.perf_counter() - started) / short
    some = min(steps, PROBE) * (CAUSES + REMEDIES * remedies) + SPECTRA
    return step * (WHOLE * steps + some + (draws - 1) * steps)


def _pass(system: System, steps: int) -> None:
    product = QRProduct(system.n)
    for segment in forward(system, steps):
        product.feed(segment.jacobian())
