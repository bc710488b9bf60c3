"""Fallback oracles where differences resolve nothing: complex step, or the loss in more precision.

Used for blocks that would otherwise stay undecided. Both are accepted only after checks: the
complex step needs a loss without operations that are not analytic and agreement with differences,
more precision needs a loss whose measured noise really falls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GradcheckError
from ..streams import Stream, generator
from .known import tells
from .oracle.complex_step import Seen, complex_step, operations_not_analytic
from .oracle.differences import Estimate, Ladder, start_exponent
from .oracle.line_functions import Lines
from .oracle.noise import Noise, measure_noise
from .oracle.random_rounding import spread_of_rounding
from .scales import reach_of, scale_of
from .target import Target
from .verdict import EntryCheck, EntryState

__all__ = ["ComplexFallback", "ExtendedFallback", "widen"]

Floats = NDArray[np.float64]
#: Flat entry numbers (m,), or directions (m, *shape of the leaf), as `Target.lines` takes them.
Vectors = Floats | NDArray[np.intp]
STEP = 2.0**-80
UNIT = 2.0**-52
SPREADS = 4.0
#: Units that a derivative may lose in one operation: of the chain that it is a product along.
AN_OPERATION = 4.0
#: Steps of the evaluations whose spread is the roundoff, relative: where nothing underflows an
#: imaginary part is exactly proportional to a step that is a power of two.
FINER = (1.0, 2.0**-8, 2.0**-16)
#: Complex steps that are looked at with random rounding where some contradict the gradient.
ROUNDED_AT_RANDOM = 8
TINY = float(np.finfo(np.float64).smallest_subnormal)


class ComplexFallback:
    """Complex-step derivatives of a target's loss; `refused` says why there are none, else ''.

    `chain` is how many operations the loss applies in a row, as far as that is known: its own
    attribute ``depth``, or a count of those that could be watched. Rounding may be the same at
    every neighbouring point, as where a chain of functions settles at a fixed point, and then no
    spread shows it; its bound grows with the chain.
    """

    def __init__(self, target: Target, noise: Noise, seed: int) -> None:
        """Try the complex step along one random direction through all checked leaves."""
        self.target, self.noise = target, noise
        self.rng = generator(seed, Stream.COMPLEX_STEP)
        loss: Any = target.loss
        self.chain = int(loss.depth) if tells(loss, "depth") else 0
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
            i: reach_of(leaves[i]) * self.rng.standard_normal(leaves[i].shape)
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
            self.chain = self.chain or seen.operations
        except Exception:  # code that cannot carry the watching array is held by the other checks
            seen = Seen()
        if seen:
            return f"the loss uses {', '.join(sorted(seen))}, not analytic"
        return ""

    def rounding(self, value: Floats, step: Floats, claims: Floats | None = None) -> Floats:
        """Bounds on what rounding and underflow along the chain do to complex steps of `step`.

        Where the gradient under test, `claims`, is exactly zero and so are they, nothing that
        would count has underflowed.
        """
        relative = (64 + AN_OPERATION * self.chain) * UNIT
        lost = SPREADS * (1 + self.chain) * TINY / step
        if claims is not None:
            lost = np.where((value == 0) & (claims == 0), 0.0, lost)
        return np.asarray(relative * np.abs(value) + lost)

    def _steps(self, leaf: NDArray, vectors: Vectors) -> Floats:
        """Powers of two, a tiny part of the leaf's size each."""
        size = np.full(len(vectors), scale_of(leaf))
        if vectors.dtype.kind == "i":
            size = np.maximum(size, np.abs(leaf.reshape(-1)[vectors]).astype(np.float64))
        else:
            size = size * float(np.sqrt(leaf.size))
        return np.asarray(STEP * np.exp2(np.round(np.log2(size))))

    def _derivatives(
        self, leaves: list[NDArray], block: int, vectors: Vectors, finer: float = 1.0
    ) -> Floats:
        """Complex-step derivatives at any point for entries of one leaf, or along directions."""
        leaf, target, count = leaves[block], self.target, len(vectors)
        if not count:
            return np.zeros(0)
        entrywise = vectors.dtype.kind == "i"
        h = finer * self._steps(leaf, vectors)
        whole = self._complex(leaves)

        def moved(k: int) -> NDArray:
            if not entrywise:
                return np.asarray(whole[block] + 1j * h[k] * vectors[k])
            copy = whole[block].copy()
            copy.reshape(-1)[vectors[k]] += 1j * h[k]
            return copy

        with np.errstate(all="ignore"):
            if tells(target.loss, "many"):
                stack = np.stack([moved(k) for k in range(count)])
                return np.asarray(target.many(block, stack, whole).imag / h)
            found = []
            for k in range(count):
                there = self._complex(leaves)
                there[block] = moved(k)
                found.append(complex(np.asarray(target.raw(there)).reshape(())).imag / h[k])
        return np.array(found)

    def see(self, moved: Target, block: int, vectors: Vectors) -> tuple[Floats, Floats]:
        """Derivatives and errors of some entries, or along directions, at another point."""
        value = self._derivatives(list(moved.tree.leaves), block, vectors)
        return value, self.rounding(value, self._steps(moved.tree.leaves[block], vectors))

    def _measured(self, block: int, vectors: Vectors, claims: Floats) -> tuple[Floats, Floats]:
        """Derivatives and errors at the point, of which the gradient under test says `claims`.

        Three steps a derivative: at the point, and at two neighbours one unit in the last place
        away and with smaller steps, whose spread is the roundoff and the underflow of the step.
        """
        points = [list(self.target.tree.leaves)]
        for _ in range(2):
            points.append(
                [
                    x * (1 + self.rng.choice([-1.0, 1.0], size=x.shape) * UNIT)
                    if x.dtype.kind == "f"
                    else x
                    for x in self.target.tree.leaves
                ]
            )
        found = np.stack(
            [
                self._derivatives(leaves, block, vectors, finer)
                for leaves, finer in zip(points, FINER, strict=True)
            ]
        )
        value = found[0]
        error = SPREADS * np.max(np.abs(found[1:] - value), axis=0)
        error += self.rounding(value, self._steps(points[0][block], vectors), claims)
        error += 8 * UNIT * np.max(np.abs(value))
        error += self._cancelled(block, vectors, np.abs(value - claims) - error)
        return value, np.where(np.isfinite(found).all(axis=0), error, np.nan)

    def _cancelled(self, block: int, vectors: Vectors, excess: Floats) -> Floats:
        """What rounding of terms that cancel does to complex steps that contradict a gradient.

        `excess` is by how much. No neighbour shows it where the parameters are lost in those terms.
        """
        off = np.flatnonzero(excess > 0)
        if not off.size or tells(self.target.loss, "many"):
            return np.zeros(len(vectors))
        worst, widest = off[np.argsort(-excess[off])[:ROUNDED_AT_RANDOM]], 0.0
        leaf = self.target.tree.leaves[block]
        for k, h in zip(worst, self._steps(leaf, vectors[worst]), strict=True):
            there = self._complex(list(self.target.tree.leaves))
            if vectors.dtype.kind == "i":
                there[block].reshape(-1)[vectors[k]] += 1j * h
            else:
                there[block] = there[block] + 1j * h * vectors[k]
            found = spread_of_rounding(self.target.raw, there, self.rng)
            if found is None:
                break
            widest = max(widest, float(np.std(found.imag)) / h)
        return np.where(excess > 0, SPREADS * widest, 0.0)

    def look(
        self,
        check: EntryCheck,
        gradient: Floats,
        roundoff: Floats,
        entries: NDArray[np.intp] | None = None,
    ) -> str:
        """Replace unresolved differences by complex steps; say why if impossible.

        Of all entries of a block, or of some.
        """
        leaf = self.target.tree.leaves[check.block]
        some = np.arange(leaf.size) if entries is None else entries
        claims = gradient.ravel()[some]
        value, error = self._measured(check.block, some, claims)
        refused = _refused(value, error, check.value[some], check.error[some], bool(claims.any()))
        if refused:
            return refused
        better = np.zeros(leaf.size, dtype=bool)
        better[some] = (error < check.error[some]) & (check.state[some] != EntryState.KINK)
        kept = better[some]
        check.value[better], check.error[better] = value[kept], error[kept]
        ratio = check.ratio(gradient, roundoff)
        probed = better & np.isfinite(ratio)
        check.state[probed] = np.where(ratio[probed] > 1, EntryState.FAIL, EntryState.PASS)
        check.methods.add("complex step")
        return ""

    def along(
        self, block: int, directions: Floats, known: list[Estimate], gradient: Floats
    ) -> tuple[list[Estimate], str]:
        """Complex steps in the place of estimates along directions; say why if impossible."""
        claims = np.array([np.sum(gradient * v) for v in directions])
        value, error = self._measured(block, directions, claims)
        before = np.array([[e.value, e.error] for e in known]).T
        refused = _refused(value, error, before[0], before[1], bool(np.any(gradient)))
        if refused:
            return known, refused
        seen = [self._estimate(v, e) for v, e in zip(value, error, strict=True)]
        return [a if a.error < b.error else b for a, b in zip(seen, known, strict=True)], ""

    def step(self, block: int, direction: Floats, claim: float) -> Estimate:
        """The complex step along one more direction, where others were believed."""
        value, error = self._measured(block, direction[None], np.array([claim]))
        return self._estimate(value[0], error[0])

    def _estimate(self, value: float, error: float) -> Estimate:
        value, error, sigma = float(value), float(error), self.noise.sigma
        known = bool(np.isfinite(value) and np.isfinite(error))
        return Estimate(value, 0.0, error, sigma, error, 3, known, "complex step", STEP)


def _refused(
    value: Floats, error: Floats, differences: Floats, bounds: Floats, expected: bool
) -> str:
    """Why complex steps are not to be believed, '' if they are; `expected`: some must be there."""
    if not np.any(value) and expected:
        return "the loss answers no complex step in this parameter"
    known = np.isfinite(differences) & np.isfinite(bounds)
    gap = np.abs(value - differences)[known]
    if not np.isfinite(error).all() or bool(np.any(gap > (bounds + error)[known])):
        return "the complex step disagrees with differences"
    return ""


class ExtendedFallback:
    """A loss in single precision or less, evaluated with its parameters in float64.

    `target` and `noise` are the loss there. Made by `widen`.
    """

    def __init__(self, narrow: Target) -> None:
        """Cast the parameters; nothing is called."""
        wide = narrow.tree.widened()
        self.target = Target(
            narrow.loss, narrow.gradient_function, wide, narrow.select, narrow.budget
        )

    def measure(self, seed: int) -> Noise:
        """Evaluate the loss and its noise at the point."""
        rng, leaves = generator(seed, Stream.WIDE_NOISE), self.target.tree.leaves
        directions = {
            i: reach_of(leaves[i]) * rng.standard_normal(leaves[i].shape)
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
        target, rng = self.target, generator(seed, Stream.WIDE_RESPONSE)
        slopes = target.gradient_at(target.tree.leaves)
        some = False
        for i in target.select:
            leaf = target.tree.leaves[i]
            step = 2.0**-26 * np.where(leaf == 0, scale_of(leaf), leaf)
            expected = float(np.sum(np.abs(slopes[i] * step)))
            moved = list(target.tree.leaves)
            seen = False
            for _ in range(3):
                moved[i] = leaf + step * rng.choice([-1.0, 1.0], size=leaf.shape)
                seen = seen or target.value(moved) != target.base
            # Where its share of the loss has vanished, that it does not answer says nothing.
            if not seen and expected > 16 * UNIT * abs(target.base):
                return False
            some = some or seen
        return some

    def see(self, moved: Target, block: int, vectors: Vectors) -> tuple[Floats, Floats]:
        """Derivatives and errors of some entries, or along directions, at another point."""
        there = ExtendedFallback(moved)
        noise = there.measure(0)
        lines = there.target.lines(block, vectors)
        leaf = there.target.tree.leaves[block]
        scale = scale_of(leaf) * (1.0 if vectors.dtype.kind == "i" else float(np.sqrt(leaf.size)))
        ladder = Ladder(lines, there.target.base, noise, start_exponent(scale), scale)
        found = ladder.settle(0.0)
        return np.array([e.value for e in found]), np.array([e.error for e in found])


def widen(target: Target, noise: Noise, seed: int) -> ExtendedFallback | None:
    """The same loss with its parameters in float64, if it then computes with less noise.

    Returns None for float64 parameters, for a loss that does not run so, whose value there is
    another one, or whose noise does not fall a thousandfold.
    """
    tree = target.tree
    if all(tree.leaves[i].dtype.itemsize >= 8 for i in tree.real):
        return None
    wide = ExtendedFallback(target)
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
