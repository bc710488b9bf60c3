"""Every entry of a block against finite differences: four evaluations an entry, more on doubt.

A few sample entries find the step of the block. With it each entry is differenced at h and 2h,
which gives a derivative of order 4, its truncation and any kink. An entry that agrees within that
error is done. One that does not, or whose error is too large to mean anything, climbs a ladder of
its own; only a disagreement that outlives the whole ladder is a failure.

In a large block 64 entries, drawn at random, show how large truncation and the change of slope are
at h. The others then need h alone, two evaluations; those that agree with the gradient within the
largest truncation seen, and whose slope changes no more than was seen, are done, all others are
differenced at 2h too. What was not seen can only make an entry disagree, or hide a fault equal to
its own truncation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .oracle.differences import Estimate, Ladder, Table, extrapolate, start_exponent
from .oracle.kinks import Kink, find_kink
from .oracle.noise import Noise
from .target import Target
from .verdict import EntryState, judge

__all__ = ["EntryCheck", "check_entries", "scale_of"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

PAIR = 4
LARGE = 256
SAMPLED = 64
CONFIRMED = 6
MOST_MOVES = 12
HOPELESS = 4
MOST_KINKS = 64


@dataclass
class EntryCheck:
    """Derivatives of one block by differences, flat: values, errors, states, and kinks by entry.

    `noise` is that of the loss; `reasons` say why the difference of an entry is not known.
    """

    block: int
    value: Floats
    error: Floats
    state: NDArray[np.int8]
    kinks: dict[int, Kink]
    methods: set[str]
    seen: Floats
    noise: Noise
    reasons: dict[int, str] = field(default_factory=dict)

    def ratio(self, gradient: Floats, roundoff: Floats) -> Floats:
        """Error ÷ bound of every entry."""
        return judge(gradient.ravel(), self.value, self.error + roundoff.ravel())


def scale_of(leaf: NDArray[np.floating]) -> float:
    """Size on which a function of the leaf is first expected to vary: its root mean square, or 1.

    Only a start: ladders move from it as far as the function asks.
    """
    with np.errstate(all="ignore"):
        top = float(np.max(np.abs(leaf)))
        if top == 0 or not np.isfinite(top):
            return 1.0
        return top * float(np.sqrt(np.mean((leaf.astype(np.float64) / top) ** 2)))


def _climb(
    target: Target,
    block: int,
    entry: int,
    noise: Noise,
    exponent: int,
    claim: tuple[float, float],
    *,
    thorough: bool,
) -> tuple[Estimate, Kink | None]:
    """The best estimate for one entry; `claim` is (gradient, its roundoff).

    An entry that is merely blurred stops at the first useful error, a suspect does not.
    """
    lines = target.lines(block, np.array([entry]))
    scale = scale_of(target.tree.leaves[block])
    ladder = Ladder(lines, target.base, noise, exponent, scale)
    gradient, roundoff = claim
    found = ladder.settle(0.0 if thorough else max(roundoff, 1e-3 * abs(gradient)))[0]
    if not abs(found.value - gradient) <= found.error + roundoff:
        ladder.settle(0.0)
        ladder.exhaust()
        found = ladder.contest(gradient, roundoff)
    doubt = found.kink > max(found.roundoff, 1e-3 * abs(found.value))
    wrong = not abs(found.value - gradient) <= found.error + roundoff
    return found, find_kink(ladder) if doubt or wrong else None


def check_entries(
    target: Target,
    block: int,
    gradient: Floats,
    roundoff: Floats,
    noise: Noise,
    rng: np.random.Generator,
) -> EntryCheck:
    """Check the gradient of one leaf entry by entry.

    Parameters
    ----------
    target
        The loss at its point; counts evaluations and knows the budget.
    block
        Position of the leaf.
    gradient, roundoff
        The gradient under test and the bound on its own roundoff, in the leaf's shape.
    noise
        Measured noise of the loss.
    rng
        Draws the sample entries, and which entries are probed when the budget is short.

    Returns
    -------
    States are PASS, FAIL, KINK, BLIND (error unknown) or UNPROBED (budget spent).
    """
    g, b = gradient.ravel(), roundoff.ravel()
    n = g.size
    value, error = np.full(n, np.nan), np.full(n, np.inf)
    state = np.full(n, EntryState.UNPROBED, dtype=np.int8)
    check = EntryCheck(block, value, error, state, {}, set(), np.zeros(n), noise)
    exponent = _calibrate(target, block, g, noise, rng)

    order = rng.permutation(n)
    allowed = target.budget.left(target.evaluations) / PAIR
    chosen = np.sort(order[: int(min(n, max(allowed, 1)))])
    typical = float(np.sqrt(np.mean((g / (np.max(np.abs(g)) or 1.0)) ** 2))) * np.max(np.abs(g))
    paired = chosen
    if len(chosen) >= LARGE:
        paired = _singles(target, check, chosen, exponent, noise, rng, (g, b, 0.1 * typical))
    _pairs(target, check, paired, exponent, noise)
    ratio = judge(g, value, error + b)[chosen]
    # NaN compares false: unknown errors are climbed as well
    flagged = chosen[~(ratio <= 1)]
    vague = error > 0.01 * np.maximum(np.abs(g), 0.1 * typical)
    blurred = np.setdiff1d(chosen[vague[chosen]], flagged)

    suspects = flagged[np.argsort(-np.nan_to_num(ratio[~(ratio <= 1)], nan=np.inf))]
    _climb_all(target, check, suspects, exponent, noise, g, b, certain=True)
    blurred = blurred[np.argsort(-np.abs(g[blurred]))]
    _climb_all(target, check, blurred, exponent, noise, g, b, certain=False)

    ratio = judge(g, value, error + b)
    for i in chosen:
        if i in check.kinks:
            state[i] = EntryState.KINK
        elif np.isnan(ratio[i]):
            state[i] = EntryState.BLIND
        else:
            state[i] = EntryState.FAIL if ratio[i] > 1 else EntryState.PASS
    return check


def _calibrate(
    target: Target, block: int, g: Floats, noise: Noise, rng: np.random.Generator
) -> int:
    """Exponent of the smaller step of a pair: the best for the median of three sample entries."""
    leaf = target.tree.leaves[block]
    by_size = np.argsort(np.abs(g))
    samples = np.unique([by_size[-1], by_size[len(g) // 2], rng.integers(len(g))])
    scale = scale_of(leaf)
    top = start_exponent(scale) - 3
    ladder = Ladder(target.lines(block, samples), target.base, noise, top, scale)
    ladder.extend(down=6)
    best = 0
    for _ in range(MOST_MOVES):
        table = ladder.table()
        # what does not depend on an entry tells nothing about the step for the others
        alive = np.any(table.value[:, 0] != 0, axis=0)
        alive = alive if alive.any() else ~alive
        pair, slope = np.min(table.error[:, :2], axis=1), np.abs(table.value[:, 0])
        with np.errstate(all="ignore"):
            relative = np.nan_to_num(pair / np.min(pair, axis=0), nan=1e300, posinf=1e300)
        best = int(np.argmin(np.median(np.log(relative[:, alive]), axis=1)))
        # a minimum counts when it lies inside the ladder, away from both ends
        if best >= len(pair) - 2:
            ladder.extend(down=4)
        elif best <= 1 and (
            ladder.top < ladder.free or bool(np.all(pair[best] < 0.1 * slope[best]))
        ):
            ladder.extend(up=3)
        else:
            break
    return int(np.log2(ladder.steps[best]))


def _singles(
    target: Target,
    check: EntryCheck,
    chosen: Indices,
    exponent: int,
    noise: Noise,
    rng: np.random.Generator,
    claim: tuple[Floats, Floats, float],
) -> Indices:
    """Differences at h alone, with the errors that a sample shows; entries that need 2h as well.

    `claim` is (gradient, its roundoff, size below which an entry may be blurred).
    """
    g, b, small = claim
    leaf = target.tree.leaves[check.block].ravel()
    sample = np.sort(rng.choice(chosen, SAMPLED, replace=False))
    rest = np.setdiff1d(chosen, sample)
    table, change = _pairs(target, check, sample, exponent, noise)
    with np.errstate(all="ignore"):
        kinked = table.kink[1, 0] > table.truncation[1, 0] + table.roundoff[1, 0]
        truncation = float(np.max(table.truncation[1, 0]))
    plain = _steps(leaf[rest], exponent) == 2.0**exponent
    if kinked.any() or not np.isfinite(truncation) or not plain.any():
        return rest
    most = float(np.max(change))
    single = rest[plain]
    lines = target.lines(check.block, single.astype(np.intp))
    h = np.full((1, len(single)), 2.0**exponent)
    values = lines(np.concatenate([h, -h]))
    width = lines.realise(h) - lines.realise(-h)
    table = extrapolate(h, width, values[:1], values[1:], target.base, noise)
    slope, roundoff = table.value[0, 0], table.roundoff[0, 0]
    change = _change(values[0], values[1], target.base, h[0])
    error = truncation + roundoff
    with np.errstate(all="ignore"):
        clear = np.abs(slope - g[single]) <= error + b[single]
        clear &= change <= 2 * most + 4 * roundoff
        clear &= error <= 0.01 * np.maximum(np.abs(g[single]), small)
    done = single[clear]
    check.value[done], check.error[done] = slope[clear], error[clear]
    check.seen[done] = np.max(np.abs(values[:, clear] - target.base), axis=0)
    check.methods.add(f"central differences at h, their error from {SAMPLED} entries at h and 2h")
    return np.setdiff1d(rest, done)


def _steps(x: NDArray[np.floating], exponent: int) -> Floats:
    """Steps of entries: a step below a thousand units in the last place of its own is no step."""
    least = np.ceil(np.log2(np.spacing(np.abs(x)).astype(np.float64))) + 10
    return np.ldexp(1.0, np.maximum(exponent, least).astype(np.int64))


def _pairs(
    target: Target, check: EntryCheck, chosen: Indices, exponent: int, noise: Noise
) -> tuple[Table, Floats]:
    """Differences at h and 2h for all chosen entries; also by how much slopes change within h."""
    lines = target.lines(check.block, chosen.astype(np.intp))
    h = _steps(target.tree.leaves[check.block].ravel()[chosen], exponent)
    steps = np.stack([2 * h, h])
    values = lines(np.concatenate([steps, -steps]))
    width = lines.realise(steps) - lines.realise(-steps)
    table = extrapolate(steps, width, values[:2], values[2:], target.base, noise)
    column = np.argmin(table.error[1, :2], axis=0)
    at = np.arange(len(chosen))
    check.value[chosen] = table.value[1, column, at]
    check.error[chosen] = table.error[1, column, at]
    check.seen[chosen] = np.max(np.abs(values - target.base), axis=0)
    check.methods.add("central differences at h and 2h")
    return table, _change(values[1], values[3], target.base, h)


def _change(plus: Floats, minus: Floats, centre: float, h: Floats) -> Floats:
    """The one-sided slopes' difference: of order h where the function is smooth."""
    with np.errstate(all="ignore"):
        return np.asarray(np.abs((plus - centre) - (centre - minus)) / h)


def _climb_all(
    target: Target,
    check: EntryCheck,
    entries: Indices,
    exponent: int,
    noise: Noise,
    g: Floats,
    b: Floats,
    *,
    certain: bool,
) -> None:
    """Ladders for single entries, worst first.

    When the first six suspects are all confirmed, the others stand as they are: the block fails
    anyway. When ladders stop helping blurred entries, the others stay blurred.
    """
    confirmed = helped = 0
    for count, i in enumerate(entries):
        if certain and count >= CONFIRMED and confirmed == count:
            return
        if not certain and count >= HOPELESS and helped == 0:
            return
        if not certain and target.budget.left(target.evaluations) <= 0:
            return
        estimate, kink = _climb(
            target,
            check.block,
            int(i),
            noise,
            exponent + 2,
            (float(g[i]), float(b[i])),
            thorough=certain,
        )
        helped += estimate.error < 0.25 * check.error[i]
        if not estimate.trusted:
            check.reasons[int(i)] = estimate.reason
        if kink is not None:
            check.kinks[int(i)] = kink
            helped += len(check.kinks) < MOST_KINKS
        if certain or estimate.error < check.error[i]:
            check.value[i], check.error[i] = estimate.value, estimate.error
        check.methods.add(estimate.method)
        wrong = abs(estimate.value - g[i]) > estimate.error + b[i]
        confirmed += bool(wrong) and kink is None
