"""The noise of the loss and the roundoff of the gradient at a point, each measured by calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .jumping import Jumps, LineOfAll, look_for_jumps, noise_beside
from .offered import offers_derivatives
from .oracle.noise import Noise, measure_noise
from .outcome import Report
from .repeats import default_repeats, repeat_gradient
from .roundoff import NEIGHBOURS, GradientRoundoff, measure_gradient_roundoff
from .saturated import plateau
from .steadiness import NOISY, called_again
from .suspicions import tell_noise
from .target import Target

__all__ = ["Called", "call_gradient", "look_at_loss"]

Floats = NDArray[np.float64]


def look_at_loss(
    report: Report, target: Target, rng: np.random.Generator, *, smooth: bool
) -> tuple[Noise, Jumps | None]:
    """Noise and jumps of the loss along a line through all checked leaves, each in its own scale.

    `rng` draws the line. What has been found `smooth` along another one does not jump at the point,
    and has been called there twice.
    """
    eps = max(float(np.finfo(target.tree.leaves[i].dtype).eps) for i in target.select)
    along = LineOfAll(target, rng)
    noise = measure_noise(
        along, 1.0, max(eps, target.unit), target.value_eps, target.base, 1 + smooth
    )
    noise = called_again(target, noise)
    if noise.deterministic and noise.sigma > NOISY * noise.eps * abs(target.base):
        along.call_again()
    jumps = None if smooth or not noise.deterministic else look_for_jumps(target, along)
    if jumps is not None:
        noise = noise_beside(target, rng, noise)
    noise = plateau(target, noise, rng)
    report.noise, report.deterministic = noise.sigma, noise.deterministic
    target.random = noise.random
    tell_noise(target, noise)
    return noise, jumps


@dataclass
class Called:
    """A gradient called several times: its `roundoff`, and how many of the `calls` must agree.

    `again` is what differs most from the first; `measured` says whether the roundoff is that of
    enough neighbours, or of one.
    """

    roundoff: GradientRoundoff
    calls: int
    again: dict[int, Floats]
    measured: bool

    def answers(self, g: dict[int, Floats]) -> bool:
        """Whether what `g` is at the point, by block, is something else at the neighbours."""
        near = self.roundoff
        return near.deterministic and all(x.any() for i, x in near.samples.items() if g[i].any())


def call_gradient(
    target: Target,
    g: dict[int, Floats],
    blocks: list[int],
    second: dict[int, Floats] | None,
    seed: int,
    *,
    entrywise: bool,
    repeats: int | None,
    agreed: int,
) -> Called:
    """Call the gradient at the point, where it must agree, and at neighbours.

    `g` is what the first call gave, `second` what the second did; `agreed` calls have been found to
    agree before.
    """
    # a limited budget is for the entries first
    free = entrywise and np.isinf(target.budget.left())
    entries = sum(g[i].size for i in blocks) if free else 0
    # calls at neighbours must agree too: along directions one; and that at the end
    others = 0 if repeats else NEIGHBOURS if entrywise else 1 + max(agreed, 1)
    repeated = repeat_gradient(
        target, g, blocks, repeats or default_repeats(entries, others), second
    )
    # what agrees without its roundoff needs none measured
    measured = entrywise or offers_derivatives(target) or not repeated.deterministic
    near, again = NEIGHBOURS if measured else 1, repeated.furthest
    roundoff = measure_gradient_roundoff(target, g, seed, blocks, near, again)
    if not repeated.deterministic:
        target.find("nondeterministic-gradient", "the gradient differs between calls at one point")
    return Called(roundoff, repeated.calls + others, again, measured)
