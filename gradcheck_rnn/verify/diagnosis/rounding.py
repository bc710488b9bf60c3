"""How far the rounding of saved values carries a gradient that is written in them.

A backward pass reads what the forward pass saved: 1 − h ⊙ h for tanh′. Near saturation the rounding
of h alone ruins that difference, in any correct code; no movement of the inputs by one unit shows
it, because h does not move with them. Here the derived program is run with its saved values moved
by one unit each. Only the spread of the results is used, never their values: it is of the size of
the rounding whether or not the program is right, so that it cannot hide a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...derivation import Derivation, derive
from ...derivation.evaluate import Run, bptt, forward
from ...language.network import Network
from ...language.running import to_columns, to_rows
from ..harness.compare import Station
from ..harness.plan import Case

__all__ = ["SavedRounding"]

Array = NDArray[Any]
DRAWS = 4


class SavedRounding:
    """Spreads of gradients under rounding of saved values; the derivation is made when needed."""

    def __init__(self, network: Network, eps: float, seed: int) -> None:
        self.network, self.eps, self.seed = network, eps, seed
        self._derivation: Derivation | None = None
        self._moved: dict[int, list[Run]] = {}

    def _runs(self, station: Station) -> list[Run]:
        key = id(station)
        if key not in self._moved:
            if self._derivation is None:
                self._derivation = derive(self.network)
            refs = {**self.network.parameters, **self.network.inputs}
            columns = {n: to_columns(refs[n], a) for n, a in station.doors.items()}
            place = station.place
            base = forward(self._derivation, columns, place.sizes, place.lengths)
            made = {e.name for p in self._derivation.scans for e in p.equations}
            rng = np.random.default_rng([self.seed, 17])
            self._moved[key] = [self._shaken(base, made, rng) for _ in range(DRAWS + 1)]
        return self._moved[key]

    def _shaken(self, base: Run, made: set[str], rng: np.random.Generator) -> Run:
        run = copy(base)
        run.series = {
            n: {t: a * (1 + self.eps * rng.choice([-1.0, 1.0], size=a.shape)) for t, a in s.items()}
            if n in made else s
            for n, s in base.series.items()
        }  # fmt: skip
        return run

    def __call__(self, station: Station, case: Case) -> Mapping[str, Array]:
        """Samples (draws, \\*shape) of deviations by the user's array."""
        refs = {**self.network.parameters, **self.network.inputs}
        fitted, found = station.fitted, []
        for run in self._runs(station):
            with np.errstate(all="ignore"):
                gradients = bptt(run, station.columns(case))
            doors = {n: to_rows(refs[n], g) for n, g in gradients.items()}
            found.append({u: fitted.pull(u, doors) for u in fitted.arguments})
        return {
            u: np.nan_to_num(np.stack([f[u] - found[0][u] for f in found[1:]]), posinf=0, neginf=0)
            for u in fitted.arguments
        }
