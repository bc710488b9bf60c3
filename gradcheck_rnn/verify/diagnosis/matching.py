"""Whether mistakes make the gradients under test, at some places or at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from ..harness.compare import Comparison, Record
from ..harness.plan import Case
from .candidates import Bench, Candidate
from .effects import BOTH_UNITS

__all__ = [
    "by_length", "everywhere", "fits", "misfit", "residual", "telling", "together", "within_work",
    "wrong_names",
]  # fmt: skip

#: Candidates that are tried to the end where the work of a search ends among them.
FINISHED = 8
Tried = TypeVar("Tried")


def wrong_names(comparison: Comparison, case: Case | None = None) -> set[str]:
    """Names of the definition with a wrong entry."""
    out: set[str] = set()
    for r in comparison.records:
        if (case is None or r.case is case) and np.any(r.ratio > 1):
            for piece in comparison.point.fitted.pieces[r.user]:
                if np.any(r.ratio.reshape(-1)[piece.index] > 1):
                    out.add(piece.name)
    return out


def misfit(bench: Bench, candidate: Candidate, comparison: Comparison, record: Record) -> float:
    """Largest |gradient under test − candidate's| ÷ bound over one record; inf if not finite."""
    found = bench.gradients(candidate, comparison, record.case).get(record.user)
    if found is None:
        return 0.0
    with np.errstate(all="ignore"):
        gap = np.abs(record.got - found)
        bound = record.bound + BOTH_UNITS * np.abs(found)
        # Where a mask makes the right gradient vanish its bound does too, though what the mistake
        # lets through is rounded as anything else in the array.
        other = np.abs(found - record.want) > bound
        bound = np.where(other, np.maximum(bound, np.max(record.bound, initial=0.0)), bound)
        if bool((gap <= bound).all()):
            return float(np.max(np.where(gap == 0, 0.0, gap / bound), initial=0.0))
        # Terms that cancel are rounded in the candidate as well as in the code.
        bound = bound + bench.own_error(comparison, record.case)[record.user]
        ratio = np.where(gap == 0, 0.0, gap / bound)
    ratio = np.where(np.isfinite(record.got) | np.isfinite(found), ratio, 0.0)
    return float(np.max(np.nan_to_num(ratio, nan=np.inf), initial=0.0))


def _ordered(comparison: Comparison, cases: Sequence[Case] | None) -> list[Record]:
    """Records of some cases in their order, of each first what is wrong: it refutes most."""
    chosen = comparison.point.cases if cases is None else cases
    wanted = {id(c): k for k, c in enumerate(chosen)}
    records = [r for r in comparison.records if id(r.case) in wanted]
    return sorted(records, key=lambda r: (wanted[id(r.case)], not np.any(r.ratio > 1)))


def fits(
    bench: Bench, candidate: Candidate, comparison: Comparison, cases: Sequence[Case] | None = None
) -> bool:
    """Whether a candidate reproduces every record."""
    return _made(bench, candidate, comparison, _ordered(comparison, cases))


def _made(bench: Bench, c: Candidate, comparison: Comparison, records: Sequence[Record]) -> bool:
    return all(misfit(bench, c, comparison, r) <= 1 for r in records)


def residual(bench: Bench, candidate: Candidate, comparisons: Sequence[Comparison]) -> float:
    """Largest difference left over, relative to the largest entry of the same array at its place.

    An array that is zero within its bounds at a place, in all cases, has none.
    """
    worst = 0.0
    for comparison in comparisons:
        tops: dict[str, float] = {}
        seen: set[str] = set()
        finite = [r for r in comparison.records if np.isfinite(r.got).all() and r.got.size]
        for r in finite:
            tops[r.user] = max(tops.get(r.user, 0.0), float(np.max(np.abs(r.got))))
            if np.any(np.abs(r.got) > r.bound):
                seen.add(r.user)
        for r in finite:
            found = bench.gradients(candidate, comparison, r.case).get(r.user)
            if found is None:
                continue
            left = np.abs(found - r.got)
            if r.user in seen or np.any(left > r.bound):
                worst = max(worst, float(np.max(left)) / (tops[r.user] or 1.0))
    return worst


def everywhere(
    bench: Bench, alive: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> list[Candidate]:
    """The candidates that reproduce every record of all comparisons, refuted by the wrong first."""
    left = list(alive)
    for other in sorted(comparisons, key=lambda c: not c.wrong):
        if left:
            records = _ordered(other, telling(other))
            left = [
                c for c in within_work(bench, left)
                if bench.tried(c, lambda c=c, to=other, of=records: _made(bench, c, to, of))  # type: ignore[misc]
            ]  # fmt: skip
    return left


def within_work(bench: Bench, some: Iterable[Tried]) -> Iterator[Tried]:
    """What a search may still try: all, and few once its work is done."""
    beyond = 0
    for one in some:
        beyond += bench.spent
        if beyond > FINISHED:
            return
        yield one


def together(some: Sequence[Candidate]) -> Candidate | None:
    """Some mistakes as one, those that are done to finished gradients last; None for none."""
    if not some:
        return None
    ordered = sorted(some, key=lambda c: bool(c.after))
    out = ordered[0]
    for c in ordered[1:]:
        out = out & c
    return out


def by_length(comparison: Comparison) -> tuple[bool, int]:
    """Several sequences first, then the shortest: few entries and many cotangents tell most."""
    point = comparison.point
    return point.batch == 1, point.steps * point.batch


def telling(comparison: Comparison) -> list[Case]:
    """Cases of a point, the one with most wrong names first."""
    return sorted(
        comparison.point.cases, key=lambda c: -len(wrong_names(comparison, c))
    )  # fmt: skip
