"""A loss that jumps at the very point of the check or close to it, or is constant in pieces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .budget import OutOfBudget
from .guard import close, unsteady_loss
from .oracle.jumps import Jump, find_jump
from .oracle.noise import Noise, measure_noise
from .outcome import Report
from .target import Target
from .verdict import EntryCheck, EntryState, Finding, Row, Verdict

__all__ = ["Jumps", "LineOfAll", "doubt_stairs", "look_for_jumps", "noise_beside", "step_between"]

Floats = NDArray[np.float64]
#: Units in the last place of the parameters between the samples, as many as between those of the
#: noise (`oracle.noise`), which then serve for both; and the most that may be.
UNITS, WIDEST = 1024.0, 2.0**-10
#: Relative distance from the point at which noise is measured.
BESIDE = 2.0**-8


class Jumps:
    """Jumps at a target's point by leaf; `places` maps positions to an entry, or None for all."""

    def __init__(self, jump: Jump, places: dict[int, int | None]) -> None:
        self.jump, self.places = jump, places

    @property
    def sentence(self) -> str:
        """What the loss does at the point."""
        jump = self.jump
        if jump.alone:
            return (
                f"a jump at the point: the loss is {jump.value:.9g} there and tends to "
                f"{jump.above:.9g} from all sides"
            )
        return (
            f"a jump at the point: the loss is {jump.value:.9g} there and tends to "
            f"{jump.below:.9g} and {jump.above:.9g} from either side (a threshold or a tie?)"
        )

    def tell(self, report: Report, target: Target) -> None:
        """Rows that would pass, or be undecided for another reason, are undecided because of it."""
        names, places = target.tree.names, []
        for i, at in self.places.items():
            place = f"'{names[i]}'"
            if at is not None and target.tree.leaves[i].ndim:
                index = np.unravel_index(at, target.tree.leaves[i].shape)
                place += f" at [{', '.join(str(int(k)) for k in index)}]"
            places.append(place)
        target.find(
            "jump",
            f"{self.sentence}, in {', '.join(places)}; there is no derivative, and no difference "
            "or complex step sees this: check at a point off the threshold",
        )
        jumping = {names[i] for i in self.places}
        entries = {names[i]: at for i, at in self.places.items()}
        for row in report.rows:
            if row.name not in jumping or not self._explains(row, entries[row.name]):
                continue
            row.verdict, row.reasons = Verdict.UNDECIDED, (Finding("jump", self.sentence),)

    @staticmethod
    def _explains(row: Row, entry: int | None) -> bool:
        """Whether a row that fails does so for the jump: at its entry, or along directions."""
        if row.verdict is not Verdict.FAIL:
            return True
        if row.states is None:
            return bool(row.probes)
        failing = np.flatnonzero(row.states.ravel() == EntryState.FAIL)
        return entry is not None and failing.size > 0 and bool(np.all(failing == entry))


class LineOfAll:
    """A line through the point that moves every checked parameter, by half to twice its size.

    What it gave at a step is remembered, other than at 0: noise and jumps are seen in one set of
    values.
    """

    def __init__(self, target: Target, rng: np.random.Generator) -> None:
        leaves = target.tree.leaves
        self.directions = {
            i: target.reach(i) * _signed(rng.uniform(-1.5, 1.5, size=leaves[i].shape))
            for i in target.select
        }
        self._along = target.across(self.directions)
        self._known: dict[float, float] = {}

    def __call__(self, eps: Floats) -> Floats:
        """Values at steps, (k,)."""
        values = []
        for e in map(float, eps):
            value = self._known.get(e)
            if value is None:
                value = float(self._along(np.array([e]))[0])
            if e:
                self._known[e] = value
            values.append(value)
        return np.array(values)

    def call_again(self, target: Target) -> None:
        """Note it where the loss gives something else at the steps at which it has been called."""
        steps = np.array(list(self._known))
        first, again = np.array(list(self._known.values())), self._along(steps)
        if not close(first, again, target.value_eps):
            target.note(unsteady_loss(first, again, target.nouns.loss))


def _signed(drawn: Floats) -> Floats:
    """Half further from zero than was drawn."""
    return np.asarray(drawn + np.copysign(0.5, drawn))


def look_for_jumps(target: Target, line: LineOfAll) -> Jumps | None:
    """Compare the loss at the point with its limits, on a line that moves every parameter.

    Such a line leaves thresholds and ties on two sides, whichever parameter they are in. Where it
    jumps, each leaf has a line of its own, and halves of it, down to one entry.
    """
    jump = _jump(target, line, line.directions)
    if jump is None:
        return None
    if jump.alone:
        return Jumps(jump, dict.fromkeys(target.select))
    places: dict[int, int | None] = {}
    for i, v in line.directions.items():
        if _along(target, {i: v}) is not None:
            places[i] = _entry(target, i, v)
    return Jumps(jump, places or dict.fromkeys(target.select))


def noise_beside(target: Target, rng: np.random.Generator, noise: Noise) -> Noise:
    """The noise of the loss on one side of the point, where no jump is taken for noise."""
    leaves = target.tree.leaves
    directions = {i: target.reach(i) * rng.standard_normal(leaves[i].shape) for i in target.select}
    along = target.across(directions)
    eps = max(max(float(np.finfo(leaves[i].dtype).eps) for i in target.select), target.unit)
    beside = measure_noise(lambda steps: along(BESIDE + steps), 1.0, eps, target.value_eps)
    return beside if beside.sigma < noise.sigma else noise


def _along(target: Target, directions: dict[int, Floats]) -> Jump | None:
    return _jump(target, target.across(directions), directions)


def _jump(
    target: Target, phi: Callable[[Floats], Floats], directions: dict[int, Floats]
) -> Jump | None:
    eps = max(
        max(float(np.finfo(target.tree.leaves[i].dtype).eps) for i in directions), target.unit
    )
    value_eps = max(target.value_eps, float(np.finfo(np.float64).eps))
    return find_jump(phi, min(UNITS * eps, WIDEST), target.base, value_eps)


def _entry(target: Target, block: int, direction: Floats) -> int | None:
    """The entry that jumps alone, by halving; None where halves do not (a tie between two)."""
    flat = direction.ravel()
    entries = np.arange(flat.size)
    while len(entries) > 1:
        for half in np.array_split(entries, 2):
            masked = np.zeros_like(flat)
            masked[half] = flat[half]
            if _along(target, {block: masked.reshape(direction.shape)}) is not None:
                entries = half
                break
        else:
            return None
    return int(entries[0])


#: Half of the width of a step that counts as wide, in sizes of the parameter.
WIDE = 2.0**-10
#: Units in the last place of the loss that its average slope must amount to over such a width.
VISIBLE = 64.0


def doubt_stairs(target: Target, check: EntryCheck, gradient: Floats) -> None:
    """Leave open the failing entries whose gradient is zero, on a wide step of the loss.

    And those whose gradient is the slope over several steps. `check` comes from differences of the
    loss as it is; one or two more evaluations an entry.
    """
    failing = check.state == EntryState.FAIL
    if not failing.any():
        return
    g = gradient.ravel()
    _doubt_steps_close_by(target, check, g)
    failing = check.state == EntryState.FAIL
    width = WIDE * target.scale(check.block)
    unit = max(target.value_eps, float(np.finfo(np.float64).eps)) * abs(target.base)
    clear = np.abs(check.value) * width > VISIBLE * unit
    asked = np.flatnonzero(failing & (g == 0) & clear)
    for side in (-width, width):
        if asked.size:
            beside = target.lines(check.block, asked)(np.full((1, asked.size), side))[0]
            asked = asked[beside == target.base]
    for i in asked:
        check.state[i] = EntryState.BLIND
        check.reasons[int(i)] = (
            f"{target.nouns.loss} changes in steps (floor, round, a sign, a count?): it is flat "
            f"here, where a gradient of 0 is right, and has an average slope of "
            f"{check.value[i]:.3g} over many steps; give the function that is meant "
            "(surrogate=), or round afterwards"
        )


#: Steps at which a claim may be borne out although smaller ones deny it, in sizes of the parameter:
#: those that are looked at first, then the others.
FIRST, OTHERS = (0.25, 2.0**-5), (4.0, 2.0, 1.0, 2.0**-3, 2.0**-4, 2.0**-6)
#: Part of a disagreement within which a slope over several steps of the loss bears a claim out.
BORNE_OUT = 0.4
#: Smaller steps over which the slope must not have left the claim where steps are too narrow to be
#: found one by one; parts of a disagreement within which one of them, on either side and on
#: average, is the claim, and another one is on average.
FINER, EITHER_SIDE, ON_AVERAGE = (2.0**-8, 2.0**-12), 0.25, 0.1
LOST = (
    ": digits are lost inside it (log(1 - s) where s is close to 1: log1p, softplus or logsumexp "
    "keep them), or it rounds or counts"
)
#: Halvings down to a jump, and further ones over which it must stay as large.
HALVINGS, MORE_HALVINGS = 20, 10


def step_between(
    phi: Callable[[Floats], Floats],
    scale: float,
    base: float,
    claim: float,
    value: float,
    noise: float,
    others: bool = False,
    flat: bool = True,
) -> str:
    """Why a claim is not refuted by a slope at small steps, or nothing where it is.

    Slopes over larger steps bear the claim out, and the loss jumps in between: the small ones lie
    on one step of it. So it is where a part of the loss has lost its digits, as log(1 - s) has for
    an s close to 1. Or the loss does not change in any bit at the point, and jumps beyond. Four
    evaluations, up to twenty where a larger slope agrees with the claim, and then up to 31 for
    every step that may lie beyond a jump.

    Parameters
    ----------
    phi
        Maps steps (k,) along one line to losses (k,).
    scale
        Size of the parameter along the line.
    base
        phi(0).
    claim, value
        The slope under test, and the one that small steps show.
    noise
        Standard deviation of phi.
    others
        Slopes of other entries have been borne out: a jump is enough, for a step as wide as the
        parameter has no slope over several.
    flat
        Where `value` is zero, look for jumps whatever the slopes are.
    """
    gap = abs(value - claim)
    if flat and not value and (found := _beyond_a_tread(phi, scale, base, noise)):
        return found
    steps, bears = np.zeros(0), np.zeros(0, dtype=bool)
    for parts in (FIRST, OTHERS):
        more = scale * np.array([side * part for part in parts for side in (1.0, -1.0)])
        with np.errstate(all="ignore"):
            slopes = (phi(more) - base) / more
            near = np.isfinite(slopes) if others else np.abs(slopes - claim) <= BORNE_OUT * gap
            mean = np.abs(slopes.reshape(-1, 2).mean(axis=1) - claim)
        steps, bears = np.append(steps, more), np.append(bears, near)
        maybe = parts is FIRST and bool(np.any(mean <= BORNE_OUT * gap))
        if maybe and _borne_out_by_finer(phi, scale, base, claim, gap, slopes[2:]):
            return (
                "the loss changes in small steps: slopes over moves of 1/4096 to 1/32 of the "
                f"parameter bear the gradient out, and those over smaller ones do not{LOST}"
            )
        if not bears.any():
            return ""
    # a smooth slope passes by the claim at one size of steps
    wide = [h for h in steps[bears] if others or np.any(np.abs(h) >= 4 * np.abs(steps[bears]))]
    for h in sorted(wide, key=abs):
        jump, where = _jump_within(phi, float(h), base, value, noise)
        if jump:
            return (
                f"the loss changes in steps: it jumps by {abs(jump):.3g} at a distance of "
                f"{abs(where):.2g}, slopes over more than one step bear the gradient out and those "
                f"on the step at the point do not{LOST}"
            )
    return ""


def _borne_out_by_finer(
    phi: Callable[[Floats], Floats],
    scale: float,
    base: float,
    claim: float,
    gap: float,
    known: Floats,
) -> bool:
    """Whether slopes over ever smaller steps are the claim, on both sides, as far as is looked.

    `known` are those over the last of the first steps. Beside a kink the two sides differ.
    """
    sharp, near = False, 0
    for k, part in enumerate((FIRST[-1], *FINER)):
        steps = scale * np.array([part, -part])
        with np.errstate(all="ignore"):
            slopes = (phi(steps) - base) / steps if k else known
            mean = abs(slopes.mean() - claim)
            sides = np.max(np.abs(slopes - claim)) <= EITHER_SIDE * gap
        sharp = sharp or bool(sides and mean <= ON_AVERAGE * gap)
        near += bool(mean <= EITHER_SIDE * gap)
        if k == 1 and not near:  # two of the three must be
            return False
    return sharp and near > 1


def _beyond_a_tread(
    phi: Callable[[Floats], Floats], scale: float, base: float, noise: float
) -> str:
    """What to say of a loss that is the same in every bit around the point, and jumps beyond."""
    small = scale * np.array([side * part for part in FINER for side in (1.0, -1.0)])
    if np.any(phi(small) != base):
        return ""
    for side in (1.0, -1.0):
        for part in (2.0**-5, 0.25, 1.0, 4.0):
            h = side * part * scale
            if float(phi(np.array([h]))[0]) == base:
                continue
            jump, where = _jump_within(phi, h, base, 0.0, noise)
            if jump:
                return (
                    f"the loss changes in steps: it is the same in every bit around the point and "
                    f"jumps by {abs(jump):.3g} at a distance of {abs(where):.2g}{LOST}"
                )
            break
    return ""


def _jump_within(
    phi: Callable[[Floats], Floats], far: float, base: float, slope: float, noise: float
) -> tuple[float, float]:
    """Size and place of a jump between 0 and `far`, found by halving; zeros if there is none.

    What remains of a smooth function, or of a kink, falls as the width does.
    """
    near, below, left = 0.0, 0.0, []
    above = float(phi(np.array([far]))[0]) - base - slope * far
    for _ in range(HALVINGS + MORE_HALVINGS):
        middle = 0.5 * (near + far)
        between = float(phi(np.array([middle]))[0]) - base - slope * middle
        if abs(between - below) >= abs(above - between):
            far, above = middle, between
        else:
            near, below = middle, between
        left.append(above - below)
    wide, narrow = abs(left[HALVINGS - 1]), abs(left[-1])
    found = narrow >= 0.5 * wide > 32 * noise
    return (left[-1], far) if found else (0.0, 0.0)


#: Failing entries that are asked before all are.
ASKED = 3


def _doubt_steps_close_by(target: Target, check: EntryCheck, g: Floats) -> None:
    """Leave open failing entries that larger steps bear out, beyond a jump of the loss.

    A few first: what refutes the block refutes it, and the gradient: no further block is asked.
    """
    failing = np.flatnonzero(check.state == EntryState.FAIL)
    if target.refuted:
        return
    # on the steepest ones steps are the narrowest
    order = failing[np.argsort(-np.abs(check.value[failing] - g[failing]), kind="stable")]
    try:
        asked = enumerate(order[:ASKED])
        first = [_beyond_a_step(target, check, g, i, flat=not k) for k, i in asked]
        found = order[:ASKED][first]
        if found.size:
            for i in np.setdiff1d(order, found):
                if not _beyond_a_step(target, check, g, i, others=True):
                    return
        elif failing.size:
            target.refuted = True
    except OutOfBudget:
        return


def _beyond_a_step(
    target: Target,
    check: EntryCheck,
    g: Floats,
    i: int,
    *,
    others: bool = False,
    flat: bool = True,
) -> bool:
    """Leave an entry open where a step of the loss makes it fail."""
    lines = target.lines(check.block, np.array([i]))
    reason = step_between(
        lambda steps: lines(steps[:, None])[:, 0], target.scale(check.block), target.base,
        float(g[i]), float(check.value[i]), check.noise.sigma, others, flat,
    )  # fmt: skip
    if reason:
        check.state[i], check.reasons[int(i)] = EntryState.BLIND, reason
    return bool(reason)
