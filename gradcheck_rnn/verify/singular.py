"""Points at which a loss has a value and no finite derivative: √x, x log x at 0, arccos x at 1.

A gradient that is infinite or not a number there is as right as one can be, and no difference can
bear it out. The difference quotients tell such a point from one at which the gradient has merely
overflowed: as the step shrinks sixteenfold, again and again, they grow by no less each time. Where
a derivative exists, and at a kink, what they still grow by vanishes with the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .outcome import Report
from .target import Target
from .trees import flatten
from .verdict import EntryState, Finding, Row, Verdict

__all__ = ["held_at", "settle_singular"]

Floats = NDArray[np.float64]
Check = Callable[..., Report]
#: Steps relative to the size of the leaf, 16⁻² to 16⁻¹², and how many of them must be usable.
RUNGS, LEAST = range(2, 13), 6
#: Growth of the quotients from step to step, relative to that before: 1 for x log x, 4 for √x, and
#: at most 0.8 for what goes with the tenth root of the step, or a higher power of it.
LASTING = 0.95
#: Standard deviations of noise that the change of a quotient must exceed, and units in the last
#: place that a step must be.
CLEAR, UNITS = 64.0, 64.0
#: Entries of a leaf that are looked at: each costs two ladders.
MOST = 64


@dataclass(frozen=True)
class _Slopes:
    """The last difference quotient on either side that grows without bound, 0 where none does."""

    below: float
    above: float

    def allows(self, gradient: float) -> bool | None:
        """Whether a claim may stand: True undecided, False refuted, None if a slope may exist."""
        seen = [s for s in (self.below, self.above) if s]
        if not seen:
            return None
        if np.isinf(gradient):
            return any(np.sign(s) == np.sign(gradient) for s in seen)
        # Zero is what is put there on purpose; a slope above all that was seen may be there.
        return not gradient or np.isnan(gradient) or abs(gradient) >= min(map(abs, seen))

    def __str__(self) -> str:
        sides = [f"{s:.1e} {w}" for w, s in (("below", self.below), ("above", self.above)) if s]
        return " and ".join(sides)


def settle_singular(report: Report, target: Target, check: Check, **options: Any) -> None:
    """Rows that fail or are undecided at such entries: undecided, or failing with the reason.

    Where entries are not finite the others are checked with those held, by a call of
    ``check(loss, gradient, parameters, select=…, …)`` as of `check_gradient`.
    """
    names = target.tree.names
    masks: dict[int, NDArray[np.bool_]] = {}
    sigma = report.noise if np.isfinite(report.noise) else 0.0
    for row in report.rows:
        i = names.index(row.name)
        gradient = target.first[i].reshape(-1)
        if row.has("not-finite") and row.states is None:
            entries = np.flatnonzero(~np.isfinite(gradient))
        elif row.verdict is Verdict.UNDECIDED and row.states is not None and row.check:
            settled = (EntryState.PASS, EntryState.FAIL)
            entries = np.flatnonzero(~np.isin(row.states.reshape(-1), settled))
        else:
            continue
        if len(entries) > MOST:
            continue
        found = {int(k): _slopes(target, i, int(k), sigma) for k in entries}
        allowed = {k: s.allows(float(gradient[k])) for k, s in found.items()}
        if not allowed or any(a is None for a in allowed.values()):
            continue
        at = next((k for k, a in allowed.items() if a is False), next(iter(allowed)))
        shape, wrong = target.tree.leaves[i].shape, allowed[at] is False
        _tell(row, shape, at, float(gradient[at]), found[at], wrong, len(allowed))
        if row.verdict is Verdict.UNDECIDED and row.states is None:
            masks[i] = np.isin(np.arange(gradient.size), entries)
    if masks:
        inner = check(
            *held_at(target, masks), target.tree.template, seed=report.seed,
            select=[names[i] for i in masks], unit=target.unit, **options,
        )  # fmt: skip
        report.rows = [_with_others(row, inner.rows) for row in report.rows]
        target.evaluations += inner.evaluations
        target.gradients += inner.gradients


def _slopes(target: Target, block: int, entry: int, sigma: float) -> _Slopes:
    lines = target.lines(block, np.array([entry]))
    x = float(target.tree.leaves[block].reshape(-1)[entry])
    steps = target.scale(block) * 16.0 ** -np.array(RUNGS, dtype=np.float64)
    h = steps[steps > UNITS * target.format_eps(block) * abs(x)][:, None]
    if len(h) < LEAST:
        return _Slopes(0.0, 0.0)
    level = max(sigma, max(target.value_eps, 2.0**-52) * abs(target.base))
    ends = []
    for side in (-h, h):
        with np.errstate(all="ignore"):
            quotients = ((lines(side) - target.base) / lines.realise(side))[:, 0]
        ends.append(_grows(quotients, CLEAR * level / h[:, 0]))
    return _Slopes(*ends)


def _grows(quotients: Floats, noise: Floats) -> float:
    """The last quotient above its noise if they grow without bound, else 0."""
    with np.errstate(all="ignore"):
        changes = np.abs(np.diff(quotients)) > noise[1:]  # not where they are not finite
    count = 1 + (len(changes) if changes.all() else int(np.argmin(changes)))
    q = quotients[:count]
    if count < LEAST or np.any(np.sign(q[-LEAST:]) != np.sign(q[-1])):
        return 0.0
    growth = np.diff(np.abs(q[-LEAST:]))
    lasting = np.all(growth > 0) and np.all(growth[1:] >= LASTING * growth[:-1])
    return float(q[-1]) if lasting else 0.0


def _tell(
    row: Row,
    shape: tuple[int, ...],
    at: int,
    claim: float,
    slopes: _Slopes,
    wrong: bool,
    count: int,
) -> None:
    where = str([int(k) for k in np.unravel_index(at, shape)]) if shape else "the point"
    text = (
        f"the loss has no finite derivative at {where}"
        + (f" and {count - 1} more entries" if count > 1 else "")
        + f": its difference quotients grow without bound ({slopes} at the smallest step)"
    )
    if wrong:
        row.verdict, text = Verdict.FAIL, f"{text}, and the gradient there is {claim:.6g}"
        row.worst, row.analytic, row.ratio = where, claim, float("inf")
        row.numeric, row.bound = float(np.copysign(np.inf, slopes.above or slopes.below)), 0.0
    else:
        row.verdict = Verdict.UNDECIDED
        text += f"; the gradient there is {claim:.6g}, which nothing can check: move the point"
    row.failing, row.undecided = (count, 0) if wrong else (0, count)
    row.reasons = (Finding("singular", text),)


def held_at(
    target: Target, masks: dict[int, NDArray[np.bool_]]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The loss and its gradient with some entries held at the point: both are zero in them."""
    tree = target.tree

    def held(arguments: Sequence[Any]) -> tuple[Any, ...]:
        leaves = [np.array(x, order="C") for x in flatten(arguments)]
        for i, mask in masks.items():
            leaves[i].reshape(-1)[mask] = tree.leaves[i].reshape(-1)[mask]
        return tree.arguments(leaves)

    def loss(*arguments: Any) -> Any:
        value = target.loss(*held(arguments))
        return value[0] if target.gradient_function is None else value

    def gradient(*arguments: Any) -> dict[str, Floats]:
        found = target.gradient(list(map(np.asarray, flatten(held(arguments)))))
        for i, mask in masks.items():
            found[i] = found[i].copy()
            found[i].reshape(-1)[mask] = 0.0
        return {tree.names[i]: g for i, g in found.items()}

    return loss, gradient


def _with_others(row: Row, others: Sequence[Row]) -> Row:
    """A row of which some entries are undecided, and the verdict on all others."""
    inner = next((r for r in others if r.name == row.name), None)
    if inner is None or row.verdict is not Verdict.UNDECIDED or row.states is not None:
        return row
    if inner.verdict is Verdict.FAIL:
        return replace(inner, reasons=(*inner.reasons, *row.reasons))
    return replace(
        inner, verdict=Verdict.UNDECIDED, undecided=inner.undecided + row.undecided,
        reasons=row.reasons, worst=row.worst, analytic=row.analytic, numeric=row.numeric,
        bound=row.bound, ratio=row.ratio,
    )  # fmt: skip
