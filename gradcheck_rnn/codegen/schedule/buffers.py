"""Buffer assignment of given values, states and their adjoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

from ...language.network import Ref, Scan
from .kernel_names import Namer
from .lower_equations import Equations
from .nodes import Node
from .ops import (
    BATCH,
    Access,
    Assign,
    Buffer,
    Call,
    Matrix,
    Number,
    Pointwise,
    Statement,
    shape_of,
)

__all__ = ["BufferAssignment", "last_step"]

_ZERO = Fraction(0)


class BufferAssignment:
    """Buffers by name, and the place of every leaf of the graph."""

    def __init__(self, eq: Equations, namer: Namer) -> None:
        self.eq, self.namer = eq, namer
        network = eq.network
        self.parameters = {n: self._given(r, "parameter") for n, r in network.parameters.items()}
        self.inputs = {n: self._given(r, "input") for n, r in network.inputs.items()}
        self.adjoints: dict[str, Buffer] = {}
        self.cotangents: dict[str, Buffer] = {}
        self.states: dict[str, Buffer] = {}

    def _given(self, ref: Ref, role: str) -> Buffer:
        lead = self.eq.ref_lead(ref)
        shape = shape_of(*self.eq.shape(ref), lead)
        return Buffer(self.namer.fresh(ref.name), lead, shape, role)

    def make_states(self) -> None:
        """A buffer over time for every state, with room for its initial values."""
        for name, (state, scan) in self.eq.states.items():
            depth = max(state.lags)
            before, after = (0, depth) if scan.reverse else (depth, 0)
            shape = shape_of(*self.eq.shape(state), (BATCH,))
            self.states[name] = Buffer(
                self.namer.fresh(name), self.eq.scan_lead(scan), shape, "state", before, after
            )

    def leaf(self, n: Node) -> Access:
        """The place of a leaf."""
        if n.op == "given":
            return Access(self.parameters.get(n.data) or self.inputs[n.data])
        if n.op == "state":
            return Access(self.states[n.data[0]], n.data[1])
        if n.op == "final":
            scan = self.eq.states[n.data][1]
            return Access(self.states[n.data], slot=last_step(scan))
        if n.op == "cotangent":
            return Access(self._cotangent(n))
        if n.op == "adjoint":
            return Access(self.adjoint(n.data))
        name, lag = n.data
        scan = self.eq.states[name][1]
        return Access(self.adjoint(name), slot=_before(scan, lag))

    def adjoint(self, name: str) -> Buffer:
        """The buffer of a state's adjoint, like the state's own."""
        if name not in self.adjoints:
            like = self.states[name]
            self.adjoints[name] = Buffer(
                self.namer.fresh(f"d_{name}"), like.lead, like.shape, "adjoint",
                like.before, like.after,
            )  # fmt: skip
        return self.adjoints[name]

    def _cotangent(self, n: Node) -> Buffer:
        if n.data not in self.cotangents:
            shape = shape_of(n.rows, n.cols, n.lead)
            self.cotangents[n.data] = Buffer(
                self.namer.fresh(f"g_{n.data}"), n.lead, shape, "cotangent"
            )
        return self.cotangents[n.data]

    def initial_values(self) -> Iterator[Statement]:
        """Write the initial values that are given or zero."""
        for name, (state, scan) in self.eq.states.items():
            for start in state.initial:
                ref = start.ref
                if ref is None or ref.maker not in self.eq.forward:
                    yield from self._initial_value(name, scan, start.lag, ref, self.leaf)

    def _initial_value(
        self, name: str, scan: Scan, lag: int, ref: Ref | None, access: Callable[[Node], Access]
    ) -> Iterator[Statement]:
        dest = Access(self.states[name], slot=_before(scan, lag))
        if ref is None:
            yield Pointwise((Assign(dest, Number(_ZERO)),))
            return
        if ref.state is not None:
            source = Access(self.states[ref.state], slot=last_step(self.eq.states[ref.state][1]))
        elif ref.name in self.eq.forward:
            source = access(self.eq.forward[ref.name])
        else:
            source = Access(self.parameters.get(ref.name) or self.inputs[ref.name])
        if len(source.buffer.shape) == 2:  # a matrix of parameters, for what has its entries
            shape = dest.buffer.shape
            flat = Buffer(self.namer.fresh(f"{ref.name}_entries"), (), shape, "value")
            yield Matrix(flat, Call("reshape", (source,), shape))
            source = Access(flat)
        yield Pointwise((Assign(dest, source),))

    def late_initial_values(
        self, names: Iterable[str], done: set[str], access: Callable[[Node], Access]
    ) -> Iterator[Statement]:
        """Starts that other scans compute, of states whose start or last value is read next.

        Without steps a last value is a start: what starts from one comes after that.
        """
        for name in names:
            if name in done:
                continue
            done.add(name)
            state, scan = self.eq.states[name]
            for start in state.initial:
                ref = start.ref
                if ref is not None and ref.maker in self.eq.forward:
                    if ref.state is not None:
                        yield from self.late_initial_values((ref.state,), done, access)
                    yield from self._initial_value(name, scan, start.lag, ref, access)


def last_step(scan: Scan) -> tuple[str, int]:
    """The step a scan ends at."""
    return ("start", 0) if scan.reverse else ("end", -1)


def _before(scan: Scan, lag: int) -> tuple[str, int]:
    """The slot of the value ``lag`` steps before the first one."""
    return ("end", lag - 1) if scan.reverse else ("start", -lag)
