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

from .budget import OutOfBudget
from .oracle.differences import Estimate, Ladder, Table, extrapolate, start_exponent
from .oracle.kinks import Kink, find_kink
from .oracle.noise import Noise
from .oracle.witnesses import insist
from .target import Target
from .verdict import EntryState, judge

__all__ = ["CLEAR", "EntryCheck", "check_entries", "reach_of", "scale_of"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

PAIR = 4
#: Share of a leaf's size below which an entry has a size of its own.
APART = 1e-6
LARGE = 24
LEAST_SAMPLED, MOST_SAMPLED = 8, 64
CHUNK = 256
#: Suspects tried first; if all are refuted clearly, those further than CLEAR bounds off stand too.
CONFIRMED = 3
CLEAR = 4.0
#: Evaluations kept from a limited budget, to confirm what disagrees.
RESERVED = 24
#: Climbs of further suspects in a block that fails anyway: for the place, not for the verdict.
FURTHER = 8
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


def reach_of(leaf: NDArray[np.floating]) -> Floats:
    """Size on which a function of each entry is expected to vary, in the leaf's shape.

    That of the leaf, or the entry's own where it is smaller by orders of magnitude: parameters in
    different units do not move by each other's size.
    """
    scale, own = scale_of(leaf), np.abs(leaf.astype(np.float64))
    return np.where((own > 0) & (own < APART * scale), own, scale)


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
    n = gradient.size
    check = EntryCheck(
        block, np.full(n, np.nan), np.full(n, np.inf),
        np.full(n, EntryState.UNPROBED, dtype=np.int8), {}, set(), np.zeros(n), noise,
    )  # fmt: skip
    claims = _Claims(target, check, gradient.ravel(), roundoff.ravel())
    spent = False
    try:
        _look_at_entries(claims, rng)
    except OutOfBudget:
        spent = True
    ratio = judge(claims.g, check.value, check.error + claims.b)
    known = np.isfinite(check.error)
    check.state[known] = EntryState.PASS
    check.state[claims.looked & ~known] = EntryState.BLIND
    check.state[known & (ratio > 1)] = EntryState.FAIL
    # a disagreement that nothing confirmed is none yet
    unsure = claims.skipped | (claims.looked & ~claims.sure if spent else False)
    check.state[known & (ratio > 1) & unsure] = EntryState.UNPROBED
    check.state[list(check.kinks)] = EntryState.KINK
    return check


class _Claims:
    """What is claimed of the entries of one block, and how far each has been looked into.

    `looked`: differenced; `sure`: its disagreement outlived smaller steps; `skipped`: not looked
    into further, because the block fails anyway.
    """

    def __init__(self, target: Target, check: EntryCheck, g: Floats, b: Floats) -> None:
        self.target, self.check, self.g, self.b = target, check, g, b
        self.looked, self.sure, self.skipped = (np.zeros(g.size, dtype=bool) for _ in range(3))

    def climb(self, entry: int, exponent: int, *, thorough: bool) -> bool:
        """Look at one entry through a ladder of its own; whether it helped or refuted."""
        check, i = self.check, entry
        claim = (float(self.g[i]), float(self.b[i]))
        found, kink = _climb(
            self.target, check.block, i, check.noise, exponent + 2, claim, thorough=thorough
        )
        helped = found.error < 0.25 * check.error[i]
        if not found.trusted:
            check.reasons[i] = found.reason
        if kink is not None:
            check.kinks[i] = kink
            helped |= len(check.kinks) < MOST_KINKS
        if thorough or found.error < check.error[i]:
            check.value[i], check.error[i] = found.value, found.error
        check.methods.add(found.method)
        wrong = abs(found.value - self.g[i]) > found.error + self.b[i]
        self.sure[i] = bool(wrong) and kink is None
        return bool(self.sure[i] if thorough else helped)

    def refute(self, entries: Indices, exponent: int) -> Indices:
        """Those of the entries whose clear disagreement smaller steps bear out."""
        check = self.check
        gap = np.abs(check.value[entries] - self.g[entries])
        clear = entries[gap > CLEAR * (check.error[entries] + self.b[entries])]
        if clear.size:
            lines = self.target.lines(check.block, clear.astype(np.intp))
            gap = np.abs(check.value[clear] - self.g[clear])
            least = _steps(self.target.tree.leaves[check.block].ravel()[clear], exponent)
            refuted = insist(
                lines, self.target.base, check.noise, np.log2(least), check.value[clear], gap
            )
            clear = clear[refuted]
            self.sure[clear] = True
        return clear


def _look_at_entries(claims: _Claims, rng: np.random.Generator) -> None:
    """Differences of as many entries as the budget allows, then what they leave in doubt."""
    target, check, g, b = claims.target, claims.check, claims.g, claims.b
    exponent = _calibrate(target, check.block, g, check.noise, rng)
    order = rng.permutation(g.size)
    left = target.budget.left(target.evaluations)
    allowed = (left - min(RESERVED, left / 4)) / PAIR
    chosen = np.sort(order[: int(min(g.size, max(allowed, 1)))])
    typical = float(np.sqrt(np.mean((g / (np.max(np.abs(g)) or 1.0)) ** 2))) * np.max(np.abs(g))
    paired = chosen
    if len(chosen) >= LARGE:
        paired = _singles(claims, chosen, exponent, rng, 0.1 * typical)
    for part in np.array_split(paired, max(len(paired) // CHUNK, 1)):
        _pairs(target, check, part, exponent, check.noise)
        claims.looked[part] = True
    ratio = judge(g, check.value, check.error + b)[chosen]
    # NaN compares false: unknown errors are climbed as well
    flagged = chosen[~(ratio <= 1)]
    vague = check.error > 0.01 * np.maximum(np.abs(g), 0.1 * typical)
    blurred = np.setdiff1d(chosen[vague[chosen]], flagged)
    suspects = flagged[np.argsort(-np.nan_to_num(ratio[~(ratio <= 1)], nan=np.inf))]
    _confirm(claims, suspects, exponent)
    if not claims.sure.any():
        _sharpen(claims, blurred[np.argsort(-np.abs(g[blurred]))], exponent)


def _confirm(claims: _Claims, suspects: Indices, exponent: int) -> None:
    """Find out which disagreements outlive smaller steps.

    Three suspects first, spread over all. When smaller steps bear out all of them, the errors at
    h and 2h are what they seem, and so are all other clear disagreements: the block is wrong, and
    where. Otherwise each suspect is tried; in a block that fails, few ladders are climbed for the
    others.
    """
    suspects = suspects[~claims.sure[suspects]]
    if not suspects.size:
        return
    first = suspects[_spread(suspects.size)]
    gap = np.abs(claims.check.value - claims.g)
    clear = gap > CLEAR * (claims.check.error + claims.b)
    refuted = claims.refute(first, exponent)
    if refuted.size and refuted.size == int(np.sum(clear[first])):
        claims.sure[suspects[clear[suspects]]] = True
    elif suspects.size > first.size:
        claims.refute(np.setdiff1d(suspects, first), exponent)
    climbs = 0
    for i in suspects[~claims.sure[suspects]]:
        certain = bool(claims.sure.any())
        if certain and climbs >= FURTHER:
            claims.skipped[i] = True
            continue
        climbs += certain
        claims.climb(int(i), exponent, thorough=True)


def _spread(count: int) -> Indices:
    """A few of so many positions, over their whole range."""
    return np.unique(np.linspace(0, count - 1, CONFIRMED).astype(np.intp))


def _sharpen(claims: _Claims, blurred: Indices, exponent: int) -> None:
    """Ladders for entries that agree with a large error, until they stop helping."""
    helped = 0
    for count, i in enumerate(blurred):
        if count >= HOPELESS and helped == 0:
            return
        if claims.target.budget.left(claims.target.evaluations) <= 0:
            return
        helped += claims.climb(int(i), exponent, thorough=False)


def _calibrate(
    target: Target, block: int, g: Floats, noise: Noise, rng: np.random.Generator
) -> int:
    """Exponent of the smaller step of a pair: the best for two sample entries.

    Blocks of one loss mostly agree, relative to their sizes: later ones look near what earlier ones
    found, and further only if their best is not there.
    """
    leaf = target.tree.leaves[block]
    by_size = np.argsort(np.abs(g))
    samples = np.unique([by_size[-1], rng.integers(len(g))])
    scale = scale_of(leaf)
    start, known = start_exponent(scale), target.found_step
    top = start - 5 if known is None else start + known + 2
    ladder = Ladder(target.lines(block, samples), target.base, noise, top, scale)
    ladder.extend(down=6 if known is None else 4)
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
        if known is not None and best == 2 and len(pair) == 4:
            break
        # a minimum counts when it lies inside the ladder, away from both ends
        if best >= len(pair) - 2:
            ladder.extend(down=4)
        elif (
            best <= 1
            and known is None
            and (ladder.top < ladder.free or bool(np.all(pair[best] < 0.1 * slope[best])))
        ):
            ladder.extend(up=3)
        else:
            break
    found = int(np.log2(ladder.steps[best]))
    target.found_step = found - start
    return found


def _singles(
    claims: _Claims, chosen: Indices, exponent: int, rng: np.random.Generator, small: float
) -> Indices:
    """Differences at one step, with the errors that a sample shows; entries that need two.

    The step is the one at which truncation, as the sample shows it at h and as it falls with h²,
    meets roundoff. `small` is the size below which an entry may be blurred. Clear disagreements
    stand without a second step, once smaller steps have borne out some of them.
    """
    target, check, g, b = claims.target, claims.check, claims.g, claims.b
    leaf = target.tree.leaves[check.block].ravel()
    count = int(np.clip(len(chosen) // 12, LEAST_SAMPLED, MOST_SAMPLED))
    sample = np.sort(rng.choice(chosen, count, replace=False))
    rest = np.setdiff1d(chosen, sample)
    table, change = _pairs(target, check, sample, exponent, check.noise)
    claims.looked[sample] = True
    with np.errstate(all="ignore"):
        # below what a fault of a ten-thousandth would be, a kink is rounding in an odd difference
        least = 1e-4 * np.maximum(np.abs(table.value[1, 0]), small)
        rough = np.maximum(table.truncation[1, 0] + table.roundoff[1, 0], least)
        kinked = table.kink[1, 0] > rough
        truncation = float(np.max(table.truncation[1, 0]))
        roundoff = float(np.max(table.roundoff[1, 0]))
        finer = np.floor(np.log2(roundoff / (2 * truncation)) / 3) if truncation > 0 else 0.0
    if kinked.any() or not np.isfinite(truncation):
        return rest
    lower = int(np.clip(finer, -40, 0)) if np.isfinite(finer) else 0
    exponent, truncation = exponent + lower, 2.0 * truncation * 4.0**lower
    plain = _steps(leaf[rest], exponent) == 2.0**exponent
    most = float(np.max(change)) * 2.0**lower
    done, refuted = [rest[:0]], False
    single = rest[plain]
    for part in np.array_split(single, max(len(single) // CHUNK, 1)):
        if not part.size:
            continue
        lines = target.lines(check.block, part.astype(np.intp))
        h = np.full((1, len(part)), 2.0**exponent)
        values = lines(np.concatenate([h, -h]))
        width = lines.realise(h) - lines.realise(-h)
        found = extrapolate(h, width, values[:1], values[1:], target.base, check.noise)
        slope, rounding = found.value[0, 0], found.roundoff[0, 0]
        curved = _change(values[0], values[1], target.base, h[0])
        error = truncation + rounding
        with np.errstate(all="ignore"):
            smooth = curved <= 2 * most + 4 * rounding
            sharp = error <= 0.01 * np.maximum(np.abs(g[part]), small)
            gap = np.abs(slope - g[part])
            agrees = smooth & sharp & (gap <= error + b[part])
            differs = smooth & (gap > CLEAR * (error + b[part]))
        check.value[part], check.error[part] = slope, error
        if differs.any() and not refuted:
            first = part[differs][_spread(int(np.sum(differs)))]
            refuted = claims.refute(first, exponent).size == first.size
        settled = agrees | (differs & refuted)
        claims.sure[part[differs & refuted]] = True
        check.value[part[~settled]], check.error[part[~settled]] = np.nan, np.inf
        check.seen[part] = np.max(np.abs(values - target.base), axis=0)
        claims.looked[part[settled]] = True
        done.append(part[settled])
    check.methods.add(f"central differences at h, their error from {count} entries at h and 2h")
    return np.setdiff1d(rest, np.concatenate(done))


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
