"""Terms that cancel: what their rounding hides refutes no gradient.

Where a term of 1e8 is added to a parameter and taken away again, the loss is the same in every bit
at all neighbours, and its noise is measured too small. Random rounding of every operation, of the
loss and of the gradient, shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .budget import OutOfBudget
from .constants import looked_at, relative_gap
from .known import tells
from .oracle.differences import Ladder, start_exponent
from .oracle.lattice import SPACING_SIGMA, find_lattice
from .oracle.noise import Noise
from .oracle.random_rounding import (
    Counted,
    Opposed,
    Uniform,
    followed,
    rounded_at_random,
    spread_of_rounding,
)
from .outcome import Report
from .probes import direction
from .roundoff import GradientRoundoff, noisy_level
from .survey import Survey
from .target import Target
from .verdict import EntryState, Finding, Row, Verdict
from .wide_steps import refuted_over_wide_steps

__all__ = ["doubt_cancelling_terms", "gradient_rounding", "rounding_noise"]

Floats = NDArray[np.float64]
#: Standard deviations that random rounding must add to the noise of a loss to count.
MORE = 4.0
#: Evaluations with random rounding, and as many again where those of a loss have a spread.
DRAWS = 4
#: Times a spread that an error may be, errors relative to their block up to which the spread of
#: difference quotients is looked at, and blocks.
SPREADS, SMALL, MOST = 4.0, 0.25, 4
#: Part of what an error changes the loss by, over the size of a parameter, below which rounding of
#: the loss does not explain it at any step that a difference would take.
FAR = 2.0**14
#: Power of the unit of a format below which an error relative to a gradient is little: 0.002 in
#: float64, 0.07 in float32.
LITTLE = 1 / 6
#: Sizes of moves beyond that of a parameter by which a loss may show its steps. Ends of steps of
#: difference quotients at which its noise is looked at, and relative distances of values there.
BEYOND, ENDS, APART = 2.0 ** np.arange(4, 41, 6), 2.0 ** np.arange(0, 9, 2), (2.0**-20, 2.0**-10)
ADVICE = "leave out or subtract early what is large and the same for all parameters"


def rounding_noise(target: Target, noise: Noise, seed: int) -> Noise | None:
    """The noise of a loss by random rounding, where that is far more than was measured.

    Plain rounding is the middle of the random ones: values that lie together, and away from that of
    the loss, are those of another branch (of a comparison that such arrays decide otherwise).
    """
    rng, found = generator(seed, Stream.CANCELLING), []
    least = MORE * max(noise.sigma, SPACING_SIGMA * noise.eps * abs(target.base))
    sigma = 0.0
    for least_now in (0.5 * least, least):
        values = spread_of_rounding(target.raw, target.tree.leaves, rng, DRAWS)
        if values is None:
            return None
        found += [float(v.reshape(())) for v in values if np.isfinite(v).all()]
        if len(found) < 2:
            return None
        sigma = float(np.sqrt(np.mean((np.array(found) - target.base) ** 2)))
        if not sigma > least_now:
            return None
    if abs(np.mean(found) - target.base) > SPREADS * np.std(found):
        return None
    return replace(noise, sigma=sigma)


def gradient_rounding(
    target: Target, g: dict[int, Floats], rng: np.random.Generator, draws: int = DRAWS
) -> dict[int, Floats] | None:
    """Bounds on what rounding of its operations moves the gradient ``g`` by: random rounding.

    None where the operations are not those of arrays (C, or Python's numbers). Raises what a
    gradient raises that cannot carry such arrays.
    """
    found = _drawn(target, g, Counted(rng), draws)
    if found is None:  # it takes plain arrays of what it is given
        found = _drawn(_Followed(target, source := Counted(rng)), g, source, draws)
    return found


def _drawn(
    target: Target, g: dict[int, Floats], source: Counted, draws: int
) -> dict[int, Floats] | None:
    found = list[dict[int, Floats]]()
    try:
        for _ in range(draws):
            if found and (source.left or not source.used):
                return None
            leaves = [
                rounded_at_random(x, source) if x.dtype.kind == "f" else x
                for x in target.tree.leaves
            ]
            with np.errstate(all="ignore"):
                found.append(target.gradient(leaves))
    finally:
        source.over = True
    return {
        i: SPREADS * np.max([np.abs(other[i] - own) for other in found], axis=0)
        for i, own in g.items()
    }


def doubt_cancelling_terms(
    report: Report,
    target: Target,
    g: dict[int, Floats],
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    resolve: float,
    judge: Callable[[Target, int, Floats, GradientRoundoff, Noise], Row],
    line: Survey | None = None,
) -> None:
    """Leave rows undecided that fail by what rounding of the functions' own terms explains.

    Noise of the loss far above what was measured, rounding of the gradient that its neighbours do
    not show, and a spread of the difference quotients themselves, where the loss is noisier at
    their steps than at the point. The smallest errors are looked at first, and what is not
    explained ends the search. ``judge`` makes the row of a block by differences; noise explains
    nothing that a ``line`` through all blocks bears out.
    """
    if target.random or not noise.deterministic or tells(target.loss, "many"):
        return
    failing = [
        row for row in report.rows if row.verdict is Verdict.FAIL and row.numeric == row.numeric
    ]
    failing.sort(key=lambda row: relative_gap(row, target, g))
    look = _Look(target, g, roundoff, noise, seed)
    positions = {name: i for i, name in enumerate(target.tree.names)}
    if line is not None and failing:
        values = {positions[r.name]: r.check.value for r in report.rows if r.check is not None}
        look.borne_out = line.borne_out(g, values)
    try:
        calm = not failing or look.calm(failing[0], positions[failing[0].name])
        level = None if calm else rounding_noise(target, noise, seed)
        for row in failing:
            i = positions[row.name]
            again = judge(target, i, g[i], roundoff, level) if level else row
            if again.verdict is not Verdict.FAIL and level is not None:
                refuted = refuted_over_wide_steps(
                    row, again, i, target, g, roundoff, level, seed, resolve
                )
                if refuted is not None:
                    report.rows[report.rows.index(row)] = refuted
                    break
                report.rows[report.rows.index(row)] = again
                row = again
                loss, terms = target.nouns.loss, level.sigma / noise.eps
                text = (
                    f"terms of {loss} cancel: it is {target.base:.3g}, and rounding of terms of "
                    f"about {terms:.0e} moves it by {level.sigma:.0e}, which hides what the "
                    f"gradient claims; {ADVICE}"
                )
            else:
                text = look.why(row, i, calm)
            if not text:
                break
            row.verdict, row.reasons = Verdict.UNDECIDED, (Finding("cancelling", text),)
    except OutOfBudget:
        return


class _Rounded(Target):
    """The same functions with every operation of the loss rounded at random."""

    def __init__(self, target: Target, rng: Uniform) -> None:
        super().__init__(
            target.loss, target.gradient_function, target.tree, target.select, target.budget,
            target.unit, target.nouns,
        )  # fmt: skip
        self.rng, self.base, self.value_eps = rng, target.base, target.value_eps

    def raw(self, leaves: Sequence[NDArray[Any]], arguments: Any = None) -> Any:
        given = [rounded_at_random(x, self.rng) if x.dtype.kind == "f" else x for x in leaves]
        return np.array(super().raw(given), subok=False)


class _Followed(Target):
    """The same functions, in whose conversions of arrays and new ones rounding is not lost."""

    def __init__(self, target: Target, source: Counted) -> None:
        loss, gradient = target.loss, target.gradient_function
        super().__init__(
            loss if gradient is not None else followed(loss, source),
            None if gradient is None else followed(gradient, source),
            target.tree, target.select, target.budget, target.unit, target.nouns,
        )  # fmt: skip
        self.gradients = target.gradients


class _Look:
    """Random rounding of the gradient, and of the difference quotients of single blocks."""

    def __init__(
        self,
        target: Target,
        g: dict[int, Floats],
        roundoff: GradientRoundoff,
        noise: Noise,
        seed: int,
    ) -> None:
        self.target, self.g, self.roundoff, self.noise, self.seed = target, g, roundoff, noise, seed
        self.rng = generator(seed, Stream.CANCELLING, 1)
        self.left = MOST
        #: Blocks whose differences are not those of noise.
        self.borne_out = set[int]()
        #: Whether no operation of the loss was rounded at random when that was tried.
        self.unrounded = False
        self._own: dict[int, Floats] | None = None

    def why(self, row: Row, block: int, calm: bool) -> str:
        """What explains the error of a row, '' if nothing does."""
        if (row.check is None and not row.probes) or row.worst == "along a line" or not self.left:
            return ""
        self.left -= 1
        try:
            step = self._step_beyond(row, block) if row.numeric == 0 else 0.0
            if step:
                return (
                    f"terms of {self.target.nouns.loss} cancel: moves of a parameter by its size "
                    f"change no bit of it, and larger ones change it in steps of {step:.2g}, which "
                    f"hide what the gradient claims; {ADVICE}"
                )
            if self._by_gradient(row, block):
                self._widen(row, block)
                return (
                    "terms of the gradient cancel: rounding of its operations explains how far it "
                    f"is off; {ADVICE}"
                )
            small = relative_gap(row, self.target, self.g) <= SMALL
            if row.numeric != 0 and block in self.borne_out:
                return ""
            if small and self.unrounded and self._by_moves(row, block):
                self._widen(row, block)
                return (
                    f"terms of {self.target.nouns.loss} cancel: its noise at the steps of the "
                    f"difference quotients explains how far they are off; {ADVICE}"
                )
            if small and not calm and self._by_quotients(row, block):
                self._widen(row, block)
                return (
                    f"terms of {self.target.nouns.loss} cancel: rounding of its operations at the "
                    f"steps of the difference quotients explains how far they are off; {ADVICE}"
                )
        except OutOfBudget:
            raise
        except Exception:  # code that cannot carry arrays that round at random shows nothing
            return ""
        return ""

    def _widen(self, row: Row, block: int) -> None:
        """Let bounds contain what is off, so that an oracle that sees better is believed."""
        if row.check is not None:
            wrong = row.check.state == EntryState.FAIL
            off = np.abs(row.check.value - self.g[block].ravel())[wrong]
            row.check.error[wrong] = np.maximum(row.check.error[wrong], 2 * off)
            row.check.state[wrong] = EntryState.PASS
        row.probes = tuple(
            replace(p, estimate=replace(p.estimate, error=2 * abs(p.analytic - p.estimate.value)))
            if p.ratio > 1
            else p
            for p in row.probes
        )

    def calm(self, row: Row, block: int) -> bool:
        """Whether the loss rounds by far less than a step of a row's error changes it.

        A step of the size of the parameters tells, or that of a difference along a direction where
        it is far narrower, unless differences are exactly zero; where
        arrays that round at random are not taken nothing else can.
        """
        if row.numeric == 0:
            return False
        if block in self.borne_out or (row.check is None and not row.probes):
            return True
        vectors, _, scale = looked_at(row, block, self.target, self.g, self.seed)
        h, values = np.array([[scale]]), []
        try:
            for sign in (1, -1):
                signs, sizes = (generator(self.seed, Stream.CANCELLING, k) for k in (3, 3 + sign))
                source = Counted(Opposed(sign, signs, sizes))
                rounded = _Rounded(self.target, source)
                try:
                    values.append(float(rounded.lines(block, vectors[:1])(h)[0, 0]))
                finally:
                    self.target.evaluations += rounded.evaluations
        except OutOfBudget:
            raise
        except Exception:
            self.unrounded = True
            return True
        self.unrounded = not source.used
        spread = abs(values[0] - values[1])
        # on steps of a difference as narrow as those of the loss its noise is not seen
        steps = [p.estimate.step for p in row.probes if p.ratio > 1]
        step = min([scale / FAR, *(h for h in steps if h > 0)])
        return spread <= abs(row.analytic - row.numeric) * step

    def _step_beyond(self, row: Row, block: int) -> float:
        """The steps in which a flat loss changes with moves far above the size of a parameter.

        Zero where it does not, or where what the gradient claims would be seen beside them.
        """
        vectors, _, scale = looked_at(row, block, self.target, self.g, self.seed)
        lines = self.target.lines(block, vectors[:1])

        def along(steps: Floats) -> Floats:
            return lines(steps[:, None])[:, 0]

        for size in scale * BEYOND:
            values = along(np.array([size, -size]))
            if np.any(values != self.target.base):
                eps = max(self.target.value_eps, self.noise.eps)
                found = find_lattice(along, 64 * size, size, self.target.base, eps)
                return found.quantum if abs(row.analytic) * scale < found.quantum else 0.0
        return 0.0

    def _by_moves(self, row: Row, block: int) -> bool:
        """Whether noise of the loss at most of some large steps, over the step, explains an error.

        Its values at equal distances about the end of a step tell it without its operations: what
        is added to a parameter rounds moves below its own unit away, and larger ones show it.
        """
        vectors, _, scale = looked_at(row, block, self.target, self.g, self.seed)
        lines, gap = self.target.lines(block, vectors[:1]), abs(row.analytic - row.numeric)
        explaining = others = 0
        for step in scale * ENDS:
            sigma = 0.0
            for distance in APART:
                moves = step * (1 + distance * (np.arange(10) - 4.5))
                sigma = max(sigma, float(noisy_level(lines(moves[:, None])[:, 0])))
                if gap <= SPREADS * sigma / step:
                    explaining += 1
                    break
            else:
                others += 1
            if 2 * max(explaining, others) > ENDS.size:
                break
        return explaining > others

    def _by_gradient(self, row: Row, block: int) -> bool:
        """Whether random rounding moves the gradient by what it is off.

        Only what is off by little, of the gradient or of a change of the loss, may be so.
        """
        target = self.target
        eps, size = target.format_eps(block), target.scale(block)
        gap, top = abs(row.analytic - row.numeric), float(np.max(np.abs(self.g[block])))
        if row.check is not None:
            # the entry shown has the tightest bound, others may be off by far more
            wrong = row.check.state == EntryState.FAIL
            gaps = np.abs(row.check.value - self.g[block].ravel())[wrong]
            gap = float(np.max(gaps, initial=0.0))
        if not gap <= max(np.sqrt(eps) * abs(target.base) / size, eps**LITTLE * top):
            return False
        if self._own is None:
            self._own = gradient_rounding(self.target, self.g, self.rng)
        if self._own is None:
            return False
        own = self._own[block]
        if row.check is not None:
            return bool(np.all(gaps <= (row.check.error + own.ravel())[wrong]))
        return all(
            abs(p.analytic - p.estimate.value)
            <= p.estimate.error
            + np.linalg.norm(own * direction(self.target, block, self.seed, p.number))
            for p in row.probes
            if p.ratio > 1
        )

    def _by_quotients(self, row: Row, block: int) -> bool:
        """Whether difference quotients of a loss that rounds at random spread by the error."""
        vectors, _, scale = looked_at(row, block, self.target, self.g, self.seed)
        entries, g, slopes = row.check is not None, self.g[block], []
        claims = g.ravel()[vectors] if entries else np.array([np.sum(g * v) for v in vectors])
        rounded = _Rounded(self.target, self.rng)
        lines = rounded.lines(block, vectors)
        try:
            for _ in range(DRAWS):
                ladder = Ladder(lines, rounded.base, self.noise, start_exponent(scale), scale)
                slopes.append([e.value for e in ladder.settle(0.0)])
        finally:
            self.target.evaluations += rounded.evaluations
        off = np.abs(np.mean(slopes, axis=0) - claims)
        return bool(np.all(off <= SPREADS * np.ptp(slopes, axis=0)))
