"""A loss that changes in steps beside the point, which slopes at small steps know nothing of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["plainly_refuted", "step_between"]

Floats = NDArray[np.float64]
#: Steps at which a claim may be borne out although smaller ones deny it, in sizes of the parameter:
#: those that are looked at first, then the others.
FIRST, OTHERS = (0.25, 2.0**-5), (4.0, 2.0, 1.0, 2.0**-3, 2.0**-4, 2.0**-6)
#: Part of a disagreement within which a slope over several steps of the loss bears a claim out.
BORNE_OUT = 0.4
#: Smaller steps over which the slope must not have left the claim where steps are too narrow to be
#: found one by one; parts of a disagreement within which one of them, on either side and on
#: average, is the claim, and another one is on average.
FINER, EITHER_SIDE, ON_AVERAGE = (2.0**-8, 2.0**-12), 0.25, 0.1
LOST = (
    ": digits are lost inside it (log(1 - s) where s is close to 1: log1p, softplus or logsumexp "
    "keep them), or it rounds or counts, of which a straight-through gradient is not the derivative"
)
#: Halvings down to a jump, and further ones over which it must stay as large.
HALVINGS, MORE_HALVINGS = 20, 10


def step_between(
    phi: Callable[[Floats], Floats],
    scale: float,
    base: float,
    claim: float,
    value: float,
    noise: float,
    others: bool = False,
    flat: bool = True,
) -> str:
    """Why a claim is not refuted by a slope at small steps, or nothing where it is.

    Slopes over larger steps bear the claim out, and the loss jumps in between: the small ones lie
    on one step of it. So it is where a part of the loss has lost its digits, as log(1 - s) has for
    an s close to 1. Or the loss does not change in any bit at the point, and jumps beyond. Four
    evaluations; three more where a larger slope agrees with the claim and fades, else up to twenty,
    and then up to 31 for every step that may lie beyond a jump.

    Parameters
    ----------
    phi
        Maps steps (k,) along one line to losses (k,).
    scale
        Size of the parameter along the line.
    base
        phi(0).
    claim, value
        The slope under test, and the one that small steps show.
    noise
        Standard deviation of phi.
    others
        Slopes of other entries have been borne out: a jump is enough, for a step as wide as the
        parameter has no slope over several.
    flat
        Where `value` is zero, look for jumps whatever the slopes are.
    """
    gap = abs(value - claim)
    if flat and not value and (found := _beyond_a_tread(phi, scale, base, noise)):
        return found
    steps, bears = np.zeros(0), np.zeros(0, dtype=bool)
    for parts in (FIRST, OTHERS):
        more = scale * np.array([side * part for part in parts for side in (1.0, -1.0)])
        with np.errstate(all="ignore"):
            slopes = (phi(more) - base) / more
            near = np.isfinite(slopes) if others else np.abs(slopes - claim) <= BORNE_OUT * gap
            mean = np.abs(slopes.reshape(-1, 2).mean(axis=1) - claim)
        steps, bears = np.append(steps, more), np.append(bears, near)
        maybe = parts is FIRST and bool(np.any(mean <= BORNE_OUT * gap))
        if maybe and _borne_out_by_finer(phi, scale, base, claim, gap, slopes[2:]):
            return (
                "the loss changes in small steps: slopes over moves of 1/4096 to 1/32 of the "
                f"parameter bear the gradient out, and those over smaller ones do not{LOST}"
            )
        smooth = parts is FIRST and not others
        if smooth:  # what passes by the claim on its way to the slope at small steps
            smooth = all(_fades(phi, float(h), base, value, noise) for h in steps[bears])
        if smooth or not bears.any():
            return ""
    # a smooth slope passes by the claim at one size of steps
    wide = [h for h in steps[bears] if others or np.any(np.abs(h) >= 4 * np.abs(steps[bears]))]
    for h in sorted(wide, key=abs):
        jump, where = _jump_within(phi, float(h), base, value, noise)
        if jump:
            return (
                f"the loss changes in steps: it jumps by {abs(jump):.3g} at a distance of "
                f"{abs(where):.2g}, slopes over more than one step bear the gradient out and those "
                f"on the step at the point do not{LOST}"
            )
    return ""


def plainly_refuted(
    phi: Callable[[Floats], Floats],
    scale: float,
    base: float,
    claim: float,
    value: float,
    noise: float,
) -> bool:
    """Whether no slope over larger steps bears a claim out, as those of a smooth function do not.

    Arguments are those of `step_between`; four evaluations, three more for a slope that passes by.
    """
    steps = scale * np.array([side * part for part in FIRST for side in (1.0, -1.0)])
    with np.errstate(all="ignore"):
        slopes = (phi(steps) - base) / steps
        far = np.abs(slopes - claim) > BORNE_OUT * abs(value - claim)
        means = np.abs(slopes.reshape(-1, 2).mean(axis=1) - claim)
        if not np.all(means > BORNE_OUT * abs(value - claim)):
            return False
    return all(_fades(phi, float(h), base, value, noise) for h in steps[~far])


def _fades(
    phi: Callable[[Floats], Floats], h: float, base: float, value: float, noise: float
) -> bool:
    """Whether slopes over a step come to those over small ones as those of a smooth function do.

    What they are off by falls as the step does. Beyond a jump it grows when the step is cut, on
    many narrow steps it stays, and before the first of them there is nothing left. Three
    evaluations, where to look for a jump takes 31.
    """
    steps = h * np.array([2.0**-2, 2.0**-4, 2.0**-6])
    with np.errstate(all="ignore"):
        off = (phi(steps) - base) / steps - value
        falls = off[1:] / off[:-1]
    seen = abs(off[-1] * steps[-1]) > 64 * noise
    return bool(seen and np.all((falls > 2 / 3 * 0.25) & (falls < 1.5 * 0.25)))


def _borne_out_by_finer(
    phi: Callable[[Floats], Floats],
    scale: float,
    base: float,
    claim: float,
    gap: float,
    known: Floats,
) -> bool:
    """Whether slopes over ever smaller steps are the claim, on both sides, as far as is looked.

    `known` are those over the last of the first steps. Beside a kink the two sides differ.
    """
    sharp, near = False, 0
    for k, part in enumerate((FIRST[-1], *FINER)):
        steps = scale * np.array([part, -part])
        with np.errstate(all="ignore"):
            slopes = (phi(steps) - base) / steps if k else known
            mean = abs(slopes.mean() - claim)
            sides = np.max(np.abs(slopes - claim)) <= EITHER_SIDE * gap
        sharp = sharp or bool(sides and mean <= ON_AVERAGE * gap)
        near += bool(mean <= EITHER_SIDE * gap)
        if k == 1 and not near:  # two of the three must be
            return False
    return sharp and near > 1


def _beyond_a_tread(
    phi: Callable[[Floats], Floats], scale: float, base: float, noise: float
) -> str:
    """What to say of a loss that is the same in every bit around the point, and jumps beyond."""
    small = scale * np.array([side * part for part in FINER for side in (1.0, -1.0)])
    if np.any(phi(small) != base):
        return ""
    for side in (1.0, -1.0):
        for part in (2.0**-5, 0.25, 1.0, 4.0):
            h = side * part * scale
            if float(phi(np.array([h]))[0]) == base:
                continue
            jump, where = _jump_within(phi, h, base, 0.0, noise)
            if jump:
                return (
                    f"the loss changes in steps: it is the same in every bit around the point and "
                    f"jumps by {abs(jump):.3g} at a distance of {abs(where):.2g}{LOST}"
                )
            break
    return ""


def _jump_within(
    phi: Callable[[Floats], Floats], far: float, base: float, slope: float, noise: float
) -> tuple[float, float]:
    """Size and place of a jump between 0 and `far`, found by halving; zeros if there is none.

    What remains of a smooth function, or of a kink, falls as the width does.
    """
    near, below, left = 0.0, 0.0, []
    above = float(phi(np.array([far]))[0]) - base - slope * far
    for _ in range(HALVINGS + MORE_HALVINGS):
        middle = 0.5 * (near + far)
        between = float(phi(np.array([middle]))[0]) - base - slope * middle
        if abs(between - below) >= abs(above - between):
            far, above = middle, between
        else:
            near, below = middle, between
        left.append(above - below)
    wide, narrow = abs(left[HALVINGS - 1]), abs(left[-1])
    found = narrow >= 0.5 * wide > 32 * noise
    return (left[-1], far) if found else (0.0, 0.0)
