"""Differences on both sides of entries: two evaluations an entry, four and more on doubt.

Two entries of the first block find a step h, relative to the scale of the leaf; a later block takes
it over where truncation and roundoff of its own sample balance there, and searches if not.
A sample of entries, drawn at random, is differenced at h and 2h, which shows how large truncation
and the change of slope are. The others need one step, two evaluations; those that agree with the
gradient within the largest truncation seen, and whose slope changes no more than was seen, are
done, all others are differenced at h and 2h too. What was not seen can only make an entry disagree,
or hide a fault equal to its own truncation.

An entry that disagrees at h and 2h, or whose error is too large to mean anything, climbs a ladder
of its own; only a disagreement that outlives the whole ladder is a failure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .claims import CLEAR, Claims
from .known import tells
from .onesided import CHUNK, SPREAD
from .oracle.differences import Table, extrapolate, start_exponent
from .saturated import nothing_along
from .stepsize import balanced, steps_of
from .verdict import judge

__all__ = ["CONFIRMED", "both_sides", "pairs", "spread"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

#: Entries of a block from which some are a sample for the others, and how many these are.
LARGE = 6
#: Entries left over by one side for which a search for the best step would cost more than it saves.
FEW = 10
LEAST_SAMPLED, MOST_SAMPLED, SAMPLED_PART = 3, 64, 24
#: Samples that show truncation well; times it that fewer, and that many, are taken to stand for.
MANY, FEW_MARGIN, MARGIN = 8, 4.0, 2.0
#: Change of slope, relative, below which an entry that agrees has no kink worth a ladder.
MILD = 1e-4
#: Of a slope: the kink from which an entry that agrees is looked into, as those that disagree are.
KINKED = 1e-3
#: Suspects tried first; if all are refuted clearly, those further than CLEAR bounds off stand too.
CONFIRMED = 3
#: Climbs of further suspects in a block that fails anyway: for the place, not for the verdict.
FURTHER = 8
HOPELESS = 4
#: Times the error of most entries of which no line shows anything.
UNUSUAL = 16.0


def both_sides(claims: Claims, chosen: Indices, rng: np.random.Generator) -> None:
    """Differences on both sides of some entries, then what they leave in doubt."""
    check, g, b = claims.check, claims.g, claims.b
    moved = g * (claims.reach / np.max(claims.reach))
    top = float(np.max(np.abs(moved)))
    rms = float(np.sqrt(np.mean((moved / (top or 1.0)) ** 2))) * top
    typical = rms * (np.max(claims.reach) / claims.reach)
    few = len(chosen) <= FEW and len(chosen) < g.size
    exponent, found = claims.step(float(typical[0]), few, rng)
    sample = _sample(chosen, rng)
    seen = pairs(claims, sample, exponent)
    if not found and not few and not balanced(seen[0]):
        exponent = claims.search(rng)
        seen = pairs(claims, sample, exponent)
    claims.looked[sample] = True
    paired = np.setdiff1d(chosen, sample)
    if paired.size and not claims.mixed:
        paired = _singles(claims, paired, exponent, *seen, 0.1 * float(typical[0]))
    size = CHUNK if claims.target.workers == 1 else SPREAD
    for part in np.array_split(paired, max(len(paired) // size, 1)):
        if part.size:
            pairs(claims, part, exponent)
            claims.looked[part] = True
    ratio = judge(g, check.value, check.error + b)[chosen]
    # NaN compares false: unknown errors are climbed as well
    flagged = chosen[~(ratio <= 1)]
    vague = check.error > 0.01 * np.maximum(np.abs(g), 0.1 * typical)
    blurred = np.setdiff1d(chosen[(vague | claims.kinked)[chosen]], flagged)
    blurred = _flat(claims, blurred)
    suspects = flagged[np.argsort(-np.nan_to_num(ratio[~(ratio <= 1)], nan=np.inf))]
    _confirm(claims, suspects, exponent)
    if blurred.size > HOPELESS and nothing_along(claims.target, check.block, g, check.noise, rng):
        # as small as they all are, one that stands out has met something: a jump, a kink
        usual = float(np.median(check.error[blurred]))
        blurred = blurred[~(check.error[blurred] <= UNUSUAL * usual)]
    if not claims.sure.any():
        _sharpen(claims, blurred[np.argsort(-np.abs(moved[blurred]))], exponent)


def _flat(claims: Claims, blurred: Indices) -> Indices:
    """Entries that are left blurred where larger steps show others to be flat.

    Of units that are saturated no bit of the loss changes, and a ladder of steps for every entry
    would find the same.
    """
    check, g = claims.check, claims.g
    flat = blurred[((check.value == 0) & (np.abs(g) <= check.error))[blurred]]
    if flat.size <= HOPELESS or claims.mixed:
        return blurred
    error, kinked = check.error[flat].copy(), claims.kinked[flat].copy()
    pairs(claims, flat, start_exponent(float(np.max(claims.reach))))
    same = (check.value[flat] == 0) & (check.error[flat] < error)
    check.value[flat], check.error[flat] = 0.0, np.where(same, check.error[flat], error)
    claims.kinked[flat] = kinked
    return np.setdiff1d(blurred, flat[same])


def _confirm(claims: Claims, suspects: Indices, exponent: int) -> None:
    """Find out which disagreements outlive smaller steps.

    Three suspects first, spread over all. When smaller steps bear out all of them, the errors at
    h and 2h are what they seem, and so are all other clear disagreements: the block is wrong, and
    where. Three that were borne out at one step spare this. Otherwise each suspect is tried; in a
    block that fails, few ladders are climbed for the others.
    """
    suspects = suspects[~claims.sure[suspects]]
    if not suspects.size:
        return
    first = suspects[spread(suspects.size)]
    gap = np.abs(claims.check.value - claims.g)
    clear = gap > CLEAR * (claims.check.error + claims.b)
    borne_out = claims.borne_out
    if not borne_out:
        refuted = claims.refute(first, exponent)
        borne_out = 0 < refuted.size == int(np.sum(clear[first]))
    if borne_out:
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


def spread(count: int, few: int = CONFIRMED) -> Indices:
    """A few of so many positions, over their whole range."""
    return np.unique(np.linspace(0, count - 1, few).astype(np.intp))


def _sharpen(claims: Claims, blurred: Indices, exponent: int) -> None:
    """Ladders for entries that agree with a large error, until they stop helping."""
    helped = 0
    for count, i in enumerate(blurred):
        if count == HOPELESS and helped and tells(claims.target.loss, "many"):
            blurred = claims.climb_together(blurred[count:], exponent)
            break
        if count >= HOPELESS and helped == 0 and not claims.mixed:
            return
        if claims.target.budget.left(claims.target.evaluations) <= 0:
            return
        helped += claims.climb(int(i), exponent, thorough=False)
    else:
        return
    for i in blurred:
        if claims.target.budget.left(claims.target.evaluations) <= 0:
            return
        claims.climb(int(i), exponent, thorough=False)


def _sample(chosen: Indices, rng: np.random.Generator) -> Indices:
    """Entries that stand for the others; all of a small block."""
    if len(chosen) < LARGE:
        return chosen
    count = int(np.clip(len(chosen) // SAMPLED_PART, LEAST_SAMPLED, MOST_SAMPLED))
    return np.sort(rng.choice(chosen, count, replace=False))


def _singles(
    claims: Claims, rest: Indices, exponent: int, table: Table, change: Floats, small: float
) -> Indices:
    """Differences at one step, with the errors that a sample shows; entries that need two.

    The step is the one at which truncation, as the sample shows it at h and as it falls with h²,
    meets roundoff. `table` and `change` are those of the sample, `small` is the size below which an
    entry may be blurred. Clear disagreements stand without a second step, once smaller steps have
    borne out some of them.
    """
    target, check, g, b = claims.target, claims.check, claims.g, claims.b
    leaf, count = target.tree.leaves[check.block].ravel(), table.value.shape[-1]
    margin = MARGIN if count >= MANY else FEW_MARGIN
    with np.errstate(all="ignore"):
        # below what a fault of a ten-thousandth would be, a kink is rounding in an odd difference
        least = MILD * np.maximum(np.abs(table.value[1, 0]), small)
        rough = np.maximum(table.truncation[1, 0] + table.roundoff[1, 0], least)
        kinked = table.kink[1, 0] > rough
        truncation = float(np.max(table.truncation[1, 0]))
        roundoff = float(np.max(table.roundoff[1, 0]))
        finer = np.floor(np.log2(roundoff / (margin * truncation)) / 3) if truncation > 0 else 0.0
    if kinked.any() or not np.isfinite(truncation):
        return rest
    lower = int(np.clip(finer, -40, 0)) if np.isfinite(finer) else 0
    exponent, truncation = exponent + lower, margin * truncation * 4.0**lower
    plain = steps_of(leaf[rest], exponent) == 2.0**exponent
    most = float(np.max(change)) * 2.0**lower
    done, refuted = [rest[:0]], False
    single = rest[plain]
    size = CHUNK if target.workers == 1 else SPREAD
    for part in np.array_split(single, max(len(single) // size, 1)):
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
            # a kink that differences at h and 2h would let pass needs none of them
            mild = curved <= MILD * np.maximum(np.abs(slope), small)
            sharp = error <= 0.01 * np.maximum(np.abs(g[part]), small)
            gap = np.abs(slope - g[part])
            agrees = (smooth | mild) & sharp & (gap <= error + b[part])
            differs = smooth & (gap > CLEAR * (error + b[part]))
        check.value[part], check.error[part] = slope, error
        if differs.any() and not refuted:
            first = part[differs][spread(int(np.sum(differs)))]
            refuted = claims.refute(first, exponent).size == first.size
            claims.borne_out = refuted and first.size == CONFIRMED
        settled = agrees | (differs & refuted)
        odd = ~settled & (gap > CLEAR * (error + b[part]))
        claims.doubt(part[odd], np.concatenate([h, -h])[:, odd], values[:, odd])
        claims.sure[part[differs & refuted]] = True
        check.value[part[~settled]], check.error[part[~settled]] = np.nan, np.inf
        check.seen[part] = np.max(np.abs(values - target.base), axis=0)
        claims.looked[part[settled]] = True
        done.append(part[settled])
    check.methods.add(f"central differences at h, their error from {count} entries at h and 2h")
    return np.setdiff1d(rest, np.concatenate(done))


def pairs(claims: Claims, chosen: Indices, exponent: int) -> tuple[Table, Floats]:
    """Differences at h and 2h for all chosen entries; also by how much slopes change within h."""
    target, check, noise = claims.target, claims.check, claims.check.noise
    lines = target.lines(check.block, chosen.astype(np.intp))
    h = steps_of(target.tree.leaves[check.block].ravel()[chosen], exponent)
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
    with np.errstate(all="ignore"):
        slightly = np.maximum(KINKED * np.abs(table.value[1, 0]), 4 * table.roundoff[1, 0])
        claims.kinked[chosen] = table.kink[1, 0] > slightly
    change = _change(values[1], values[3], target.base, h)
    with np.errstate(all="ignore"):
        # a value that is off by chance bends one line more than all others
        usual = 64 * np.maximum(np.median(change), table.roundoff[1, 0])
        odd = (change > usual) & (change > MILD * np.abs(check.value[chosen]))
    claims.doubt(chosen[odd], np.concatenate([steps, -steps])[:, odd], values[:, odd])
    return table, change


def _change(plus: Floats, minus: Floats, centre: float, h: Floats) -> Floats:
    """The one-sided slopes' difference: of order h where the function is smooth."""
    with np.errstate(all="ignore"):
        return np.asarray(np.abs((plus - centre) - (centre - minus)) / h)
