"""The roundoff of a gradient under test, measured by moving its inputs one unit in the last place.

A backward stable gradient answers a neighbouring problem exactly; what it gives for a few random
neighbours therefore shows how far its own arithmetic may have carried it. No constant is assumed
but the few units that the final operations cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .oracle.noise import shown_eps
from .repeats import REORDERED, differ
from .scales import LARGE, SMALL, norm_of, squares_of
from .target import Target

__all__ = [
    "NEIGHBOURS", "GradientRoundoff", "gradient_noise", "largest", "measure_gradient_roundoff",
    "noise_level", "noisy_level", "spread",
]  # fmt: skip

Floats = NDArray[np.float64]
NEIGHBOURS = 4
SPREADS = 4.0
#: Factor between the entries that jump and those that do not, where most jump.
APART = 1024.0
UNITS = 4.0
#: Entries of a gradient from which it shows the format that it was computed in.
LEAST = 8


@dataclass(frozen=True)
class GradientRoundoff:
    """Bounds by leaf position, and the neighbouring gradients that they come from.

    `bounds[i]` has the shape of leaf i; `samples[i]` are the deviations (neighbours, *shape);
    `eps[i]` is the precision that the gradient shows; `deterministic` is False if two calls at
    the same point differed, in which case their difference is part of the bound; `tiny[i]` is the
    spacing of the smallest numbers of the leaf's format.
    """

    bounds: dict[int, Floats]
    samples: dict[int, Floats]
    eps: dict[int, float]
    deterministic: bool
    tiny: dict[int, float]

    def along(
        self, block: int, gradient: Floats, direction: Floats, product: Floats | None = None
    ) -> float:
        """Bound on the roundoff of <gradient, direction> within one leaf.

        `product` is that of the two by entries, where it is known.
        """
        samples, v = self.samples[block], direction.ravel()
        moved = np.abs(np.einsum("kn,n", samples.reshape(len(samples), v.size), v)).max(initial=0.0)
        product = gradient.ravel() * v if product is None else product.ravel()
        rounding = UNITS * self.eps[block] * norm_of(product)
        rounding += (
            UNITS * self.tiny[block] * norm_of(v if gradient.all() else v * (gradient.ravel() != 0))
        )
        independent = norm_of(self.bounds[block].ravel() * v)
        return float(max(SPREADS * moved, independent) + rounding)


def _scaled(samples: Floats, gradient: Floats, reach: Floats) -> Floats:
    """As `spread`, of a leaf whose entries differ in size (`reach`) by orders of magnitude.

    What is typical of the others counts by what it does to the loss, or relative to the gradient,
    whichever is less: neither a gradient of 1e-8 of an entry of 1e8, nor one of 1e-8 of an entry of
    1e-8, has anything of the rounding of its neighbour.
    """
    top = reach.max(initial=0.0)
    if (reach == top).all():
        return spread(samples)
    reach = reach / top
    size = np.abs(gradient)
    relative = spread(np.where(size > 0, samples / np.where(size > 0, size, 1.0), 0.0)) * size
    by_loss = spread(samples * reach) / reach
    return np.maximum(np.minimum(by_loss, relative), np.max(np.abs(samples), axis=0))


def _spread(samples: Floats, gradient: Floats, reach: Floats, eps: float) -> Floats:
    """As `_scaled`; entries that jump say nothing of the rounding of others.

    Where a parameter sits on a kink (a sign, a tie, a border of clipping), the gradient of that
    entry jumps between neighbours. More than half jump only where all others are far calmer: an ill
    conditioned gradient has all sizes of deviations.
    """
    largest = np.abs(samples).max(axis=0)
    jumps = largest > REORDERED * eps * np.abs(gradient).max(initial=0.0)
    count = np.count_nonzero(jumps)
    if count in (0, jumps.size) or (
        2 * count > jumps.size and APART * np.max(largest[~jumps]) > np.min(largest[jumps])
    ):
        return _scaled(samples, gradient, reach)
    calm = _scaled(np.where(jumps, 0.0, samples), gradient, reach)
    return np.where(jumps, largest, calm)


def spread(samples: Floats) -> Floats:
    """Largest deviation of each entry, but not below the typical one of its row or column.

    Four draws of one entry may all be small by chance; its row and column know better. The smaller
    of the two is taken, so that a block whose rows differ in scale keeps its small rows sharp.
    """
    largest = np.abs(samples).max(axis=0)
    if largest.ndim == 0 or not largest.size:
        return np.asarray(largest)
    top = float(largest.max())
    top = top if 0 < top < np.inf else 1.0
    scaled = samples / top  # of gradients of 1e200 there are no squares
    squares, typical = np.einsum("k...,k...->...", scaled, scaled), np.inf
    for k in range(largest.ndim):
        count = len(samples) * squares.shape[k]
        typical = np.minimum(typical, np.add.reduce(squares, axis=k, keepdims=True) / count)
    return np.asarray(np.maximum(largest, top * np.sqrt(typical)))


def measure_gradient_roundoff(
    target: Target,
    gradient: dict[int, Floats],
    seed: int,
    blocks: Sequence[int],
    neighbours: int = NEIGHBOURS,
    again: dict[int, Floats] | None = None,
) -> GradientRoundoff:
    """Measure the roundoff of the gradient at the target's point, from a few more evaluations.

    Without neighbours there is one more, and the bound is that of the final operations only: what
    agrees within it needs no other. `again` is what another call gave at the point, if there was
    one. A neighbour further away than rounding explains is called again: either it is so at that
    point, because the problem is ill conditioned, or the gradient is unsteady.
    """
    rng = generator(seed, Stream.ROUNDOFF)
    again = target.gradient_at(target.tree.leaves) if again is None else again
    repeats = all(
        again[i] is gradient[i] or np.array_equal(gradient[i], again[i], equal_nan=True)
        for i in blocks
    )
    # A gradient exact in single precision throughout was computed there, whatever its dtype.
    few = sum(gradient[i].size for i in blocks) < LEAST
    shown = max(target.unit, 0.0 if few else shown_eps([gradient[i] for i in blocks]))
    here = {i: gradient[i] for i in blocks}
    most = {i: REORDERED * max(shown, target.format_eps(i)) * largest(g) for i, g in here.items()}
    deviations = [
        _steady(target, _neighbour(target, rng, shown), here, shown, most)
        for _ in range(neighbours)
    ]
    if not repeats:
        deviations.append({i: _finite(again[i] - g) for i, g in here.items()})
    bounds, samples, eps, tiny = {}, {}, {}, {}
    with np.errstate(all="ignore"):
        for i, g in here.items():
            leaf = np.finfo(target.tree.leaves[i].dtype)
            eps[i] = max(float(leaf.eps), shown, float(np.finfo(np.float64).eps))
            one = len(deviations) == 1
            samples[i] = deviations[0][i][None] if one else np.array([d[i] for d in deviations])
            samples[i] = samples[i].reshape(-1, *g.shape)
            bounds[i] = np.abs(g)
            bounds[i] *= UNITS * eps[i]
            # one neighbour alone says nothing of what is typical
            if not one and samples[i].any():
                bounds[i] += SPREADS * _spread(samples[i], g, target.reach(i), eps[i])
            tiny[i] = float(leaf.smallest_subnormal)
            bounds[i] += UNITS * tiny[i] if g.all() else UNITS * tiny[i] * (g != 0)
    return GradientRoundoff(bounds, samples, eps, repeats, tiny)


def _neighbour(target: Target, rng: np.random.Generator, shown: float) -> list[NDArray[Any]]:
    """The point with every entry moved by a unit in the last place, up or down."""
    leaves, at = list(target.tree.leaves), 0
    bits = np.frombuffer(rng.bytes(-(-sum(x.size for x in leaves) // 8)), dtype=np.uint8)
    up = np.unpackbits(bits)
    for i, leaf in enumerate(leaves):
        if leaf.dtype.kind == "f":
            unit = max(float(np.finfo(leaf.dtype).eps), shown)
            own = up[at : at + leaf.size].reshape(leaf.shape)
            factors = np.asarray(own * (2 * unit))
            factors += 1 - unit
            moved = np.multiply(leaf, factors, out=factors if leaf.dtype == np.float64 else None)
            leaves[i], at = moved.astype(leaf.dtype, copy=False), at + leaf.size
    return leaves


def _finite(deviation: Floats) -> Floats:
    return np.nan_to_num(deviation, nan=0.0, posinf=0.0, neginf=0.0)


def _steady(
    target: Target,
    leaves: list[NDArray[Any]],
    here: dict[int, Floats],
    shown: float,
    most: dict[int, float],
) -> dict[int, Floats]:
    """What the gradient at a neighbour differs by, called twice where that is not little.

    `most` is what rounding in another order may change an entry by.
    """
    found = target.gradient_at(leaves)
    with np.errstate(all="ignore"):
        moved = {i: found[i] - g for i, g in here.items()}
        far = [i for i, gap in moved.items() if not _within(gap, most[i])]
    if far:
        again = target.gradient_at(leaves)
        for i in here:
            if differ(found[i], again[i], max(shown, target.format_eps(i))):
                unsteady(target, i)
        moved |= {i: _finite(moved[i]) for i in far}
    return moved


def _within(gap: Floats, most: float) -> bool:
    """Whether no entry exceeds `most` in size; one that is no number does."""
    square = most * most
    # no square is more than the sum of all; sums that leave the range of numbers say nothing
    return bool(SMALL < square < LARGE and squares_of(gap) <= square) or largest(gap) <= most


def largest(x: Floats) -> float:
    """The largest absolute value; not a number where one entry is none."""
    return max(float(x.max(initial=0.0)), -float(x.min(initial=0.0)))


def unsteady(target: Target, block: int) -> None:
    """Fail a gradient that differs between calls at one point, unless the loss is random too."""
    if not target.random:
        target.find(
            "unsteady",
            f"the gradient of '{target.tree.names[block]}' is unsteady: two calls at one point "
            f"differ by more than rounding can, and {target.nouns.loss} does not. A race, memory "
            "that was not initialised, or random numbers in the backward pass? Fix their seed",
            fatal=True,
        )


def gradient_noise(target: Target, seed: int, eps: dict[int, float]) -> dict[int, Floats]:
    """Noise of every entry of the gradient along a random line, by its high differences.

    Finds what one unit in the last place cannot: a saturated 1 - h*h keeps its rounding error for
    all neighbours that leave h itself unchanged. Moré and Wild's table (see `oracle.noise`) at
    sampling distances from ten units to a thousandth; a level counts as noise, not as signal, if
    the fifth and the sixth differences agree on it and do not both keep their sign: those of noise
    alternate, while a product of hundreds of factors varies fast, and smoothly. Costs ten
    evaluations of the gradient a distance, seven distances in double precision; used only before a
    sharper oracle may fail it.
    """
    rng = generator(seed, Stream.ROUNDOFF_LEVELS)
    signs = [rng.choice([-1.0, 1.0], size=leaf.shape) for leaf in target.tree.leaves]
    unit = max(eps.values())
    worst = {i: np.zeros(target.tree.leaves[i].shape) for i in target.select}
    distance = 8.0 * unit
    while distance < 2e-3:
        points = [
            [
                (x * (1 + k * distance * s)).astype(x.dtype) if x.dtype.kind == "f" else x
                for x, s in zip(target.tree.leaves, signs, strict=True)
            ]
            for k in range(-5, 5)
        ]
        samples = [target.gradient_at(leaves) for leaves in points]
        coarse = []
        for i, so_far in worst.items():
            values = np.stack([s[i] for s in samples])
            np.maximum(so_far, noisy_level(values), out=so_far)
            with np.errstate(all="ignore"):
                if np.max(so_far) > REORDERED * eps.get(i, unit) * np.max(np.abs(values)):
                    coarse.append(i)
        if coarse and not target.random:
            again = [target.gradient_at(leaves) for leaves in points]
            for i in coarse:
                if any(
                    differ(a[i], b[i], eps.get(i, unit))
                    for a, b in zip(samples, again, strict=True)
                ):
                    unsteady(target, i)
        distance *= 100
    here = target.first
    return {
        i: 6.0 * _spread(level[None], here[i], target.reach(i), eps.get(i, unit))
        for i, level in worst.items()
    }


def noisy_level(values: Floats) -> Floats:
    """Noise level of (n, *shape) equispaced values; zero where their differences are a signal's."""
    fifth, sixth = (noise_level(values, order) for order in (5, 6))
    noisy = (fifth <= 4 * sixth) & ~(_smooth(values, 5) | _smooth(values, 6))
    return np.where(noisy, sixth, 0.0)


def _smooth(values: Floats, order: int) -> NDArray[np.bool_]:
    """Whether neighbouring differences of one order agree in sign, by their mean product.

    That of noise is negative: −order/(order + 1) of its variance.
    """
    with np.errstate(all="ignore"):
        differences = np.diff(values, n=order, axis=0)
        differences = differences / np.max(np.abs(differences), axis=0)
        return np.asarray(np.sum(differences[1:] * differences[:-1], axis=0) > 0)


def noise_level(values: Floats, order: int) -> Floats:
    """Noise level of (n, *shape) equispaced values by differences of one order."""
    gamma = float(np.prod([0.5 * k / (2 * k - 1) for k in range(1, order + 1)]))
    with np.errstate(all="ignore"):
        differences = np.diff(values, n=order, axis=0)
        level = np.sqrt(gamma * np.mean(differences**2, axis=0))
    return np.asarray(np.nan_to_num(level, nan=0.0, posinf=0.0, neginf=0.0))
