"""The error-free certificate: gradients equal the derivative of the unrolled network, exactly.

The oracle runs the definition on nodes of an `ExactGraph`, writes every scalar operation down and
accumulates SymPy's local partials along that list: in reverse mode for what is judged as adjoints,
in forward mode for tangents. Then the claims are computed on the same graph, where every number
that they share with the oracle becomes the oracle's node as soon as that is proved. An adjoint is
thus compared given that the adjoints it stands on are equal, in few terms (design decision 8).

What is not proved that way is compared at real points, in ball arithmetic: fingerprints take
function values as independent, there they are what they are, and a difference found is a proof.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from ...errors import UsageError
from ...language.network import Network
from ...language.ops.elementwise import ELEMENTWISE
from ...language.ops.formula import Arithmetic, evaluate
from .certified import Certificate, CertifiedGroup
from .field import Redraw
from .graph import ExactGraph, ExactNode
from .identities import Identities
from .oracle import mapped, record, values_of
from .result import Claims, place
from .scalars import Scalar, Tape
from .small_dims import Setting, draw

__all__ = ["DIGITS", "certify", "differ"]

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
    uses = _uses_of(operations)
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
    from .certificate import DIGITS, differ

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


#: Working precision; the differences of wrong gradients are of order one.
DIGITS = 60
_POINTS = 6


def differ(a: ExactNode, b: ExactNode) -> bool | None:
    """Whether a ≠ b as real functions.

    Returns
    -------
    bool or None
        True if the balls of a and b are apart at some rational point, which is a proof. False if
        they meet at all points tried, which proves nothing. None if neither function could be
        evaluated at any point tried.
    """
    from flint import ctx

    met: bool | None = None
    with ctx.workdps(DIGITS):
        for number in range(_POINTS):
            # Roots and logarithms may need positive numbers: the second half of the points.
            difference = _difference(a, b, random.Random(number), number >= _POINTS // 2)
            if difference is None or not difference.is_finite():
                continue
            if not difference.contains(0):
                return True
            met = False
    return met


def _difference(a: ExactNode, b: ExactNode, source: random.Random, positive: bool) -> Any:
    """The ball of a − b at a random point; None where a branch cannot be told."""
    from flint import arb, fmpq

    values: dict[int, Any] = {}
    for node in _below(a, b):
        operands = [values[x.index] for x in node.operands]
        value = None
        if node.operation == "leaf":
            number = source.randint(1, 16)
            value = arb(fmpq(number if positive or source.random() < 0.5 else -number, 16))
        elif node.operation == "constant":
            value = _number(node.detail)
        elif node.operation == "add":
            value = operands[0] + operands[1]
        elif node.operation == "mul":
            value = operands[0] * operands[1]
        elif node.operation == "inv":
            value = 1 / operands[0]
        elif node.operation == "pow":
            value = operands[0] ** node.detail
        else:
            value = _called(node.detail, operands[0])
        if value is None:
            return None
        values[node.index] = value
    return values[a.index] - values[b.index]


def _called(name: str, x: Any) -> Any:
    """A function value; None for the bit of a ball that contains zero."""
    from flint import arb

    if name == "bit":
        return arb(1) if x > 0 else arb(0) if x < 0 else None
    kind, _, number = name.partition(" ")
    if kind in ("root", "power"):
        power = 1 / Fraction(number) if kind == "root" else Fraction(number)
        return x ** _number(power)
    if name == "positive_bit":  # within a definition: in [0, 1] where the sign is open
        return arb(1) if x > 0 else arb(0) if x <= 0 else arb(0.5, 0.5)
    method = getattr(x, name, None)
    if method is not None:
        return method()
    return evaluate(ELEMENTWISE[name].definition, Arithmetic({"x": x}, _called, _number))


def _number(value: Fraction) -> Any:
    from flint import arb, fmpq

    return arb(fmpq(value.numerator, value.denominator))


def _below(a: ExactNode, b: ExactNode) -> list[ExactNode]:
    """All nodes that a and b stand on, oldest first."""
    seen = {n.index: n for n in (a, b)}
    waiting = list(seen.values())
    while waiting:
        for x in waiting.pop().operands:
            if x.index not in seen:
                seen[x.index] = x
                waiting.append(x)
    return [seen[k] for k in sorted(seen)]


def _uses_of(operations: Sequence[tuple[tuple[int, Any], ...]]) -> list[int]:
    """How often each symbol is read on the way to the last one; 0 for those it does not need."""
    uses = [0] * len(operations)
    uses[-1] = 1
    for number in range(len(operations) - 1, -1, -1):
        if uses[number]:
            for operand, _ in operations[number]:
                uses[operand] += 1
    return uses
