"""The mistakes in a deep network, part by part from the loss.

What is wrong in the first wrong part has its mistake there, for all above it is right. Mistakes
that explain it become part of the program, and the next part in which something is left is looked
at: time grows with the wrong parts only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ..harness.compare import Comparison
from .candidates import Bench, Candidate, plausible
from .combine import sets_of_mistakes
from .effects import BOTH_UNITS, Effects, is_affordable, is_one_step
from .matching import by_length, everywhere, together, wrong_names
from .parts import PassPart, alike, parts_of

__all__ = ["DeepSearch"]

#: Parts that are looked through in all, and mistakes one behind another.
LOOKS, DEPTH = 16, 4
#: Sets that explain a part, and of those that leave something elsewhere how many are gone on with.
SETS, BRANCHES = 48, 4
#: Clips between steps that are tried.
CLIPS = 12


class DeepSearch:
    """A search in the parts of a program.

    Attributes
    ----------
    parts : list of PassPart
        In the order of the backward pass.
    tried : int
        Single mistakes of the parts that were looked at.
    """

    def __init__(
        self, bench: Bench, finished: Sequence[Candidate], comparisons: Sequence[Comparison]
    ) -> None:
        self.bench, self.finished, self.comparisons = bench, finished, comparisons
        self.parts = parts_of(bench.derivation)
        self.fitted = comparisons[0].point.fitted
        self.tried, self._looks, self._seen = len(finished), 0, set[int]()

    def matches(self) -> list[Candidate]:
        """All sets of mistakes that make the gradients at every place."""
        ill = [c for c in self.comparisons if c.wrong]
        finished = plausible(self.finished, set().union(*map(wrong_names, ill)))
        found = self._all_places([c for c in finished if c.carry is None], ill)
        if found:
            return found
        one = [c for c in self.comparisons if c.records and is_one_step(c)]
        longer = sorted((c for c in ill if c not in one), key=by_length)
        found = self._explain([*one[:1], *longer[:1]], None, 0)
        # what happens to states between steps is run through the definition, which is dear
        clips = [c for c in finished if c.carry is not None]
        return found or self._all_places(clips[:CLIPS], ill)

    def _all_places(self, some: Sequence[Candidate], ill: Sequence[Comparison]) -> list[Candidate]:
        return everywhere(self.bench, everywhere(self.bench, some, ill), self.comparisons)

    def _explain(
        self, places: Sequence[Comparison], base: Candidate | None, depth: int
    ) -> list[Candidate]:
        for k, place in enumerate(places):
            part = self._first_wrong(place, base)
            if part is None:
                continue
            if depth == DEPTH or self._looks == LOOKS or self.bench.spent:
                return []
            self._looks += 1
            sets = self._sets(place, part, base)
            left = [len(self.left(c, place)) for c in sets]
            order = np.argsort(left, kind="stable")
            whole = [sets[i] for i in order if not left[i]]
            found = everywhere(self.bench, whole, self.comparisons)
            for i in order[:BRANCHES] if not found else ():
                found = self._explain(places[k:], sets[i], depth + 1)
                if found:
                    break
            return found
        return [] if base is None else everywhere(self.bench, [base], self.comparisons)

    def _first_wrong(self, place: Comparison, base: Candidate | None) -> PassPart | None:
        """The part in which something is wrong first, by what mistakes ``base`` leave."""
        left = wrong_names(place) if base is None else self.left(base, place)
        return next((p for p in self.parts if p.names & left), None)

    def left(self, candidate: Candidate, place: Comparison) -> set[str]:
        """Names whose gradients a candidate does not make."""
        out = set()
        for r in place.records:
            made = self.bench.gradients(candidate, place, r.case)[r.user]
            own = self.bench.own_error(place, r.case)[r.user]
            with np.errstate(all="ignore"):
                fits = np.abs(r.got - made) <= r.bound + own + BOTH_UNITS * np.abs(made)
            for piece in place.point.fitted.pieces[r.user]:
                if not fits.reshape(-1)[piece.index].all():
                    out.add(piece.name)
        return out

    def _sets(self, place: Comparison, part: PassPart, base: Candidate | None) -> list[Candidate]:
        """Sets that explain a part, the mistakes before among them; also in all layers alike."""

        def behind(some: Sequence[Candidate | None]) -> list[Candidate]:
            return [c if base is None else base & c for c in some if c is not None]

        found = self._within(place, part, base)
        sets = behind(found)
        if sets and all(self.left(c, place) for c in sets):
            sets += behind([alike(c, self.bench.derivation, self._known) for c in found])
        return sets

    @cached_property
    def _known(self) -> dict[str, Candidate]:
        """The mistakes of all parts by their ids."""
        return {c.id: c for p in self.parts for c in p.candidates(self.fitted)}

    def _within(self, place: Comparison, part: PassPart, base: Candidate | None) -> list[Candidate]:
        """The smallest sets of mistakes within a part that explain its gradients."""
        if not is_affordable(self.bench, place, part):
            return []
        candidates = part.candidates(self.fitted)
        if id(part) not in self._seen:
            self._seen.add(id(part))
            self.tried += len(candidates)
        if base is not None:
            edited = set(base.edits.terms)
            candidates = [c for c in candidates if not edited & set(c.edits.terms)]
        own = [c for c in self.finished if c.touches is not None and c.touches <= part.names]
        effects = Effects(self.bench, place, part, base)
        for found in sets_of_mistakes(effects, [*candidates, *own]):
            sets = [c for c in map(together, found.sets[:SETS]) if c is not None]
            if sets:
                return sets
        return []
