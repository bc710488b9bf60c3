"""The search for the mistake that makes a wrong gradient, and what else is told where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...derivation import derive
from ...derivation.mistaken_times import BLOCKS
from ...derivation.program import Edge
from ...language.network import Network
from ..harness.compare import Comparison
from ..outcome import Diagnosis
from .candidates import Bench, Candidate, derived_candidates
from .groups import grouped
from .localise import borders, localise, told_steps
from .matching import misfit, wrong_names
from .nextstep import first_wrong, next_steps
from .own_layout import in_one_array, with_own_signs
from .own_recursions import own_recursions
from .parts import alike_in_all
from .postprocessing import postprocessing
from .search import search
from .unlisted import edges_into, located, named, names_of, near_candidates, told, twice
from .wrong_lines import MOST_LINES, WrongLines

__all__ = ["find_mistake"]

Noisy = Callable[[], Sequence[Comparison]]

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


@dataclass(frozen=True)
class _List:
    """Candidates, and the most of them that are looked for at once."""

    candidates: list[Candidate] | None
    most: int = 3


def find_mistake(
    network: Network,
    comparisons: Sequence[Comparison],
    handed: bool = False,
    noisy: Noisy | None = None,
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
    work = _Work(Bench(derivation), after, _blocks(comparisons))
    found, lines, noise = work.search(comparisons, noisy)
    if noise:
        found.noise = _unexplained(work.bench, found.candidates, comparisons)
    if not found.found:
        found.lines = named(lines, derivation)
        found.where += told(lines, derivation)
    found.where += [*first_wrong(derivation, comparisons), *localise(ill)]
    found.steps = told_steps(ill)
    if found.stopped:
        found.where.append(STOPPED)
    # Terms that are near some other are made of what has the shape, whether or not it is there.
    unfit = {k: why for k, why in work.bench.unfit.items() if "near:" not in k}
    if unfit:
        (first, why), *_ = unfit.items()
        found.where.append(
            f"{len(unfit)} of the known mistakes could not be evaluated and were left out, "
            f"{first} first ({why}); this is a fault of gradcheck-rnn itself, please report it"
        )
    if not found.found:
        found.where += next_steps(work.bench, ill, handed)
    return found


def _few(lines: Sequence[WrongLines]) -> Sequence[WrongLines]:
    """Lines whose own mistakes can be looked for at once; none where they are too many."""
    return lines if len(names_of(lines)) <= MOST_AT_ONCE else []


def _unexplained(
    bench: Bench, found: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> tuple[str, ...]:
    """Wrong arrays that mistakes make only with the code's own roundoff in their bounds."""
    return tuple({
        r.user: None for c in comparisons for r in c.wrong
        if any(misfit(bench, one, c, r) > 1 for one in found)
    })  # fmt: skip


class _Work:
    """One search: by the lines that can be wrong where they are told, else by the whole list.

    One mistake comes before several: where one line can make all that is wrong, on the list of its
    own, then near its terms; else on the list of all lines. Of several mistakes those of the lines'
    own come first, two in one term after two in two.
    """

    def __init__(self, bench: Bench, after: list[Candidate], blocks: Sequence[int]) -> None:
        self.bench, self.after, self.blocks = bench, after, blocks
        self.tried = 0
        self._made: dict[tuple[str, ...], list[Candidate]] = {}

    @cached_property
    def whole(self) -> list[Candidate] | None:
        """The list of mistakes; None where it is too long to be made at once."""
        equations = sum(len(p.equations) for p in self.bench.derivation.scans)
        return self._mistakes() if equations <= MOST_AT_ONCE else None

    def _mistakes(self, edges: Sequence[Edge] | None = None) -> list[Candidate]:
        """The mistakes of the list, of some edges or of all."""
        derivation = self.bench.derivation
        derived = derived_candidates(derivation, edges, blocks=self.blocks)
        derived = with_own_signs(derivation, derived, self.fitted)
        out = [*derived, *grouped(derived, self.fitted, derivation)]
        out += alike_in_all(derivation, out)
        out += own_recursions(derivation, derived)
        return [*out, *in_one_array(derivation, out, self.ill)]

    def search(
        self, comparisons: Sequence[Comparison], noisy: Noisy | None
    ) -> tuple[Diagnosis, list[WrongLines], bool]:
        """What was found, the lines that can be wrong, and whether that took the code's own noise.

        Noise is measured before several mistakes are looked for in one line, else where nothing
        fits.
        """
        lines = self._located(comparisons, MOST_LINES - 1)
        if not lines and self.whole is not None:  # one mistake in many lines is found sooner
            found = self._among([_List(self.whole, most=1)], comparisons)
            if found.found:
                return found, lines, False
        lines = lines or self._located(comparisons)
        near = _few(lines)
        if near and len(near[0].names) == 1:
            found, noise = self._among(self._of_one_line(near), comparisons), False
            if not found.found and noisy is not None and (wider := noisy()):
                found = self._among(self._of_one_line(near), wider)
                noise = found.found
            if not found.found:
                found = self._among(self._several_of_one_line(near), comparisons)
            return found, lines, noise
        found = self._among(self._of_several_lines(near), comparisons)
        if found.found or noisy is None or not (wider := noisy()):
            return found, lines, False
        lines = lines or self._located(wider)
        near = _few(lines)
        found = self._among([_List(self._own(near) if near else self.whole)], wider)
        return found, lines, found.found

    def _located(
        self, comparisons: Sequence[Comparison], most: int = MOST_LINES
    ) -> list[WrongLines]:
        self.ill = [c for c in comparisons if c.wrong]
        self.fitted = self.ill[0].point.fitted
        return located(self.bench, self.ill, most)

    def _among(self, lists: Iterable[_List], comparisons: Sequence[Comparison]) -> Diagnosis:
        """The first list's diagnosis that finds something, else the last one's."""
        for made in lists:
            found = search(self.bench, made.candidates, self.after, comparisons, most=made.most)
            self.tried = max(self.tried, found.tried)
            if found.found:
                break
        found.tried = self.tried
        return found

    def _edges(self, lines: Sequence[WrongLines]) -> list[Edge]:
        derivation = self.bench.derivation
        into = {e.id for n in names_of(lines) for e in edges_into(derivation, n)}
        return [e for e in derivation.edges if e.id in into]

    def _own(self, lines: Sequence[WrongLines]) -> list[Candidate]:
        """The mistakes of some lines."""
        names = tuple(names_of(lines))
        if names not in self._made:
            self._made[names] = self._mistakes(self._edges(lines))
        return self._made[names]

    def _of_one_line(self, lines: Sequence[WrongLines]) -> Iterator[_List]:
        own = self._own(lines)
        yield _List(own, most=1)
        yield _List([*own, *near_candidates(self.bench, self._edges(lines))], most=1)

    def _several_of_one_line(self, lines: Sequence[WrongLines]) -> Iterator[_List]:
        own = self._own(lines)
        yield _List(own)
        yield _List([*own, *twice(self.bench, own)], most=2)
        if self.whole is not None:
            yield _List(self.whole, most=2)
        yield _List([*own, *near_candidates(self.bench, self._edges(lines))])
        if self.whole is None:
            yield _List(None)

    def _of_several_lines(self, lines: Sequence[WrongLines]) -> Iterator[_List]:
        if lines and self.whole is not None:
            yield _List(self.whole, most=1)
        if lines:
            own = self._own(lines)
            yield _List(own)
            yield _List([*own, *twice(self.bench, own)], most=2)
            yield _List([*own, *near_candidates(self.bench, self._edges(lines))])
        yield _List(self.whole)
