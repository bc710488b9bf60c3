"""The noise of a computed function, measured: ECnoise, with repeats for nondeterminism.

Source: J. J. Moré and S. M. Wild, Estimating Computational Noise, SIAM J. Sci. Comput. 33 (2011).
Differences of order k of a smooth function vanish as h^k, those of its noise do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lattice import SPACING_SIGMA, find_lattice, spacing_of

__all__ = ["Noise", "ecnoise", "measure_noise", "narrow_format", "shown_eps", "value_eps"]

Floats = NDArray[np.float64]
POINTS = 8
REPEATS = 3
#: Values looked at first for digits that single precision has not.
FIRST = 64
#: Formats by the bits of a significand, and how many different ones show where they come from.
FORMATS, SHOWING = {"bfloat16": 8, "float16": 11, "float32": 24}, 8
MORE_REPEATS = 13
#: Steps of a lattice that values on it must be off by, to be rounded before they come to lie on it.
INSIDE = 8.0
#: Units in the last place that a sum in another order may change a value by.
REORDERED = 2.0**16
#: Steps of a hundredfold from the first; the last is about a third of the parameters themselves.
MOST_MOVES = 7


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a function's values about the smooth function that they stand for.

    `sigma` is in units of the function; `floor` is the part that the spacing of its floating-point
    values alone accounts for; `eps` the unit of that spacing, relative; `repeats` the standard
    deviation over evaluations at one point, zero for a deterministic function, and `random` says
    that it is more than sums in another order explain. `quantum` is the spacing of the values where
    they are rounded more coarsely than by their format (to decimals, to a narrower format), else 0.
    """

    sigma: float
    floor: float
    eps: float
    repeats: float
    evaluations: int
    method: str
    quantum: float = 0.0
    random: bool = False

    @property
    def deterministic(self) -> bool:
        """Whether repeated evaluation at one point gave bitwise equal values."""
        return self.repeats == 0.0

    @property
    def rounded_inside(self) -> bool:
        """Whether values are off by many of the steps in which they come out."""
        return 0 < INSIDE * self.quantum < self.sigma

    def at(self, values: Floats, centre: float) -> Floats:
        """Noise for values of another size than the centre's, same shape as `values`.

        Roundoff grows with the value; the constant of proportionality is the one measured at the
        centre, at most a hundred units, because a centre that is small by cancellation says
        nothing about the relative noise elsewhere.
        """
        unit = self.eps * abs(centre)
        factor = min(max(self.sigma / unit, 1.0), 100.0) if unit > 0 else 1.0
        grown = factor * self.eps * np.abs(values)
        return np.where(np.abs(values) > abs(centre), np.maximum(self.sigma, grown), self.sigma)


def _beyond_single(values: Floats) -> bool:
    """Whether one of the first values has digits that single precision has not."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        first = values.ravel()[:FIRST]
        return bool(np.any(np.isfinite(first) & (first.astype(np.float32) != first)))


def value_eps(values: Floats) -> float:
    """Machine epsilon of the precision in which `values` were computed, as they show it.

    Values that are all exact in float32, and not all equal, came through float32.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    if _beyond_single(flat):
        return float(np.finfo(np.float64).eps)
    flat = flat[np.isfinite(flat)]
    with np.errstate(over="ignore", under="ignore"):
        in_single = flat.astype(np.float32).astype(np.float64) == flat
    if flat.size >= 4 and bool(in_single.all()) and np.unique(flat).size >= 3:
        return float(np.finfo(np.float32).eps)
    return float(np.finfo(np.float64).eps)


def shown_eps(arrays: Sequence[Floats]) -> float:
    """As `value_eps`, of all entries of several arrays."""
    if any(map(_beyond_single, arrays)):
        return float(np.finfo(np.float64).eps)
    return value_eps(np.concatenate([a.ravel() for a in arrays]))


def narrow_format(arrays: Mapping[int, Floats], eps: float) -> tuple[str, list[int]]:
    """The coarsest format, coarser than ``eps``, whose digits some arrays hold only; which.

    Numbers that were rounded to a format use one of its last three bits in seven cases of eight;
    counts and powers of two, which every format holds, hardly ever.
    """
    for name, bits in FORMATS.items():
        if 2.0 ** (1 - bits) <= eps:
            break
        held = [
            i for i, x in arrays.items()
            if _holds(x.ravel()[:FIRST], bits) and _holds(x, bits) and np.any(x != np.rint(x))
        ]  # fmt: skip
        if not held:
            continue
        digits = [np.abs(np.frexp(arrays[i].ravel())[0]) for i in held]
        different = np.unique(np.concatenate([*digits, [0.0]]))[1:]
        used = np.count_nonzero(np.ldexp(different, bits) % 8)
        if different.size >= SHOWING and 2 * used >= different.size:
            return name, held
    return "", []


def _holds(values: Floats, bits: int) -> bool:
    """Whether significands of so many bits hold all values."""
    whole = np.ldexp(np.frexp(values)[0], bits)
    return bool(np.all(whole == np.rint(whole)))


def ecnoise(values: Floats) -> tuple[float | None, str]:
    """Noise level of equispaced values of one function, (n,) with n >= 6.

    Returns
    -------
    The level, or None with the reason: ``"step too small"`` (half of the values coincide),
    ``"step too large"`` (values differ by more than a tenth), ``"no level"``.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        return None, "step too large"
    table = values.copy()
    gamma, levels, tables = 1.0, [], []
    if np.count_nonzero(np.diff(values) == 0) >= values.size / 2:
        return None, "step too small"
    if np.ptp(values) > 0.1 * np.abs(values).max():
        return None, "step too large"
    # scaled before squaring: losses of 1e200 are legitimate
    top = float(np.max(np.abs(table)))
    table /= top
    for order in range(1, values.size):
        table = table[1:] - table[:-1]
        gamma *= 0.5 * order / (2 * order - 1)
        levels.append(math.sqrt(gamma * float(np.dot(table, table)) / table.size))
        tables.append(table)
    for k in range(len(levels) - 3):
        window = levels[k : k + 3]
        if max(window) <= 4 * min(window) and tables[k].min() < 0 < tables[k].max():
            return top * levels[k], "ECnoise"
    return None, "no level"


def _rough(samples: list[Floats]) -> float:
    """An upper bound of the noise where no level stands out: what the smoothest samples leave.

    High differences of a smooth function vanish, unless it varies on the scale of the step; the
    spacing of values about a centre that is small by cancellation says nothing.
    """
    left = []
    for values in samples:
        if not np.isfinite(values).all():
            continue
        top = float(np.max(np.abs(values)))
        gamma, table, levels = 1.0, values / top, []
        for order in range(1, values.size):
            table = np.diff(table)
            gamma *= 0.5 * order / (2 * order - 1)
            levels.append(top * float(np.sqrt(gamma * np.mean(table**2))))
        left.append(min(levels[2:]))
    return min(left, default=0.0)


def measure_noise(
    phi: Callable[[Floats], Floats],
    scale: float,
    dtype_eps: float,
    value_dtype_eps: float = 0.0,
    centre: float | None = None,
    times: int = 1,
) -> Noise:
    """Measure the noise of phi near 0.

    Parameters
    ----------
    phi
        Maps steps (k,) to values (k,), along a line that moves every parameter.
    scale
        Size of the parameters along the line; the sampling step starts at 1024 of their units in
        the last place and moves a hundredfold where the values ask for it.
    dtype_eps
        Machine epsilon of the parameters.
    value_dtype_eps
        Machine epsilon of the type that phi returns, if known to be coarser than float64.
    centre
        phi(0), where it has been evaluated already.
    times
        How often that gave the same; each counts as one of the repeats.
    """
    given = [] if centre is None else [centre] * times
    used = REPEATS - len(given)
    repeated = np.append(given, np.asarray(phi(np.zeros(used)), dtype=np.float64))
    centre, spread = float(repeated[0]), 0.0
    if not np.all(repeated == repeated[0]):
        more = np.asarray(phi(np.zeros(MORE_REPEATS)), dtype=np.float64)
        used += MORE_REPEATS
        repeated = np.concatenate([repeated, more])
        spread = float(np.std(repeated, ddof=1))
    step = scale * dtype_eps * 1024
    seen, level, how = [repeated], None, "no level"
    tried: set[int] = set()
    power = 0
    # A linear or saturated function has no window of its own at the first step: some moves span
    # decades, and the floor below stands where no level is ever found. Values that stay equal
    # beyond may be rounded to a lattice, which is found where they change at last.
    for move in range(MOST_MOVES):
        wide = step * 100.0**power * POINTS > 2 * scale
        if move >= 5 and (wide or any(np.any(v != centre) for v in seen)):
            break
        tried.add(power)
        offsets = np.arange(POINTS, dtype=np.float64) - POINTS // 2
        values = np.full(POINTS, centre)
        fresh = (offsets != 0) | (spread != 0)
        values[fresh] = phi(offsets[fresh] * step * 100.0**power)
        used += int(np.sum(fresh))
        seen.append(values)
        level, how = ecnoise(values)
        if level is not None:
            break
        power += -1 if how == "step too large" else 1
        if power in tried:
            break
    everything = np.concatenate(seen)
    eps, quantum = max(value_eps(everything), value_dtype_eps), 0.0
    if spread == 0 and _stairs(seen, centre, eps):
        lattice = find_lattice(phi, scale, step, centre, eps)
        used += lattice.evaluations
        eps = max(eps, value_eps(np.append(everything, lattice.values)), lattice.eps)
        quantum = lattice.quantum
    # Rounding to the nearest of values spaced by eps|f| has a standard deviation of spacing/√12.
    # Among denormal numbers that product would be lost itself.
    tiny = spacing_of(0.0, eps) if centre else 0.0
    floor = max(SPACING_SIGMA * eps * abs(centre), tiny)
    # where nothing changes at small steps, what changes at large ones is no noise: it is a lattice,
    # or the end of a plateau (units that are switched off)
    if level is None and not any(np.ptp(values) == 0 for values in seen[1:]):
        floor = max(floor, _rough(seen[1:]))
    # A standard deviation from sixteen draws is uncertain by a fifth; half as much again is safe.
    sigma = max(level or 0.0, floor, 1.5 * spread, SPACING_SIGMA * quantum)
    return Noise(
        sigma, floor, eps, spread, used, how if level is not None else f"floor ({how})",
        quantum, spread > REORDERED * eps * abs(centre),
    )  # fmt: skip


def _stairs(seen: list[Floats], centre: float, eps: float) -> bool:
    """Whether sampled values coincide although others differ by far more than their spacing.

    Or although nothing has changed at all, over the whole range of steps.
    """
    values = np.concatenate(seen[1:])
    values = values[np.isfinite(values)]
    changes = np.abs(values[values != centre] - centre)
    if not changes.size:
        return True
    distinct = np.unique(values)
    coarse = float(np.min(np.diff(distinct), initial=np.inf)) > 64 * spacing_of(centre, eps)
    flat = any(np.unique(v[np.isfinite(v)]).size <= v.size // 2 for v in seen[1:])
    return coarse and flat
