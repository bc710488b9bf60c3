"""What is known of the entries of a block, and how one of them is looked into further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import close, unsteady_loss
from .oracle.differences import CONFIDENCE, Estimate, Ladder, start_exponent
from .oracle.kinks import Kink, find_kink
from .oracle.line_functions import Lines
from .oracle.noise import Noise
from .oracle.witnesses import insist
from .stepsize import calibrate, guessed_step, known_step, steps_of
from .target import Target
from .verdict import EntryCheck, judge

__all__ = ["CLEAR", "ON_A_LINE", "Claims", "refuted_together"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

#: Bounds by which a disagreement is clear: if smaller steps bear out some, such others stand too.
CLEAR = 4.0
#: Share of entries that may be small by chance, and not for being in other units.
BY_CHANCE = 1e-3
MOST_KINKS = 64
#: Blurred entries that climb one ladder together.
TOGETHER = 32
#: Disagreements that are borne out on one line: each is more of it than `insist` lets vary.
ON_A_LINE = 3
#: Doublings by which steps are smaller where those of the parameter's size leave the domain.
SMALLER = (16, 28)
#: Exponent of a step below any that a format resolves.
NO_STEP = -2000
#: Losses that contradict the gradient and may be called again, and the standard deviations of noise
#: that they may then differ by.
MOST_ODD, NOISES = 8, 64.0
LOST = (
    "noise of the loss hides what the gradient claims; it would show only at steps far beyond the "
    "parameter's size, where the loss may have saturated"
)


def _climb(
    target: Target,
    block: int,
    entry: int,
    noise: Noise,
    exponent: int,
    claim: tuple[float, float],
    scale: float,
    *,
    thorough: bool,
) -> tuple[Estimate, Kink | None]:
    """The best estimate for one entry; `claim` is (gradient, its roundoff), `scale` its size.

    An entry that is merely blurred stops at the first useful error, a suspect does not.
    """
    lines = target.lines(block, np.array([entry]))
    ladder = Ladder(lines, target.base, noise, exponent, scale)
    gradient, roundoff = claim
    found = ladder.settle(0.0 if thorough else max(roundoff, 1e-3 * abs(gradient)))[0]
    contested = not abs(found.value - gradient) <= found.error + roundoff
    if contested:
        ladder.settle(0.0)
        ladder.exhaust(gradient)
        found = ladder.contest(gradient, roundoff)
    doubt = found.kink > max(found.roundoff, 1e-3 * abs(found.value))
    return found, find_kink(ladder) if doubt or contested else None


class Claims:
    """What is claimed of the entries of one block, and how far each has been looked into.

    `looked`: differenced; `sure`: its disagreement outlived smaller steps; `skipped`: not looked
    into further, because the block fails anyway; `kinked`: its slopes on both sides differ.
    """

    def __init__(self, target: Target, check: EntryCheck, g: Floats, b: Floats) -> None:
        self.target, self.check, self.g, self.b = target, check, g, b
        self.borne_out = False  # smaller steps bore out clear disagreements spread over the block
        self.odd: list[tuple[int, float, float]] = []  # (entry, step, loss) that disagreed
        self.exponent: int | None = None  # of the best step, once it has been searched
        self.looked, self.sure, self.skipped, self.kinked = (
            np.zeros(g.size, dtype=bool) for _ in range(4)
        )
        self.reach = target.reach(check.block).ravel()
        #: Whether entries differ in size by orders of magnitude, and each has a step of its own.
        self.mixed = False
        if not target.alike(check.block):
            apart = int(np.sum(self.reach < np.max(self.reach)))
            self.mixed = apart > BY_CHANCE * g.size

    def step(self, typical: float, few: bool, rng: np.random.Generator) -> tuple[int, bool]:
        """Exponent of the smaller of two steps, and whether it was found in this block.

        For few entries what other blocks found, or a guess from the noise, will do: the difference
        of the two steps says how good it was.
        """
        target, check = self.target, self.check
        if self.exponent is not None:
            return self.exponent, True
        known = known_step(target, check.block)
        if known is None and few:
            known = guessed_step(target.tree.leaves[check.block], typical, check.noise)
        return (self.search(rng), True) if known is None else (known, False)

    def search(self, rng: np.random.Generator) -> int:
        """The step that is best for some entries of the block."""
        found = calibrate(self.target, self.check.block, self.g, self.check.noise, rng)
        self.exponent = found
        return found

    def climb(self, entry: int, exponent: int, *, thorough: bool) -> bool:
        """Look at one entry through a ladder of its own; whether it helped or refuted."""
        check, i = self.check, entry
        claim = (float(self.g[i]), float(self.b[i]))
        own = start_exponent(self.reach[i])
        top = own if self.mixed else exponent + 2

        def look(start: int) -> tuple[Estimate, Kink | None]:
            return _climb(
                self.target, check.block, i, check.noise, start, claim, float(self.reach[i]),
                thorough=thorough,
            )  # fmt: skip

        found, kink = look(top)
        if top > own and not np.isfinite(found.value):  # steps of another block overflow here
            found, kink = look(own)
        for smaller in SMALLER:  # the function may end close by, as √(x + 1e-6) does below 0
            if np.isnan(found.value):
                found, kink = look(own - smaller)
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
        if wrong and self._lost(i, found.value, found.error):
            check.error[i], check.reasons[i] = np.inf, LOST
            wrong = helped = False
        self.sure[i] = bool(wrong) and kink is None
        return bool(self.sure[i] if thorough else helped)

    def _lost(self, entries: Any, value: Any, error: Any) -> Any:
        """Whether slopes of zero may be those of steps at which the loss has saturated.

        Within the size of the parameter noise hides all that the gradient claims.
        """
        claimed = np.abs(self.g[entries]) * self.reach[entries]
        return (np.abs(value) <= error) & (claimed <= CONFIDENCE * self.check.noise.sigma)

    def climb_together(self, entries: Indices, exponent: int) -> Indices:
        """Climb one ladder for many blurred entries of one size; those that need their own.

        Many steps of many entries are one run of a loss that takes them stacked.
        """
        check, rest = self.check, [entries[:0]]
        scale = float(np.max(self.reach))
        alike = self.reach[entries] == scale
        together = entries[alike & (not self.mixed)]
        for part in np.array_split(together, max(-(-len(together) // TOGETHER), 1)):
            if not part.size or self.target.budget.left(self.target.evaluations) <= 0:
                rest.append(part)
                continue
            lines = self.target.lines(check.block, part.astype(np.intp))
            ladder = Ladder(lines, self.target.base, check.noise, exponent + 2, scale)
            found = ladder.settle(np.maximum(self.b[part], 1e-3 * np.abs(self.g[part])))
            value, error, kink, roundoff = np.array(
                [[e.value, e.error, e.kink, e.roundoff] for e in found]
            ).T
            agrees = np.abs(value - self.g[part]) <= error + self.b[part]
            smooth = ~(kink > np.maximum(roundoff, 1e-3 * np.abs(value)))
            done = agrees & smooth & np.array([e.trusted for e in found])
            better = done & (error < check.error[part])
            check.value[part[better]], check.error[part[better]] = value[better], error[better]
            check.methods.update(e.method for e in found)
            rest.append(part[~done])
        return np.concatenate([*rest, entries[~(alike & (not self.mixed))]])

    def refute(self, entries: Indices, exponent: int) -> Indices:
        """Those of the entries whose clear disagreement smaller steps bear out."""
        check = self.check
        gap = np.abs(check.value[entries] - self.g[entries])
        clear = entries[gap > CLEAR * (check.error[entries] + self.b[entries])]
        clear = clear[~self._lost(clear, check.value[clear], check.error[clear])]
        if 1 < clear.size <= ON_A_LINE and refuted_together(
            [(self, int(i), exponent) for i in clear]
        ):
            self.sure[clear] = True
        elif clear.size:
            lines = self.target.lines(check.block, clear.astype(np.intp))
            gap = np.abs(check.value[clear] - self.g[clear])
            least = steps_of(self.target.tree.leaves[check.block].ravel()[clear], exponent)
            refuted = insist(
                lines, self.target.base, check.noise, np.log2(least), check.value[clear], gap
            )
            clear = clear[refuted]
            self.sure[clear] = True
        return clear

    def doubt(self, entries: Indices, steps: Floats, losses: Floats) -> None:
        """Note a few losses that contradict the gradient, to be called again if it holds.

        Steps and losses are (k, entries).
        """
        for column, i in enumerate(entries[: MOST_ODD - len(self.odd)]):
            found = zip(steps[:, column], losses[:, column], strict=True)
            self.odd += [(int(i), float(h), float(value)) for h, value in found]

    def repeat(self) -> None:
        """Call losses again that contradicted a gradient which holds by all others.

        A loss that gives another value now was wrong in one of the calls.
        """
        check, target = self.check, self.target
        if not self.odd:
            return
        held = judge(self.g, check.value, check.error + self.b) <= 1
        for i, h, value in self.odd[: 2 * MOST_ODD]:
            if not held[i] or i in check.kinks:
                continue
            again = float(target.lines(check.block, np.array([i]))(np.array([[h]]))[0, 0])
            if not close(value, again, target.value_eps, NOISES * check.noise.sigma):
                target.note(unsteady_loss(value, again, target.nouns.loss))
                return


def refuted_together(suspects: Sequence[tuple[Claims, int, int]]) -> bool:
    """Whether smaller steps bear out all of a few disagreements at once.

    On a line on which each counts the same: one that vanished would leave less than `insist`
    asks for. Given as (claims, entry, exponent of the step); they may be in several blocks.
    """
    target, noise = suspects[0][0].target, suspects[0][0].check.noise
    slopes = np.array([c.check.value[i] for c, i, _ in suspects])
    gaps = slopes - np.array([c.g[i] for c, i, _ in suspects])
    along = np.min(np.abs(gaps)) / gaps
    directions: dict[int, Floats] = {}
    finest, top = [], []
    for (claims, i, exponent), a in zip(suspects, along, strict=True):
        block = claims.check.block
        leaf = target.tree.leaves[block]
        directions.setdefault(block, np.zeros(leaf.shape)).reshape(-1)[i] = a
        x = leaf.reshape(-1)[i : i + 1]
        finest.append(float(steps_of(x, NO_STEP)[0] / abs(a)))
        top.append(float(steps_of(x, exponent)[0] / abs(a)))
    across = target.across(directions)
    lines = Lines(lambda eps: across(eps[:, 0])[:, None])
    found = insist(
        lines, target.base, noise, int(np.log2(np.max(top))), np.array([slopes @ along]),
        np.array([gaps @ along]), float(np.log2(np.max(finest))),
    )  # fmt: skip
    return bool(found[0])
