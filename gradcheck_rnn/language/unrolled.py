"""Networks in which repeated steps are written out, for what follows values step by step."""

from __future__ import annotations

from dataclasses import replace

from .binding import READ, renamed
from .loops import written_out
from .network import Network
from .scans import Scan
from .tracing import Equation, trace

__all__ = ["unrolled"]


def unrolled(network: Network) -> Network:
    """The network with the equations of all substeps; itself if no scan has any.

    Raises
    ------
    UnsupportedOperation
        A loop is longer than is written out.
    """
    if all(scan.substeps == 1 for scan in network.scans):
        return network
    other = network.copy()
    other.scans = [scan if scan.substeps == 1 else _written(other, scan) for scan in network.scans]
    return other


def _written(network: Network, scan: Scan) -> Scan:
    with written_out():
        traced = trace(scan.cell)
    names = {}
    for own in (n for n, kind in scan.cell.kinds.items() if kind != "state"):
        ref = scan.operands[scan.arguments[own]].ref
        names[own] = (ref.name, *READ[ref.kind])
    arguments = dict(scan.arguments)
    for e in traced.equations:
        if e.name not in arguments:
            arguments[e.name] = network.free(f"{e.name}{_suffix(scan)}")
        names[e.name] = (arguments[e.name], "equation", True)
    equations = tuple(
        Equation(
            arguments[e.name], renamed(e.rhs, names, scan.dims), e.shape.rename(scan.dims),
            e.named_by,
        )
        for e in traced.equations
    )  # fmt: skip
    return replace(scan, equations=equations, arguments=arguments, substeps=1)


def _suffix(scan: Scan) -> str:
    """What was appended to the names of a scan."""
    own = scan.cell.states[0]
    return scan.arguments[own].removeprefix(own)
