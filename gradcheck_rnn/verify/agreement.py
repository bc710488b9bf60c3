"""Two computations of one array: do they agree within their own roundoff?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .verdict import EntryState, Finding, Row, Verdict, judge, relative_resolution

__all__ = ["agreement_row"]

Array = NDArray[Any]
SPREADS = 4.0
UNITS = 4.0


def agreement_row(name: str, found: Array, expected: Array, neighbours: Array, slip: Array) -> Row:
    """The verdict on an array under test, with a bound for every entry.

    Parameters
    ----------
    found : array
        What is under test.
    expected : array of the same shape
        The reference, in more precision where the machine has it.
    neighbours : array (k, \\*shape)
        What is under test once more, with its inputs moved by a unit in the last place: a stable
        computation answers a neighbouring problem, so this is how far its arithmetic may have
        carried it.
    slip : array of the same shape
        How far the reference is from itself in the precision under test.

    Returns
    -------
    Row
        ``analytic`` is the number under test, ``numeric`` the reference.
    """
    difference = np.abs((found - expected).astype(np.float64))
    reference = expected.astype(np.float64)
    value = np.asarray(found, dtype=np.float64)
    with np.errstate(all="ignore"):
        spread = np.max(np.abs(neighbours - found), axis=0).astype(np.float64)
        # One entry may be still by chance; the others of its array know better.
        typical = np.sqrt(np.mean((neighbours - found).astype(np.float64) ** 2))
        eps = float(np.finfo(np.float64).eps)
        bound = SPREADS * (np.maximum(spread, typical) + slip) + UNITS * eps * np.abs(reference)
    unknown = ~np.isfinite(reference)
    ratio = judge(difference, np.zeros_like(difference), np.where(unknown, np.inf, bound))
    ratio = np.where(~np.isfinite(value) & ~unknown, np.inf, ratio)
    states = np.where(ratio > 1, EntryState.FAIL, EntryState.PASS).astype(np.int8)
    states[unknown] = EntryState.UNPROBED
    failing, undecided = int(np.sum(states == EntryState.FAIL)), int(np.sum(unknown))
    worst = int(np.argmax(np.nan_to_num(ratio, nan=-1.0, posinf=1e308)))
    at = np.unravel_index(worst, value.shape)
    reasons: tuple[Finding, ...] = ()
    if failing:
        said = f"{failing} of {value.size} entries differ from the definition's"
        reasons = (Finding("count", said),)
    elif undecided:
        said = (
            f"the definition gives {undecided} of {value.size} entries that are not finite; "
            "declare where the values lie with domains"
        )
        reasons = (Finding("not-finite", said),)
    verdict = Verdict.FAIL if failing else Verdict.UNDECIDED if undecided else Verdict.PASS
    return Row(
        name=name,
        shape=value.shape,
        verdict=verdict,
        ratio=float(ratio[at]),
        worst=str([int(i) for i in at]),
        analytic=float(value[at]),
        numeric=float(reference[at]),
        bound=float(bound[at]),
        resolution=relative_resolution(value, reference, bound),
        failing=failing,
        undecided=undecided,
        entries=value.size,
        method="against the definition in extended precision",
        reasons=reasons,
        ratios=ratio,
        states=states,
    )
