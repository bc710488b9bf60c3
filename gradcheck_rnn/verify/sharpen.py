"""Better eyes for what differences cannot resolve: complex step, or the loss in more precision.

Used for blocks that would otherwise stay undecided. Both are accepted only after checks: the
complex step needs a loss without operations that are not analytic and agreement with differences,
more precision needs a loss whose measured noise really falls.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import GradcheckError
from .entries import EntryCheck, scale_of
from .oracle.complex_step import complex_step, operations_not_analytic
from .oracle.differences import Ladder, start_exponent
from .oracle.lines import Lines
from .oracle.noise import Noise, measure_noise
from .target import Target
from .trees import Tree
from .verdict import EntryState

__all__ = ["ComplexEyes", "widen"]

Floats = NDArray[np.float64]
STEP = 2.0**-80
SPREADS = 4.0


class ComplexEyes:
    """Complex-step derivatives of a target's loss; `refused` says why there are none, else ''."""

    def __init__(self, target: Target, noise: Noise, seed: int) -> None:
        """Try the complex step along one random direction through all checked leaves."""
        self.target, self.noise = target, noise
        self.rng = np.random.default_rng([seed, 2])
        self.refused = self._try()

    def _complex(self, leaves: list[NDArray]) -> list[NDArray]:
        real = set(self.target.tree.real)
        return [
            leaf.astype(np.complex128) if i in real else leaf.copy()
            for i, leaf in enumerate(leaves)
        ]

    def _try(self) -> str:
        target = self.target
        if any(target.tree.leaves[i].dtype != np.float64 for i in target.tree.real):
            return "the parameters are not float64"
        leaves = list(target.tree.leaves)
        directions = {
            i: scale_of(leaves[i]) * self.rng.standard_normal(leaves[i].shape)
            for i in target.select
        }
        along = target.across(directions)
        lines = Lines(lambda eps: along(eps[:, 0])[:, None])
        ladder = Ladder(lines, target.base, self.noise, start_exponent(1.0))
        reference = ladder.settle(0.0)[0]

        def phi(z: complex) -> object:
            moved = self._complex(leaves)
            for i, v in directions.items():
                moved[i] = moved[i] + z * v
            return target.raw(moved)

        found = complex_step(phi, target.base, self.noise, reference)
        if found.estimate is None:
            return found.reason
        try:
            real = set(target.tree.real)
            real_leaves = [leaves[i] for i in sorted(real)]

            def watched(arrays: object) -> object:
                given = iter(arrays)  # type: ignore[call-overload]
                return target.raw([next(given) if i in real else x for i, x in enumerate(leaves)])

            seen = operations_not_analytic(watched, real_leaves)
        except Exception:  # code that cannot carry the watching array is held by the other checks
            seen = set()
        if seen:
            return f"the loss uses {', '.join(sorted(seen))}, not analytic"
        return ""

    def look(self, check: EntryCheck, gradient: Floats, roundoff: Floats) -> str:
        """Replace unresolved differences of a block by complex steps; say why if impossible.

        Three steps an entry: at the point, and at two neighbours one unit in the last place away,
        whose spread is the roundoff of the step itself.
        """
        target, i = self.target, check.block
        leaf = target.tree.leaves[i]
        points = [list(target.tree.leaves)]
        for _ in range(2):
            points.append(
                [
                    x * (1 + self.rng.choice([-1.0, 1.0], size=x.shape) * 2.0**-52)
                    if x.dtype.kind == "f"
                    else x
                    for x in target.tree.leaves
                ]
            )
        size = scale_of(leaf)
        found = np.empty((3, leaf.size))
        with np.errstate(all="ignore"):
            for row, leaves in enumerate(points):
                for j in range(leaf.size):
                    h = STEP * max(size, float(abs(leaf.flat[j])))
                    moved = self._complex(leaves)
                    moved[i].reshape(-1)[j] += 1j * h
                    found[row, j] = complex(np.asarray(target.raw(moved)).reshape(())).imag / h
        value, unit = found[0], 2.0**-52
        error = SPREADS * np.max(np.abs(found[1:] - value), axis=0)
        error += 64 * unit * np.abs(value) + 8 * unit * np.max(np.abs(value))
        known = np.isfinite(check.value) & np.isfinite(check.error)
        gap = np.abs(value - check.value)[known]
        if not np.isfinite(found).all() or bool(np.any(gap > (check.error + error)[known])):
            return "the complex step disagrees with differences"
        better = (error < check.error) & (check.state != EntryState.KINK)
        check.value[better], check.error[better] = value[better], error[better]
        ratio = check.ratio(gradient, roundoff)
        probed = better & np.isfinite(ratio)
        check.state[probed] = np.where(ratio[probed] > 1, EntryState.FAIL, EntryState.PASS)
        check.methods.add("complex step")
        return ""


def widen(target: Target, noise: Noise, seed: int) -> tuple[Target, Noise] | None:
    """The same loss with its parameters in float64, if it then computes with less noise.

    Returns None for float64 parameters, for a loss that does not run so, whose value there is
    another one, or whose noise does not fall a thousandfold.
    """
    tree = target.tree
    if all(tree.leaves[i].dtype.itemsize >= 8 for i in tree.real):
        return None
    leaves = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in tree.leaves]
    wide = Target(
        target.loss,
        target.gradient_function,
        Tree(tree.template, tree.names, tuple(leaves)),
        target.select,
        target.budget,
    )
    rng = np.random.default_rng([seed, 3])
    directions = {
        i: scale_of(leaves[i]) * rng.standard_normal(leaves[i].shape) for i in target.select
    }
    try:
        wide.base = wide.value(leaves)
        measured = measure_noise(wide.across(directions), 1.0, 2.0**-52)
    except (GradcheckError, TypeError, ValueError):
        return None
    finally:
        target.evaluations += wide.evaluations
    if abs(wide.base - target.base) > 64 * noise.sigma or measured.sigma > 1e-3 * noise.sigma:
        return None
    return wide, replace(measured, evaluations=0)
