"""Which sequences a network is given only for its loss: told by its equations, not by names."""

from __future__ import annotations

from collections.abc import Iterable

from ..language.network import Network
from ..language.scans import Scan

__all__ = ["targets"]


def targets(network: Network) -> dict[str, str]:
    """The input sequences that reach the loss and nothing else.

    Parameters
    ----------
    network : Network
        A loss may be a scan of its own, or an equation beside states and outputs.

    Returns
    -------
    dict
        Name → the scan that the loss is made in, in the order of the network's inputs: targets,
        weights of steps or classes, masks of the loss. What a state or an output reads, too, is
        none of them.
    """
    judged: dict[str, str] = {}
    used: set[str] = set()
    losses = {(ref.scan, ref.name) for ref in network.loss_terms}
    for scan in network.scans:
        made = {e.name for e in scan.equations}
        own = {name for title, name in losses if title == scan.name}
        judged.update(dict.fromkeys(_read(scan, own), scan.name))
        kept = {s.name for s in scan.states} | {*scan.outputs} - own if own else made
        used |= _read(scan, kept)
    moving = [n for n, ref in network.inputs.items() if ref.axis is not None]
    return {n: judged[n] for n in moving if n in judged and n not in used}


def _read(scan: Scan, equations: Iterable[str]) -> set[str]:
    """What these equations are computed from, other equations of the scan between them."""
    by_name = {e.name: e.rhs for e in scan.equations}
    waiting = [by_name[n] for n in equations]
    seen = set(equations)
    found: set[str] = set()
    nodes: set[int] = set()
    while waiting:
        e = waiting.pop()
        if id(e) in nodes:
            continue
        nodes.add(id(e))
        waiting += e.args
        if e.op != "symbol":
            continue
        name = e.symbol.name
        if name not in by_name:
            found.add(name)
        elif name not in seen:
            seen.add(name)
            waiting.append(by_name[name])
    return found
