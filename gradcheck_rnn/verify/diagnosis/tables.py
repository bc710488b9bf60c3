"""Rows of a report: the worst of all probes of each array; at which shapes some are wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.aggregates import Along, combine_along
from ..harness.compare import Comparison, Record
from ..harness.modelpoint import ModelPoint
from ..harness.plan import Hint
from ..points import Point, Role
from ..verdict import EntryState, Finding, Row, Verdict, relative_resolution
from .unseen import doubt_zeros

__all__ = ["pattern", "row_of", "rows_of"]

Array = NDArray[Any]


def rows_of(comparisons: Sequence[Comparison]) -> list[Row]:
    """A row for each array that has a gradient, in the order of the layout."""
    table: dict[str, list[tuple[ModelPoint, Record]]] = {}
    for c in comparisons:
        for r in c.records:
            table.setdefault(r.user, []).append((c.point, r))
    rows = []
    for user, found in table.items():
        row = row_of(user, found)
        told = _aggregates(user, found)
        if told and row.verdict is not Verdict.FAIL:
            row.verdict, row.reasons = Verdict.FAIL, (Finding("aggregate", told),)
        doubt_zeros(row, comparisons)
        rows.append(row)
    return rows


def row_of(user: str, found: Sequence[tuple[ModelPoint, Record]]) -> Row:
    """The worst of all probes of one array."""

    def top(r: Record) -> float:
        return min(float(np.fmax.reduce(r.ratio, axis=None, initial=0.0)), 1e300)

    here, worst = max(found, key=lambda f: top(f[1]))
    at = np.unravel_index(
        int(np.argmax(np.nan_to_num(worst.ratio, nan=-1.0, posinf=1e300))), worst.ratio.shape
    )
    failing = [f for f in found if np.any(f[1].ratio > 1)]
    verdict = Verdict.FAIL if failing else Verdict.PASS
    reasons: tuple[Finding, ...] = ()
    if failing:
        labels = dict.fromkeys(f"{s.label}: {r.case.label}" for s, r in failing)
        shown = list(labels)[:4]
        more = f" and {len(labels) - 4} more" if len(labels) > 4 else ""
        said = f"wrong in {len(failing)} of {len(found)} probes ({', '.join(shown)}{more})"
        reasons = (Finding("count", said),)
    elif not _judged([r for _, r in found]):
        verdict = Verdict.UNDECIDED
        reasons = (Finding("not-judged", "entries have no derivative or no bound at any point"),)
    states = np.where(worst.ratio > 1, EntryState.FAIL, EntryState.PASS).astype(np.int8)
    # A gradient that is zero, or below the numbers of the format, is resolved by no bound.
    fine = [
        relative_resolution(r.got[known], r.want[known], r.bound[known])
        for s, r in found for known in [np.isfinite(r.ratio)]
        if np.any(np.abs(r.want[known]) > s.sunk) or np.isinf(r.ratio).any()
    ]  # fmt: skip
    return Row(
        name=user,
        shape=worst.got.shape,
        verdict=verdict,
        ratio=float(worst.ratio[at]),
        worst=f"{_entry(user, at, here)} ({here.label}, {worst.case.label})",
        analytic=float(worst.got[at]),
        numeric=float(worst.want[at]),
        bound=float(worst.bound[at]),
        resolution=max(fine, default=float("inf")),
        failing=int(np.sum(worst.ratio > 1)),
        entries=worst.got.size,
        method="complex step of the definition, step by step",
        reasons=reasons,
        rms=max((r.whole.error for _, r in found if r.whole), default=float("nan")),
        ratios=worst.ratio,
        states=states,
    )


def _judged(records: Sequence[Record]) -> bool:
    """Whether every entry of an array was judged in some probe, at one of its shapes at least."""
    open_: dict[tuple[int, ...], Array] = {}
    for r in records:
        open_[r.ratio.shape] = np.isnan(r.ratio) & open_.get(r.ratio.shape, True)
    return any(not left.any() for left in open_.values())


def _aggregates(user: str, found: Sequence[tuple[ModelPoint, Record]]) -> str:
    """What is wrong with a whole array in a coarse format, empty if nothing."""
    told = []
    names = dict.fromkeys(n for _, r in found for n in r.along)
    last = found[0][0].form.eps
    for name in names:
        places: dict[int, list[Along]] = {}
        for s, r in found:
            if name in r.along:
                places.setdefault(id(s), []).append(r.along[name])
        seen = combine_along(list(places.values()), last)
        if seen is not None and abs(seen[0]) > seen[1]:
            whose = f"d{name}" if name == user else f"d{name} in d{user}"
            told.append(
                f"{whose} is {1 + seen[0]:.4g} times that of the definition along itself, "
                f"{abs(seen[0]):.1%} off where rounding explains {seen[1]:.1%}"
            )
    for s, r in found:
        if r.along and r.whole is not None and r.whole.error > r.whole.bound:
            told.append(
                f"the root mean square of its error is {r.whole.error:.1%} of the array, rounding "
                f"explains {r.whole.bound:.1%} ({s.label}, {r.case.label})"
            )
            break
    return "; ".join(told)


def _entry(user: str, at: tuple[Any, ...], here: ModelPoint) -> str:
    """An entry by the user's index and the definition's name: ``[3, 1] = W_f[0, 1]``."""
    index = [int(i) for i in at]
    fitted = here.fitted
    if user in fitted.layout.parameters and len(fitted.shapes[user]) == len(index):
        flat = int(np.ravel_multi_index(at, fitted.shapes[user]))
        for piece in fitted.pieces[user]:
            inner = np.argwhere(piece.index == flat)
            if len(inner):
                return f"{index} = {piece.name}{[int(i) for i in inner[0]]}"
    return str(index)


def pattern(
    comparisons: Sequence[Comparison],
    unsteady: Collection[str] = (),
    chunk: Hint | None = None,
) -> str:
    """What separates points with errors from those without, empty if nothing does.

    Parameters
    ----------
    unsteady : collection of str
        Labels of points at which the gradient has noise.
    chunk : int or mapping, optional
        Steps in a block, as declared: tells a fault of the tail.
    """
    points: dict[bool, list[Point]] = {True: [], False: []}
    for c in comparisons:
        points[bool(c.wrong) or c.point.label in unsteady].append(c.point)
    bad, good = ([_sizes(point) for point in points[ill]] for ill in (True, False))
    if not bad or not good:
        return "at every point tried" if bad and len(comparisons) > 1 else ""
    if all(point.role is Role.ZEROS for point in points[True]):
        if said := _not_finite(comparisons):
            return said
        return (
            "only where inputs have rows of zeros or of equal entries, or starts and biases are "
            "zero (taken for padding, or for not given?)"
        )
    lengths = points[True][0].lengths
    for name in bad[0]:
        block = chunk.get(name) if isinstance(chunk, Mapping) else chunk
        if block is not None and name in lengths and _tail(bad, good, name, block):
            said = _apart(bad, good, name)
            return f"where the last chunk of {block} steps is not full ({said or name})"
    ordered = (_beyond({s[name] for s in bad}, {s[name] for s in good}, name) for name in bad[0])
    if said := next(filter(None, ordered), ""):
        return said
    said = next(filter(None, (_apart(bad, good, name) for name in bad[0])), "")
    if said and any(point.role in (Role.SIZE, Role.REVERSED) for point in points[True]):
        return f"for {said}"
    # Points of the plan differ in more than a size: units are saturated, there is one sequence.
    labels = ", ".join(point.label for point in points[True][:3])
    return f"at {len(bad)} of {len(comparisons)} points ({labels}{said and f': {said}'})"


def _not_finite(comparisons: Sequence[Comparison]) -> str:
    """Where arrays of zeros and equal entries lie, if all that is wrong there is no number."""
    wrong = [(c.point, r) for c in comparisons for r in c.records if np.any(r.ratio > 1)]
    if not wrong or any(np.isfinite(r.got[r.ratio > 1]).any() for _, r in wrong):
        return ""
    kinds = {"NaN" if np.isnan(v) else "infinite" for _, r in wrong for v in r.got[r.ratio > 1]}
    rows = [r.user for point, r in wrong if _in_rows_of_zeros(point.arrays[r.user], r.ratio > 1)]
    place = "inputs have rows of zeros or of equal entries, or starts and biases are zero"
    if rows:
        place = f"a row of {', '.join(dict.fromkeys(rows))} is all zero"
    return (
        f"where {place}: the gradient is {' or '.join(sorted(kinds))} there, while the function "
        "has a derivative (0/0 of a norm, or an overflow in its backward?)"
    )


def _in_rows_of_zeros(given: Array, wrong: Array) -> bool:
    """Whether all wrong entries belong to rows of the array that are zero."""
    if not given.ndim or given.shape != wrong.shape:
        return False
    return not np.any(wrong & np.any(given != 0, axis=-1, keepdims=True))


def _sizes(point: Point) -> dict[str, int]:
    return {**point.lengths, "B": point.batch, **point.sizes}


def _beyond(bad: set[int], good: set[int], name: str) -> str:
    """The size from which on, or up to which, it is wrong."""
    if min(bad) > max(good):
        return f"from {name} = {min(bad)} on (right up to {name} = {max(good)})"
    if max(bad) < min(good):
        least = "for" if len(bad) == 1 else "up to"
        return f"{least} {name} = {max(bad)} (right from {name} = {min(good)} on)"
    return ""


def _apart(bad: Sequence[Mapping[str, int]], good: Sequence[Mapping[str, int]], name: str) -> str:
    """The sizes of one name at which it is wrong, if it is right at none of them."""
    ill, fine = ({s[name] for s in some} for some in (bad, good))
    if ill & fine:
        return ""
    shown, rest = (", ".join(map(str, sorted(some)[:6])) for some in (ill, fine))
    return f"{name} = {shown}, right for {name} = {rest}"


def _tail(
    bad: Sequence[Mapping[str, int]], good: Sequence[Mapping[str, int]], name: str, block: int
) -> bool:
    return all(s[name] % block for s in bad) and all(s[name] % block == 0 for s in good)
