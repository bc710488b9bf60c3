"""Differences at a few steps far below one another, which insist on a slope or do not.

A difference at one step may be wrong: the function varies, or has a kink, within that step. A claim
that it contradicts is refuted for good if differences down to the step at which noise would hide
the contradiction all say the same. Three of them, spread over the steps between, cost six values,
where a whole ladder of halved steps costs eighty and says no more of a clear contradiction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .differences import CONFIDENCE
from .line_functions import Lines
from .noise import Noise

__all__ = ["insist"]

Floats = NDArray[np.float64]
WITNESSES = 3
#: Of the contradiction: how far a witness may be off, and noise at the smallest step.
PART = 0.25
AMPLIFICATION = float(np.sqrt(0.5))


def insist(
    lines: Lines,
    centre: float,
    noise: Noise,
    exponent: Floats | int,
    value: Floats,
    gap: Floats,
    finest: float = -np.inf,
) -> NDArray[np.bool_]:
    """Whether smaller steps bear out slopes that contradict claims, by line.

    Parameters
    ----------
    lines
        m lines; six values are taken of each.
    centre
        Their common value at 0.
    exponent
        Of the steps at which the slopes were taken, (m,) or one for all.
    value, gap
        The slopes, and their distance from the claims, both (m,).
    finest
        Exponent of the smallest step that the format of the parameters resolves.

    Returns
    -------
    False also where the noise leaves no smaller step, where the function is constant at all steps
    (it may change in steps), and where the slopes on the two sides differ (a kink).
    """
    m = lines.count
    top = np.broadcast_to(np.asarray(exponent, dtype=np.float64), (m,))
    with np.errstate(all="ignore"):
        least = CONFIDENCE * AMPLIFICATION * noise.sigma / (PART * gap)
        bottom = np.maximum(np.log2(np.maximum(least, np.finfo(np.float64).tiny)), finest)
        room = np.floor(top - bottom)
    able = np.isfinite(room) & (room >= WITNESSES) & np.isfinite(value) & (gap > 0)
    # beyond sixty halvings no step is left of x + h
    room = np.where(able, np.minimum(room, 60.0), WITNESSES)
    down = np.ceil(np.outer(np.arange(1, WITNESSES + 1) / WITNESSES, room))
    h = np.ldexp(1.0, (top - down).astype(np.int64))
    values = lines(np.concatenate([h, -h]))
    plus, minus = values[:WITNESSES], values[WITNESSES:]
    with np.errstate(all="ignore"):
        forth, back = lines.realise(h), -lines.realise(-h)
        slope = (plus - minus) / (forth + back)
        sides = np.abs((plus - centre) / forth - (centre - minus) / back)
        rounding = CONFIDENCE * noise.sigma / h
        near = np.abs(slope - value) <= PART * gap + AMPLIFICATION * rounding
        straight = sides[-1] <= PART * gap + 2 * rounding[-1]
    moves = np.any((plus != centre) | (minus != centre), axis=0)
    return np.asarray(able & moves & straight & np.all(near, axis=0))
