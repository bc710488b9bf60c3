"""Better eyes for what differences cannot resolve: complex step, or the loss in more precision.

Used for blocks that would otherwise stay undecided. Both are accepted only after checks: the
complex step needs a loss without operations that are not analytic and agreement with differences,
more precision needs a loss whose measured noise really falls.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import GradcheckError
from .entries import EntryCheck, scale_of
from .oracle.complex_step import complex_step, operations_not_analytic
from .oracle.differences import Ladder, start_exponent
from .oracle.lines import Lines
from .oracle.noise import Noise, measure_noise
from .roundoff import gradient_noise, measure_gradient_roundoff
from .target import Target
from .trees import Tree
from .verdict import EntryState

__all__ = ["ComplexEyes", "WideEyes", "right_when_unsaturated", "widen"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
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

    def _derivatives(self, leaves: list[NDArray], block: int, entries: Iterable[int]) -> Floats:
        """Complex-step derivatives at any point for some entries of one leaf."""
        size, found = scale_of(leaves[block]), []
        if hasattr(self.target.loss, "many"):
            return self._many(leaves, block, np.array(list(entries), dtype=np.intp))
        with np.errstate(all="ignore"):
            for j in entries:
                h = STEP * max(size, float(abs(leaves[block].flat[j])))
                moved = self._complex(leaves)
                moved[block].reshape(-1)[j] += 1j * h
                value = complex(np.asarray(self.target.raw(moved)).reshape(()))
                found.append(value.imag / h)
        return np.array(found)

    def _many(self, leaves: list[NDArray], block: int, entries: Indices) -> Floats:
        """The same for a loss that takes stacked perturbations (see `Target.many`)."""
        leaf, target = leaves[block], self.target
        if not entries.size:
            return np.zeros(0)
        h = STEP * np.maximum(scale_of(leaf), np.abs(leaf.reshape(-1)[entries]).astype(np.float64))
        whole = self._complex(leaves)
        stack = np.repeat(whole[block][None], len(entries), axis=0)
        stack.reshape(len(entries), -1)[np.arange(len(entries)), entries] += 1j * h
        with np.errstate(all="ignore"):
            return np.asarray(target.many(block, stack, whole).imag / h)

    def see(self, moved: Target, block: int, entries: Indices) -> tuple[Floats, Floats]:
        """Derivatives and errors of some entries at another point."""
        value = self._derivatives(list(moved.tree.leaves), block, [int(j) for j in entries])
        return value, 64 * 2.0**-52 * np.abs(value)

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
        found = np.stack([self._derivatives(leaves, i, range(leaf.size)) for leaves in points])
        value, unit = found[0], 2.0**-52
        if not np.any(value) and np.any(gradient):
            return "the loss answers no complex step in this parameter"
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


class WideEyes:
    """A loss in single precision or less, evaluated with its parameters in float64.

    `target` and `noise` are the loss there. Made by `widen`.
    """

    def __init__(self, narrow: Target) -> None:
        """Cast the parameters; nothing is called."""
        tree = narrow.tree
        leaves = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in tree.leaves]
        wide = Tree(tree.template, tree.names, tuple(leaves))
        self.target = Target(
            narrow.loss, narrow.gradient_function, wide, narrow.select, narrow.budget
        )

    def measure(self, seed: int) -> Noise:
        """Evaluate the loss and its noise at the point."""
        rng, leaves = np.random.default_rng([seed, 3]), self.target.tree.leaves
        directions = {
            i: scale_of(leaves[i]) * rng.standard_normal(leaves[i].shape)
            for i in self.target.select
        }
        self.target.base = self.target.value(leaves)
        self.noise = measure_noise(self.target.across(directions), 1.0, 2.0**-52)
        return self.noise

    def responds(self, seed: int) -> bool:
        """Whether steps too small for single precision are seen in every parameter that matters.

        A loss that casts its parameters back is constant between the numbers of the narrow format:
        it has no noise there, and no derivative.
        """
        target, rng = self.target, np.random.default_rng([seed, 8])
        slopes = target.gradient_at(target.tree.leaves)
        some = False
        for i in target.select:
            leaf = target.tree.leaves[i]
            step = 2.0**-26 * np.where(leaf == 0, scale_of(leaf), leaf)
            expected = float(np.sum(np.abs(slopes[i] * step)))
            if not expected > 16 * 2.0**-52 * abs(target.base):
                continue  # its share of the loss has vanished: that it does not answer says nothing
            moved = list(target.tree.leaves)
            seen = False
            for _ in range(3):
                moved[i] = leaf + step * rng.choice([-1.0, 1.0], size=leaf.shape)
                seen = seen or target.value(moved) != target.base
            if not seen:
                return False
            some = True
        return some

    def see(self, moved: Target, block: int, entries: Indices) -> tuple[Floats, Floats]:
        """Derivatives and errors of some entries at another point."""
        there = WideEyes(moved)
        noise = there.measure(0)
        lines = there.target.lines(block, entries)
        scale = scale_of(there.target.tree.leaves[block])
        ladder = Ladder(lines, there.target.base, noise, start_exponent(scale), scale)
        found = ladder.settle(0.0)
        return np.array([e.value for e in found]), np.array([e.error for e in found])


def widen(target: Target, noise: Noise, seed: int) -> WideEyes | None:
    """The same loss with its parameters in float64, if it then computes with less noise.

    Returns None for float64 parameters, for a loss that does not run so, whose value there is
    another one, or whose noise does not fall a thousandfold.
    """
    tree = target.tree
    if all(tree.leaves[i].dtype.itemsize >= 8 for i in tree.real):
        return None
    wide = WideEyes(target)
    try:
        measured = wide.measure(seed)
        if not wide.responds(seed):
            return None
    except (GradcheckError, TypeError, ValueError):
        return None
    finally:
        target.evaluations += wide.target.evaluations
    other = abs(wide.target.base - target.base) > 64 * noise.sigma
    return None if other or measured.sigma > 1e-3 * noise.sigma else wide


def right_when_unsaturated(
    target: Target, block: int, entries: Indices, seed: int, eyes: ComplexEyes | WideEyes
) -> bool:
    """Whether entries that only the sharper oracle calls wrong are right at smaller parameters.

    A saturated unit makes 1 - h*h lose digits, down to an exact zero, where the derivative is
    still there; that is rounding, not a wrong formula. With the parameters scaled down the units
    leave saturation, and a right formula agrees there, while a missing term stays missing.
    """
    entries = entries[:4]
    for factor in (0.5, 0.25, 0.1):
        leaves = [
            (x * factor).astype(x.dtype) if x.dtype.kind == "f" else x for x in target.tree.leaves
        ]
        moved = target.moved(leaves)
        gradient = moved.gradient_at(leaves)
        roundoff = measure_gradient_roundoff(moved, gradient, seed, [block])
        value, error = eyes.see(moved, block, entries)
        target.gradients += moved.gradients
        g = gradient[block].ravel()[entries]
        own = roundoff.bounds[block]
        if not np.all(np.abs(g - value) <= error + own.ravel()[entries]):
            # still half saturated: h rounds to the same number for all neighbours
            own = np.maximum(own, gradient_noise(moved, seed, roundoff.eps)[block])
        bound = error + own.ravel()[entries]
        resolved = bound < 0.1 * np.maximum(np.abs(g), np.abs(value))
        if bool(np.all(resolved & (np.abs(g - value) <= bound))):
            return True
    return False
