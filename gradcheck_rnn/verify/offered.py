"""Derivatives that a loss offers itself, for rows that need no differences of their own.

A definition knows the derivatives of its own steps (`definition_gradients`). They are believed
where differences of the loss along a line through all blocks bear them out. A block that is off by
so little that rounding could be the reason, or that they do not resolve, is differenced.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .known import tells
from .oracle.noise import Noise
from .roundoff import GradientRoundoff, gradient_noise
from .rows import entry_row
from .survey import Survey
from .target import Target
from .verdict import EntryCheck, EntryState, Row, Verdict

__all__ = ["never_reads", "offered_rows", "offers_derivatives"]

Floats = NDArray[np.float64]
METHOD = "complex steps of single steps"
#: Errors of a derivative along a line, relative to its typical size, that bear something out.
SHARP = 1e-4
#: Errors below this part of their array may be rounding of the gradient under test.
NEAR = 2.0**-26


def offers_derivatives(target: Target) -> bool:
    """Whether the loss gives derivatives, as far as it knows them at a point."""
    return tells(target.loss, "derivatives")


def offered_rows(
    target: Target,
    g: dict[int, Floats],
    blocks: Iterable[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    line: Survey,
    seed: int,
    resolve: float,
) -> dict[int, Row]:
    """Rows of the blocks that the derivatives offered by the loss at the point settle, by leaf.

    Where a gradient is off by little, its own noise along a line counts too: a saturated 1 - h*h
    is rounded, and no neighbour shows it.

    Parameters
    ----------
    target
        The loss at its point.
    g, roundoff
        The gradient under test and its roundoff.
    blocks
        Positions of the leaves.
    noise
        Of the loss.
    line
        Through all leaves, without a kink.
    seed
        Of the line along which the noise of the gradient is measured.
    resolve
        Relative size of a fault that must be visible.
    """
    if not offers_derivatives(target):
        return {}
    tree = target.tree
    offered = target.loss.derivatives(tree.build(list(tree.leaves)))  # type: ignore[attr-defined]
    known = {i: offered[tree.names[i]] for i in blocks if tree.names[i] in offered}

    if not _borne_out(known, line):
        return {}

    def judged(bounds: dict[int, Floats]) -> dict[int, Row]:
        rows = {
            i: _row(target, i, known[i], g[i], own, noise, resolve) for i, own in bounds.items()
        }
        return {i: row for i, row in rows.items() if _settled(row, near=i in near)}

    near = {i for i, (value, _) in known.items() if _near(value, g[i])}
    rows = judged({i: roundoff.bounds[i] for i in known})
    close = [i for i in known if i not in rows and i in near]
    if close:
        level = gradient_noise(target, seed, roundoff.eps)
        rows |= judged({i: np.maximum(roundoff.bounds[i], level[i]) for i in close})
    return rows


def _borne_out(known: dict[int, tuple[Floats, Floats]], line: Survey) -> bool:
    """Whether differences along the line agree with derivatives of all the leaves that it moves.

    They must be sharp beside what such a sum of terms of random sign typically is.
    """
    if not line.directions.keys() <= known.keys():
        return False
    claim, error, squares = 0.0, line.error, 0.0
    for i, v in line.directions.items():
        value, own = known[i]
        claim += float(np.sum(value * v))
        error += float(np.sum(own * np.abs(v)))
        squares += float(np.sum((value * v) ** 2))
    return abs(line.value - claim) <= error <= SHARP * float(np.sqrt(squares))


def _settled(row: Row, near: bool) -> bool:
    return row.verdict is Verdict.PASS or (row.verdict is Verdict.FAIL and not near)


def _near(value: Floats, gradient: Floats) -> bool:
    """Whether all errors are small beside the array that they are in."""
    with np.errstate(all="ignore"):
        top = float(np.max(np.abs(value), initial=0.0))
        return bool(np.all(np.abs(gradient - value) <= NEAR * top))


def _row(
    target: Target,
    block: int,
    known: tuple[Floats, Floats],
    gradient: Floats,
    bounds: Floats,
    noise: Noise,
    resolve: float,
) -> Row:
    value, error = (np.asarray(a, dtype=np.float64) for a in known)
    state = np.full(value.size, EntryState.PASS, dtype=np.int8)
    check = EntryCheck(
        block, value.ravel(), error.ravel(), state, {}, {METHOD}, np.zeros(value.size), noise
    )
    ratio = check.ratio(gradient, bounds)
    state[ratio > 1] = EntryState.FAIL
    state[~np.isfinite(ratio)] = EntryState.BLIND
    return entry_row(target.tree, check, gradient, bounds, resolve)


def never_reads(target: Target, block: int) -> bool:
    """Whether the loss says that nothing in it reads a parameter."""
    loss: Any = target.loss
    return tells(loss, "reads") and not loss.reads(target.tree.names[block])
