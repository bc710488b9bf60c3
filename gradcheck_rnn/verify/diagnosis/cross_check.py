"""Is the oracle itself right here? Differences of the whole forward pass along random directions.

The oracle takes the complex step for a derivative; that holds where the definition is analytic.
So it is checked: along a random direction through everything that has a gradient, Ridders' central
differences of the definition as a whole must agree with the oracle within their own error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.network import Network, Ref
from ...language.running import to_columns
from ...language.values import Weight
from ...streams import Stream, generator
from ..harness.modelpoint import ModelPoint
from ..harness.outputs import OutputRounding
from ..harness.perturbed import by_products_only, times
from ..harness.sweep import LOSS, differentiated
from ..oracle.differences import Ladder, start_exponent
from ..oracle.line_functions import Lines
from ..oracle.noise import Noise, measure_noise
from ..verdict import Finding

__all__ = ["MovedWeight", "cross_check", "moved_weights"]

Floats = NDArray[np.float64]
DIRECTIONS = 2
#: Error of a difference, relative to the terms of the derivative, that is small enough: where a
#: definition is not analytic the complex step is wrong by far more.
SHARP = 2.0**-33


def cross_check(
    point: ModelPoint, seed: int, rounding: OutputRounding | None = None
) -> list[Finding]:
    """Findings, empty if the oracle is confirmed.

    ``rounding`` of float64 tells the noise of a value that a few differences have measured too low;
    it is asked where they disagree with the oracle.
    """
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

    weights = moved_weights(network)

    def along(eps: Floats) -> Floats:
        """Values at steps (k, m): column i goes along direction i, all in one run."""
        line = np.tile(np.arange(eps.shape[1]), len(eps))
        moved = dict(oracle.values)
        for n, w in columns.items():
            if n in weights:
                moved[n] = MovedWeight.of(oracle.values[n], w, eps)
                continue
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
    sizes = [sum(float(np.sum(truth.size[n][0] * np.abs(v[n]))) for n in refs) for v in directions]
    expected = [sum(float(np.sum(truth.of[n][0] * v[n])) for n in refs) for v in directions]

    def refuted(noise: Noise) -> list[Finding]:
        ladder = Ladder(lines, centre, noise, start_exponent(1.0))
        settled = ladder.settle(SHARP * np.array(sizes))
        for k, wanted in enumerate(expected):
            slack = 64 * 2.0**-52 * sizes[k]
            found = settled[k]
            if not abs(found.value - wanted) <= found.error + slack:
                ladder.exhaust()
                found = ladder.contest(wanted, slack, k)
            if found.trusted and not abs(found.value - wanted) <= found.error + slack:
                return [
                    Finding(
                        "oracle",
                        f"along a random direction ({k + 1}) the complex step of "
                        f"{network.name!r} gives {wanted:.9g}, differences give {found.value:.9g} "
                        f"± {found.error:.1e}: the definition is not analytic here (a kink "
                        "nearby?), so this verdict does not hold; choose another seed",
                        fatal=True,
                    )
                ]
        return []

    out = refuted(noise)
    if out and rounding is not None:
        made = rounding.outputs(point)
        told = {n: np.expand_dims(g, 0) * made[n] for n, g in case.cotangents.items()}
        parts = told.values() if told else [made[LOSS]]
        sigma = float(np.std(sum(a.reshape(len(a), -1).sum(1) for a in parts)))
        if not np.isfinite(sigma):
            return []
        out = refuted(replace(noise, sigma=sigma)) if sigma > noise.sigma else out
    return out


class MovedWeight(Weight):
    """W + ε V on several lines, held as W and one V a direction: a product reads each of them once.

    Line k of (k, m) values goes along direction k mod m.
    """

    directions: Floats
    eps: Floats

    @classmethod
    def of(cls, weight: Floats, directions: Floats, eps: Floats) -> MovedWeight:
        """W (p, q), directions (at least m, p, q), steps (k, m)."""
        made = np.asarray(weight).view(cls)
        made.directions, made.eps = directions[: eps.shape[1]], eps
        return made

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is not np.matmul or method != "__call__" or inputs[0] is not self or kwargs:
            return NotImplemented
        plain, v = self.view(np.ndarray), np.asarray(inputs[1])
        count = len(self.directions)
        at = times(plain, v)
        out = np.empty((self.eps.size, *at.shape[-2:]), np.result_type(at, self.eps))
        for j, direction in enumerate(self.directions):
            mine = slice(j, None, count)
            moved = times(direction, v if v.ndim == 2 else v[mine])
            here = at if v.ndim == 2 else at[mine]
            out[mine] = here + self.eps[:, j, None, None] * moved
        return out


def moved_weights(network: Network) -> set[str]:
    """Parameters that enter by products W @ v only, wherever they are read."""
    if network.front:
        return set()
    read = [(scan, o.name) for scan in network.scans for o in scan.operands.values()]
    starts = {i.ref.name for s in network.scans for x in s.states for i in x.initial if i.ref}
    others = {name for scan, name in read if name not in by_products_only(scan)}
    return {name for _, name in read if name in network.parameters} - starts - others


def _stacked(ref: Ref) -> int:
    """Where perturbations are stacked: behind the time axis, or in front."""
    return int(ref.axis is not None)
