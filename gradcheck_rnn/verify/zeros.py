"""Gradients that are zero at the point: right, or merely too small to be seen?

Differences cannot resolve a derivative of zero, whatever the precision. What settles it lies beside
the point: where the loss does not change with a block however it is moved, its gradient is zero
everywhere; where it does change elsewhere, the gradient is checked there. Neither ever fails a
block: what is wrong at another point is said, and the block is undecided, also where exact zeros
on both sides would make it a pass (units that are all switched off, say).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import of_users_code
from ..streams import Stream, generator
from .budget import OutOfBudget
from .offered import never_reads
from .oracle.noise import Noise, measure_noise
from .outcome import Report
from .roundoff import GradientRoundoff, measure_gradient_roundoff
from .saturated import FLAT
from .saturated import MOVES as FLAT_MOVES
from .scales import scale_of
from .target import Target
from .trees import is_scalar
from .verdict import EntryState, Finding, Row, Verdict

__all__ = ["settle_beside", "settle_zeros"]

Array = NDArray[np.generic]
Floats = NDArray[np.float64]
#: The row of a block at another point: (target, block, gradient, roundoff, noise).
Judge = Callable[[Target, int, Floats, GradientRoundoff, Noise], Row]
#: Sizes of the moves that must leave the loss alone, in sizes of the block.
MOVES = (0.1, 1.0, 10.0)
#: The spread of the factors on every entry at other points, and one factor on all of them.
ELSEWHERE = ((0.3, 1.0), (0.3, 3.0), (0.5, 8.0))
#: Those where units may have left saturation, for blocks that do not change a bit of the loss; and
#: losses for every entry of such a block, which has cost none at the point.
SMALLER, FLAT_SPENT = ((0.3, 2.0**-10), (0.3, 2.0**-5)), 16
#: Standard deviations of its noise that a loss may move by where it does not change.
NOISES = 64.0
#: The most that a zero may hide, relative to the size of the loss: in double precision, in units of
#: coarser formats, and in any.
HIDDEN, UNITS, MOST_HIDDEN = 2.0**-26, 256.0, 2.0**-10
#: Points looked at where the block has been moved on its own.
FURTHER = 4
#: Rows that a point has settled nothing for before no other row is judged there; for all points of
#: one block's own together, as many as are looked at for one block.
FUTILE, FUTILE_MOVES = 2, 4
#: Losses that may be spent here: as many as the check has cost until then, and no fewer than these:
#: for rows that are undecided anyway, and for exact zeros and what never acts, all and each row.
LEAST_SPENT, LEAST_SPENT_ON_ZEROS, ROW_SPENT = 512, 2048, 32
#: Points at which every array has a factor of its own, of either sign and up to a power of two, and
#: the moves of a block from there, in powers of ten of its size: what leaves the loss the same in
#: every bit at all of these does not act on it at all. Fewer points with a finite loss say nothing.
FAR_POINTS, FAR_FACTOR, FAR_MOVES, LEAST_FAR = 64, 6.0, (-1, 2, 6, 40, 100, 280), 16
#: What a zero may hide beside the gradient of the same input for other outputs.
BESIDE = 2.0**-26
UNCHANGED = "the loss does not change in any bit with it, here and at other points"
NEVER_CHANGES = "the loss never changes, whatever is moved, and the gradient is zero"


class Answer(Enum):
    """What the loss does when a block is moved."""

    CHANGES = "changes"
    ROUNDS = "changes by rounding alone"
    SAME = "is the same in every bit"


def settle_zeros(
    report: Report,
    target: Target,
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    judge: Judge,
) -> None:
    """Settle rows that are undecided because a gradient and its differences are both zero.

    Parameters
    ----------
    report
        Its undecided rows may become passes; no row becomes a failure.
    target, roundoff, noise
        The functions at the point; the roundoff of the gradient and the noise of the loss there.
    seed
        Of the moves.
    judge
        Makes the row of a block at another point.
    """
    if target.random or noise.quantum or not noise.deterministic:
        return
    positions = {target.tree.names[i]: i for i in target.select}
    rows = [row for row in report.rows if _zero(row)]
    if not rows:
        return
    responds, rng = target.responds, generator(seed, Stream.ZEROS)
    flat = [row for row in rows if row.check is not None and FLAT in row.check.methods]
    before = target.evaluations
    spent = max(before, LEAST_SPENT, FLAT_SPENT * sum(row.entries for row in flat))
    on_zeros = max(spent, LEAST_SPENT_ON_ZEROS, ROW_SPENT * len(rows))
    most = before + spent, before + on_zeros
    places = (*SMALLER, *ELSEWHERE) if flat else ELSEWHERE
    points = [_Elsewhere(target, _elsewhere(target, rng, *how)) for how in places]
    moves = _Elsewhere(target, [])
    for k, row in enumerate(rows):
        i = positions[row.name]
        look = _Look(target, i, rng, points, noise, moves, most)
        try:
            with np.errstate(all="ignore"):
                look.settle(row, roundoff.bounds[i], judge, seed, responds)
        except _Spent:
            cost = target.evaluations - before
            _tell_spent(row, f"{cost} losses, as many as this is worth, were spent")
        except OutOfBudget:
            for left in rows[k:]:
                _tell_spent(left, "the budget was spent")
            break
        except Exception as error:
            if not of_users_code(error):
                raise
            continue  # the functions may not be made for other points; nothing is settled
        finally:
            target.responds = responds


class _Spent(Exception):
    """All losses that zeros are worth have been spent."""


def _tell_spent(row: Row, why: str) -> None:
    """Leave a row undecided that has not been looked at to the end."""
    row.verdict = Verdict.UNDECIDED
    row.explained(
        "zeros-not-seen",
        f"the gradient is zero here, and what it is elsewhere was not looked at to the end: {why}; "
        "check at a point where it is not zero",
    )


def _zero(row: Row) -> bool:
    """Whether nothing but the size of the gradient, below its bound everywhere, is in doubt."""
    if row.verdict is Verdict.PASS:
        return row.resolution == 0 and not _size(row)
    if row.verdict is not Verdict.UNDECIDED:
        return False
    if row.states is not None:
        return bool(np.all(row.states == EntryState.PASS)) and row.resolution >= 1
    return bool(row.probes) and all(
        p.kink is None and p.estimate.trusted and not p.rounded and p.ratio <= 1
        and max(abs(p.analytic), abs(p.estimate.value)) <= p.bound
        for p in row.probes
    )  # fmt: skip


def _hidden(row: Row, rounding: Floats) -> float:
    """What an entry, or the derivative along a direction, may be and not be seen."""
    if row.check is not None:
        return float(np.max(row.check.error + rounding.ravel()))
    return max(p.bound for p in row.probes)


def settle_beside(rows: Sequence[Row]) -> None:
    """Settle rows of one input, for several outputs, by those in which its gradient is not zero.

    A weight that does not act at the first step has no gradient there. What such a zero may hide
    counts beside what the input gets from other outputs: they are parts of one sum.
    """
    sizes = [_size(row) for row in rows if row.verdict is Verdict.PASS]
    size = max(sizes, default=0.0)
    for row in rows:
        if row.verdict is not Verdict.UNDECIDED or not row.has("unchanged"):
            continue
        hidden = row.bound
        if row.check is not None:
            hidden = max(hidden, float(np.max(row.check.error)))
        if hidden <= BESIDE * size:
            row.settled(
                f"changes below {hidden:.1e}, where the gradient for another output is up to "
                f"{size:.1e}; {UNCHANGED}"
            )


def _size(row: Row) -> float:
    """The largest derivative that differences saw."""
    if row.check is not None:
        return float(np.max(np.abs(row.check.value), initial=0.0))
    return max((abs(p.estimate.value) for p in row.probes), default=0.0)


def _elsewhere(target: Target, rng: np.random.Generator, spread: float, factor: float) -> list:
    """Another point: every number times a random factor, signs kept; zeros become others."""
    leaves = list(target.tree.leaves)
    for i in target.tree.real:
        x = leaves[i]
        draw = rng.standard_normal(x.shape)
        moved = np.where(x == 0, spread * scale_of(x) * draw, factor * x * np.exp(spread * draw))
        leaves[i] = moved.astype(x.dtype)
    return leaves


class _Elsewhere:
    """Another point, with loss and gradient there: they are the same for all blocks."""

    def __init__(self, target: Target, leaves: list) -> None:
        self._target, self.leaves = target, leaves
        self.futile = 0  # rows that nothing was settled for here

    @cached_property
    def value(self) -> float:
        """The loss, NaN where it raises."""
        return _loss(self._target, self.leaves)

    @cached_property
    def gradient(self) -> dict[int, Floats]:
        """The gradient under test by leaf position."""
        return self._target.gradient_at(self.leaves)


def _loss(target: Target, leaves: Sequence[Array]) -> float:
    """The loss, NaN where it raises or gives no number."""
    try:
        raw = target.raw([x.copy() for x in leaves])
    except Exception as error:
        if not of_users_code(error):
            raise
        return float("nan")  # the function may not be made for other points
    return target.scalar(raw) if is_scalar(raw) else float("nan")


class _Look:
    """One block, and what the loss does when it is moved, at the point and elsewhere."""

    def __init__(
        self,
        target: Target,
        block: int,
        rng: np.random.Generator,
        points: Sequence[_Elsewhere],
        noise: Noise,
        moves: _Elsewhere,
        most: tuple[int, int],
    ) -> None:
        self.target, self.block, self.rng, self.noise = target, block, rng, noise
        self.points, self.moves, self.most = points, moves, most
        self.scale = target.scale(block)

    def settle(self, row: Row, rounding: Floats, judge: Judge, seed: int, responds: bool) -> None:
        """Make the row a pass if its gradient is zero everywhere, or right where it is not."""
        bound, size = _hidden(row, rounding), abs(self.target.base)
        if never_reads(self.target, self.block):
            if self._zero_there(bound):
                self._pass(row, bound, responds, same=True)
            return
        here = list(self.target.tree.leaves)
        answer, further = self._answer(here, self.target.base)
        answers, alive = [answer], list[tuple[_Elsewhere, list]]()
        for point in self.points:
            leaves, value = point.leaves, point.value
            if not np.isfinite(value):
                continue
            size = max(size, abs(value), abs(value - self.target.base))
            answer, moved = self._answer(leaves, value)
            answers.append(answer)
            if answer is Answer.CHANGES:
                alive.append((point, leaves))
                further += moved
        most = min(max(HIDDEN, UNITS * self.target.format_eps(self.block)), MOST_HIDDEN)
        # Single entries of a block that is flat for small moves have not been moved by more; here
        # all were, by up to ten times their size.
        flat = row.check is not None and FLAT in row.check.methods and answers[0] is Answer.SAME
        hidden = bound * FLAT_MOVES[-1] if flat else bound
        if len(answers) == 1 or hidden * self.scale > most * size:
            return
        if Answer.CHANGES not in answers:
            same = all(a is Answer.SAME for a in answers)
            if same and not self._independent():
                if not self._never_acts(row):
                    # it may have vanished on the way, and no difference would tell
                    row.explained("unchanged", UNCHANGED)
                    return
                responds = True  # it reads the block, and nothing follows from it anywhere
            if self._zero_there(bound):
                self._pass(row, bound, responds, same)
            return
        zero = []
        for point, leaves in [*alive, *((self.moves, moved) for moved in further[:FURTHER])]:
            if row.verdict is Verdict.UNDECIDED:  # a pass is doubted
                if point.futile >= (FUTILE_MOVES if point is self.moves else FUTILE):
                    continue  # saturated there too, for all that is known
                self._spend(undecided=True)
            self._spend()
            found = self._there(leaves, judge, seed)
            zero.append(found is not None and found.ratio == 0 and not _size(found))
            if found is None or found.verdict is Verdict.UNDECIDED or not _size(found):
                point.futile += 1
                continue
            if found.verdict is Verdict.PASS:
                row.settled(
                    f"changes below {bound:.1e} of a gradient that is zero at this point; at "
                    f"another, where it is not, it was checked too and could have missed "
                    f"{found.missed}"
                )
            else:
                said = (
                    "the gradient is zero here, and wrong where it is not: with all parameters "
                    f"moved it is {found.analytic:.6g} for {found.numeric:.6g} "
                    f"({found.worst}); check at such a point"
                )
                row.verdict = Verdict.UNDECIDED
                row.explained("elsewhere", said)
            return
        # a jump may be near to one or another of them
        row.in_pieces = row.ratio == 0 and not _size(row) and 2 * sum(zero) > len(zero)

    def _spend(self, *, undecided: bool = False) -> None:
        """Raise where all losses that this is worth have been spent."""
        if self.target.evaluations > self.most[0 if undecided else 1]:
            raise _Spent

    @staticmethod
    def _pass(row: Row, bound: float, responds: bool, same: bool) -> None:
        how = "in any bit" if same else "by more than rounding"
        row.missed = (
            f"changes below {bound:.1e}; the loss does not change {how} with it, "
            "here and at other points"
        )
        if same and not responds:
            row.reasons = (Finding("never-changes", NEVER_CHANGES),)
        else:
            row.settled()

    def _answer(self, leaves: list, value: float) -> tuple[Answer, list]:
        """What the loss does when the block alone is moved from a point, and where it changes."""
        leaf, rounds, there, none = leaves[self.block], False, [], 0
        sigma = max(self.noise.sigma, 2.0**-52 * abs(value))
        self._spend()
        for size in MOVES:
            moved = list(leaves)
            step = size * self.scale * self.rng.standard_normal(leaf.shape)
            moved[self.block] = (leaf + step).astype(leaf.dtype)
            gap = abs(_loss(self.target, moved) - value)
            if not np.isfinite(gap):
                none += 1  # an exponential that overflows says nothing
            elif gap > NOISES * sigma * (1 + size):
                there.append(moved)
            rounds |= bool(gap > 0)
        if there or none == len(MOVES):
            return Answer.CHANGES, there
        return (Answer.ROUNDS if rounds else Answer.SAME), []

    def _independent(self) -> bool:
        """Whether numbers that are none in the block leave the loss as it is: nothing reads it."""
        moved = list(self.target.tree.leaves)
        moved[self.block] = np.full_like(moved[self.block], np.nan)
        return _loss(self.target, moved) == self.target.base

    def _never_acts(self, row: Row) -> bool:
        """Whether no move of the block changes the loss, at points far from each other.

        What vanishes on the way in one regime of the other arrays does not in another: gates open,
        states grow. A softmax over one class, or a weight of steps that there are none of, is the
        same in every bit in all of them. Steps and floors change under moves as large as these.
        """
        if np.any(self.target.first[self.block]) or row.ratio:
            return False
        seen = 0
        for _ in range(FAR_POINTS):
            self._spend()
            leaves = list(self.target.tree.leaves)
            for i in self.target.tree.real:
                factor = 2.0 ** self.rng.uniform(-FAR_FACTOR, FAR_FACTOR)
                draw = np.exp(0.5 * self.rng.standard_normal(leaves[i].shape))
                sign = self.rng.choice([-1.0, 1.0])
                leaves[i] = (sign * factor * leaves[i] * draw).astype(leaves[i].dtype)
            value, leaf, kept = _loss(self.target, leaves), leaves[self.block], 0
            if not np.isfinite(value):
                continue
            for power in FAR_MOVES:
                step = float(10.0**power) * self.scale * self.rng.standard_normal(leaf.shape)
                leaves[self.block] = (leaf + step).astype(leaf.dtype)
                moved = _loss(self.target, leaves)
                if np.isfinite(moved) and moved != value:
                    return False
                kept += bool(np.isfinite(moved))
            seen += kept > 1
        return seen >= LEAST_FAR

    def _zero_there(self, bound: float) -> bool:
        """Whether the gradient of the block is zero at the other points, too."""
        here = max(abs(self.target.base), self.noise.sigma)
        for point in self.points:
            found = point.gradient[self.block]
            value = max(abs(point.value) / here, 1) if here else 1
            if np.isfinite(found).all() and np.max(np.abs(found), initial=0.0) > 64 * bound * value:
                return False
        return True

    def _there(self, leaves: list, judge: Judge, seed: int) -> Row | None:
        """The row of the block at another point."""
        moved = self.target.moved(leaves)
        kept = list(self.target.findings)
        try:
            moved.base = moved.value(leaves)
            g = moved.gradient_at(leaves)
            if not np.isfinite(moved.base) or not np.isfinite(g[self.block]).all():
                return None
            rng = generator(seed, Stream.ZEROS_ELSEWHERE)
            directions = {
                i: scale_of(leaves[i]) * rng.standard_normal(leaves[i].shape) for i in moved.select
            }
            eps = max(moved.format_eps(i) for i in moved.select)
            noise = measure_noise(moved.across(directions), 1.0, eps, moved.value_eps, moved.base)
            roundoff = measure_gradient_roundoff(moved, g, seed, [self.block])
            return judge(moved, self.block, g[self.block], roundoff, noise)
        finally:
            self.target.findings[:] = kept
            self.target.evaluations += moved.evaluations
            self.target.gradients += moved.gradients
