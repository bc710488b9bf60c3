"""A second look at rows that differences leave undecided, with sharper oracles where there are any.

What only the sharper oracle calls wrong may be rounding of saturated units. It fails if it is wrong
where they are not saturated, too, and, where no point could tell, if it is further off than
rounding the gradient's operations at random moves it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .budget import OutOfBudget
from .cancelling import gradient_rounding
from .entries import CLEAR, check_entries
from .fallback_oracles import AN_OPERATION, ComplexFallback, ExtendedFallback, widen
from .oracle.noise import Noise
from .outcome import Report
from .probes import direction, needed, probe_block
from .roundoff import GradientRoundoff, gradient_noise, measure_gradient_roundoff
from .rows import DRAWN, SCALED, UNDRAWN, entry_row, probe_row
from .target import Target
from .verdict import EntryCheck, EntryState, Probe, Row, Verdict

__all__ = ["use_fallback_oracles"]

Floats = NDArray[np.float64]
Fallback = ComplexFallback | ExtendedFallback
#: Share of a derivative above which its bound leaves it open, and entries looked at for that.
LOST, MOST_SMALL = 0.1, 256
#: Unit in the last place above which a loss is of a narrow format.
NARROW = 2.0**-40
#: Gradients with random rounding before it may be said to explain nothing: a draw may move none of
#: the terms that cancel.
DRAWS = 12


def use_fallback_oracles(
    report: Report,
    target: Target,
    g: dict[int, Floats],
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    resolve: float,
) -> None:
    """Sharpen rows that are undecided, by a wider dtype or the complex step where possible.

    And by the complex step entries of rows that pass, where others hide them. Rows that fail by
    little in a narrow format pass if they do in a wider one.
    """
    positions = {target.tree.names[i]: i for i in target.select}
    small = {k: _small_entries(row, target, roundoff) for k, row in enumerate(report.rows)}
    rows = [k for k, row in enumerate(report.rows) if _may_be_sharpened(row) or small[k].size]
    if not rows or target.random:
        return  # no oracle is sharper than what the loss draws
    wide = widen(target, noise, seed)
    oracle = None if wide else ComplexFallback(target, noise, seed)
    if oracle is not None and oracle.refused:
        for k in rows:
            if report.rows[k].verdict is Verdict.UNDECIDED:
                _refused(report.rows[k], oracle.refused)
        return
    own = gradient_noise(target, seed, roundoff.eps)
    for i in roundoff.bounds:
        roundoff.bounds[i] = np.maximum(roundoff.bounds[i], own[i])
    if oracle is not None:
        # the gradient is a product along the same chain, and its rounding as blind to neighbours
        for i, bound in roundoff.bounds.items():
            own_chain = AN_OPERATION * oracle.chain * roundoff.eps[i] * np.abs(g[i])
            roundoff.bounds[i] = np.maximum(bound, own_chain)
    look = _Look(target, roundoff, seed, resolve)
    further: ComplexFallback | None = None
    for k in rows:
        i, row, refused = positions[report.rows[k].name], report.rows[k], ""
        if row.verdict is Verdict.FAIL:
            sure = look.wide(row, i, g[i], wide) if wide is not None else row
            if sure.verdict is Verdict.PASS:
                report.rows[k] = sure
            continue
        if small[k].size:
            if oracle is not None:
                report.rows[k] = look.complex(row, i, g[i], oracle, small[k])[0]
            continue
        if wide is not None:
            row = look.wide(row, i, g[i], wide)
            if row.verdict is Verdict.UNDECIDED:
                # The wide loss may be analytic too, and what drowns in its roundoff still be seen.
                further = further or ComplexFallback(wide.target, wide.noise, seed)
                row, refused = look.complex(row, i, g[i], further)
            target.evaluations += wide.target.evaluations
            wide.target.evaluations = 0
        elif oracle is not None:
            row, refused = look.complex(row, i, g[i], oracle)
        if refused and row.verdict is Verdict.UNDECIDED:
            _refused(row, refused)
        report.rows[k] = row


def _refused(row: Row, why: str) -> None:
    """Say why no sharper oracle helped; at a kink none would."""
    if not row.has("kink"):
        row.explained("complex-step", f"no complex step: {why}")


def _small_entries(row: Row, target: Target, roundoff: GradientRoundoff) -> NDArray[np.intp]:
    """Entries in smaller units than others of a block that passes, and lost among these.

    What they do to the loss, moved by their own size, is hidden in its noise: no difference can
    judge them.
    """
    check = row.check
    if row.verdict is not Verdict.PASS or check is None or target.alike(check.block):
        return np.zeros(0, dtype=np.intp)
    reach = target.reach(check.block).ravel()
    bound = check.error + roundoff.bounds[check.block].ravel()
    lost = (reach < np.max(reach)) & (bound > LOST * np.abs(check.value))
    return np.flatnonzero(lost)[:MOST_SMALL]


def _may_be_sharpened(row: Row) -> bool:
    if row.verdict is Verdict.FAIL:  # by little: noise of a narrow format may be more than it shows
        return row.states is not None and row.ratio <= CLEAR and _narrow(row)
    if row.verdict is not Verdict.UNDECIDED:
        return False
    if row.states is not None:
        return not np.any(row.states == EntryState.UNPROBED)
    return bool(row.probes)


def _narrow(row: Row) -> bool:
    return row.check is not None and row.check.noise.eps > NARROW


class _Look:
    """Rows of blocks that were checked by entries or along directions, seen by sharper oracles."""

    def __init__(
        self, target: Target, roundoff: GradientRoundoff, seed: int, resolve: float
    ) -> None:
        self.target, self.roundoff, self.seed, self.resolve = target, roundoff, seed, resolve
        self.rng = generator(seed, Stream.SECOND_LOOK)
        #: Whether the gradient's operations could be rounded at random when that was last tried.
        self.drawn = True

    def wide(self, row: Row, block: int, gradient: Floats, oracle: ExtendedFallback) -> Row:
        """Differences once more, of the loss in more precision."""
        if row.states is None:
            probes = probe_block(
                oracle.target, block, gradient, self.roundoff, oracle.noise, self.seed,
                resolve=self.resolve,
            )  # fmt: skip
            return self._along(block, gradient, probes, oracle)
        bounds = self.roundoff.bounds[block]
        check = check_entries(oracle.target, block, gradient, bounds, oracle.noise, self.rng)
        check.methods.add("loss in float64")
        return self._entries(check, gradient, oracle)

    def complex(
        self,
        row: Row,
        block: int,
        gradient: Floats,
        oracle: ComplexFallback,
        entries: NDArray[np.intp] | None = None,
    ) -> tuple[Row, str]:
        """Complex steps in the place of differences; also why not, where they are refused."""
        if oracle.refused:
            return row, oracle.refused
        if row.check is not None:
            refused = oracle.look(row.check, gradient, self.roundoff.bounds[block], entries)
            return row if refused else self._entries(row.check, gradient, oracle), refused
        probes, refused = self._steps(list(row.probes), block, gradient, oracle)
        return row if refused else self._along(block, gradient, probes, oracle), refused

    def _steps(
        self, probes: list[Probe], block: int, gradient: Floats, oracle: ComplexFallback
    ) -> tuple[list[Probe], str]:
        smooth = [p for p in probes if p.kink is None]
        if not smooth:
            return probes, "every direction meets a kink"
        vectors = np.stack([self._direction(block, p) for p in smooth])
        estimates, refused = oracle.along(block, vectors, [p.estimate for p in smooth], gradient)
        if refused:
            return probes, refused
        seen = iter(estimates)
        found = []
        for p in probes:
            if p.kink is None:
                own = self.roundoff.along(block, gradient, self._direction(block, p))
                p = replace(p, estimate=next(seen), roundoff=own)
            found.append(p)
        norm = float(np.linalg.norm(gradient))
        while len(found) < needed(found, gradient.size, norm, self.resolve):
            v = direction(self.target, block, self.seed, len(found))
            own = self.roundoff.along(block, gradient, v)
            claim = float(np.sum(gradient * v))
            step = oracle.step(block, v, claim)
            found.append(Probe(len(found), claim, step, own, None))
        return found, ""

    def _entries(self, check: EntryCheck, gradient: Floats, oracle: Fallback) -> Row:
        right: bool | None = False
        failing = np.flatnonzero(check.state == EntryState.FAIL)
        if failing.size:
            right = self._right_when_unsaturated(check.block, failing[:4], oracle)
            if right is None:
                off = np.abs(check.value - gradient.ravel()) - check.error
                failing = failing[off[failing] <= self._rounding(check.block, failing, gradient)]
            if right is not False:
                check.state[failing] = EntryState.ROUNDED
        bounds = self.roundoff.bounds[check.block]
        how = SCALED if right is not None else DRAWN if self.drawn else UNDRAWN
        return entry_row(self.target.tree, check, gradient, bounds, self.resolve, how)

    def _along(self, block: int, gradient: Floats, probes: list[Probe], oracle: Fallback) -> Row:
        right: bool | None = False
        wrong = [p for p in probes if p.ratio > 1 and p.kink is None]
        if wrong:
            vectors = np.stack([self._direction(block, p) for p in wrong])
            right = self._right_when_unsaturated(block, vectors, oracle)
            if right is None:
                own = self._rounding(block, vectors, gradient)
                off = [abs(p.analytic - p.estimate.value) - p.estimate.error for p in wrong]
                wrong = [p for p, gap, most in zip(wrong, off, own, strict=True) if gap <= most]
            if right is not False:
                probes = [replace(p, rounded=True) if p in wrong else p for p in probes]
        how = SCALED if right is not None else DRAWN if self.drawn else UNDRAWN
        return probe_row(self.target.tree, block, gradient, probes, self.resolve, how)

    def _direction(self, block: int, probe: Probe) -> Floats:
        return direction(self.target, block, self.seed, probe.number)

    def _rounding(
        self,
        block: int,
        vectors: Floats | NDArray[np.intp],
        gradient: Floats,
        there: Target | None = None,
    ) -> Floats:
        """What random rounding moves the gradient by.

        Where its operations cannot be rounded at random, what rounding of terms as large as the
        loss may move it by.
        """
        try:
            drawn = gradient_rounding(there or self.target, {block: gradient}, self.rng, DRAWS)
        except OutOfBudget:
            raise
        except Exception:  # code that does not take such arrays
            drawn = None
        self.drawn = drawn is not None
        unit = self.target.format_eps(block)
        own = (
            drawn[block]
            if drawn is not None
            else AN_OPERATION * unit * abs(self.target.base) / self.target.reach(block)
        )
        if vectors.dtype.kind == "i":
            return own.ravel()[vectors]
        return np.array([np.linalg.norm(own * v) for v in vectors])

    def _right_when_unsaturated(
        self, block: int, vectors: Floats | NDArray[np.intp], oracle: Fallback
    ) -> bool | None:
        """Whether what only the sharper oracle calls wrong is right at smaller parameters.

        A saturated unit makes 1 - h*h lose digits, down to an exact zero, where the derivative is
        still there; that is rounding, not a wrong formula. With the parameters scaled down the
        units leave saturation, and a right formula agrees there, while a missing term stays
        missing. None where no such point resolves it: constants may keep units saturated, however
        small the parameters. `vectors` are flat entry numbers or directions, as `Target.lines`
        takes them.
        """
        target, refuted = self.target, False
        for factor in (0.5, 0.25, 0.1, 1e-2, 1e-4, 1e-6):
            leaves = [
                (x * factor).astype(x.dtype) if x.dtype.kind == "f" else x
                for x in target.tree.leaves
            ]
            moved = target.moved(leaves)
            try:
                gap, error, own, least = self._scaled(moved, block, vectors, oracle)
                if np.all(gap <= error + own):
                    if np.all(error + own < least):
                        return True
                elif not refuted:
                    g = moved.gradient_at(leaves)[block]
                    drawn = self._rounding(block, vectors, g, moved)
                    refuted = bool(np.any(gap > error + np.maximum(own, drawn)))
            except OutOfBudget:
                raise
            except Exception:  # the functions may not be made for other points
                break
            finally:
                target.gradients += moved.gradients
        return False if refuted else None

    def _scaled(
        self, moved: Target, block: int, vectors: Floats | NDArray[np.intp], oracle: Fallback
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Gaps at another point, their bounds by oracle and gradient, and what resolves them."""
        gradient = moved.gradient_at(moved.tree.leaves)
        roundoff = measure_gradient_roundoff(moved, gradient, self.seed, [block])
        value, error = oracle.see(moved, block, vectors)
        g, own = _claims(gradient[block], roundoff, block, vectors)
        if not np.all(np.abs(g - value) <= error + own):
            # still half saturated: h rounds to the same number for all neighbours
            noise = gradient_noise(moved, self.seed, roundoff.eps)[block]
            roundoff.bounds[block] = np.maximum(roundoff.bounds[block], noise)
            g, own = _claims(gradient[block], roundoff, block, vectors)
        return np.abs(g - value), error, own, 0.1 * np.maximum(np.abs(g), np.abs(value))


def _claims(
    gradient: Floats, roundoff: GradientRoundoff, block: int, vectors: Floats | NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """What a gradient says of entries or along directions, and the bounds on its own roundoff."""
    if vectors.dtype.kind == "i":
        return gradient.ravel()[vectors], roundoff.bounds[block].ravel()[vectors]
    along = [roundoff.along(block, gradient, v) for v in vectors]
    return np.array([np.sum(gradient * v) for v in vectors]), np.array(along)
