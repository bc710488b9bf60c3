"""Which mistake reproduces a wrong gradient: on every probe, within the bound of every entry.

The smallest probe that shows the fault sorts the candidates; those that are left are tried on all
others. A candidate that differs anywhere by more than the bound is out, so that what remains is not
a guess. Several that remain cannot be told apart by any probe, and are all named.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..harness.compare import ORACLE_UNITS, UNITS, Comparison, Record
from ..harness.plan import Case
from .candidates import Bench, Candidate, plausible

__all__ = ["Diagnosis", "Match", "search", "wrong_names"]

#: Pairs that are tried at most, single mistakes that a pair is built on, and seconds for pairs.
MOST_PAIRS = 4000
MOST_BASES = 6
PAIR_SECONDS = 5.0
#: Units in the last place that the program and the oracle may differ by.
BOTH_UNITS = 2.0**-52 * (ORACLE_UNITS + UNITS)


@dataclass(frozen=True)
class Match:
    """A candidate that reproduces the gradient under test; residual is relative to its largest."""

    candidate: Candidate
    residual: float


@dataclass
class Diagnosis:
    """The result of a search."""

    matches: list[Match] = field(default_factory=list)
    tried: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        return bool(self.matches)

    def in_words(self) -> Diagnosis:
        """The same with candidates that only say what they are, which can be sent."""
        said = [
            replace(m, candidate=Candidate(m.candidate.id, m.candidate.kind, m.candidate.says))
            for m in self.matches
        ]
        return replace(self, matches=said)

    def to_json(self) -> dict[str, Any]:
        """As docs/json-schema/verify.json has it."""
        return {
            "wrong": list(self.wrong),
            "matches": [
                {
                    "mistake": m.candidate.id,
                    "kind": m.candidate.kind,
                    "says": m.candidate.says,
                    "residual": m.residual,
                }
                for m in self.matches
            ],
            "tried": self.tried,
            "where": list(self.where),
        }

    def __str__(self) -> str:
        subject = _listed([f"d{n}" for n in self.wrong], 12)
        verb = "is" if len(self.wrong) == 1 else "are"
        if not self.matches:
            text = (
                f"{subject} {verb} wrong; none of {self.tried} known mistakes, and no pair of "
                "them that was tried, reproduces the gradient"
            )
        elif len(self.matches) == 1:
            m = self.matches[0]
            text = (
                f"{subject} {verb} what you get with: {m.candidate.says}: residual {m.residual:.0e}"
            )
        else:
            lines = "; or ".join(m.candidate.says for m in self.matches)
            worst = max(m.residual for m in self.matches)
            text = (
                f"{subject} {verb} what you get with any of {len(self.matches)} mistakes that no "
                f"probe tells apart: {lines}: residual {worst:.0e}"
            )
        return "\n".join([text, *(f"  {line}" for line in self.where)])


def _listed(names: Sequence[str], most: int) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def wrong_names(comparison: Comparison, case: Case | None = None) -> set[str]:
    """Names of the definition with a wrong entry."""
    out: set[str] = set()
    for r in comparison.wrong:
        if case is None or r.case is case:
            for piece in comparison.station.fitted.pieces[r.user]:
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
        ratio = np.where(gap == 0, 0.0, gap / bound)
    ratio = np.where(np.isfinite(record.got) | np.isfinite(found), ratio, 0.0)
    return float(np.max(np.nan_to_num(ratio, nan=np.inf), initial=0.0))


def fits(
    bench: Bench, candidate: Candidate, comparison: Comparison, cases: Sequence[Case] | None = None
) -> bool:
    """Whether a candidate reproduces every record, cheapest case first."""
    chosen = comparison.station.cases if cases is None else cases
    wanted = {id(c): k for k, c in enumerate(chosen)}
    records = [r for r in comparison.records if id(r.case) in wanted]
    # What is wrong refutes most candidates at once.
    records.sort(key=lambda r: (wanted[id(r.case)], not np.any(r.ratio > 1)))
    return all(misfit(bench, candidate, comparison, r) <= 1 for r in records)


def residual(bench: Bench, candidate: Candidate, comparisons: Sequence[Comparison]) -> float:
    """Largest difference left over, relative to the largest entry of the same array."""
    worst = 0.0
    for comparison in comparisons:
        for r in comparison.records:
            found = bench.gradients(candidate, comparison, r.case).get(r.user)
            if found is None or not np.isfinite(r.got).all() or not r.got.size:
                continue
            top = float(np.max(np.abs(r.got))) or 1.0
            worst = max(worst, float(np.max(np.abs(found - r.got))) / top)
    return worst


def search(
    bench: Bench,
    derived: Sequence[Candidate],
    afterwards: Sequence[Candidate],
    comparisons: Sequence[Comparison],
    *,
    pairs: bool = True,
) -> Diagnosis:
    """Find all single candidates, else pairs, that reproduce the gradient on all probes.

    Parameters
    ----------
    derived, afterwards : sequences of Candidate
        Mutants of the program, and faults that are done to its result.
    comparisons : sequence of Comparison
        Smallest first.
    """
    started = time.perf_counter()
    out = Diagnosis()
    ill = [c for c in comparisons if c.wrong]
    if not ill:
        return out
    names = [wrong_names(c) for c in ill]
    fitted = ill[0].station.fitted
    order = dict.fromkeys(p.name for u in fitted.arguments for p in fitted.pieces[u])
    out.wrong = [n for n in order if any(n in wrong for wrong in names)]
    main, rest = ill[0], [c for c in comparisons if c is not ill[0]]
    cases = _telling(main)
    everything = [*afterwards, *derived]
    first = plausible(everything, set().union(*names))
    out.tried = len(everything)
    alive = [c for c in first if fits(bench, c, main, cases[:1])]
    alive = [c for c in alive if fits(bench, c, main, cases[1:])]
    for other in sorted(rest, key=lambda c: not c.wrong):
        alive = [c for c in alive if fits(bench, c, other, _telling(other))]
    if not alive and pairs:
        # Where little is wrong the first mistake is sharpest; a second one may sleep there, and
        # shows in the probe in which most is wrong.
        loudest = max(ill, key=lambda c: len(wrong_names(c)))
        for number in dict.fromkeys((0, ill.index(loudest))):
            base = ill[number]
            others = [c for c in comparisons if c is not base]
            alive = _pairs(bench, everything, base, others, _telling(base))
            if alive:
                break
    out.matches = [Match(c, residual(bench, c, comparisons)) for c in _distinct(alive)]
    out.matches.sort(key=lambda m: (m.candidate.parts, len(m.candidate.says)))
    out.seconds = time.perf_counter() - started
    return out


#: Kinds of mutants that a plain factor on one gradient says again in other words.
_SAID = {"sign", "scale", "dropped"}


def _distinct(found: Sequence[Candidate]) -> list[Candidate]:
    """Without candidates that say in other words what another one says."""
    said = {c.touches for c in found if c.kind in _SAID and c.touches}
    return [c for c in found if not (c.kind in ("factor", "spot") and c.touches in said)]


def _telling(comparison: Comparison) -> list[Case]:
    """Cases of a station, the one with most wrong names first."""
    return sorted(
        comparison.station.cases, key=lambda c: -len(wrong_names(comparison, c))
    )  # fmt: skip


def _explained(bench: Bench, candidate: Candidate, main: Comparison, case: Case) -> set[str]:
    """Names whose gradient a candidate reproduces in one case."""
    good: set[str] = set()
    for r in main.records:
        if r.case is not case:
            continue
        found = bench.gradients(candidate, main, case).get(r.user)
        if found is None:
            continue
        with np.errstate(all="ignore"):
            gap = np.abs(found - r.got) <= r.bound + 2.0**-52 * ORACLE_UNITS * np.abs(found)
        for piece in main.station.fitted.pieces[r.user]:
            if bool(np.all(gap.reshape(-1)[piece.index])):
                good.add(piece.name)
    return good


def _pairs(
    bench: Bench,
    everything: Sequence[Candidate],
    main: Comparison,
    rest: Sequence[Comparison],
    cases: Sequence[Case],
) -> list[Candidate]:
    """Two mistakes at once, built on single ones that explain part of what is wrong."""
    started = time.perf_counter()
    case = cases[0]
    wrong = wrong_names(main, case)
    scores: list[tuple[int, int, Candidate]] = []
    useful: dict[str, set[str]] = {}
    for number, c in enumerate(everything):
        if c.touches is not None and not wrong & c.touches:
            continue
        good = _explained(bench, c, main, case)
        useful[c.id] = good
        gain = len(good & wrong)
        if gain:
            scores.append((-gain, number, c))
    scores.sort(key=lambda s: (s[0], s[1]))
    found: list[Candidate] = []
    tried = 0
    # Mistakes that do not meet: together they explain all that is wrong.
    for i, (_, _, a) in enumerate(scores):
        for _, _, b in scores[i + 1 :]:
            if not wrong <= useful[a.id] | useful[b.id]:
                continue
            tried += 1
            if tried > MOST_PAIRS or time.perf_counter() - started > PAIR_SECONDS:
                return found
            both = a & b
            if fits(bench, both, main, cases) and all(fits(bench, both, c) for c in rest):
                found.append(both)
    if found:
        return found
    # Mistakes one of which lies behind the other.
    bases = [c for _, _, c in scores[:MOST_BASES]]
    for base in bases:
        for c in everything:
            if c is base or (c.touches is not None and not wrong & c.touches):
                continue
            tried += 1
            if tried > MOST_PAIRS or time.perf_counter() - started > PAIR_SECONDS:
                return found
            for both in (base & c,) if not c.after else (c & base,):
                if fits(bench, both, main, cases) and all(fits(bench, both, o) for o in rest):
                    found.append(both)
        if found:
            return found
    return found
