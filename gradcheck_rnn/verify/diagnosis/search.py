"""Which mistake reproduces a wrong gradient: on every probe, within the bound of every entry.

The smallest probe that shows the fault sorts the candidates; those that are left are tried on all
others. A candidate that differs anywhere by more than the bound is out, so that what remains is not
a guess. Several that remain are all named, but for those that are the same edit of the program.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..harness.compare import Comparison
from ..outcome import Diagnosis
from ..verdict import Finding
from .candidates import Bench, Candidate, plausible
from .combine import sets_of_mistakes
from .deep import DeepSearch
from .effects import Effects, is_affordable, is_one_step
from .equivalence import Alike, one_name_each, plainness
from .matching import (
    by_length,
    everywhere,
    fits,
    residual,
    telling,
    together,
    within_work,
    wrong_names,
)
from .reach import Reach

__all__ = ["search"]

#: Sets found at one step that are tried elsewhere, and that are tried with another mistake.
MOST_SETS, MOST_EXTENDED = 200, 6
#: Mistakes beside which two others are looked for that nothing tells one by one.
MOST_BESIDE = 2
#: Sets with another mistake that are tried at the next place.
MOST_TRIED = 4000


def search(
    bench: Bench,
    derived: Sequence[Candidate] | None,
    finished: Sequence[Candidate],
    comparisons: Sequence[Comparison],
    *,
    most: int = 3,
) -> Diagnosis:
    """Find all single candidates, else sets of few, that reproduce the gradient on all probes.

    Parameters
    ----------
    derived, finished : sequences of Candidate
        Mutants of the program, and faults that are done to its result. Without mutants they are
        made and looked for part by part (`DeepSearch`).
    comparisons : sequence of Comparison
        Smallest first.
    most : int
        How many mistakes are looked for at once.
    """
    started = time.perf_counter()
    out = Diagnosis()
    ill = [c for c in comparisons if c.wrong]
    if not ill:
        return out
    bench.work = 0  # the limit is that of one diagnosis, whatever else the bench has run
    wrong = [wrong_names(c) for c in ill]
    fitted = ill[0].point.fitted
    order = dict.fromkeys(p.name for u in fitted.arguments for p in fitted.pieces[u])
    out.wrong = [n for n in order if any(n in some for some in wrong)]
    alike = Alike(bench.derivation)
    everything = [*finished, *(derived or ())]
    out.tried = len(everything)
    one = next((c for c in comparisons if c.records and is_one_step(c)), ill[0])
    if derived is None:
        deep = DeepSearch(bench, finished, comparisons)
        alive, out.tried = deep.matches(), deep.tried
    elif is_affordable(bench, one):
        alive = _from_one_place(bench, alike, everything, one, comparisons, most)
    else:
        likely = plausible(everything, set().union(*wrong))
        alive = everywhere(bench, likely, [ill[0], *comparisons])
    alive = _one_constant_each(bench, _distinct(alive, frozenset(order)), comparisons)
    names = one_name_each(alike, alive)
    names.sort(key=lambda found: (found[0].parts, len(found[0].says)))
    out.candidates = [c for c, _ in names]
    out.same = {c.id: also for c, also in names}
    out.matches = [
        Finding(c.kind, c.says, id=c.id, residual=residual(bench, c, comparisons))
        for c in out.candidates
    ]
    out.stopped = bench.spent
    out.seconds = time.perf_counter() - started
    return out


def _from_one_place(
    bench: Bench,
    alike: Alike,
    everything: Sequence[Candidate],
    place: Comparison,
    comparisons: Sequence[Comparison],
    most: int,
) -> list[Candidate]:
    """Mistakes that make what is wrong at a place, with one that is silent there if need be."""
    longer = sorted((c for c in comparisons if c.wrong and c is not place), key=by_length)
    further: Effects | None = None
    tried = beside = 0
    for found in sets_of_mistakes(Effects(bench, place), everything, most):
        sets = [together(some) for some in found.sets[:MOST_SETS]]
        alive = _sets_everywhere(bench, alike, found.sets[:MOST_SETS], longer[:1], comparisons)
        if alive or not longer or bench.spent:
            return alive
        if further is None and is_affordable(bench, longer[0]):
            further = Effects(bench, longer[0])
        bases = [b for b in zip(found.sets, sets, strict=False) if most > 1 or not b[0]]
        if further is not None and len(bases) > MOST_EXTENDED:
            bases.sort(key=lambda pair: further.left(pair[1]))
        for some, base in bases[:MOST_EXTENDED]:
            wrong = set().union(*map(wrong_names, longer)) if not some else set()
            # what is left out at the only step hides what else is wrong there
            hidden = any(c.edits.leaves_out or c.edits.skip_steps for c in some)
            alive = []
            likely = plausible(everything if hidden else found.silent, wrong)
            if base is None and further is not None:
                reach = Reach(further)
                likely = [c for c in likely if reach.can_make(c)]
            for c in likely:
                both = c if base is None else (base & c)
                tried += 1
                if bench.spent or (tried > MOST_TRIED and base is not None):
                    break
                if further is None:
                    good = fits(bench, both, longer[0], telling(longer[0])[:2])
                else:
                    good = further.makes(both)
                if good:
                    alive.append(both)
            alive = everywhere(bench, alive, comparisons)
            if not alive and most > 1 and further is not None and len(some) < 2:
                if base is None:
                    alive = _pairs(bench, alike, further, found.silent, comparisons)
                elif beside < MOST_BESIDE and _is_edited(base):
                    beside += 1
                    after = Effects(bench, longer[0], base=base)
                    alive = _pairs(bench, alike, after, found.silent, comparisons)
            if alive or bench.spent:
                return alive
    helpful = found.changes.helpful() if most > 1 else []
    for base in [c for c in helpful if _is_edited(c)][:MOST_BESIDE]:
        alive = _pairs(bench, alike, Effects(bench, place, base=base), everything, comparisons)
        if alive or bench.spent:
            return alive
    return []


def _is_edited(candidate: Candidate) -> bool:
    """Whether a mistake is edits of the program, behind which others can be looked for."""
    other = candidate.after or candidate.beside or candidate.carry is not None
    return not other and not candidate.edits.reorders


def _pairs(
    bench: Bench,
    alike: Alike,
    place: Effects,
    candidates: Sequence[Candidate],
    comparisons: Sequence[Comparison],
) -> list[Candidate]:
    """Two mistakes at a place, beside the one that its program has already, if any.

    So those are found that are silent at one step, and those of which neither makes an array right.
    """
    own = () if place.base is None else (place.base,)
    for found in sets_of_mistakes(place, candidates, 2):
        if found.sets and len(found.sets[0]) == 2:
            sets = [(*own, *some) for some in found.sets[:MOST_SETS]]
            alive = _sets_everywhere(bench, alike, sets, [place.comparison], comparisons)
            if alive or bench.spent:
                return alive
    return []


def _sets_everywhere(
    bench: Bench,
    alike: Alike,
    sets: Sequence[tuple[Candidate, ...]],
    first: Sequence[Comparison],
    comparisons: Sequence[Comparison],
) -> list[Candidate]:
    """The sets that reproduce every record; one of those that are the same edits part by part.

    They are tried at ``first``; of what is left there and is the same, the others are gone
    through only where the plainest is refuted.
    """
    parts = {c.id: some for some in sets if (c := together(some)) is not None}
    alive = [c for some in sets if (c := together(some)) is not None]
    if len(alive) < 2:
        return everywhere(bench, alive, comparisons)
    groups: dict[frozenset[str], list[Candidate]] = {}
    for c in sorted(everywhere(bench, alive, first), key=plainness):
        groups.setdefault(frozenset(map(alike, parts[c.id])), []).append(c)
    found = []
    for plainest, *others in within_work(bench, groups.values()):
        if everywhere(bench, [plainest], comparisons):
            found.append(replace(plainest, same=tuple(c.id for c in others)))
        else:
            found += everywhere(bench, others, comparisons)
    return found


#: Kinds of mutants that a plain factor on one gradient says again in other words.
_SAID = {"sign", "scale", "dropped"}


def _distinct(found: Sequence[Candidate], names: frozenset[str]) -> list[Candidate]:
    """Without candidates that say of the gradients ``names`` what another one says.

    In a set of several as well: a factor on a gradient is what its line says with that factor; and
    one that is a copy of another gradient is what its line says with what that one is made of.
    """
    said = {c.touches & names for c in found if c.kind in _SAID and c.touches}
    made = {c.touches & names for c in found if c.touches and not c.after}
    lines = {_kinds(c) for c in found if c.parts > 1 and not c.after}
    return [
        c for c in found
        if not (c.kind in ("factor", "spot") and c.touches in said)
        and not (c.kind == "copied" and c.touches in made)
        and not (c.after and c.parts > 1 and _kinds(c) in lines)
    ]  # fmt: skip


def _kinds(c: Candidate) -> tuple[str, ...]:
    """The kinds of a set's members, factors and what says the same as one."""
    return tuple(sorted("factor" if k in _SAID else k for k in c.kind.split(" and ")))


def _one_constant_each(
    bench: Bench, found: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> list[Candidate]:
    """Of factors on the same gradients that differ by less than bounds resolve, the best one.

    All reproduce every entry, and constants fitted at two points differ by rounding. One that is
    a size, or a half, is better than a fitted one; sizes that are the same number are all named.
    """
    groups: dict[str, list[Candidate]] = {}
    for c in found:
        groups.setdefault(c.family or c.id, []).append(c)
    out = []
    for some in groups.values():
        plain = [c for c in some if not c.fitted]
        if len(some) > 1 and not plain:
            plain = [min(some, key=lambda c: residual(bench, c, comparisons))]
        out += plain or some
    return out
