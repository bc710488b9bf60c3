"""Kinks: points where the two one-sided derivatives differ. They are reported, never averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .differences import CONFIDENCE, Ladder

__all__ = ["Kink", "find_kink"]


@dataclass(frozen=True)
class Kink:
    """One-sided derivatives that differ by more than their errors at two scales, a factor 8 apart.

    `left` and `right` are the derivatives from below and above, `error` bounds either, `step` is
    the smaller scale: the kink lies within that distance of the point.
    """

    left: float
    right: float
    error: float
    step: float

    def between(self, value: float, slack: float) -> bool:
        """Whether `value` is a subgradient: between the two slopes, up to `slack`."""
        low, high = sorted((self.left, self.right))
        return low - slack <= value <= high + slack


def find_kink(ladder: Ladder, line: int = 0) -> Kink | None:
    """The kink at the ladder's origin, if one-sided slopes insist on one.

    A smooth function's slopes f(h)/h and f(-h)/-h approach each other in proportion to h; at a
    kink their distance stays. Both are extrapolated once in h (error O(h^2)), the change under
    extrapolation is the error taken, and the distance must exceed it at two scales.
    """
    forward, backward = (side[:, line] for side in ladder.slopes())
    h = ladder.steps
    if len(h) < 6:
        return None
    with np.errstate(all="ignore"):
        right = 2 * forward[1:] - forward[:-1]
        left = 2 * backward[1:] - backward[:-1]
        noise = 3 * CONFIDENCE * ladder.noise.sigma / h[1:]
        right_error = np.abs(right - forward[1:]) + noise
        left_error = np.abs(left - backward[1:]) + noise
        jump = np.abs(right - left)
        clear = jump > 2 * (right_error + left_error)
    # nearest scale first: a kink at some distance is clear at large steps and gone at small ones
    for i in range(len(clear) - 1, 2, -1):
        visible = noise[i] < 0.1 * jump[i - 3] if np.isfinite(jump[i - 3]) else False
        if not np.isfinite(jump[i]) or not (visible or clear[i]):
            continue
        same = clear[i] and clear[i - 3] and 0.5 < jump[i] / jump[i - 3] < 2
        if not same:
            return None
        # larger steps that see the same two slopes have less noise
        error = np.maximum(right_error, left_error)
        apart = np.maximum(np.abs(left - left[i]), np.abs(right - right[i]))
        k = int(np.argmin(np.where(apart[: i + 1] <= error[i], error[: i + 1], np.inf)))
        return Kink(float(left[k]), float(right[k]), float(error[k]), float(h[i + 1]))
    return None
