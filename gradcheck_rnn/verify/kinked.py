"""Entries on a kink or a tie, where no derivative exists: what a gradient may be there.

One of the two slopes, something between them, or what the slope is beside the point, where other
ties are broken (elements of the generalised gradient): whoever has chosen one of these has chosen a
convention. The chain rule through several kinks gives still others: of 2 relu(x) - relu(-x) at 0
the slopes are 2 and 1, and what relu'(0) = 0 makes of it is 0. So a gradient that disagrees at such
a point is judged at one beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import of_domain
from ..streams import Stream, generator
from .oracle.differences import CONFIDENCE, Ladder, start_exponent
from .oracle.kinks import Kink, find_kink
from .oracle.noise import Noise
from .oracle.three_points import three_points
from .outcome import Report
from .probes import first_exponent
from .repeats import REORDERED
from .target import Target
from .verdict import EntryCheck, EntryState, Finding, Row, Verdict

__all__ = ["judge_kinks", "settle_beside_kinks"]

Floats = NDArray[np.float64]
#: Entries whose gradient jumps that are looked at for a kink, and those asked before all are.
MOST, FIRST = 64, 4
#: Entries whose slope is looked for beside the point, and places for each.
ASKED, PLACES = 4, 12
#: Part of an entry that the jumps of its gradient must hide.
HIDDEN = 0.1
#: Part of the distance between two slopes that the noise of a difference may be, that a gradient
#: may be outside of them, and units in the last place that it may be off besides.
SHARP, OUTSIDE, UNITS = 0.01, 0.1, 4.0
#: Steps that a place beside the point is away, the least step and the furthest place, in sizes.
AWAY, LEAST, FURTHEST = 64.0, 2.0**-20, 0.05
#: Lines through the point, of every array that fails, that are looked at for a kink; and how far
#: the points lie at which the gradient is checked instead, in sizes of an entry. The others are for
#: code that has no value at the first: all entries above the point, below it, and close to it.
LINES = 2
ASIDE: tuple[tuple[float, Callable[[Floats], Floats]], ...] = (
    (2.0**-6, np.positive), (2.0**-6, np.abs), (-(2.0**-6), np.abs), (2.0**-10, np.positive),
)  # fmt: skip
#: Jumps of the slope that a gradient is outside of the slopes by which no chosen convention makes.
FAR = 64.0
#: Parts of what a probe is off by, and of a slope, below which an error hides no jump that matters.
STRAIGHT, SMOOTH = 2.0**-10, 2.0**-20


def judge_kinks(
    target: Target, check: EntryCheck, gradient: Floats, roundoff: Floats, rng: np.random.Generator
) -> None:
    """Tell kinks from roundoff, and fail what is no slope at a kink, nor beside it or between.

    A gradient that jumps between neighbours of the point has a large roundoff by that measure; on a
    kink it is none, and `roundoff` becomes that of the final operations. One-sided slopes of up to
    64 such entries are looked at, and the slopes beside the point for up to four gradients that are
    not between those at it.
    """
    g, bounds = gradient.ravel(), roundoff.reshape(-1)
    _find_kinks(target, check, g, bounds)
    asked = 0
    for i, kink in check.kinks.items():
        if check.state[i] != EntryState.KINK:
            continue
        slack = 2 * kink.error + UNITS * target.format_eps(check.block) * abs(float(g[i]))
        bounds[i] = slack
        slack += OUTSIDE * abs(kink.right - kink.left)
        if kink.between(float(g[i]), slack) or asked == ASKED:
            continue
        asked += 1
        nearest = _outside(target, check, i, float(g[i]), kink, slack, rng)
        if nearest is not None:
            check.state[i] = EntryState.FAIL
            check.value[i], check.error[i] = nearest, slack


def _find_kinks(target: Target, check: EntryCheck, g: Floats, bounds: Floats) -> None:
    """Mark the entries that agree only because their gradient jumps, and that sit on a kink."""
    top = float(np.max(np.abs(g), initial=0.0))
    with np.errstate(all="ignore"):
        jumps = bounds > REORDERED * target.format_eps(check.block) * top
        if not jumps.any():
            return
        jumps &= check.state == EntryState.PASS
        jumps &= bounds > HIDDEN * np.maximum(np.abs(g), np.abs(check.value))
    reach, found = target.reach(check.block).ravel(), 0
    for count, i in enumerate(np.flatnonzero(jumps)[:MOST]):
        if count == FIRST and not found:
            return
        lines = target.lines(check.block, np.array([i]))
        size = float(reach[i])
        ladder = Ladder(lines, target.base, check.noise, start_exponent(size), size)
        ladder.settle(0.0)
        ladder.exhaust()
        kink = find_kink(ladder)
        if kink is not None:
            check.kinks[int(i)], check.state[i] = kink, EntryState.KINK
            found += 1


def _outside(
    target: Target,
    check: EntryCheck,
    entry: int,
    claim: float,
    kink: Kink,
    slack: float,
    rng: np.random.Generator,
) -> float | None:
    """The slope nearest to a claim which is outside of all; None where it is not, or unknown."""
    size = float(target.reach(check.block).reshape(-1)[entry])
    jump = abs(kink.right - kink.left)
    least = CONFIDENCE * check.noise.sigma / (SHARP * jump)
    step = 2.0 ** np.ceil(np.log2(max(LEAST * size, least)))
    if AWAY * step > FURTHEST * size:
        return None
    slopes = [kink.left, kink.right]
    for _ in range(PLACES):
        leaves = [
            (x + AWAY * step / size * target.reach(i) * rng.uniform(-1, 1, x.shape)).astype(x.dtype)
            if i in target.select
            else x
            for i, x in enumerate(target.tree.leaves)
        ]
        values, at = [], []
        for side in (step, -step):
            moved = leaves[check.block].copy()
            moved.reshape(-1)[entry] += side
            there = [moved if i == check.block else x for i, x in enumerate(leaves)]
            values.append(target.evaluate(there))
            at.append(float(moved.reshape(-1)[entry]))
        slope = (values[0] - values[1]) / (at[0] - at[1])
        if not np.isfinite(slope):
            return None
        slopes.append(slope)
    low, high = min(slopes) - slack, max(slopes) + slack
    return None if low <= claim <= high else min(slopes, key=lambda s: abs(s - claim))


def settle_beside_kinks(
    report: Report, target: Target, noise: Noise, check: Callable[..., Report], **options: Any
) -> None:
    """Judge the rows of a point on a kink by the gradient at a point beside it.

    Rows that fail, of arrays along which the slopes of the loss differ on the two sides of the
    point, are undecided unless they fail beside it, too; rows that kinks leave undecided fail if
    they do. All arrays are moved by 1/128 to 1/64 of their size, and checked there by
    ``check(loss, gradient, parameters, select=…, …)`` as of `check_gradient`; where the functions
    refuse that point, at up to three others. Where they refuse all, a row whose gradient no choice
    of slopes explains fails.

    Raises
    ------
    Exception
        Of the functions beside the point, but for those by which they refuse numbers.
    """
    tree = target.tree
    rng = generator(report.seed, Stream.BESIDE_KINKS)
    rows, jumps = dict[str, Row](), dict[str, float]()
    for row in report.rows:
        if _kinks_decide(row):
            rows[row.name] = row
            jumps[row.name] = _outside_of_entries(target, row)
        elif (
            row.verdict is Verdict.FAIL
            and (row.check is not None or row.probes)
            and not _straight(row)
        ):
            outside = _outside_of_kink(target, tree.names.index(row.name), row, noise, rng)
            if outside is not None:
                rows[row.name], jumps[row.name] = row, outside
    if not rows:
        return
    drawn = {i: rng.uniform(-0.5, 0.5, tree.leaves[i].shape) for i in target.select}
    drawn = {i: x + np.copysign(0.5, x) for i, x in drawn.items()}
    found, refused = dict[str, Row](), ""
    for size, turned in ASIDE:
        leaves = [x.copy() for x in tree.leaves]
        for i, draw in drawn.items():
            aside = size * target.reach(i) * turned(draw)
            leaves[i] = (leaves[i] + aside).astype(leaves[i].dtype)
        left = target.budget.left(target.evaluations)
        try:
            inner = check(
                target.loss, target.gradient_function, tree.build(leaves), seed=report.seed,
                select=list(rows), unit=target.unit, nouns=target.nouns, beside=False,
                budget=None if np.isinf(left) else max(int(left), 1), **options,
            )  # fmt: skip
        except Exception as error:
            if not of_domain(error):
                raise
            refused = f"{type(error).__name__}: {error}".strip(": ")
            continue
        found, refused = {row.name: row for row in inner.rows}, ""
        target.evaluations += inner.evaluations
        target.gradients += inner.gradients
        break
    for name, row in rows.items():
        there = found.get(name)
        if there is not None and there.verdict is Verdict.FAIL:
            if row.verdict is not Verdict.FAIL:
                _fails_beside(row, there)
        elif refused and jumps[name] > FAR:
            row.verdict = Verdict.FAIL
            row.explained(
                "beside-kink",
                "the point lies on a kink or a tie, but the gradient is outside of the slopes by "
                f"{jumps[name]:.1e} times what they differ by; beside it there is no value "
                f"({refused})",
            )
        elif row.verdict is Verdict.FAIL:
            _leave_undecided(row, there is not None and there.verdict is Verdict.PASS, refused)


def _kinks_decide(row: Row) -> bool:
    """Whether entries on kinks leave a row undecided."""
    kinks = row.check is not None and bool(np.any(row.check.state == EntryState.KINK))
    return kinks and row.verdict is Verdict.UNDECIDED


def _straight(row: Row) -> bool:
    """Whether differences along the directions that refute a row leave no room for a kink.

    The error of a central difference at a kink is a third of the jump of the slope at least.
    """
    return bool(row.probes) and all(
        p.kink is None
        and p.estimate.method.startswith("central difference")
        and p.estimate.error <= STRAIGHT * abs(p.analytic - p.estimate.value)
        for p in row.probes
        if not p.ratio <= 1
    )


def _outside_of_kink(
    target: Target, block: int, row: Row, noise: Noise, rng: np.random.Generator
) -> float | None:
    """How far a gradient is outside of the slopes of a kink on a random line of one array.

    In units of what the slopes differ by; None where those on the two sides of the point are the
    same, which as a rule three losses of the first line tell.
    """
    leaf, size = target.tree.leaves[block], target.scale(block)
    values = row.check.value if row.check is not None else [p.estimate.value for p in row.probes]
    slope = float(np.sqrt(np.mean(np.square(values))))
    first = first_exponent(noise, size * float(np.sqrt(leaf.size)), slope)
    for _ in range(LINES):
        drawn = rng.standard_normal(leaf.shape)
        unit = drawn / max(float(np.linalg.norm(drawn)), 1e-300)
        lines = target.lines(block, unit[None])
        if first is not None:
            seen = three_points(lines, target.base, noise, first)
            if seen.truncation <= max(seen.roundoff, SMOOTH * abs(seen.value)):
                return None
        ladder = Ladder(lines, target.base, noise, start_exponent(size), size)
        ladder.settle(0.0)
        ladder.exhaust()
        kink = find_kink(ladder)
        if kink is not None:
            return _jumps(kink, float(np.sum(target.first[block] * unit)))
    return None


def _outside_of_entries(target: Target, row: Row) -> float:
    """How far a gradient is outside of the slopes at the kinks that its entries sit on, at most."""
    if row.check is None:
        return 0.0
    g = target.first[row.check.block].ravel()
    return max((_jumps(kink, float(g[i])) for i, kink in row.check.kinks.items()), default=0.0)


def _jumps(kink: Kink, claim: float) -> float:
    """How far a claim is outside of the slopes of a kink, in units of what they differ by."""
    low, high = sorted((kink.left, kink.right))
    return max(low - claim, claim - high, 0.0) / (high - low)


def _fails_beside(row: Row, there: Row) -> None:
    """Fail a row on a kink for what is wrong beside it."""
    row.verdict = Verdict.FAIL
    row.ratio, row.worst, row.failing = there.ratio, there.worst, there.failing
    row.analytic, row.numeric, row.bound = there.analytic, there.numeric, there.bound
    row.undecided -= min(row.undecided, row.failing)
    text = "the point lies on a kink or a tie; the numbers are those of a point beside it"
    row.reasons = (Finding("beside-kink", text),)


def _leave_undecided(row: Row, right: bool, refused: str) -> None:
    """Say of a row that failed at a kink what is known of it beside the point."""
    where = f" at {row.worst}" if row.worst.startswith("[") else ""
    beside = (
        "beside the point it is right. Where several kinks meet, the slopes that code chooses at "
        "each may add up to that"
        if right
        else f"beside the point there is no value ({refused})"
        if refused
        else "beside the point it could not be decided"
    )
    row.verdict = Verdict.UNDECIDED
    row.reasons = (
        Finding(
            "kink",
            f"the point lies on a kink or a tie, where no derivative exists, and the gradient "
            f"{row.analytic:.6g} is none of the slopes{where}; {beside}: check at a point beside "
            "it",
        ),
    )
    row.undecided, row.failing = row.undecided + row.failing, 0
    for states in (row.states, row.check.state if row.check is not None else None):
        if states is not None:
            states[states == EntryState.FAIL] = EntryState.KINK
