"""The gradient called again and again at one point: it must give the same each time.

What a sum in another order changes is rounding, and becomes part of the bounds. More than that is
a fault of its own, which no bound may take in: an update lost in a race, memory read before it is
written, random numbers drawn in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .budget import OutOfBudget
from .oracle.noise import shown_eps
from .outcome import Report
from .target import Target

__all__ = [
    "LEAST_REPEATS", "REORDERED", "Repeats", "default_repeats", "differ", "repeat_gradient",
    "tell_rare",
]  # fmt: skip

Floats = NDArray[np.float64]
#: Units in the last place that a sum in another order may change a gradient by.
REORDERED = 2.0**16
LEAST_REPEATS, MOST_REPEATS = 6, 50
#: A call of the gradient costs as much as three to six of the loss, an entry needs two of these:
#: one call for so many entries adds a fiftieth.
ENTRIES_A_CALL = 128
#: Calls of which one shows the fault whose chance of being missed is said.
RARE = 20


def default_repeats(entries: int, beside: int = 0) -> int:
    """Calls of the gradient that cost little beside the differences of so many entries.

    Those `beside` the point, within rounding of it, must agree with the others as well, and count.
    """
    calls = min(max(entries // ENTRIES_A_CALL, LEAST_REPEATS), MOST_REPEATS)
    return int(max(calls - beside, 2))


def tell_rare(report: Report, calls: int) -> None:
    """Say in rows what so many calls of the gradient may not see: a race of now and then."""
    missed = (1 - 1 / RARE) ** calls
    text = (
        f"what comes once in more than {calls} calls of the gradient (once in {RARE}: missed with "
        f"probability {missed:.2g}; repeats= makes more)"
    )
    for row in report.rows:
        row.missed = "; ".join(filter(None, [row.missed, text]))


def differ(a: Floats, b: Floats, eps: float) -> bool:
    """Whether two gradients of one point differ by more than sums in another order explain."""
    if not bool(np.isfinite(b).all()):
        return bool(np.isfinite(a).all())
    with np.errstate(all="ignore"):
        top = float(np.max(np.abs(a), initial=0.0))
        gap = float(np.max(np.abs(a - b), initial=0.0))
    # the largest entry carries the rounding of a sum that may have cancelled in smaller ones
    return gap > REORDERED * eps * top


@dataclass(frozen=True)
class Repeats:
    """How many `calls` were made at the point; `furthest` is what differs most from the first."""

    calls: int
    furthest: dict[int, Floats]
    deterministic: bool


def _places(first: Floats, other: Floats) -> str:
    """The entries that differ between two gradients of one point, where they are some of many."""
    with np.errstate(all="ignore"):
        gap = np.abs(other - first)
    differing = np.argwhere(gap > 1e-3 * np.max(gap, initial=0.0))
    if not first.ndim or len(differing) in (0, first.size):
        return ""
    shown = ", ".join(str([int(k) for k in at]) for at in differing[:3])
    more = ", …" if len(differing) > 3 else ""
    return f", in {len(differing)} of {first.size} entries ({shown}{more})"


def repeat_gradient(
    target: Target,
    g: dict[int, Floats],
    blocks: Sequence[int],
    calls: int,
    second: dict[int, Floats] | None = None,
) -> Repeats:
    """Call the gradient at the target's point until it has been called `calls` times there.

    `g` is what the first call gave, `second` what the second did, if there has been one.

    A difference that rounding in another order does not explain is a fatal finding, unless the loss
    itself is random: then it is what that randomness does to the gradient.
    """
    # a gradient computed in single precision shows it, whatever its dtype
    shown = shown_eps([g[i] for i in blocks])
    furthest, gap = dict(g), dict.fromkeys(blocks, 0.0)
    worst = dict.fromkeys(blocks, 0.0)
    odd = dict.fromkeys(blocks, 0)
    lost: dict[int, int] = {}
    equal, made = True, 1
    try:
        for call in range(2, calls + 1):
            again = second if call == 2 and second else target.gradient_at(target.tree.leaves)
            made = call
            for i in blocks:
                if again[i] is g[i] or np.array_equal(g[i], again[i]):
                    continue
                equal = False
                if not np.isfinite(again[i]).all():
                    lost.setdefault(i, call)
                    continue
                distance = float(np.linalg.norm(again[i] - g[i]))
                if distance > gap[i]:
                    gap[i], furthest[i] = distance, again[i]
                size = float(np.linalg.norm(g[i]))
                worst[i] = max(worst[i], distance / size if size else np.inf)
                odd[i] += differ(g[i], again[i], max(shown, target.format_eps(i)))
    except OutOfBudget:
        if made == 1:
            raise
    for i in blocks:
        name = target.tree.names[i]
        if i in lost:
            target.find(
                "not-finite",
                f"the gradient of '{name}' is finite in the first call and not in call {lost[i]} "
                "at the same point",
                fatal=True,
            )
        elif odd[i] and not target.random:
            target.find(
                "unsteady",
                f"the gradient of '{name}' is unsteady: {odd[i]} of {made - 1} more calls at one "
                f"point differ from the first, by up to {worst[i]:.1e} of it"
                f"{_places(g[i], furthest[i])}, more than rounding can, and {target.nouns.loss} "
                "does not. A race, memory that was not initialised, or random numbers in the "
                "backward pass? Fix their seed",
                fatal=True,
            )
    return Repeats(made, furthest, equal)
