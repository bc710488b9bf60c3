"""A loss that jumps at the very point of the check or close to it, or is constant in pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .budget import OutOfBudget
from .guard import close, unsteady_loss
from .oracle.jumps import Jump, find_jump
from .oracle.noise import Noise, measure_noise
from .outcome import Report
from .steps_of_losses import plainly_refuted, step_between
from .target import Target
from .verdict import EntryCheck, EntryState, Finding, Row, Verdict

__all__ = ["Jumps", "LineOfAll", "LineOfLeaves", "doubt_stairs", "look_for_jumps", "noise_beside"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Units in the last place of the parameters between the samples, as many as between those of the
#: noise (`oracle.noise`), which then serve for both; and the most that may be.
UNITS, WIDEST = 1024.0, 2.0**-10
#: Relative distance from the point at which noise is measured.
BESIDE = 2.0**-8
#: Entries of a leaf whose directions are drawn in single precision.
MANY = 2**14


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


class LineOfLeaves:
    """A line through a target's point along which several leaves move at once.

    What it gave at a step is remembered, other than at 0.
    """

    def __init__(self, target: Target, directions: dict[int, Floats], **options: Any) -> None:
        self.target, self.directions = target, directions
        self._along = target.across(directions, **options)
        self.known: dict[float, float] = {}

    def __call__(self, eps: Floats) -> Floats:
        """Values at steps, (k,)."""
        values = []
        for e in map(float, eps):
            value = self.known.get(e)
            if value is None:
                value = float(self._along(np.array([e]))[0])
            if e:
                self.known[e] = value
            values.append(value)
        return np.array(values)

    def call_again(self) -> None:
        """Note it where the loss gives something else at the steps at which it has been called."""
        target, steps = self.target, np.array(list(self.known))
        first, again = np.array(list(self.known.values())), self._along(steps)
        if not close(first, again, target.value_eps):
            target.note(unsteady_loss(first, again, target.nouns.loss))


class LineOfAll(LineOfLeaves):
    """One that moves every checked parameter, by half to twice its size.

    Noise and jumps are seen in one set of values.
    """

    def __init__(self, target: Target, rng: np.random.Generator) -> None:
        leaves = target.tree.leaves
        super().__init__(
            target,
            {i: _signed(_drawn(rng, leaves[i].shape), target.reach(i)) for i in target.select},
        )


def _drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Numbers from -1.5 to 1.5: many in single precision, in half of the time."""
    if math.prod(shape) < MANY:
        return rng.uniform(-1.5, 1.5, size=shape)
    drawn = rng.random(shape, dtype=np.float32)
    drawn -= np.float32(0.5)
    drawn *= np.float32(3.0)
    return drawn


def _signed(drawn: Any, reach: Floats) -> Floats:
    """Half further from zero than was drawn, in sizes of the entries."""
    moves = np.asarray(drawn)
    moves += np.copysign(moves.dtype.type(0.5), moves)
    return np.asarray(moves * reach)


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
        if _refuted_at_once(target, check, g, order[:ASKED]):
            target.refuted = True
            return
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


def _refuted_at_once(target: Target, check: EntryCheck, g: Floats, entries: Indices) -> bool:
    """Whether no slope over larger steps bears several entries out, along one line through them.

    Each moves as it would alone, to the side on which its disagreement is positive: the slopes that
    steps of the loss explain for each of them, they explain for their sum.
    """
    values = check.value[entries]
    if entries.size < 2 or not values.all():
        return False
    leaf = target.tree.leaves[check.block]
    direction, sides = np.zeros(leaf.shape), np.sign(values - g[entries])
    direction.reshape(-1)[entries] = sides
    return plainly_refuted(
        target.across({check.block: direction}), target.scale(check.block), target.base,
        float(sides @ g[entries]), float(sides @ values), check.noise.sigma,
    )  # fmt: skip


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
