"""How far rounding in a format carries the definition's own gradient at one point.

Everything that a step reads is moved by about one unit: what the code is given, the states that a
forward pass saves, the adjoint that is carried from step to step. Only the spread of the results
is used. It tells what a stable evaluation reaches in that format, whatever the code under test
does, so that noise of the code's own is no excuse for its errors.

Where a state is carried unit by unit (h = a ⊙ h + …), code may take the steps together: sums over
steps in another order, products of decays as differences of prefix sums of their logarithms. A sum
of n terms is then off by about √n units, and a prefix sum G by units of |G|, which is a relative
error of exp(G). There the moves are as many units as that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...language.network import Scan
from ...language.running import to_rows
from .arrays import Precision
from .plan import Case
from .sweep import ModelOracle
from .through import Through

if TYPE_CHECKING:
    from .compare import Station

__all__ = ["Explained", "reordered_units"]

Array = NDArray[np.floating]
Arrays = dict[str, Array]
DRAWS = 4
#: A decay below this is no product that code would take by logarithms: it is zero.
LEAST_DECAY = 1e-30


def reordered_units(oracle: ModelOracle) -> float:
    """Units of rounding that taking the steps of a point in another order may cost, at least 1."""
    return max([1.0, *(_of_scan(oracle, scan) for scan in oracle.network.scans)])


def _of_scan(oracle: ModelOracle, scan: Scan) -> float:
    """√n and the largest |Σ log|decay|| of a scan that carries unit by unit, else 1."""
    jac = oracle.jacobians(scan)
    states = {s.name for s in scan.states}
    worst = 1.0
    for block in jac.blocks:
        if block.source[0] != "value" or block.source[1] not in states:
            continue
        for jacobian in block.of.values():
            if isinstance(jacobian, Through) and jacobian.mixes:
                return 1.0  # there is no other order
            of = jacobian.dense() if isinstance(jacobian, Through) else jacobian
            if not of.size or not of.any():
                continue
            if of.ndim == 4:
                rows = min(of.shape[2:])
                if of.shape[2] != of.shape[3] or rows > 1:
                    off = of * (1 - np.eye(of.shape[2], of.shape[3]))
                    if off.any():
                        return 1.0  # units mix: there is no other order
                of = of[..., np.arange(rows), np.arange(rows)]
            logs = np.log(np.maximum(np.abs(of.astype(np.float64)), LEAST_DECAY))
            worst = max(worst, float(np.max(np.abs(np.cumsum(logs, axis=0)))))
    return worst + float(np.sqrt(jac.steps))


class Explained:
    """Spreads of the definition's outputs and gradients under rounding, made when asked for.

    Parameters
    ----------
    station : Station
        The point.
    form : Precision
        The format in which everything is held.
    seed : int
        Of the moves.
    units : float
        So many units everything is moved by.
    """

    def __init__(self, station: Station, form: Precision, seed: int, units: float) -> None:
        self.station, self.form, self.seed = station, form, seed
        self.units = units
        self._outputs: dict[str, Array] | None = None
        self._gradients: list[Arrays] | None = None
        self._by_case: dict[int, Arrays] = {}

    def _moved(self) -> Iterator[ModelOracle]:
        """Oracles at moved points, one at a time: each holds the Jacobians of all steps."""
        rng = np.random.default_rng([self.seed, 21])
        for _ in range(DRAWS):
            doors = {n: self._noisy(a, rng) for n, a in self.station.doors.items()}
            oracle = self.station.at(doors)
            for scan in oracle.network.scans:
                for state in scan.states:
                    held = np.asarray(oracle.made[state.name])
                    oracle.made[state.name] = self._noisy(held, rng)
            yield oracle

    def _noisy(self, a: Array, rng: np.random.Generator) -> Array:
        signs = rng.choice([-1.0, 1.0], size=np.shape(a))
        return np.asarray(a * (1 + self.units * self.form.eps * signs))

    def outputs(self) -> Mapping[str, Array]:
        """Deviations (draws, \\*shape at the doors) of the definition's outputs."""
        if self._outputs is None:
            base, refs = self.station.oracle.outputs, self.station.place.network.outputs
            moved = [m.outputs for m in self._moved()]
            self._outputs = {
                n: np.stack([to_rows(refs[n], m[n] - base[n]) for m in moved]) for n in refs
            }
        return self._outputs

    def losses(self) -> Array:
        """Deviations (draws,) of the definition's loss."""
        base = np.asarray(self.station.oracle.loss, np.float64)
        return np.array([np.asarray(m.loss, np.float64) - base for m in self._moved()])

    def gradients(self, case: Case) -> Arrays:
        """Deviations (draws, \\*shape) of a case's gradients by the user's array."""
        if self._gradients is None:
            self._gradients = self._pull()
        fitted = self.station.fitted
        k = next(i for i, c in enumerate(self.station.cases) if c is case)
        if k not in self._by_case:
            draws = [{n: a[k] for n, a in s.items()} for s in self._gradients]
            self._by_case[k] = {
                u: np.stack([fitted.pull(u, s) for s in draws]) for u in fitted.arguments
            }
        return self._by_case[k]

    def _pull(self) -> list[Arrays]:
        """By draw, the deviations of the definition's gradients of all cases."""
        station, cases = self.station, self.station.cases
        rng = np.random.default_rng([self.seed, 22])
        base = station.truth(station.oracle, cases).of
        found = []
        for oracle in self._moved():
            near = [
                Case(c.label, {n: self._noisy(g, rng) for n, g in c.cotangents.items()}, c.step)
                for c in cases
            ]
            made = station.truth(oracle, near, carry=lambda name, at, bar: self._noisy(bar, rng)).of
            found.append({n: made[n] - base[n] for n in made})
        return found
