"""What a backward pass does differently from the derived one."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..calculus.terms import Term

__all__ = ["NO_EDITS", "Edits"]


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
    lost_starts : frozenset
        States to whose start no gradient is given.
    lost_outputs : mapping
        Output → steps whose cotangent is lost, counted likewise.
    permuted : mapping
        Equation → the equation of its scan whose adjoint is taken for its own.
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
        )

    def takes_part(self, edge: str, step: int, steps: int) -> bool:
        """Whether an edge contributes at a step (from 1) of a scan of so many steps."""
        here = (step, step - steps - 1)
        if edge in self.only_steps and not set(here) & set(self.only_steps[edge]):
            return False
        return not set(here) & set(self.skip_steps.get(edge, ()))


NO_EDITS = Edits()
