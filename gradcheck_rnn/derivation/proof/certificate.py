"""The error-free certificate: gradients equal the derivative of the unrolled network, exactly.

The oracle runs the definition on nodes of an `ExactGraph`, writes every scalar operation down and
accumulates SymPy's local partials along that list: in reverse mode for what is judged as adjoints,
in forward mode for tangents. Then the claims are computed on the same graph, where every number
that they share with the oracle becomes the oracle's node as soon as that is proved. An adjoint is
thus compared given that the adjoints it stands on are equal, in few terms (design decision 8).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from ...errors import UsageError
from ...language.network import Network
from .certified import Certificate, CertifiedGroup
from .field import Redraw
from .graph import ExactGraph, ExactNode
from .identities import Identities
from .oracle import mapped, record, uses_of, values_of
from .result import Claims, place
from .scalars import Scalar, Tape
from .setting import Setting, draw

__all__ = ["certify"]

Mode = Literal["adjoint", "tangent"]
_ATTEMPTS = 8
#: A graph of so many nodes takes about 1 GB.
_NODES = 2_000_000


def certify(
    network: Network,
    claims: Callable[[Setting], Claims],
    *,
    mode: Mode = "adjoint",
    sizes: Mapping[str, int] | None = None,
    lengths: Mapping[str, int] | None = None,
    seconds: float = 60.0,
) -> Certificate:
    """Certify any claims about a network, given as for `check`.

    Parameters
    ----------
    claims : callable
        Called with the `Setting`; gives (form, kind, name → object array). Its arithmetic is what
        the comparison follows, so it has to be done after the call, on the setting's values.
    mode : {"adjoint", "tangent"}
        How the oracle accumulates: as the claims are expected to, so that there is something
        to cut at. Either is the derivative; the other one is only harder to compare with.

    Raises
    ------
    UsageError
        A denominator is zero at every point tried.
    """
    began = time.perf_counter()
    for attempt in range(_ATTEMPTS):
        identities = Identities(deadline=began + seconds)
        graph = ExactGraph(identities, seed=attempt)
        try:
            setting = draw(network, graph, sizes=sizes, lengths=lengths)
            groups, frozen = _certify(graph, identities, setting, claims, mode)
        except Redraw:
            continue
        return Certificate(
            network.name,
            dict(setting.sizes),
            dict(setting.lengths),
            tuple(groups),
            identities.decided,
            identities.largest,
            frozen,
            time.perf_counter() - began,
        )
    raise UsageError(
        f"network {network.name!r}: a denominator is zero at {_ATTEMPTS} random points; the "
        "definition divides by something that is always zero"
    )


def _certify(
    graph: ExactGraph,
    identities: Identities,
    setting: Setting,
    claims: Callable[[Setting], Claims],
    mode: Mode,
) -> tuple[list[CertifiedGroup], bool]:
    tape, leaves, made, frozen = record(setting)
    total = made.pop("loss", graph.zero)
    everything = {**made.pop("everything"), **made}
    values = {n: values_of(array, graph) for n, array in everything.items()}
    for label, given in setting.cotangents.items():
        for g, x in zip(np.ravel(given), np.ravel(made[label]), strict=True):
            total = total + g * x
    slopes: dict[int, ExactNode] | None = {}
    if isinstance(total, Scalar):
        slopes = (adjoints if mode == "adjoint" else tangents)(graph, tape, total.index)
    if slopes is None:
        why = f"blow-up: more than {_NODES} tangents"
        return [_all_undecided("RTRL", f"d{n}", a, why) for n, a in leaves.items()], frozen
    held = slopes
    gradients = {
        n: mapped(lambda leaf: held.get(leaf.index, graph.zero), a) for n, a in leaves.items()
    }
    graph.comparing = True
    groups = []
    for form, kind, claimed in claims(setting):
        expected, prefix = (gradients, "d") if kind == "gradient" else (values, "")
        for stranger in (n for n in claimed if n not in expected):
            raise UsageError(f"network {setting.network.name!r} has no {kind} {stranger!r}")
        for n in expected if kind == "gradient" else claimed:
            groups.append(_group(graph, identities, form, prefix + n, expected[n], claimed.get(n)))
    return groups, frozen


def adjoints(graph: ExactGraph, tape: Tape, target: int) -> dict[int, ExactNode]:
    """The derivative of one scalar by every symbol: reverse chain rule over the list."""
    bars = {target: graph.one}
    for number in range(target, -1, -1):
        bar = bars.get(number)
        if bar is None:
            continue
        for operand, partial in tape.operations[number]:
            given = bar * partial
            bars[operand] = bars[operand] + given if operand in bars else given
    return bars


def tangents(graph: ExactGraph, tape: Tape, target: int) -> dict[int, ExactNode] | None:
    """The derivatives of one scalar by the leaves: forward chain rule over the list.

    None where that makes too large a graph.
    """
    operations = tape.operations[: target + 1]
    uses = uses_of(operations)
    rows: dict[int, dict[int, ExactNode]] = {}
    for number, operands in enumerate(operations):
        if not uses[number]:
            continue
        row: dict[int, ExactNode] = {} if operands else {number: graph.one}
        for operand, partial in operands:
            for leaf, slope in rows[operand].items():
                given = partial * slope
                row[leaf] = row[leaf] + given if leaf in row else given
            uses[operand] -= 1
            if not uses[operand]:
                del rows[operand]
        rows[number] = row
        if graph.size > _NODES:
            return None
    return rows[target]


def _group(
    graph: ExactGraph, identities: Identities, form: str, what: str, expected: Any, given: Any
) -> CertifiedGroup:
    if given is None:
        return CertifiedGroup(form, what, expected.size, (f"{what} is missing",) * expected.size)
    given = np.asarray(given, dtype=object)
    if given.shape != expected.shape:
        shapes = f"{what} has shape {given.shape} for {expected.shape}"
        return CertifiedGroup(form, what, expected.size, (shapes,) * expected.size)
    different: list[str] = []
    undecided: list[tuple[str, str]] = []
    for index in np.ndindex(expected.shape):
        a, b = expected[index], graph.coerce(given[index])
        if identities(a, b):
            continue
        reason = _reason(identities, a, b)
        entry = what + place(index, expected.shape)
        if reason:
            undecided.append((entry, reason))
        else:
            different.append(entry)
    return CertifiedGroup(form, what, expected.size, tuple(different), tuple(undecided))


def _reason(identities: Identities, a: ExactNode, b: ExactNode) -> str:
    """Why a = b is not decided; empty if a ≠ b is proved."""
    from .real import DIGITS, differ

    known = identities.reason(a, b)
    if known:
        return known
    apart = differ(a, b)
    if apart:
        return ""
    if apart is None:
        return "not equal for independent function values, and no real point could be evaluated"
    return (
        f"needs a relation between function values (the same to {DIGITS} digits at real points, "
        "but not for independent function values)"
    )


def _all_undecided(form: str, what: str, array: Any, why: str) -> CertifiedGroup:
    entries = tuple((what + place(index, array.shape), why) for index in np.ndindex(array.shape))
    return CertifiedGroup(form, what, array.size, (), entries)
