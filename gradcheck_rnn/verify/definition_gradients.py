"""Gradients of a definition for many cotangents at once, with bounds on their rounding.

One set of step Jacobians, by complex steps of the definition (`harness.sweep`), serves all
cotangents: the cost is linear in steps, layers and delays, where differences of the whole forward
pass cost one pass an entry. Nothing derived or generated has a part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..language.depth import depth
from ..language.network import Network
from ..language.running import to_columns
from .harness.sweep import LOSS, Gradients, ModelOracle
from .points import Point
from .roundoff import spread

__all__ = ["DefinitionGradients", "read_by"]

Array = NDArray[Any]
#: Rounding of the terms of a gradient's sum, and of every operation of the chain before it, in
#: units of the sum of their absolute values.
UNITS, AN_OPERATION = 16.0, 4.0
#: Sweeps with rounding added to every adjoint that a step hands on, which show what cancels; the
#: bound is so many times their largest deviation.
DRAWS, SPREADS = 3, 4.0
EPS = float(np.finfo(np.float64).eps)


class DefinitionGradients:
    """Gradients at one point; made when first asked for.

    Parameters
    ----------
    point : Point
        Definition and values.
    cotangents : mapping
        Label → output → cotangent in the public layout; of the loss ``{"loss": a one}``.
    """

    def __init__(self, point: Point, cotangents: Mapping[str, Mapping[str, Array]]) -> None:
        self.point, self.cotangents = point, dict(cotangents)

    @cached_property
    def _found(self) -> Gradients:
        """Gradients of all cases, then `DRAWS` times of the same cases with rounding."""
        point, network = self.point, self.point.network
        oracle = ModelOracle(network, point.columns(point.values), point.sizes, point.lengths)
        cases, rng = list(self.cotangents.values()), np.random.default_rng(23)

        def rounded(a: Array, axis: int) -> Array:
            """Copies after the first are moved by units."""
            moves = rng.choice([-1.0, 1.0], size=a.shape) * AN_OPERATION * EPS
            moves.swapaxes(0, axis)[: len(cases)] = 0.0
            return np.asarray(a * (1 + moves))

        given = {}
        for name in dict.fromkeys(n for case in cases for n in case if n != LOSS):
            shape = next(case[name] for case in cases if name in case).shape
            ref = network.outputs[name]
            rows = [to_columns(ref, case.get(name, np.zeros(shape))) for case in cases]
            given[name] = rounded(np.stack(rows * (1 + DRAWS)), 0)
        weights = np.array([float(case.get(LOSS, 0.0)) for case in cases] * (1 + DRAWS))
        with np.errstate(all="ignore"):
            return oracle.gradients(
                given,
                loss=rounded(weights, 0) if network.loss_terms else None,
                carry=lambda name, at, bar: rounded(bar, -2),
            )

    def of(self, label: str) -> dict[str, tuple[Array, Array]]:
        """Derivatives by name of parameter or input, and bounds on their errors."""
        names, found = list(self.cotangents), self._found
        k, chain = names.index(label), depth(self.point.network, self.point.lengths)
        out = {}
        for name, of in found.of.items():
            value, *moved = of[k :: len(names)]
            own = SPREADS * spread(np.stack(moved) - value)
            units = (UNITS + AN_OPERATION * chain) * EPS
            out[name] = value, own + units * found.size[name][k]
        return out


def read_by(network: Network, results: Iterable[str]) -> set[str]:
    """Names of all values that some outputs (or ``"loss"``) may depend on, scan by scan."""
    wanted = set()
    for result in results:
        refs = network.loss_terms if result == LOSS else [network.outputs[result]]
        wanted |= {name for ref in refs for name in (ref.name, ref.maker)}
    for scan in reversed(network.scans):
        made = {e.name for e in scan.equations} | {s.final for s in scan.states}
        if made & wanted:
            for operand in scan.operands.values():
                wanted |= {operand.ref.name, operand.ref.maker, operand.name}
            starts = [s.ref for state in scan.states for s in state.initial if s.ref is not None]
            wanted |= {name for ref in starts for name in (ref.name, ref.maker)}
    return wanted
