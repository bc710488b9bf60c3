"""Outputs that change in wide steps: floor, round, a sign, an index, a count.

Where the loss is flat its derivative is zero, and a gradient of zero is right. Differences over
many steps see their average slope, which a surrogate may mean. They cannot know which of the two is
asked for, so that such an entry neither passes nor fails.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .target import Target
from .verdict import EntryCheck, EntryState

__all__ = ["doubt_stairs"]

Floats = NDArray[np.float64]
#: Half of the width of a step that counts as wide, in sizes of the parameter.
WIDE = 2.0**-10
#: Units in the last place of the loss that its average slope must amount to over such a width.
VISIBLE = 64.0


def doubt_stairs(target: Target, check: EntryCheck, gradient: Floats) -> None:
    """Leave open the failing entries whose gradient is zero, on a wide step of the loss.

    `check` comes from differences of the loss as it is; two more evaluations an entry.
    """
    failing = check.state == EntryState.FAIL
    if not failing.any():
        return
    g = gradient.ravel()
    width = WIDE * target.scale(check.block)
    unit = max(target.value_eps, float(np.finfo(np.float64).eps)) * abs(target.base)
    clear = np.abs(check.value) * width > VISIBLE * unit
    asked = np.flatnonzero(failing & (g == 0) & clear)
    if not asked.size:
        return
    beside = target.lines(check.block, asked)(np.repeat([[-width], [width]], asked.size, axis=1))
    for i in asked[np.all(beside == target.base, axis=0)]:
        check.state[i] = EntryState.BLIND
        check.reasons[int(i)] = (
            "the loss changes in steps (floor, round, a sign, a count?): it is flat here, where a "
            f"gradient of 0 is right, and has an average slope of {check.value[i]:.3g} over many "
            "steps; give the function that is meant (surrogate=), or round after the loss"
        )
