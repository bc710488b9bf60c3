"""Which mistake reproduces a wrong gradient: on every probe, within the bound of every entry.

The smallest probe that shows the fault sorts the candidates; those that are left are tried on all
others. A candidate that differs anywhere by more than the bound is out, so that what remains is not
a guess. Several that remain are all named, but for those that are the same edit of the program.
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
from .combine import sets_of_mistakes
from .effects import Effects, is_affordable, is_one_step
from .naming import one_name_each

__all__ = ["Diagnosis", "Match", "search", "wrong_names"]

#: Sets found at one step that are tried elsewhere, and that are tried with another mistake.
MOST_SETS, MOST_EXTENDED = 200, 6
#: Sets with another mistake that are tried at the next place.
MOST_TRIED = 4000
#: Units in the last place that the program and the oracle may differ by.
BOTH_UNITS = 2.0**-52 * (ORACLE_UNITS + UNITS)


@dataclass(frozen=True)
class Match:
    """A candidate that reproduces the gradient under test; residual is relative to its largest.

    ``also`` has the ids of other mistakes that are the same edit of the program.
    """

    candidate: Candidate
    residual: float
    also: tuple[str, ...] = ()


@dataclass
class Diagnosis:
    """The result of a search."""

    matches: list[Match] = field(default_factory=list)
    tried: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    #: The line of `where` that tells most of the steps at which an input is wrong, if one does.
    steps: str = ""

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
                f"{subject} {verb} what you get with any of {len(self.matches)} mistakes, which "
                f"nothing tried tells apart: {lines}: residual {worst:.0e}"
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
    wrong = [wrong_names(c) for c in ill]
    fitted = ill[0].station.fitted
    order = dict.fromkeys(p.name for u in fitted.arguments for p in fitted.pieces[u])
    out.wrong = [n for n in order if any(n in some for some in wrong)]
    everything = [*afterwards, *derived]
    out.tried = len(everything)
    one = next((c for c in comparisons if c.records and is_one_step(c)), ill[0])
    if is_affordable(bench, one):
        alive = _from_one_place(bench, everything, one, comparisons, 3 if pairs else 1)
    else:
        likely = plausible(everything, set().union(*wrong))
        alive = _everywhere(bench, likely, [ill[0], *comparisons])
    names = one_name_each(bench.derivation, _distinct(alive, frozenset(order)))
    out.matches = [Match(c, residual(bench, c, comparisons), also) for c, also in names]
    out.matches.sort(key=lambda m: (m.candidate.parts, len(m.candidate.says)))
    out.seconds = time.perf_counter() - started
    return out


def _everywhere(
    bench: Bench, alive: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> list[Candidate]:
    left = list(alive)
    for other in sorted(comparisons, key=lambda c: not c.wrong):
        left = [c for c in left if fits(bench, c, other, _telling(other))]
    return left


def _from_one_place(
    bench: Bench,
    everything: Sequence[Candidate],
    place: Comparison,
    comparisons: Sequence[Comparison],
    most: int,
) -> list[Candidate]:
    """Mistakes that make what is wrong at a place, with one that is silent there if need be."""
    longer = sorted((c for c in comparisons if c.wrong and c is not place), key=_length)
    further: Effects | None = None
    tried = 0
    for found in sets_of_mistakes(Effects(bench, place), everything, most):
        together = [_all(some) for some in found.sets[:MOST_SETS]]
        alive = _everywhere(bench, [c for c in together if c is not None], comparisons)
        if alive or not longer:
            return alive
        if further is None and is_affordable(bench, longer[0]):
            further = Effects(bench, longer[0])
        for some, base in zip(found.sets[:MOST_EXTENDED], together, strict=False):
            wrong = set().union(*map(wrong_names, longer)) if not some else set()
            # a loop that leaves its only step out hides what else is wrong there
            hidden = any(c.edits.missed for c in some)
            alive = []
            for c in plausible(everything if hidden else found.silent, wrong):
                both = c if base is None else (base & c)
                tried += 1
                if tried > MOST_TRIED and base is not None:
                    break
                if further is None:
                    good = fits(bench, both, longer[0], _telling(longer[0])[:2])
                else:
                    good = further.makes(both)
                if good:
                    alive.append(both)
            alive = _everywhere(bench, alive, comparisons)
            if not alive and base is None and most > 1 and further is not None:
                alive = _silent_pairs(bench, further, found.silent, comparisons)
            if alive:
                return alive
    return []


def _silent_pairs(
    bench: Bench, place: Effects, silent: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> list[Candidate]:
    """Two mistakes that are both silent at one step, at the next place."""
    for found in sets_of_mistakes(place, silent, 2):
        if found.sets and len(found.sets[0]) == 2:
            together = [_all(some) for some in found.sets[:MOST_SETS]]
            return _everywhere(bench, [c for c in together if c is not None], comparisons)
    return []


def _all(some: Sequence[Candidate]) -> Candidate | None:
    if not some:
        return None
    ordered = sorted(some, key=lambda c: bool(c.after))
    out = ordered[0]
    for c in ordered[1:]:
        out = out & c
    return out


def _length(comparison: Comparison) -> tuple[bool, int]:
    """Several sequences first, then the shortest: few entries and many cotangents tell most."""
    point = comparison.station
    return point.batch == 1, point.steps * point.batch


#: Kinds of mutants that a plain factor on one gradient says again in other words.
_SAID = {"sign", "scale", "dropped"}


def _distinct(found: Sequence[Candidate], names: frozenset[str]) -> list[Candidate]:
    """Without candidates that say of the gradients ``names`` what another one says."""
    said = {c.touches & names for c in found if c.kind in _SAID and c.touches}
    return [c for c in found if not (c.kind in ("factor", "spot") and c.touches in said)]


def _telling(comparison: Comparison) -> list[Case]:
    """Cases of a station, the one with most wrong names first."""
    return sorted(
        comparison.station.cases, key=lambda c: -len(wrong_names(comparison, c))
    )  # fmt: skip
