"""The unit of work of a verification: what one worker runs at a time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Chunk"]


@dataclass(frozen=True)
class Chunk:
    """What a worker needs to know; everything pickles.

    ``number`` is the target's in the plan, ``case`` a gradient case of its file, ``select`` the
    gradients of this chunk (all if None), ``stamp`` the hash of the target's file, ``line``
    where the case stands in it.
    """

    number: int
    target: str
    where: str
    case: str | None = None
    select: tuple[str, ...] | None = None
    shape: int = 0
    seed: int | str | None = None
    budget: int | str | None = None
    definition: str | None = None
    loss: str | None = None
    layout: str | None = None
    stamp: str = ""
    line: int | None = None

    @property
    def subject(self) -> tuple[str, str | None, str | None, str | None, str]:
        """What tells a worker what is under test."""
        return self.where, self.definition, self.loss, self.layout, self.stamp

    @property
    def label(self) -> str:
        """How progress names it."""
        return self.target if self.case is None else f"{self.target}:{self.case}"
