"""Which mistake reproduces a wrong gradient: on every probe, within the bound of every entry.

The smallest probe that shows the fault sorts the candidates; those that are left are tried on all
others. A candidate that differs anywhere by more than the bound is out, so that what remains is not
a guess. Several that remain are all named, but for those that are the same edit of the program.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..harness.compare import Comparison
from ..outcome import Diagnosis
from ..verdict import Finding
from .candidates import Bench, Candidate, plausible
from .combine import sets_of_mistakes
from .deep import DeepSearch
from .effects import Effects, is_affordable, is_one_step
from .equivalence import one_name_each
from .matching import by_length, everywhere, fits, residual, telling, together, wrong_names

__all__ = ["search"]

#: Sets found at one step that are tried elsewhere, and that are tried with another mistake.
MOST_SETS, MOST_EXTENDED = 200, 6
#: Sets with another mistake that are tried at the next place.
MOST_TRIED = 4000


def search(
    bench: Bench,
    derived: Sequence[Candidate] | None,
    finished: Sequence[Candidate],
    comparisons: Sequence[Comparison],
    *,
    pairs: bool = True,
) -> Diagnosis:
    """Find all single candidates, else pairs, that reproduce the gradient on all probes.

    Parameters
    ----------
    derived, finished : sequences of Candidate
        Mutants of the program, and faults that are done to its result. Without mutants they are
        made and looked for part by part (`DeepSearch`).
    comparisons : sequence of Comparison
        Smallest first.
    """
    started = time.perf_counter()
    out = Diagnosis()
    ill = [c for c in comparisons if c.wrong]
    if not ill:
        return out
    wrong = [wrong_names(c) for c in ill]
    fitted = ill[0].point.fitted
    order = dict.fromkeys(p.name for u in fitted.arguments for p in fitted.pieces[u])
    out.wrong = [n for n in order if any(n in some for some in wrong)]
    everything = [*finished, *(derived or ())]
    out.tried = len(everything)
    one = next((c for c in comparisons if c.records and is_one_step(c)), ill[0])
    if derived is None:
        deep = DeepSearch(bench, finished, comparisons)
        alive, out.tried = deep.matches(), deep.tried
    elif is_affordable(bench, one):
        alive = _from_one_place(bench, everything, one, comparisons, 3 if pairs else 1)
    else:
        likely = plausible(everything, set().union(*wrong))
        alive = everywhere(bench, likely, [ill[0], *comparisons])
    names = one_name_each(bench.derivation, _distinct(alive, frozenset(order)))
    names.sort(key=lambda found: (found[0].parts, len(found[0].says)))
    out.candidates = [c for c, _ in names]
    out.same = {c.id: also for c, also in names}
    out.matches = [
        Finding(c.kind, c.says, id=c.id, residual=residual(bench, c, comparisons))
        for c in out.candidates
    ]
    out.seconds = time.perf_counter() - started
    return out


def _from_one_place(
    bench: Bench,
    everything: Sequence[Candidate],
    place: Comparison,
    comparisons: Sequence[Comparison],
    most: int,
) -> list[Candidate]:
    """Mistakes that make what is wrong at a place, with one that is silent there if need be."""
    longer = sorted((c for c in comparisons if c.wrong and c is not place), key=by_length)
    further: Effects | None = None
    tried = 0
    for found in sets_of_mistakes(Effects(bench, place), everything, most):
        sets = [together(some) for some in found.sets[:MOST_SETS]]
        alive = everywhere(bench, [c for c in sets if c is not None], comparisons)
        if alive or not longer:
            return alive
        if further is None and is_affordable(bench, longer[0]):
            further = Effects(bench, longer[0])
        for some, base in zip(found.sets[:MOST_EXTENDED], sets, strict=False):
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
                    good = fits(bench, both, longer[0], telling(longer[0])[:2])
                else:
                    good = further.makes(both)
                if good:
                    alive.append(both)
            alive = everywhere(bench, alive, comparisons)
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
            sets = [together(some) for some in found.sets[:MOST_SETS]]
            return everywhere(bench, [c for c in sets if c is not None], comparisons)
    return []


#: Kinds of mutants that a plain factor on one gradient says again in other words.
_SAID = {"sign", "scale", "dropped"}


def _distinct(found: Sequence[Candidate], names: frozenset[str]) -> list[Candidate]:
    """Without candidates that say of the gradients ``names`` what another one says."""
    said = {c.touches & names for c in found if c.kind in _SAID and c.touches}
    return [c for c in found if not (c.kind in ("factor", "spot") and c.touches in said)]
