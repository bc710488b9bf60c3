"""One gradient returned in the place of another of its shape, or two of them exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison, ModelPoint
from ..harness.plan import Case
from .candidates import After, Arrays, Candidate

__all__ = ["exchanged"]

#: A piece of an array of the user: the array's name, and which of its pieces.
Place = tuple[str, int]
#: Wrong names beyond which two are taken for exchanged only if one is what the other should be.
MANY = 60


def exchanged(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Two wrong gradients of one shape exchanged; a wrong one that is a copy of another."""
    fitted = comparison.point.fitted
    held = [(u, k) for u in fitted.arguments for k in range(len(fitted.pieces[u]))]
    name = {(u, k): fitted.pieces[u][k].name for u, k in held}
    shape = {(u, k): fitted.pieces[u][k].index.shape for u, k in held}
    for a, b in combinations(held, 2):
        if shape[a] != shape[b] or not {name[a], name[b]} <= wrong:
            continue
        if len(wrong) > MANY and not _is_other(comparison, a, b, wanted=True):
            continue
        yield Candidate(
            f"swapped:{name[a]},{name[b]}", "swapped", f"d{name[a]} and d{name[b]} exchanged",
            after=(_taken({a: b, b: a}),), touches=frozenset({name[a], name[b]}),
        )  # fmt: skip
    parameters = comparison.point.network.parameters
    shown = {n: ("∇" if n in parameters else "δ") + n for n in name.values()}
    for a, b in permutations(held, 2):
        if shape[a] != shape[b] or name[a] not in wrong or name[a] == name[b]:
            continue
        if _is_other(comparison, a, b, wanted=False):
            yield Candidate(
                f"copied:{name[a]},{name[b]}", "copied",
                f"{shown[name[a]]} is {shown[name[b]]}, the gradient of another array",
                after=(_taken({a: b}),), touches=frozenset({name[a]}),
            )  # fmt: skip


def _taken(sources: dict[Place, Place]) -> After:
    """Gradients with what others are in their places, in the signs of the layout."""

    def change(point: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
        pieces = {at: point.fitted.pieces[at[0]][at[1]] for at in (*sources, *sources.values())}
        if len({p.index.shape for p in pieces.values()}) > 1:
            return arrays  # equal at one point by its sizes alone
        flat = {u: arrays[u].reshape(-1).copy() for u in dict.fromkeys(u for u, _ in sources)}
        for a, b in sources.items():
            p, q = pieces[a], pieces[b]
            flat[a[0]][p.index] = p.sign * q.sign * arrays[b[0]].reshape(-1)[q.index]
        return {**arrays, **{u: x.reshape(arrays[u].shape) for u, x in flat.items()}}

    return change


def _is_other(comparison: Comparison, a: Place, b: Place, wanted: bool) -> bool:
    """Whether an array is, up to its sign, what another is or, ``wanted``, what it should be.

    In the first case of the point.
    """
    case = comparison.records[0].case
    records = {r.user: r for r in comparison.records if r.case is case}
    if a[0] not in records or b[0] not in records:
        return False
    one, other = records[a[0]], records[b[0]]
    got, bound = (_part(comparison, a, x) for x in (one.got, one.bound))
    held, room = (
        _part(comparison, b, x) for x in (other.want if wanted else other.got, other.bound)
    )
    return bool(np.any(got) and np.all(np.abs(np.abs(got) - np.abs(held)) <= bound + room))


def _part(comparison: Comparison, at: Place, array: NDArray[Any]) -> NDArray[Any]:
    """The entries of one piece of an array of the user."""
    found: NDArray[Any] = array.reshape(-1)[comparison.point.fitted.pieces[at[0]][at[1]].index]
    return found
