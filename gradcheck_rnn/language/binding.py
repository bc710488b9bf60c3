"""What ties a cell's names, dims and domains to those of the network that it is scanned in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import DefinitionError, DimensionError
from .cell import Cell
from .dims import AXES, Dim, Shape, parse_dim
from .domains import Domain, check_domain, parse_domain
from .loops import written_out
from .scans import Ref, Scan
from .tracing import TracedCell, trace
from .values import Expr, Symbol

__all__ = [
    "READ", "apart", "check_axes", "check_binding", "check_domains",
    "check_start", "domains_of", "kind_of_start", "line_of", "narrower", "renamed",
    "spread_starts", "traced_along", "unify",
]  # fmt: skip

#: How a scan reads each kind of reference: (kind of operand, moves with time).
READ = {
    "input": ("input", True),
    "data": ("data", True),
    "sequence": ("sequence", True),
    "once": ("static", False),
    "final": ("static", False),
    "whole": ("static", False),
    "whole_data": ("static_data", False),
    "static": ("static", False),
    "static_data": ("static_data", False),
    "param": ("param", False),
    "fixed": ("fixed", False),
}


def renamed(e: Expr, names: Mapping[str, tuple[str, str, bool]], dims: Mapping[str, Dim]) -> Expr:
    """Rename the leaves of a right-hand side: own name → (global name, kind, moves with time)."""
    shape = e.shape.rename(dims)
    if e.op == "symbol":
        s = e.symbol
        name, kind, moving = names[s.name]
        kind = s.kind if s.kind in ("equation", "state") else kind
        return Expr("symbol", (), shape, {"symbol": Symbol(name, kind, s.lag if moving else None)})
    data = {k: v.rename(dims) if isinstance(v, Dim) else v for k, v in e.data.items()}
    return Expr(e.op, tuple(renamed(a, names, dims) for a in e.args), shape, data)


def spread_starts(
    title: str,
    plain: Cell,
    suffix: str,
    dims: Mapping[str, Dim],
    starts: dict[str, Any],
    start_of: Callable[[str, Shape, str], Ref],
) -> None:
    """Starts of a held delay line, under the names they have without a mask."""
    for s in plain.states:
        depth = max(plain.lags[s])
        if depth == 1:
            continue
        start = starts.get(s, "input")
        if isinstance(start, str):
            shape, kind = plain.shapes[s].rename(dims), kind_of_start(plain, s)
            start = tuple(start_of(f"{s}{suffix}0_{k}", shape, kind) for k in range(1, depth + 1))
        for k, ref in enumerate(line_of(title, s, depth, start)):
            starts[f"{s}_back{k}" if k else s] = ref


def kind_of_start(cell: Cell, state: str) -> str:
    """What an input that starts a state is: the past of data is data."""
    return "static_data" if state in cell.keeps_data else "static"


def line_of(title: str, state: str, depth: int, start: Any) -> tuple[Ref | None, ...]:
    """A start as one value for each step before the first; zero at all of them is None alone.

    Raises
    ------
    DefinitionError
        A delay line has too few initial values.
    """
    line = start if isinstance(start, tuple) else (start,) * (depth if start is None else 1)
    if len(line) != depth:
        raise DefinitionError(
            f"scan {title!r}: state {state!r} reaches {depth} steps back and needs as many "
            f"initial values, most recent first; {len(line)} given"
        )
    return line


def check_axes(title: str, axes: Iterable[Any], dims: Collection[str]) -> None:
    """Sizes are told apart by the names of dims and time axes.

    Raises
    ------
    DefinitionError
        What is to be a time axis is no such name, or a dim's or the batch's.
    """
    for axis in axes:
        if axis is None:
            continue
        if not isinstance(axis, str) or not re.fullmatch(r"[A-Za-z]\w*", axis, re.ASCII):
            raise DefinitionError(
                f"{title}: {axis!r} is not a name for a time axis; use letters, digits and '_', or "
                "None for what does not move"
            )
        if axis == "B":
            raise DefinitionError(f"{title}: the axis 'B' is {AXES['B']}; call the time axis T")
        if axis in dims:
            raise DefinitionError(
                f"{title}: {axis!r} is a time axis and a dim; give one of them another name"
            )


def apart(what: str, known: Domain, wanted: Domain) -> str:
    """What to say where two domains have nothing in common."""
    return f"{what} is declared {known} and {wanted}; no domain holds just what is in both"


def check_domains(title: str, known: Mapping[str, Domain], scan: Scan) -> None:
    """Raise where a scan declares domains that have nothing in common with the network's."""
    for n, domain in domains_of(scan).items():
        if n in known and known[n].meet(domain) is None:
            raise DefinitionError(apart(f"scan {title!r}: {n!r}", known[n], domain))


def traced_along(title: str, cell: Cell, axis: str | None, reverse: bool) -> TracedCell:
    """The equations of a cell in a scan; repeated steps are written out where it runs backwards.

    Raises
    ------
    DefinitionError
        It has states, but the scan no time axis.
    """
    if axis is None and cell.states:
        raise DefinitionError(
            f"scan {title!r} has no time axis, so cell {cell.name!r} cannot have the "
            f"state {cell.states[0]!r}"
        )
    traced = trace(cell)
    if traced.substeps > 1 and reverse:
        with written_out():
            return trace(cell)
    return traced


def domains_of(scan: Scan) -> dict[str, Domain]:
    """Domains that a scan's cell declares, by the network's names; of a state: of its starts.

    Of a sequence that is handed on whole they are those of every step.

    Raises
    ------
    DefinitionError
        Such a domain is one of all steps together.
    """
    found: dict[str, Domain] = {}
    for own, domain in scan.cell.domains.items():
        full = scan.arguments[own]
        state = next((s for s in scan.states if s.name == full), None)
        starts = [i.ref.name for i in state.initial if i.ref] if state else [full]
        if full in scan.operands and (of := scan.operands[full].ref.sequence) is not None:
            if domain.sums_to_one or domain.kind == "given":
                raise DefinitionError(
                    f"scan {scan.name!r}: {own!r} is {domain}, which is said of all units at once, "
                    f"but has the steps of {of!r} as units; give domains={{...}} for numbers"
                )
            starts = [of]
        found.update((n, domain) for n in starts)
    return found


def unify(
    title: str, cell: Cell, bindings: Mapping[str, Ref], dims: Mapping[str, str]
) -> dict[str, Dim]:
    """The cell's dims in terms of the network's, from explicit names and bound values."""
    known: dict[str, Dim] = {n: parse_dim(d) for n, d in dims.items()}
    for own, ref in bindings.items():
        declared = cell.shapes[own]
        pairs = [
            (getattr(declared, axis), getattr(ref.shape, axis))
            for axis in ("heads", "rows", "cols")
        ]
        for mine, theirs in pairs:
            lone = mine.lone
            if lone is not None and lone not in known:
                known[lone] = theirs
            elif not mine.names and mine == theirs:
                continue
            elif mine.names and all(n in known for n in mine.names):
                if mine.rename(known) != theirs:
                    raise DimensionError(
                        f"scan {title!r}: {own!r} of cell {cell.name!r} needs "
                        f"{mine.rename(known)} but {ref.name!r} has {theirs}"
                    )
            elif mine != theirs:
                raise DimensionError(
                    f"scan {title!r}: {own!r} of cell {cell.name!r} is declared {declared} but "
                    f"{ref.name!r} is {ref.shape}; name the dims with dims={{...}}"
                )
    return known


def check_binding(title: str, own: str, kind: str, ref: Ref, axis: str | None) -> None:
    """Raise where a value cannot be bound: on another time axis, or a parameter of sequences."""
    if ref.axis is not None and ref.axis != axis:
        raise DefinitionError(
            f"scan {title!r} runs along {axis!r} but {own!r} is bound to {ref.name!r}, a "
            f"sequence along {ref.axis!r}; bind its last value, final(...), or all of its steps, "
            "whole()"
        )
    if kind in ("param", "fixed") and ref.shape.batch:
        raise DefinitionError(
            f"scan {title!r}: parameter {own!r} is bound to {ref.name!r}, which differs from "
            "sequence to sequence"
        )


def check_start(title: str, state: str, shape: Shape, ref: Ref) -> None:
    """Raise where a value cannot start a state."""
    if ref.sequence is not None:
        raise DefinitionError(
            f"scan {title!r}: state {state!r} cannot start as all steps of {ref.sequence!r}; a "
            "cell reads them as an input"
        )
    if replace(ref.shape, batch=shape.batch) != shape or ref.axis is not None:
        raise DimensionError(
            f"scan {title!r}: initial value {ref.name!r} {ref.shape} does not fit "
            f"state {state!r} {shape}"
        )


def narrower(what: str, ref: Ref, known: Domain | None, domain: str | Domain) -> Domain:
    """What of a declared domain lies in another one too; raises if that is nothing."""
    wanted = parse_domain(domain, what)
    check_domain(wanted, ref.shape, ref.kind, what)
    both = wanted if known is None else known.meet(wanted)
    if both is None:
        raise DefinitionError(apart(what, known or wanted, wanted))
    return both
