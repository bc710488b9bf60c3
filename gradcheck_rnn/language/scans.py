"""What a network is made of: values (`Ref`), scans with all names global, and their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import DefinitionError, UnsupportedOperation
from .cell import Cell
from .dims import Dim, Shape
from .tracing import Equation

__all__ = ["Initial", "Operand", "Ref", "Scan", "ScanHandle", "State"]


@dataclass(frozen=True)
class Ref:
    """A value of a network.

    ``kind``: input, data, static, static_data, param, fixed (of the network itself), sequence
    (made by a scan, one vector a step), final (a state's last value), whole and whole_data (all
    steps of a sequence as the rows of a matrix). ``axis`` is the time axis of a sequence, None for
    what does not move. ``state`` is the state that a final is the last value of, ``sequence`` what
    a whole has the steps of; its ``name`` is only what it is called.
    """

    name: str
    kind: str
    shape: Shape
    axis: str | None = None
    scan: str | None = None
    state: str | None = None
    sequence: str | None = None

    @property
    def maker(self) -> str:
        """What computes the value: of a final its state, of a whole its sequence."""
        return self.state or self.sequence or self.name

    def whole(self, name: str = "") -> Ref:
        """All steps of a sequence as the rows of a matrix: ``h: k`` along S is ``S k``.

        A scan reads it at each of its own steps. Of one number a step it is a vector of S units.
        Equations call it ``name``, or ``h_all``.

        Raises
        ------
        DefinitionError
            It does not move with time.
        UnsupportedOperation
            It is a matrix at each step.
        """
        if self.axis is None:
            raise DefinitionError(f"{self.name!r} is no sequence, so that it has no steps to stack")
        if self.shape.stack:
            raise UnsupportedOperation(
                f"the steps of {self.name!r} are matrices, {self.shape}; a sequence of vectors is "
                "handed on whole: make one with vec"
            )
        kind = "whole_data" if self.kind == "data" else "whole"
        shape = Shape(Dim.of({self.axis: 1}), self.shape.rows, True, self.shape.heads)
        return Ref(name or f"{self.name}_all", kind, shape, None, self.scan, None, self.name)


@dataclass(frozen=True)
class Operand:
    """What a name in a scan's equations stands for (states and equations apart)."""

    name: str
    kind: str
    shape: Shape
    ref: Ref


@dataclass(frozen=True)
class Initial:
    """The value of a state before the first step: ``lag`` 1 is the step just before it.

    ``ref`` None means zero (then there is no gradient for it).
    """

    lag: int
    ref: Ref | None


@dataclass(frozen=True)
class State:
    """A recurrent state of a scan: the lags at which it is read, and its start, one per lag.

    ``final`` is what its last value is called.
    """

    name: str
    shape: Shape
    lags: tuple[int, ...]
    initial: tuple[Initial, ...]
    final: str


@dataclass(frozen=True)
class Scan:
    """One scan with all names global.

    ``equations`` are in definition order; ``operands`` are the other names they read; ``outputs``
    are the equations whose sequences the cell hands out; ``arguments`` maps the cell's own names
    to the network's, so that the definition can be called. A step has ``substeps``, of one of which
    the equations are: states go from substep to substep, and what others read is the last one's.
    """

    name: str
    cell: Cell
    axis: str | None
    reverse: bool
    equations: tuple[Equation, ...]
    operands: Mapping[str, Operand]
    states: tuple[State, ...]
    outputs: tuple[str, ...]
    arguments: Mapping[str, str]
    dims: Mapping[str, Dim]
    substeps: int = 1

    @property
    def length(self) -> str:
        """How many steps it has, or substeps, as text: ``T``, ``10T``."""
        return f"{self.substeps}{self.axis}" if self.substeps > 1 else str(self.axis)

    def equation(self, name: str) -> Equation:
        return next(e for e in self.equations if e.name == name)

    def value(self, name: str) -> Ref:
        """What an equation makes, as a value of the network."""
        kind = "sequence" if self.axis else "once"
        return Ref(name, kind, self.equation(name).shape, self.axis, self.name)


class ScanHandle:
    """What `Network.scan` gives back: sequences as attributes, `final(state)` for last values."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan

    @property
    def name(self) -> str:
        return self._scan.name

    def __getitem__(self, own: str) -> Ref:
        scan = self._scan
        name = scan.arguments.get(own, own)
        known = [e.name for e in scan.equations]
        if name not in known:
            raise DefinitionError(
                f"scan {scan.name!r} has no value {own!r}; it has {', '.join(known)}"
            )
        return scan.value(name)

    def __getattr__(self, own: str) -> Ref:
        if own.startswith("_"):
            raise AttributeError(own)
        return self[own]

    def final(self, own: str) -> Ref:
        """The state's value after the last step of the scan, as a vector."""
        scan = self._scan
        name = scan.arguments.get(own, own)
        state = next((s for s in scan.states if s.name == name), None)
        if state is None:
            raise DefinitionError(f"scan {scan.name!r} has no state {own!r}")
        shape = scan.equation(name).shape
        return Ref(state.final, "final", shape, None, scan.name, name)
