"""The roundoff of a gradient under test, measured by moving its inputs one unit in the last place.

A backward stable gradient answers a neighbouring problem exactly; what it gives for a few random
neighbours therefore shows how far its own arithmetic may have carried it. No constant is assumed
but the few units that the final operations cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .oracle.noise import value_eps
from .repeats import REORDERED, differ
from .target import Target

__all__ = [
    "NEIGHBOURS", "GradientRoundoff", "gradient_noise", "measure_gradient_roundoff", "noise_level",
    "spread",
]  # fmt: skip

Floats = NDArray[np.float64]
NEIGHBOURS = 4
SPREADS = 4.0
#: Factor between the entries that jump and those that do not, where most jump.
APART = 1024.0
UNITS = 4.0


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

    def along(self, block: int, gradient: Floats, direction: Floats) -> float:
        """Bound on the roundoff of <gradient, direction> within one leaf."""
        moved = np.tensordot(self.samples[block], direction, axes=direction.ndim)
        rounding = UNITS * self.eps[block] * _norm(gradient * direction)
        rounding += UNITS * self.tiny[block] * _norm(direction * (gradient != 0))
        independent = _norm(self.bounds[block] * direction)
        return float(max(SPREADS * np.max(np.abs(moved)), independent) + rounding)


def _norm(x: Floats) -> float:
    """The Euclidean norm, of numbers whose squares may overflow."""
    top = float(np.max(np.abs(x), initial=0.0))
    return top * float(np.linalg.norm(x / top)) if 0 < top < np.inf else top


def _scaled(samples: Floats, gradient: Floats, reach: Floats) -> Floats:
    """As `spread`, of a leaf whose entries differ in size (`reach`) by orders of magnitude.

    What is typical of the others counts by what it does to the loss, or relative to the gradient,
    whichever is less: neither a gradient of 1e-8 of an entry of 1e8, nor one of 1e-8 of an entry of
    1e-8, has anything of the rounding of its neighbour.
    """
    reach = reach / np.max(reach, initial=0.0)
    if np.all(reach == 1):
        return spread(samples)
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
    largest = np.max(np.abs(samples), axis=0)
    jumps = largest > REORDERED * eps * np.max(np.abs(gradient), initial=0.0)
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
    largest = np.max(np.abs(samples), axis=0)
    if largest.ndim == 0 or not largest.size:
        return np.asarray(largest)
    top = float(np.max(largest))
    top = top if 0 < top < np.inf else 1.0
    squares = np.mean((samples / top) ** 2, axis=0)  # of gradients of 1e200 there are none
    typical = np.min(
        [np.broadcast_to(np.sqrt(squares.mean(axis=k, keepdims=True)), largest.shape)
         for k in range(largest.ndim)], axis=0,
    )  # fmt: skip
    return np.asarray(np.maximum(largest, top * typical))


def measure_gradient_roundoff(
    target: Target,
    gradient: dict[int, Floats],
    seed: int,
    blocks: Sequence[int],
    neighbours: int = NEIGHBOURS,
    again: dict[int, Floats] | None = None,
) -> GradientRoundoff:
    """Measure the roundoff of the gradient at the target's point, from five more evaluations.

    Without neighbours there is one more, and the bound is that of the final operations only: what
    agrees within it needs no other. `again` is what another call gave at the point, if there was
    one. A neighbour further away than rounding explains is called again: either it is so at that
    point, because the problem is ill conditioned, or the gradient is unsteady.
    """
    rng = generator(seed, Stream.ROUNDOFF)
    again = target.gradient_at(target.tree.leaves) if again is None else again
    repeats = all(np.array_equal(gradient[i], again[i], equal_nan=True) for i in blocks)
    everything = np.concatenate([gradient[i].ravel() for i in blocks])
    # A gradient exact in single precision throughout was computed there, whatever its dtype.
    shown = max(target.unit, value_eps(everything) if everything.size >= 8 else 0.0)
    deviations = []
    for _ in range(neighbours):
        leaves = []
        for leaf in target.tree.leaves:
            if leaf.dtype.kind != "f":
                leaves.append(leaf)
                continue
            unit = max(float(np.finfo(leaf.dtype).eps), shown)
            signs = 2.0 * rng.integers(2, size=leaf.shape) - 1.0
            leaves.append((leaf * (1 + signs * unit)).astype(leaf.dtype))
        deviations.append(_steady(target, leaves, blocks, everything, shown) - everything)
    if not repeats or not deviations:
        deviations.append(np.concatenate([again[i].ravel() for i in blocks]) - everything)
    moved = np.array(deviations)
    if not np.isfinite(moved).all():
        moved = np.nan_to_num(moved, nan=0.0, posinf=0.0, neginf=0.0)
    at = 0
    bounds, samples, eps, tiny = {}, {}, {}, {}
    with np.errstate(all="ignore"):
        for i in blocks:
            leaf_eps = float(np.finfo(target.tree.leaves[i].dtype).eps)
            eps[i] = max(leaf_eps, shown, float(np.finfo(np.float64).eps))
            end = at + gradient[i].size
            samples[i] = moved[:, at:end].reshape(-1, *gradient[i].shape)
            at = end
            bounds[i] = UNITS * eps[i] * np.abs(gradient[i])
            if samples[i].any():
                bounds[i] += SPREADS * _spread(samples[i], gradient[i], target.reach(i), eps[i])
            tiny[i] = float(np.finfo(target.tree.leaves[i].dtype).smallest_subnormal)
            bounds[i] += UNITS * tiny[i] * (gradient[i] != 0)
    return GradientRoundoff(bounds, samples, eps, repeats, tiny)


def _steady(
    target: Target,
    leaves: list[NDArray[np.floating]],
    blocks: Sequence[int],
    here: Floats,
    eps: float,
) -> Floats:
    """The gradient at a neighbour, flat, called twice where it is not near that at the point."""
    sizes = [target.tree.leaves[i].size for i in blocks]
    starts = np.cumsum([0, *sizes[:-1]])
    units = np.array([max(eps, target.format_eps(i)) for i in blocks])

    def flat() -> Floats:
        found = target.gradient_at(leaves)
        return np.concatenate([found[i].ravel() for i in blocks])

    def apart(a: Floats, b: Floats) -> list[int]:
        if not bool(np.isfinite(b).all() and np.isfinite(a).all()):
            pieces = zip(np.split(a, starts[1:]), np.split(b, starts[1:]), units, strict=True)
            return [i for i, (x, y, e) in zip(blocks, pieces, strict=True) if differ(x, y, e)]
        with np.errstate(all="ignore"):
            top, gap = (np.maximum.reduceat(np.abs(x), starts) for x in (a, a - b))
            return [blocks[int(k)] for k in np.flatnonzero(gap > REORDERED * units * top)]

    found = flat()
    if apart(here, found):
        again = flat()
        for i in apart(found, again):
            unsteady(target, i)
    return found


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
            fifth, sixth = (noise_level(values, order) for order in (5, 6))
            noisy = (fifth <= 4 * sixth) & ~(_smooth(values, 5) & _smooth(values, 6))
            np.maximum(so_far, np.where(noisy, sixth, 0.0), out=so_far)
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
