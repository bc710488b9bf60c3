"""Derivatives that a loss offers itself, for rows that need no differences of their own.

A definition knows the derivatives of its own steps (`definition_gradients`). They are believed
where differences along a line through all blocks agree with the gradient that they are held
against, and only to let a block pass: what they call wrong, or cannot resolve, is differenced.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .claims import EntryCheck
from .oracle.noise import Noise
from .roundoff import GradientRoundoff, gradient_noise
from .rows import entry_row
from .target import Target
from .verdict import EntryState, Row, Verdict

__all__ = ["never_reads", "offered_rows", "offers_derivatives"]

Floats = NDArray[np.float64]
METHOD = "complex steps of single steps"
#: Errors below this part of their array may be rounding of the gradient under test.
NEAR = 2.0**-26


def offers_derivatives(target: Target) -> bool:
    """Whether the loss has a method ``derivatives(parameters)``.

    It gives, by name, derivatives and bounds on their errors in the shape of the parameter, as far
    as it knows them at that point.
    """
    return hasattr(target.loss, "derivatives")


def offered_rows(
    target: Target,
    g: dict[int, Floats],
    blocks: Iterable[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    resolve: float,
) -> dict[int, Row]:
    """Rows of the blocks that pass by the derivatives that the loss offers at the point, by leaf.

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
    seed
        Of the line.
    resolve
        Relative size of a fault that must be visible.
    """
    if not offers_derivatives(target):
        return {}
    tree = target.tree
    offered = target.loss.derivatives(tree.build(list(tree.leaves)))  # type: ignore[attr-defined]
    known = {i: offered[tree.names[i]] for i in blocks if tree.names[i] in offered}

    def passing(bounds: dict[int, Floats]) -> dict[int, Row]:
        rows = {
            i: _row(target, i, known[i], g[i], own, noise, resolve) for i, own in bounds.items()
        }
        return {i: row for i, row in rows.items() if row.verdict is Verdict.PASS}

    rows = passing({i: roundoff.bounds[i] for i in known})
    close = [i for i, (value, _) in known.items() if i not in rows and _near(value, g[i])]
    if close:
        level = gradient_noise(target, seed, roundoff.eps)
        rows |= passing({i: np.maximum(roundoff.bounds[i], level[i]) for i in close})
    return rows


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
    """Whether the loss says, by ``reads(name)``, that nothing in it reads a parameter."""
    reads = getattr(target.loss, "reads", None)
    return reads is not None and not reads(target.tree.names[block])
