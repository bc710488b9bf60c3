"""Finite differences that know their own error.

Central differences at steps h, 2h, 4h, … are extrapolated in a Richardson table: column 0 is the
difference of order 2, columns 1 to 3 have order 4, 6 and 8. Three errors are told apart:

* truncation, from the change between neighbouring columns of the table (Ridders 1982);
* a kink, from the one-sided slopes: S(h)/h = (f(h) - 2f(0) + f(-h))/h has only odd powers of h
  where f is smooth, so that its own extrapolation to h = 0 is the jump of the slope, and a central
  difference is wrong by half of it. For one kink anywhere inside the stencil and an otherwise
  linear function, that half plus |D(2h) - D(h)| bounds the error of D(h) exactly;
* roundoff, from the measured noise of f and the weights of the table divided by h.

An entry of the table counts only if it agrees, within both errors, with what every smaller step
says: far outside the scale on which f varies, tables converge to the wrong number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .line_functions import Lines
from .noise import Noise, measure_noise

__all__ = ["COLUMNS", "CONFIDENCE", "Estimate", "Ladder", "Table", "differentiate", "extrapolate"]

Floats = NDArray[np.float64]

RATIO = 2.0
COLUMNS = 4
MOST_UP = 20
WITNESSES = 3
#: Further steps down where a claim might be borne out at the smallest alone.
FURTHER = 24
CONFIDENCE = 6.0
"""Standard deviations of the measured noise that a roundoff bound covers."""


@dataclass(frozen=True)
class Estimate:
    """A derivative and what is known about its error; all errors are absolute and non-negative.

    `error` = truncation + kink + roundoff; `noise` is the standard deviation of the function's
    values that roundoff was computed from; `method` names the formula, `step` the smallest step it
    used. `trusted` says whether the error is finite and the estimate agreed with smaller steps;
    `reason` says why not.
    """

    value: float
    truncation: float
    roundoff: float
    noise: float
    error: float
    evaluations: int
    trusted: bool
    method: str
    step: float
    kink: float = 0.0
    reason: str = ""


def _amplification() -> list[float]:
    """Roundoff of column k at step h in units of sigma/h, root mean square over the table."""
    weights, result = np.eye(COLUMNS), []
    for k in range(COLUMNS):
        if k:
            factor = RATIO ** (2 * k)
            weights = (factor * weights[1:] - weights[:-1]) / (factor - 1)
        row = weights[-1] * RATIO ** -np.arange(COLUMNS - 1, -1, -1.0)
        result.append(float(np.sqrt(np.sum(row**2) / 2)))
    return result


AMPLIFICATION = _amplification()


@dataclass(frozen=True)
class Table:
    """Candidates by step (falling) and column: arrays (steps, COLUMNS, m), inf where undefined."""

    value: Floats
    truncation: Floats
    kink: Floats
    roundoff: Floats

    @property
    def error(self) -> Floats:
        """Total error of every candidate, (steps, COLUMNS, m)."""
        return self.truncation + self.kink + self.roundoff


def extrapolate(
    steps: Floats, width: Floats, plus: Floats, minus: Floats, centre: float, noise: Noise
) -> Table:
    """Richardson table of central differences.

    Parameters
    ----------
    steps
        (n,) or (n, m), each half of the one before.
    width
        Realised 2h, (n, m).
    plus, minus
        f(h) and f(-h), (n, m).
    centre
        f(0).
    """
    n, m = plus.shape
    half = np.broadcast_to(steps if steps.ndim == 2 else steps[:, None], (n, m))
    shape = (n, COLUMNS, m)
    value = np.full(shape, np.nan)
    truncation, kink, roundoff = (np.full(shape, np.inf) for _ in range(3))
    with np.errstate(all="ignore"):
        slope = (plus - minus) / width
        jump = ((plus - centre) - (centre - minus)) / half
        sigma = np.maximum(noise.at(plus, centre), noise.at(minus, centre))
        value[:, 0] = slope
        truncation[1:, 0] = np.abs(slope[1:] - slope[:-1])
        roundoff[:, 0] = CONFIDENCE * AMPLIFICATION[0] * sigma / half
        column, odd = slope, jump
        for k in range(1, COLUMNS):
            if n <= k:
                break
            even_factor, odd_factor = RATIO ** (2 * k), RATIO ** (2 * k - 1)
            previous, earlier = column[1:], column[:-1]
            column = (even_factor * column[1:] - column[:-1]) / (even_factor - 1)
            odd = (odd_factor * odd[1:] - odd[:-1]) / (odd_factor - 1)
            # Ridders' choice: against the column before, at this step and at the one before. The
            # second is pessimistic where the table converges, and catches slopes of chords, which
            # fall like 1/h and would look converged to the first.
            change = np.maximum(np.abs(column - previous), np.abs(column - earlier))
            value[k:, k] = column
            truncation[k:, k] = change
            kink[k:, k] = np.abs(odd) / 2
            # the noise of the largest values in the stencil weighs least but may be largest
            widest = sigma[: n - k] / RATIO ** (2 * k)
            roundoff[k:, k] = CONFIDENCE * AMPLIFICATION[k] * np.maximum(sigma[k:], widest)
            roundoff[k:, k] /= half[k:]
        if n > 1:
            kink[1:, 0] = kink[1:, 1]
    bad = ~np.isfinite(value)
    for part in (truncation, kink, roundoff):
        part[bad | np.isnan(part)] = np.inf
    return Table(value, truncation, kink, roundoff)


class Ladder:
    """Central differences of m lines on a ladder of steps 2^e, extended at either end as needed.

    Steps are powers of two, so that x + h rounds as little as possible and symmetrically.
    """

    def __init__(
        self, lines: Lines, centre: float, noise: Noise, exponent: int, scale: float | None = None
    ) -> None:
        """Start at steps 2^exponent, 2^(exponent-1), … once `extend` is called.

        `scale` is the size up to which the function may be taken for smooth without evidence; by
        default eight times the first step.
        """
        self.lines, self.centre, self.noise = lines, centre, noise
        self.free = exponent + 3 if scale is None else start_exponent(scale) + 3
        self.top, self.bottom = exponent, exponent + 1
        self._plus = np.empty((0, lines.count))
        self._minus = np.empty((0, lines.count))
        self._width = np.empty((0, lines.count))

    @property
    def steps(self) -> Floats:
        """Steps, falling, (n,)."""
        return np.ldexp(1.0, np.arange(self.top, self.bottom - 1, -1))

    def extend(self, *, up: int = 0, down: int = 0) -> None:
        """Evaluate at `up` larger and `down` smaller steps, two evaluations a step and line."""
        count = self.lines.count
        for exponents, above in (
            (range(self.top + up, self.top, -1), True),
            (range(self.bottom - 1, self.bottom - 1 - down, -1), False),
        ):
            if not len(exponents):
                continue
            h = np.repeat(np.ldexp(1.0, np.array(exponents))[:, None], count, axis=1)
            values = self.lines(np.concatenate([h, -h]))
            width = self.lines.realise(h) - self.lines.realise(-h)
            fresh = (values[: len(h)], values[len(h) :], width)
            stored = (self._plus, self._minus, self._width)
            self._plus, self._minus, self._width = (
                np.concatenate([a, b] if above else [b, a])
                for a, b in zip(fresh, stored, strict=True)
            )
        self.top += up
        self.bottom -= down

    def table(self) -> Table:
        """All candidates so far."""
        return extrapolate(
            self.steps, self._width, self._plus, self._minus, self.centre, self.noise
        )

    def slopes(self) -> tuple[Floats, Floats]:
        """Forward and backward one-sided slopes, each (n, m)."""
        with np.errstate(all="ignore"):
            half = self._width / 2
            return (self._plus - self.centre) / half, (self.centre - self._minus) / half

    def estimates(self) -> list[Estimate]:
        """The best trustworthy estimate for every line."""
        table = self.table()
        return [self._pick(table, i) for i in range(self.lines.count)]

    def contest(self, claim: float, slack: float, line: int = 0) -> Estimate:
        """The estimate with which to refute that the derivative is `claim`, known up to `slack`.

        The smallest of many errors, each itself estimated, is too small too often. A claim is
        refuted only if `WITNESSES` rows of the table refute it, each with its own error, and only
        rows that have converged can: those whose systematic error is below their roundoff or a
        tenth of the value. Returned is the row that, of the best witnesses, is kindest to the
        claim; not trusted if there are too few.
        """
        table = self.table()
        best, value, error = self._rows(table, line)
        with np.errstate(all="ignore"):
            ratio = np.abs(value - claim) / (error + slack)
            roundoff = table.roundoff[np.arange(len(best)), best, line]
            converged = error - roundoff <= np.maximum(roundoff, 0.1 * np.abs(value))
        order = np.argsort(-np.nan_to_num(ratio, nan=-1.0))
        usual = self._pick(table, line)
        if not usual.trusted or abs(usual.value - claim) <= usual.error + slack:
            return usual
        flat = self._flat(line)
        if flat.any() and self._stairs(table.value[:, 0, line], flat, claim):
            widest = float(self.steps[flat][0])
            return replace(
                usual, error=float("inf"), trusted=False,
                reason=f"the loss is constant for steps up to {widest:.1e} and changes in steps "
                f"beyond, as fast as the gradient says: is it floored or rounded inside? A "
                "straight-through gradient is that of the loss with x in the place of floor(x)",
            )  # fmt: skip
        witnesses = [int(j) for j in order if converged[j] and np.isfinite(error[j])]
        if len(witnesses) < WITNESSES:
            return replace(
                usual, error=float("inf"), trusted=False,
                reason="the differences do not converge before roundoff hides them",
            )  # fmt: skip
        return self._estimate(table, line, witnesses[WITNESSES - 1], best, value, error)

    def _flat(self, line: int) -> NDArray[np.bool_]:
        """Steps at which the function has exactly the value that it has at the point."""
        unchanged = (self._plus == self.centre) & (self._minus == self.centre)
        return np.asarray(unchanged[:, line])

    @staticmethod
    def _stairs(slopes: Floats, flat: NDArray[np.bool_], claim: float) -> bool:
        """Whether slopes vanish at small steps only, while those at larger ones bear out a claim.

        No change at all over small steps refutes no slope of a function that changes in steps.
        """
        larger = slopes[: int(np.argmax(flat))]
        with np.errstate(all="ignore"):
            return bool(np.any(np.abs(larger - claim) <= 0.4 * abs(claim)))

    def _rows(self, table: Table, line: int) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Best column, its value and its error for every step."""
        error, rows = table.error[:, :, line], np.arange(len(table.error))
        best = np.argmin(error, axis=1)
        roundoff = table.roundoff[rows, best, line]
        # What is not roundoff grows with the step. A row whose error is smaller than that of a
        # finer one is small by accident, which the choice of the smallest would seek out.
        with np.errstate(all="ignore"):
            systematic = error[rows, best] - roundoff
            # three times, because noise in the jump of the slope is larger than in the slope
            excess = np.nan_to_num(systematic - 3 * roundoff, nan=0.0, posinf=0.0, neginf=0.0)
        finer = np.append(np.maximum.accumulate(excess[::-1])[::-1][1:], 0.0)
        total = np.maximum(systematic, finer) + roundoff
        total[~np.isfinite(error[rows, best])] = np.inf
        return best, table.value[rows, best, line], total

    def _pick(self, table: Table, line: int) -> Estimate:
        """The smallest error among the steps that agree with all finer ones."""
        best, value, error = self._rows(table, line)
        for j in np.argsort(error, kind="stable"):
            if not np.isfinite(error[j]):
                break
            known = np.isfinite(error[j + 1 :])
            gap = np.abs(value[j + 1 :][known] - value[j])
            if bool(np.all(gap <= error[j + 1 :][known] + error[j])):
                return self._estimate(table, line, int(j), best, value, error)
        used = self.lines.evaluations // self.lines.count
        step = float(self.steps[-1]) if len(best) else 0.0
        return Estimate(
            float("nan"), np.inf, np.inf, self.noise.sigma, np.inf, used, False, "none", step,
            np.inf, "the function is not finite at any pair of steps tried",
        )  # fmt: skip

    def _estimate(
        self,
        table: Table,
        line: int,
        row: int,
        best: NDArray[np.intp],
        value: Floats,
        error: Floats,
    ) -> Estimate:
        k = int(best[row])
        kink, roundoff = (float(x[row, k, line]) for x in (table.kink, table.roundoff))
        return Estimate(
            value=float(value[row]),
            truncation=max(float(error[row]) - kink - roundoff, 0.0),
            roundoff=roundoff,
            noise=self.noise.sigma,
            error=float(error[row]),
            evaluations=self.lines.evaluations // self.lines.count,
            trusted=True,
            method=f"central differences of order {2 * k + 2}",
            step=float(self.steps[row]),
            kink=kink,
        )

    def settle(self, wanted: Floats | float = 0.0, *, limit: int = 40) -> list[Estimate]:
        """Extend until every line's error is at most `wanted`, or until it stops improving.

        `limit` bounds the number of steps. The end that is extended is the one whose kind of
        error dominates: smaller steps against truncation and kinks, larger against roundoff.
        """
        if self.top < self.bottom:
            self.extend(down=COLUMNS)
        stalled, start = 0, self.top
        found = self.estimates()
        while self.top - self.bottom + 1 + 2 <= limit:
            error = np.array([e.error for e in found])
            rough = np.array([e.roundoff < e.truncation + e.kink or not e.trusted for e in found])
            unsettled = error > wanted
            if bool(np.any(unsettled & rough)) and not self._swamped():
                self.extend(down=2)
                found = self.estimates()
                continue
            # Larger steps only against roundoff, and beyond the scale only while a slope is
            # resolved: a function hidden in its noise looks flat at any step, which says nothing
            # about its slope at steps that saturate it.
            unsettled &= ~rough
            if self.top >= self.free:
                unsettled &= error < 0.1 * np.abs([e.value for e in found])
            if not unsettled.any() or stalled >= 2 or self.top - start >= MOST_UP:
                break
            self.extend(up=2)
            found = self.estimates()
            now = np.array([e.error for e in found])
            stalled = 0 if bool(np.any(unsettled & (now < 0.5 * error))) else stalled + 1
        return found

    def _swamped(self, claim: float = 0.0) -> bool:
        """Whether at the smallest step roundoff hides slopes, kinks, truncation, and a claim."""
        table = self.table()
        seen = np.maximum(np.abs(table.value[-1, 0]), table.truncation[-1, 0] + table.kink[-1, 0])
        seen = np.maximum(seen, abs(claim))
        lost = table.roundoff[-1, 0] >= 0.1 * seen
        return bool(np.all(lost | ~np.isfinite(table.value[-1, 0]) & (self.bottom < self.top - 8)))

    def exhaust(self, claim: float = 0.0, *, levels: int = 40) -> list[Estimate]:
        """Extend downwards until roundoff swamps every slope: nothing finer can be seen.

        Nor a slope of `claim`: a function that is flat at all larger steps may have it.
        """
        for _ in range((levels + FURTHER * (claim != 0)) // 4):
            if self._swamped(claim):
                break
            self.extend(down=4)
        return self.estimates()


def differentiate(
    phi: Callable[[float], float] | Lines,
    *,
    scale: float = 1.0,
    noise: Noise | None = None,
    wanted: float = 0.0,
    dtype: type[np.floating] = np.float64,
) -> Estimate | list[Estimate]:
    """Derivative at 0 of phi(eps), with its error.

    Parameters
    ----------
    phi
        A function of a float, or `Lines` (then the answer is a list, one estimate a line).
    scale
        Size of the argument around 0 in which phi is expected to vary; a start, not a limit.
    noise
        Measured noise of phi; measured here if not given.
    wanted
        Error at which the search for a better step may stop.
    dtype
        Precision in which phi takes its argument.

    Raises
    ------
    Nothing of its own; an exception inside phi propagates.
    """
    lines = phi if isinstance(phi, Lines) else Lines.scalar(phi)
    centre = float(lines(np.zeros((1, lines.count)))[0, 0])
    if noise is None:

        def along(eps: Floats) -> Floats:
            return lines(np.repeat(eps[:, None], lines.count, axis=1))[:, 0]

        noise = measure_noise(along, scale, float(np.finfo(dtype).eps))
    exponent = start_exponent(scale)
    ladder = Ladder(lines, centre, noise, exponent)
    ladder.settle(wanted)
    found = ladder.exhaust()
    return found if isinstance(phi, Lines) else found[0]


def start_exponent(scale: float) -> int:
    """Exponent of the largest of the first four steps, for arguments that vary by `scale`.

    Order 8 balances truncation and roundoff near scale * eps^(1/9), about scale/64.
    """
    if not np.isfinite(scale) or scale <= 0:
        scale = 1.0
    return int(np.round(np.log2(scale))) - 3
