"""How far the rounding of every operation carries a gradient that is written as it is.

A backward pass reads what the forward pass saved: 1 − h ⊙ h for tanh′. Near saturation the rounding
of h alone ruins that difference, in any correct code; no movement of the inputs by one unit shows
it, because h does not move with them. Here the derived program is run with the result of every
operation moved by one unit. Only the spread of the results is used, never their values: it is of
the size of the rounding whether or not the program is right, so that it cannot hide a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calculus.terms import Sym, Term
from ...derivation import Derivation, derive
from ...derivation.evaluate import Run
from ...derivation.numeric_terms import TermEvaluator
from ...language.network import Network
from ...streams import Stream, generator
from ..harness.modelpoint import ModelPoint
from ..harness.plan import Case
from .stacked import pulled_back, stacked_columns

__all__ = ["SavedRounding", "slipping"]

Array = NDArray[Any]
DRAWS = 4
#: Random signs that large results take theirs from, each from a place of its own.
SIGNS = 2**18
#: Entries of all arrays times cases up to which the cases of a station are taken together.
TOGETHER = 2**17


def slipping(eps: float, rng: np.random.Generator) -> type[TermEvaluator]:
    """An evaluator that moves the result of every operation by one unit up or down."""
    units = np.array([1 - eps, 1 + eps])
    drawn = units[rng.integers(0, 2, size=2 * SIGNS)]

    def factors(shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape))
        if size <= SIGNS:
            at = int(rng.integers(0, SIGNS))
            return drawn[at : at + size].reshape(shape)
        return units[rng.integers(0, 2, size=shape, dtype=np.int8)]

    class Slipping(TermEvaluator):
        def __call__(self, term: Term, lookup: Callable[[Sym], Any]) -> Any:
            found = super().__call__(term, lookup)
            if not term.operands:
                return found  # variables have slipped when they were made, numbers are exact
            return found * factors(found.shape)

    return Slipping


class SavedRounding:
    """Spreads of gradients under rounding; the derivation is made when it is first needed."""

    def __init__(self, network: Network, eps: float, seed: int) -> None:
        self.network, self.eps, self.seed = network, eps, seed
        self._derivation: Derivation | None = None
        # The station is kept: another one may be given the identity of one that is gone.
        self._stations: dict[int, ModelPoint] = {}
        self._samples: dict[tuple[int, int], dict[str, Array]] = {}

    def _runs(self, station: ModelPoint) -> Iterator[Run]:
        """The program as it is, then with every operation moved by one unit up or down."""
        if self._derivation is None:
            self._derivation = derive(self.network)
        columns = station.columns(station.values)
        rng = generator(self.seed, Stream.SAVED_ROUNDING)
        kinds: list[type[TermEvaluator]] = [TermEvaluator, *[slipping(self.eps, rng)] * DRAWS]
        for evaluator in kinds:
            with np.errstate(all="ignore"):
                yield Run(self._derivation, columns, station.sizes, station.lengths, evaluator)

    def __call__(self, station: ModelPoint, case: Case) -> Mapping[str, Array]:
        """Samples (draws, \\*shape) of deviations by the user's array."""
        samples, fitted = self._samples.get((id(station), id(case))), station.fitted
        if station.empty:  # nothing is computed
            return {u: np.zeros((DRAWS, *fitted.shapes[u])) for u in fitted.arguments}
        if samples is None:
            self._stations[id(station)] = station
            self._pull(station, case)
            samples = self._samples[id(station), id(case)]
        return {
            u: np.stack(
                [fitted.pull(u, {n: a[draw] for n, a in samples.items()}) for draw in range(DRAWS)]
            )
            for u in fitted.arguments
        }

    def _pull(self, station: ModelPoint, case: Case) -> None:
        """Samples of one case; of all cases where running the program costs more than arrays do."""
        entries = sum(a.size for a in station.values.values())
        together = entries * len(station.cases) <= TOGETHER
        cases = station.cases if together else [case]
        given = stacked_columns(station, cases)
        found = [pulled_back(r, station, given, len(cases)) for r in self._runs(station)]
        for k, one in enumerate(cases):
            with np.errstate(all="ignore"):
                self._samples[id(station), id(one)] = {
                    n: np.nan_to_num(
                        np.stack([f[n][k] - a[k] for f in found[1:]]), posinf=0, neginf=0
                    )
                    for n, a in found[0].items()
                }
