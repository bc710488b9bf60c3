"""The search for the mistake that makes a wrong gradient, and what else is told where it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...derivation import derive
from ...derivation.mistaken_times import BLOCKS
from ...language.network import Network
from ..harness.compare import Comparison
from ..outcome import Diagnosis
from .candidates import Bench, Candidate, derived_candidates
from .groups import grouped
from .localise import borders, localise, told_steps
from .matching import wrong_names
from .nextstep import first_wrong, next_steps
from .own_layout import in_one_array, with_own_signs
from .own_recursions import own_recursions
from .parts import alike_in_all
from .postprocessing import postprocessing
from .search import search

__all__ = ["find_mistake"]

#: Equations whose mistakes are looked for all at once; in longer programs part by part.
MOST_AT_ONCE = 60
#: Said where a search ends at its limit of work.
STOPPED = (
    "the search ended at its limit of work before all was tried: other mistakes may make the "
    "same gradient"
)


def _blocks(comparisons: Sequence[Comparison]) -> list[int]:
    """Lengths of blocks beyond the usual ones that borders within the longest sequence fit."""
    longest = max((c for c in comparisons if c.wrong), key=lambda c: c.point.steps)
    steps, found = longest.point.steps, borders(longest)
    fits = {k for n in found for k in (*range(2, n + 1), steps - n) if k == steps - n or n % k == 0}
    if not found and min(c.point.steps for c in comparisons if c.wrong) > max(BLOCKS):
        fits = set(range(2, steps))
    return sorted(k for k in fits if 1 < k < steps and k not in BLOCKS)


def find_mistake(
    network: Network,
    comparisons: Sequence[Comparison],
    handed: bool = False,
    noisy: Callable[[], Sequence[Comparison] | None] | None = None,
) -> Diagnosis:
    """The mistake that gives what was compared, where some of it is wrong.

    ``handed``: adjoints were handed over, and need not be asked for. ``noisy`` gives the same
    comparisons with the roundoff of the code itself in their bounds, asked where nothing fits.
    """
    derivation = derive(network)
    ill = [c for c in comparisons if c.wrong]
    after = postprocessing(ill[0], wrong_names(ill[0]))
    if ill[-1] is not ill[0]:
        known = {c.id for c in after}
        after += [c for c in postprocessing(ill[-1], wrong_names(ill[-1])) if c.id not in known]
    single: list[Candidate] | None = None
    if sum(len(p.equations) for p in derivation.scans) <= MOST_AT_ONCE:
        fitted = ill[0].point.fitted
        derived = derived_candidates(derivation, blocks=_blocks(comparisons))
        derived = with_own_signs(derivation, derived, fitted)
        single = [*derived, *grouped(derived, fitted, derivation)]
        single += alike_in_all(derivation, single)
        single += own_recursions(derivation, derived)
        single += in_one_array(derivation, single, ill)
    bench = Bench(derivation)
    found = search(bench, single, after, comparisons)
    if not found.found and noisy is not None:
        wider = noisy()
        if wider is not None:
            found = search(bench, single, after, wider)
            found.noise = found.found
    found.where = [*first_wrong(derivation, comparisons), *localise(ill)]
    found.steps = told_steps(ill)
    if found.stopped:
        found.where.append(STOPPED)
    if bench.unfit:
        (first, why), *_ = bench.unfit.items()
        found.where.append(
            f"{len(bench.unfit)} of the known mistakes could not be evaluated and were left out, "
            f"{first} first ({why}); this is a fault of gradcheck-rnn itself, please report it"
        )
    if not found.found:
        found.where += next_steps(bench, ill, handed)
    return found
