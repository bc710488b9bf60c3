"""What a schedule is: buffers, statements of two routines, and where results are found."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...derivation.program import Derivation
from ...language.network import Network
from .naming import Names
from .ops import Access, Allocate, Buffer, Statement

__all__ = ["Routine", "Schedule"]


@dataclass
class Routine:
    """One function: its buffers and its statements in order."""

    allocations: list[Allocate] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)


@dataclass
class Schedule:
    """Everything a backend prints.

    Attributes
    ----------
    parameters, inputs : dict
        Name → buffer of what the caller gives (row-major; scalars of a sequence have one unit).
    saved : tuple of Buffer
        What forward hands to backward, besides parameters and inputs.
    outputs : dict
        Output label → where it is after forward; ``loss`` if the network has one.
    cotangents : dict
        Output label → buffer of its cotangent.
    gradients : dict
        Parameter, input, initial state → where its gradient is after backward; None: zero.
    names : Names
        The module's names; sizes in the schedule are local variables of it.
    """

    derivation: Derivation
    parameters: dict[str, Buffer]
    inputs: dict[str, Buffer]
    saved: tuple[Buffer, ...]
    outputs: dict[str, Access]
    cotangents: dict[str, Buffer]
    gradients: dict[str, Access | None]
    forward: Routine
    backward: Routine
    names: Names

    @property
    def network(self) -> Network:
        return self.derivation.network
