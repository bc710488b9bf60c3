"""What a backward pass does differently from the derived one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..calculus.terms import Term
from .program import Edge

__all__ = ["NO_EDITS", "Edits", "Mask", "Move", "Rows"]

#: What of an adjoint is read: (axis, place, kept). The axis is "sequence", "unit" or "head"; the
#: place "first", "last", "half"; kept says whether it is what is read or what is not. Where the
#: place is "for all" the first one's part stands for all.
Mask = tuple[str, str, bool]
#: ("goes", k): the contribution goes to k steps later than it should, what goes to the start stays.
#: ("also", k): the same, but what goes to the start goes there and to k steps later.
#: ("reads", k): the adjoint is read k steps later, 0: in reversed order of time.
#: ("start", k): the start is given what step k gives; k counts from the end where it is negative.
Move = tuple[str, int]
#: Which steps of a sequence that is read whole get what is theirs. ("only", k): step k alone;
#: ("not", k): all but step k; k counts from the end where it is negative. ("goes", k): all, but k
#: steps later than they should; 0: in reversed order of time.
Rows = tuple[str, int]


@dataclass(frozen=True)
class Edits:
    """What `bptt` does differently.

    Attributes
    ----------
    terms : mapping
        Edge id → the term used instead of its pullback; None drops the edge.
    only_steps : mapping
        Edge id → steps of the scan, counted from its first as 1 and from its last as −1, at which
        the edge contributes; elsewhere it is dropped.
    skip_steps : mapping
        Edge id → steps at which it does not contribute, counted likewise.
    carry : mapping
        Scan → number of steps after which what flows through its states is cut.
    lost_finals : frozenset
        Final states whose cotangent is lost.
    zero_starts : frozenset
        States whose start is taken as zero in the backward pass.
    wrapped_starts : frozenset
        States of which the last step's value is read in place of the start: an index of −1.
    held_starts : frozenset
        Names of which the first step's value is read in place of what is before it.
    lost_starts : frozenset
        States to whose start no gradient is given.
    lost_outputs : mapping
        Output → steps whose cotangent is lost, counted likewise.
    permuted : mapping
        Equation → the equation of its scan whose adjoint is taken for its own.
    shares : mapping
        (Source of a share of an equation's adjoint, edge out of the equation) → the term by which
        this share goes on; None drops it. Sources are those of `sources`.
    pinned : mapping
        Edge id → (name, step): the saved value that is read at this step of the scan at all steps.
    missed : mapping
        Scan → steps that its loop leaves out, counted likewise: what arrives at them is carried on.
    scaled_outputs : mapping
        Output → factor of its cotangent; 0 ignores it.
    output_of_step : mapping
        Output → the step, counted likewise, whose cotangent is taken at all steps.
    repeated_finals : frozenset
        States whose final cotangent is given to every step instead of what is carried.
    taken_outputs : mapping
        Output → the output whose cotangent is taken for its own.
    kept : frozenset
        States of which a step adds to what it hands on what it has been handed.
    mirrored : frozenset
        Edges whose contributions, and the values they read, are in reversed order of time: the
        adjoint goes to (or a saved value comes from) step T + 1 − t.
    turned : frozenset
        Scans whose backward pass runs in the order of the forward pass.
    terms_at : mapping
        Edge id → (steps, term): the term used at these steps, counted likewise; None drops it. A 0
        among them: not where there is one step only.
    masked : mapping
        Edge id → the part of the adjoint that is read: see `Mask`.
    shifted_outputs : mapping
        Output → how many steps later the cotangent lies that is taken at a step; 0 reverses time.
    masked_outputs : mapping
        Output → the part of its cotangent that is taken: see `Mask`.
    first_finals : frozenset
        States whose final cotangent is given to the first step, not to the last.
    moved : mapping
        Edge id → another place in time; see `Move`.
    passed : mapping
        State → what a step hands on for it in place of all that is derived: ``"whole"``, its own
        adjoint, or ``"output"``, the cotangents of the outputs at that step.
    received : mapping
        Edge id → the state of which the edge reads what the step receives, without the cotangents
        of outputs, in place of its own adjoint; of a last state its cotangent.
    remainders : mapping
        Scan → k: only as many steps are gone through as there are in whole blocks of k.
    unjoined : mapping
        Scan → k: what leaves a block of k steps is what was asked within it, and nothing of later
        blocks.
    rows : mapping
        Edge id of a sequence that is read whole → the steps that it gives something: see `Rows`.
    """

    terms: dict[str, Term | None] = field(default_factory=dict)
    only_steps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    skip_steps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    carry: dict[str, int] = field(default_factory=dict)
    lost_finals: frozenset[str] = frozenset()
    zero_starts: frozenset[str] = frozenset()
    lost_starts: frozenset[str] = frozenset()
    lost_outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    permuted: dict[str, str] = field(default_factory=dict)
    shares: dict[tuple[str, str], Term | None] = field(default_factory=dict)
    pinned: dict[str, tuple[str, int]] = field(default_factory=dict)
    missed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scaled_outputs: dict[str, float] = field(default_factory=dict)
    output_of_step: dict[str, int] = field(default_factory=dict)
    repeated_finals: frozenset[str] = frozenset()
    wrapped_starts: frozenset[str] = frozenset()
    taken_outputs: dict[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    mirrored: frozenset[str] = frozenset()
    turned: frozenset[str] = frozenset()
    held_starts: frozenset[str] = frozenset()
    terms_at: dict[str, tuple[Sequence[int], Term | None]] = field(default_factory=dict)
    masked: dict[str, Mask] = field(default_factory=dict)
    shifted_outputs: dict[str, int] = field(default_factory=dict)
    first_finals: frozenset[str] = frozenset()
    moved: dict[str, Move] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)
    received: dict[str, str] = field(default_factory=dict)
    remainders: dict[str, int] = field(default_factory=dict)
    unjoined: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)
    masked_outputs: dict[str, Mask] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """How many single changes these are."""
        return sum(len(getattr(self, name)) for name in self.__dataclass_fields__)

    @cached_property
    def size_of_terms(self) -> int:
        """How many of them are about single terms: what is written, and at which steps."""
        own = [len(self.terms), len(self.only_steps), len(self.skip_steps), len(self.pinned)]
        own += [len(self.terms_at), len(self.masked), len(self.received), len(self.rows)]
        return sum(own)

    @cached_property
    def edges(self) -> set[str]:
        """Edges that give something else than derived, or at other steps."""
        own = (self.terms, self.only_steps, self.skip_steps, self.pinned, self.terms_at)
        other = (self.masked, self.mirrored, self.received, self.rows)
        named = {e for some in (*own, *other) for e in some}
        return named | {edge for _, edge in self.shares}

    @cached_property
    def restarted(self) -> frozenset[str]:
        """Names of which other values are read than those before the first step."""
        return self.zero_starts | self.wrapped_starts | self.held_starts

    @cached_property
    def leaves_out(self) -> bool:
        """Whether loops leave steps out."""
        return bool(self.missed or self.remainders)

    @cached_property
    def reorders(self) -> bool:
        """Whether steps are taken in another order: only the program as a whole tells."""
        return bool(self.kept or self.mirrored or self.turned or self.passed or self.unjoined)

    def __or__(self, other: Edits) -> Edits:
        """Both mistakes at once; where they meet the second wins, permutations are combined."""
        names = {*self.permuted, *other.permuted}
        return Edits(
            {**self.terms, **other.terms},
            {**self.only_steps, **other.only_steps},
            {**self.skip_steps, **other.skip_steps},
            {**self.carry, **other.carry},
            self.lost_finals | other.lost_finals,
            self.zero_starts | other.zero_starts,
            self.lost_starts | other.lost_starts,
            {**self.lost_outputs, **other.lost_outputs},
            {n: self.permuted.get(m := other.permuted.get(n, n), m) for n in names},
            {**self.shares, **other.shares},
            {**self.pinned, **other.pinned},
            {**self.missed, **other.missed},
            {**self.scaled_outputs, **other.scaled_outputs},
            {**self.output_of_step, **other.output_of_step},
            self.repeated_finals | other.repeated_finals,
            self.wrapped_starts | other.wrapped_starts,
            {**self.taken_outputs, **other.taken_outputs},
            self.kept | other.kept,
            self.mirrored | other.mirrored,
            self.turned | other.turned,
            self.held_starts | other.held_starts,
            {**self.terms_at, **other.terms_at},
            {**self.masked, **other.masked},
            {**self.shifted_outputs, **other.shifted_outputs},
            self.first_finals | other.first_finals,
            {**self.moved, **other.moved},
            {**self.passed, **other.passed},
            {**self.received, **other.received},
            {**self.remainders, **other.remainders},
            {**self.unjoined, **other.unjoined},
            {**self.rows, **other.rows},
            {**self.masked_outputs, **other.masked_outputs},
        )

    def split(self, edges: Collection[str]) -> tuple[Edits, Edits]:
        """What is about some edges alone, and all the rest."""
        fields = ("terms", "only_steps", "skip_steps", "pinned", "terms_at", "masked", "received")
        parts = {n: getattr(self, n) for n in (*fields, "rows")}
        within: dict[str, Any] = {
            n: {e: x for e, x in a.items() if e in edges} for n, a in parts.items()
        }
        rest: dict[str, Any] = {
            n: {e: x for e, x in a.items() if e not in edges} for n, a in parts.items()
        }
        return Edits(**within), replace(self, **rest)

    def lacks(self, scan: str, step: int, steps: int) -> bool:
        """Whether the loop of a scan leaves a step out."""
        if scan in self.remainders:
            return step > steps - steps % self.remainders[scan]
        return bool({step, step - steps - 1} & set(self.missed.get(scan, ())))

    def term_of(self, edge: Edge, step: int, steps: int) -> Term | None:
        """What an edge gives at a step (from 1) of a scan of so many steps; None for nothing."""
        at, other = self.terms_at.get(edge.id, ((), None))
        if (step in at or step - steps - 1 in at) and not (steps == 1 and 0 in at):
            return other
        return self.terms.get(edge.id, edge.pullback)

    def rewrites(self, edge: Edge) -> bool:
        """Whether an edge has another term than the derived one, at all steps or some."""
        return edge.id in self.terms or edge.id in self.terms_at

    def contributing(
        self, edges: Iterable[Edge], step: int, steps: int, waiting: Collection[str] = ()
    ) -> Iterator[tuple[Edge, Term]]:
        """The edges that give something at a step, and what; without those that wait."""
        for edge in edges:
            term = self.term_of(edge, step, steps)
            if term is None or edge.id in waiting or not self.takes_part(edge.id, step, steps):
                continue
            yield edge, term

    def takes_part(self, edge: str, step: int, steps: int) -> bool:
        """Whether an edge contributes at a step (from 1) of a scan of so many steps."""
        if edge not in self.only_steps and edge not in self.skip_steps:
            return True
        here = (step, step - steps - 1)
        if edge in self.only_steps and not set(here) & set(self.only_steps[edge]):
            return False
        return not set(here) & set(self.skip_steps.get(edge, ()))


NO_EDITS = Edits()
