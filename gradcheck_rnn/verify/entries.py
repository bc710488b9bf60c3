"""Every entry of a block against finite differences: one evaluation an entry, more on doubt.

Where a line through the point has met no kink (`survey`), a difference on one side settles most
entries (`onesided`), of all blocks in one pass where no budget is to be shared among them. The
others, or all where there is such a kink or the loss is noisy, are differenced on two (`twosided`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .budget import OutOfBudget
from .claims import CLEAR, ON_A_LINE, Claims, refuted_together
from .onesided import OneSided, Part, one_sided
from .oracle.noise import Noise
from .oracle.three_points import three_points
from .roundoff import GradientRoundoff
from .saturated import FLAT, flat_errors
from .stepsize import guessed_step, steps_of
from .survey import Survey
from .target import Target
from .twosided import CONFIRMED, both_sides, spread
from .verdict import EntryCheck, EntryState, judge

__all__ = ["CLEAR", "Begun", "begin_entries", "check_entries"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Evaluations an entry that a limited budget plans with at first.
PAIR = 4
#: Evaluations kept from a limited budget, to confirm what disagrees.
RESERVED = 24
#: Relative error of a derivative that has all the digits that are shown.
DIGITS = 1e-9
#: Entries that a further round of a limited budget must allow.
LEAST_ROUND = 4


@dataclass(frozen=True)
class Begun:
    """Claims of a block that one side has been looked at of, and the entries it leaves open."""

    claims: Claims
    left: Indices


def check_entries(
    target: Target,
    block: int,
    gradient: Floats,
    roundoff: Floats,
    noise: Noise,
    rng: np.random.Generator,
    line: Survey | None = None,
    share: float = 1.0,
    begun: Begun | None = None,
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
    line
        Through the point, without a kink: then most entries need one evaluation.
    share
        Part of what is left of the budget that may be spent here.
    begun
        What one side has shown of the leaf (`begin_entries`).

    Returns
    -------
    States are PASS, FAIL, KINK, BLIND (error unknown) or UNPROBED (budget spent).
    """
    claims = _claims(target, block, gradient, roundoff, noise) if begun is None else begun.claims
    check, spent = claims.check, False
    try:
        flat = flat_errors(target, block, gradient, noise, rng) if begun is None else None
        if flat is not None:
            check.value[:], check.error[:] = 0.0, flat
            claims.looked[:] = True
            check.methods.add(FLAT)
        elif begun is None:
            _look_at_entries(claims, rng, line, share)
        elif begun.left.size:
            both_sides(claims, begun.left, rng)
        if noise.deterministic:
            claims.repeat()
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


def begin_entries(
    target: Target,
    g: Mapping[int, Floats],
    blocks: Sequence[int],
    roundoff: GradientRoundoff | None,
    noise: Noise,
    rng: np.random.Generator,
    line: Survey | None,
) -> dict[int, Begun]:
    """Look at leaves from one side, where a line allows it and no budget is to be shared."""
    if line is None or roundoff is None or np.isfinite(target.budget.left()):
        return {}
    several = [_claims(target, i, g[i], roundoff.bounds[i], noise) for i in blocks]
    alike = [claims for claims in several if not claims.mixed]
    left = _one_side(alike, [np.arange(claims.g.size) for claims in alike], line, rng)
    found = zip(alike, left, strict=True)
    return {claims.check.block: Begun(claims, rest) for claims, rest in found}


def _claims(target: Target, block: int, gradient: Floats, roundoff: Floats, noise: Noise) -> Claims:
    """The claims of a block, of which nothing has been looked at."""
    n = gradient.size
    check = EntryCheck(
        block, np.full(n, np.nan), np.full(n, np.inf),
        np.full(n, EntryState.UNPROBED, dtype=np.int8), {}, set(), np.zeros(n), noise,
    )  # fmt: skip
    return Claims(target, check, gradient.ravel(), roundoff.ravel())


def _look_at_entries(
    claims: Claims, rng: np.random.Generator, line: Survey | None, share: float
) -> None:
    """Look at entries in random order, as many as a share of the budget allows.

    The first round plans with four evaluations an entry; further ones spend what it left, by what
    entries turned out to cost.
    """
    target, g = claims.target, claims.g
    line = None if claims.mixed else line
    if line is None:
        claims.step(0.0, few=False, rng=rng)
    order, at, cost = rng.permutation(g.size), 0, float(PAIR)
    left = target.budget.left(target.evaluations)
    kept = min(RESERVED, left * share / 4) + (left * (1 - share) if share < 1 else 0.0)
    while at < g.size:
        allowed = (target.budget.left(target.evaluations) - kept) / cost
        if at and allowed < LEAST_ROUND:
            break
        count = int(min(g.size - at, max(allowed, 1)))
        chosen = np.sort(order[at : at + count])
        before = target.evaluations
        if line is not None:
            (chosen,) = _one_side([claims], [chosen], line, rng)
        if chosen.size:
            both_sides(claims, chosen, rng)
        at += count
        cost = max((target.evaluations - before) / count, 1.0)


def _one_side(
    several: Sequence[Claims], chosen: Sequence[Indices], line: Survey, rng: np.random.Generator
) -> list[Indices]:
    """Entries that differences on one side leave open: neither right, nor wrong beyond doubt.

    Of several blocks at once, each with the entries chosen from it.
    """
    if not several:
        return []
    sides = [_Side(claims) for claims in several]
    parts = [Part(c.check.block, c.g, c.b, mine) for c, mine in zip(several, chosen, strict=True)]
    for seen in one_sided(several[0].target, parts, several[0].check.noise, line, rng):
        sides[seen.part].take(seen)
    _confirm(sides)
    return [side.left(mine) for side, mine in zip(sides, chosen, strict=True)]


class _Side:
    """What differences on one side have said of a block.

    `differing` is what contradicts the gradient, `refuted` whether smaller steps have borne out
    some of it.
    """

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.sampled, self.exponent = 0, 0
        self.parts: list[OneSided] = []
        self.refuted = self.first = False

    @property
    def differing(self) -> Indices:
        """Entries that contradict the gradient clearly, in the order in which they were seen."""
        found = [seen.entries[seen.differs] for seen in self.parts]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.intp)

    def take(self, seen: OneSided) -> None:
        """Settle what agrees, and keep what differs."""
        claims, check = self.claims, self.claims.check
        self.sampled, self.exponent = seen.sampled, seen.exponent
        agrees = seen.entries[seen.agrees]
        claims.looked[agrees] = True
        check.value[agrees], check.error[agrees] = seen.value[seen.agrees], seen.error[seen.agrees]
        if seen.differs.any():
            self.parts.append(seen)

    def confirm(self, entries: Indices, wanted: int) -> None:
        """Take over what differs, where smaller steps have borne out all of some entries of it."""
        claims, check = self.claims, self.claims.check
        self.refuted = bool(np.all(claims.sure[entries]))
        if self.refuted and entries.size >= wanted:
            claims.borne_out = claims.target.borne_out = True
        for seen in self.parts:
            odd = seen.entries[seen.differs]
            if self.refuted:
                claims.sure[odd] = claims.looked[odd] = True
            else:
                claims.doubt(odd, seen.steps[None, seen.differs], seen.losses[None, seen.differs])
                check.value[odd], check.error[odd] = np.nan, np.inf

    def left(self, chosen: Indices) -> Indices:
        """Those of the chosen entries that need differences on both sides."""
        claims, sampled = self.claims, self.sampled
        if sampled:
            many = "1 entry" if sampled == 1 else f"{sampled} entries"
            said = f"differences on one side, their error from {many} on both"
            claims.check.methods.add(said)
        if self.first:
            _sharpen_first(claims)
        left = chosen[~claims.looked[chosen]]
        # where most need both sides, few others would make the block's resolution that of one
        return chosen[~claims.sure[chosen]] if 2 * left.size > chosen.size else left


def _confirm(sides: Sequence[_Side]) -> None:
    """Find out whether smaller steps bear out some of what differs, of all blocks together.

    Three entries of the first block, spread over all, and one of each of the others: a few of them
    on one line.
    """
    asked: list[tuple[_Side, Indices, int]] = []
    suspects: list[tuple[Claims, int, int]] = []
    for side in sides:
        differing, check = side.differing, side.claims.check
        if not differing.size:
            continue
        for seen in side.parts:
            odd = seen.entries[seen.differs]
            check.value[odd], check.error[odd] = seen.value[seen.differs], seen.error[seen.differs]
        side.first = not (side.claims.target.borne_out or asked)
        wanted = CONFIRMED if side.first else 1
        entries = differing[spread(differing.size, wanted)]
        asked.append((side, entries, wanted))
        suspects += [(side.claims, int(i), side.exponent) for i in entries]
    for k in range(0, len(suspects), ON_A_LINE):
        few = suspects[k : k + ON_A_LINE]
        together = len(few) > 1 and refuted_together(few)
        for claims, i, exponent in few:
            if together:
                claims.sure[i] = True
            else:
                claims.refute(np.array([i]), exponent)
    for side, entries, wanted in asked:
        side.confirm(entries, wanted)


def _sharpen_first(claims: Claims) -> None:
    """Difference the entry shown for the first failing block on both sides, for its digits."""
    check, target = claims.check, claims.target
    first = np.flatnonzero(claims.sure)[:1]
    if not first.size or check.error[first[0]] <= DIGITS * abs(check.value[first[0]]):
        return
    leaf = target.tree.leaves[check.block]
    exponent = guessed_step(leaf, float(np.abs(check.value[first[0]])), check.noise)
    if exponent is None or 2.0**exponent < steps_of(leaf.ravel()[first], exponent)[0]:
        return
    lines = target.lines(check.block, first)
    seen = three_points(lines, target.base, check.noise, exponent)
    # x + h rounds
    error = seen.error + abs(seen.value) * float(
        np.spacing(np.abs(leaf.ravel()[first[0]])) / seen.step
    )
    if error < check.error[first[0]]:
        check.value[first], check.error[first] = seen.value, error
        check.methods.add(seen.method)
