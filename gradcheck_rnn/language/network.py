"""Networks: a DAG of scans.

A scan runs a cell along a time axis (or once, ``axis=None``), forwards or backwards, over named
inputs. Stacks, bidirectional layers, encoder–decoders and readouts are compositions of scans;
derivation and code generation know only scans. Every name in a network is global, so that the
equations of all scans can be read side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ..checks import check_kind
from ..errors import DefinitionError, GradcheckError
from . import binding
from .binding import READ, check_binding, domains_of, narrower, renamed, unify
from .cell import Cell
from .dims import ONE, Dim, Shape, parse_shape
from .domains import Domain, parse_domains
from .input_lags import under_their_states
from .notebooks import ShownNetwork
from .scans import Initial, Operand, Ref, Scan, ScanHandle, State
from .tracing import Equation
from .wholes import dims_in, named_wholes, rows_of, wholes_in

__all__ = ["Initial", "Network", "Operand", "Ref", "Scan", "ScanHandle", "State", "as_network"]


@dataclass
class Network(ShownNetwork):
    """A network under construction; every method adds to it and checks names and dims.

    Attributes
    ----------
    inputs : dict
        Name → Ref of what the caller supplies per sequence (inputs, data, initial states).
    parameters : dict
        Name → Ref of trained (``param``) and given (``fixed``) parameters.
    scans : list of Scan
        In an order in which each reads only earlier ones.
    outputs : dict
        Name → Ref of what a forward pass hands out.
    loss_terms : list of Ref
        Scalars whose sum over time and scans is the loss.
    """

    name: str
    what: str = ""
    source: str = ""
    inputs: dict[str, Ref] = field(default_factory=dict)
    parameters: dict[str, Ref] = field(default_factory=dict)
    scans: list[Scan] = field(default_factory=list)
    outputs: dict[str, Ref] = field(default_factory=dict)
    loss_terms: list[Ref] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    _declared: dict[str, Domain] = field(default_factory=dict)

    def input(
        self,
        name: str,
        shape: str,
        *,
        axis: str | None = "T",
        data: bool = False,
        domain: str | None = None,
    ) -> Ref:
        """Declare an input: a sequence along ``axis``, or one vector a sequence (``axis=None``).

        ``domain`` says where its values lie (``"one-hot"``; see `domains`).
        """
        kind = ("data" if data else "input") if axis else ("static_data" if data else "static")
        parsed = parse_shape(shape)
        ref = self._add_input(name, kind, replace(parsed, batch=True), axis)
        if domain is not None:
            self._narrow(ref, domain)
        return ref

    def _narrow(self, ref: Ref, domain: str | Domain) -> None:
        what = f"network {self.name!r}: {ref.name!r}"
        self._declared[ref.name] = narrower(what, ref, self.domains.get(ref.name), domain)

    def narrowed(self, domains: Mapping[str, str | Domain]) -> Network:
        """A copy whose inputs or parameters lie in smaller domains (targets one-hot, say).

        Raises
        ------
        DefinitionError
            A name that the network is not given, or a domain apart from the declared one.
        """
        other = self.copy()
        for name, domain in domains.items():
            ref = self.inputs.get(name) or self.parameters.get(name)
            if ref is None:
                given = ", ".join((*self.inputs, *self.parameters))
                raise DefinitionError(
                    f"network {self.name!r} has no input or parameter {name!r} to give a domain; "
                    f"it has {given}"
                )
            other._narrow(ref, domain)
        return other

    def _add_input(self, name: str, kind: str, shape: Shape, axis: str | None) -> Ref:
        if name in self.inputs:
            known = self.inputs[name]
            if (known.kind, known.shape, known.axis) != (kind, shape, axis):
                raise DefinitionError(
                    f"network {self.name!r}: {name!r} is already {known.kind} {known.shape}; give "
                    "the scan a suffix or bind the argument explicitly"
                )
            return known
        self._claim(name, "input")
        self.inputs[name] = ref = Ref(name, kind, shape, axis)
        return ref

    def parameter(
        self, name: str, shape: str, *, fixed: bool = False, domain: str | None = None
    ) -> Ref:
        """Declare a parameter, to be bound to arguments of several scans (tied) or to a start."""
        ref = self._add_parameter(name, parse_shape(shape), "fixed" if fixed else "param")
        if domain is not None:
            self._narrow(ref, domain)
        return ref

    def _add_parameter(self, name: str, shape: Shape, kind: str) -> Ref:
        self._claim(name, kind)
        self.parameters[name] = ref = Ref(name, kind, shape)
        return ref

    def _claim(self, name: str, what: str) -> None:
        if name in self._names:
            raise DefinitionError(
                f"network {self.name!r}: the name {name!r} is already taken by a "
                f"{self._names[name]}; give the scan a suffix"
            )
        self._names[name] = what

    def scan(
        self,
        cell: Cell | Network,
        *,
        name: str = "",
        suffix: str = "",
        axis: str | None = "T",
        reverse: bool = False,
        mask: Ref | None = None,
        initial: Mapping[str, Ref | tuple[Ref | None, ...] | None] | None = None,
        dims: Mapping[str, str] | None = None,
        domains: Mapping[str, str] | None = None,
        **bindings: Ref,
    ) -> ScanHandle:
        """Add a scan of ``cell``.

        Parameters
        ----------
        cell : Cell or Network
            What runs; of a network of one scan, such as ``load("gru")``, its cell.
        suffix : str
            Appended to every name the scan adds, so that two scans of one cell can coexist.
        axis : str or None
            The time axis; ``None`` runs the cell once, on vectors.
        reverse : bool
            Run from the last step to the first; h_{t−1} then means h_{t+1}.
        mask : Ref, optional
            A 0/1 data scalar per step; where it is 0 every state is held (see `masked`).
        initial : mapping, optional
            State → its start: a vector, a parameter (a trained start), ``None`` for zero, or a
            tuple with one of these per lag. By default an input ``<state>0`` is added. Of an input
            that is read at lags it is what comes before the first step.
        dims : mapping, optional
            The cell's dims by the network's names; otherwise taken from what is bound.
        domains : mapping, optional
            Domains of the cell's arguments in this scan, in place of those that it declares.
        **bindings : Ref
            Arguments of the cell bound to values of the network; the others become inputs and
            parameters of the network under their own names plus the suffix.

        Raises
        ------
        DefinitionError
            A name that is taken, an argument the cell does not have, a value on another time axis.
        DimensionError
            A bound value whose dims do not fit.
        """
        cell = the_cell(cell)
        initial = under_their_states(cell, initial or {})
        before = dict(self.inputs), dict(self.parameters), dict(self._names)
        if domains:
            title = f"scan {name or cell.name + suffix!r}"
            given = parse_domains(title, cell.shapes, cell.kinds, domains)
            cell = replace(cell, domains={**cell.domains, **given})
        try:
            return self._add_scan(
                cell, name or cell.name + suffix, suffix, axis, reverse, mask, dict(initial),
                dims or {}, bindings,
            )  # fmt: skip
        except GradcheckError:
            # What could not be added leaves nothing behind.
            self.inputs, self.parameters, self._names = before
            raise

    def _add_scan(
        self,
        cell: Cell,
        title: str,
        suffix: str,
        axis: str | None,
        reverse: bool,
        mask: Ref | None,
        starts: dict[str, Any],
        dims: Mapping[str, str],
        bindings: dict[str, Ref],
    ) -> ScanHandle:
        plain = cell
        if mask is not None:
            from .transforms import masked

            cell = masked(cell)
            bindings = {**bindings, "mask": mask}
        traced = binding.traced_along(title, cell, axis, reverse)
        if any(s.name == title for s in self.scans):
            raise DefinitionError(
                f"network {self.name!r} has a scan {title!r} already; give a name or suffix"
            )
        free = [n for n in cell.shapes if n not in cell.states]
        for stranger in (b for b in bindings if b not in free):
            raise DefinitionError(
                f"scan {title!r}: cell {cell.name!r} has no argument {stranger!r} to bind; it has "
                f"{', '.join(free)}"
            )
        bindings = named_wholes(bindings, self.wholes, self.free, self._claim)
        for own, bound in bindings.items():
            check_binding(title, own, cell.kinds[own], bound, axis)
        dims_of = unify(title, cell, bindings, dims)
        operands: dict[str, Operand] = {}
        names: dict[str, tuple[str, str, bool]] = {}
        arguments: dict[str, str] = {}
        for own, kind in cell.kinds.items():
            if kind == "state":
                continue
            ref = bindings.get(own)
            if ref is None:
                ref = self._default(own + suffix, kind, cell.shapes[own].rename(dims_of), axis)
            read, moving = READ[ref.kind]
            if kind in ("data", "fixed") and read in ("input", "sequence", "static", "param"):
                raise DefinitionError(
                    f"scan {title!r}: argument {own!r} of cell {cell.name!r} is declared {kind} "
                    f"(not differentiated) but {ref.name!r} is {ref.kind}; declare it an input or "
                    "parameter"
                )
            operands[ref.name] = Operand(ref.name, read, ref.shape, ref)
            names[own] = (ref.name, read, moving)
            arguments[own] = ref.name
        for e in traced.equations:
            full = e.name + suffix
            self._claim(full, "value of scan " + title)
            names[e.name] = (full, "equation", axis is not None)
            arguments[e.name] = full
        equations = tuple(
            Equation(
                arguments[e.name],
                renamed(e.rhs, names, dims_of),
                e.shape.rename(dims_of),
                e.named_by,
            )
            for e in traced.equations
        )
        for stranger in (s for s in starts if s not in cell.states):
            raise DefinitionError(
                f"scan {title!r}: initial names {stranger!r}, which is not a state"
            )
        if cell is not plain:
            binding.spread_starts(title, plain, suffix, dims_of, starts, self._start)
        states = tuple(
            self._state(title, cell, s, arguments[s], dims_of, starts.get(s, "input"))
            for s in cell.states
        )
        added = Scan(
            title, cell, axis, reverse, equations, operands, states,
            tuple(arguments[o] for o in cell.outputs), arguments, dims_of, traced.substeps,
        )  # fmt: skip
        binding.check_domains(title, self.domains, added)
        weights = dims_in(r.shape for r in self.parameters.values())
        rows = rows_of((*self.wholes.values(), *wholes_in([operands]).values()))
        made = {*self.dims, *dims_in(e.shape for e in equations)} - rows
        binding.check_axes(f"scan {title!r}", (axis, *self.axes), {*made, *weights})
        self.scans.append(added)
        return ScanHandle(added)

    def _state(
        self,
        title: str,
        cell: Cell,
        own: str,
        full: str,
        dims: Mapping[str, Dim],
        start: Any,
    ) -> State:
        shape = cell.shapes[own].rename(dims)
        lags = cell.lags[own]
        depth = max(lags)
        if isinstance(start, str):
            kind = binding.kind_of_start(cell, own)
            names = [f"{full}0_{k}" for k in range(1, depth + 1)] if depth > 1 else [f"{full}0"]
            refs: tuple[Ref | None, ...] = tuple(self._start(n, shape, kind) for n in names)
        else:
            refs = binding.line_of(title, own, depth, start)
        for ref in refs:
            if ref is not None:
                binding.check_start(title, own, shape, ref)
        initial = tuple(Initial(k + 1, r) for k, r in enumerate(refs))
        final = self.free(f"{full}_final")
        self._claim(final, f"last value of the state {full!r}")
        return State(full, shape, lags, initial, final)

    def _start(self, wanted: str, shape: Shape, kind: str = "static") -> Ref:
        """The input that starts a state, under a name of its own if the definition uses this."""
        known = self.inputs.get(wanted)
        if known is None or (known.kind, known.shape) != (kind, shape):
            wanted = self.free(wanted)
        return self._add_input(wanted, kind, shape, None)

    def free(self, wanted: str) -> str:
        """``wanted``, or ``wanted_2``, ``wanted_3``, … if the network uses the name."""
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def _default(self, name: str, kind: str, shape: Shape, axis: str | None) -> Ref:
        if kind in ("param", "fixed"):
            return self._add_parameter(name, shape, kind)
        if axis is None:
            kind = "static" if kind == "input" else "static_data"
        return self._add_input(name, kind, shape, axis)

    def output(self, *refs: Ref, **named: Ref) -> None:
        """Hand out sequences, vectors or final states, under their own or a given name."""
        for ref in refs:
            named[ref.name] = ref
        for n, ref in named.items():
            if n == "loss":
                raise DefinitionError(
                    f"network {self.name!r}: an output called 'loss' is a scalar each step, to be "
                    f"summed; {ref.name!r} {ref.shape} is none: give it another name"
                )
            if ref.kind not in ("sequence", "final", "once"):
                what = f"is {ref.sequence!r} whole" if ref.sequence else "is not made by a scan"
                raise DefinitionError(f"network {self.name!r}: output {n!r} {what}")
            self.outputs[n] = ref

    def loss(self, ref: Ref) -> None:
        """Add a scalar, per step or once, to the loss: it is summed over time and batch."""
        if ref.shape.axes or ref.kind not in ("sequence", "once"):
            raise DefinitionError(
                f"network {self.name!r}: the loss {ref.name!r} must be a scalar made by a scan, "
                f"not {ref.kind} {ref.shape}"
            )
        self.loss_terms.append(ref)

    @property
    def dims(self) -> tuple[str, ...]:
        """All dims in order of first mention; numbers of steps are none (see `wholes`)."""
        shapes = [r.shape for r in (*self.inputs.values(), *self.parameters.values())]
        shapes += [e.shape for scan in self.scans for e in scan.equations]
        rows = rows_of(self.wholes.values())
        return tuple(n for n in dims_in(shapes) if n not in rows)

    @property
    def axes(self) -> tuple[str, ...]:
        """The time axes in order of first use."""
        return tuple(dict.fromkeys(s.axis for s in self.scans if s.axis))

    @property
    def finals(self) -> dict[str, str]:
        """Name of a last value → the state it is of."""
        return {s.final: s.name for scan in self.scans for s in scan.states}

    @property
    def wholes(self) -> dict[str, Ref]:
        """Name of a sequence handed on whole → what it is; `Ref.sequence` has the steps."""
        return wholes_in(scan.operands for scan in self.scans)

    @property
    def handed_on(self) -> dict[str, str]:
        """Name of a last value or of a sequence handed on whole → the sequence that it is of."""
        return self.finals | {n: str(ref.sequence) for n, ref in self.wholes.items()}

    @property
    def taken_names(self) -> set[str]:
        """Every name the network uses: inputs, parameters and values of its scans."""
        return set(self._names)

    @property
    def domains(self) -> dict[str, Domain]:
        """Input or parameter → where its values lie, as cells and the network declare it."""
        known = self.inputs | self.parameters
        found = dict(self._declared)
        for scan in self.scans:
            for n, domain in domains_of(scan).items():
                if n in known:
                    found[n] = found[n].meet(domain) or found[n] if n in found else domain
        return found

    @property
    def heads(self) -> bool:
        """Whether a scan has heads."""
        return any(scan.cell.heads != ONE for scan in self.scans)

    @property
    def front(self) -> bool:
        """Whether a definition takes the batch in front (see `language.stacks`)."""
        return any(scan.cell.front for scan in self.scans)

    def copy(self) -> Network:
        """A network that can be added to without changing this one."""
        return Network(**{name: copy(value) for name, value in vars(self).items()})

    def __repr__(self) -> str:
        return f"<network {self.name}: {', '.join(s.name for s in self.scans)}>"


def as_network(target: Cell | Network, reverse: bool = False) -> Network:
    """A cell as a network of one scan (`reverse`: from the last step), with its final states."""
    if isinstance(target, Network):
        return target
    check_kind(target, Cell, "a cell or a network; `load` finds them by name")
    network = Network(target.name, target.what, target.source)
    moves = target.states or target.of_kind("input", "data")
    handle = network.scan(target, axis="T" if moves else None, reverse=reverse)
    for o in target.outputs:
        ref = handle[o]
        (network.loss if o == "loss" and not ref.shape.axes else network.output)(ref)
    for own in target.states:
        if own not in target.keeps_data:
            network.output(handle.final(own))
    return network


def the_cell(target: Cell | Network) -> Cell:
    """A cell, or that of a network of one scan."""
    if isinstance(target, Network) and len(target.scans) == 1:
        return target.scans[0].cell
    check_kind(target, Cell, "a cell, or a network of one scan such as load('gru')")
    return cast(Cell, target)
