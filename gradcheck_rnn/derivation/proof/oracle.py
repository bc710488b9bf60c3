"""The independent oracle: the derivative of the unrolled network, scalar by scalar.

It calls the definition on object arrays of recorded scalars and pushes the tangents of all inputs
through the list of operations, first to last (forward mode). No matrix calculus, no rules, no
simplifier, no shortcut for softmax: nothing of what it judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ...errors import UsageError
from ...language import numeric
from ...language.network import Network
from ...language.running import run
from .field import PRIME, FieldElement, FieldPoint, larger, summed
from .scalars import Scalar, Tape
from .small_dims import Numbers, Setting, draw

__all__ = [
    "OracleResult",
    "differentiate",
    "mapped",
    "record",
    "tangent",
    "unrolled_gradients",
    "uses_of",
    "values_of",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class OracleResult:
    """What the oracle computed at one random point; all numbers are field elements.

    Attributes
    ----------
    outputs, everything : mapping
        Forward values by output label, and of all states and outputs of all scans by name.
    loss : FieldElement
        The network's loss terms plus Σ ⟨cotangent, output⟩.
    gradients : mapping
        Parameter, input or initial state → gradient of ``loss``, shaped like its array.
    operations : int
        Length of the list of scalar operations.
    frozen : bool
        Whether the definition holds something frozen, so that the gradient is by intent not the
        derivative of the loss as run.
    """

    setting: Setting
    outputs: Mapping[str, Array]
    everything: Mapping[str, Array]
    loss: FieldElement
    gradients: Mapping[str, Array]
    operations: int
    frozen: bool

    @property
    def point(self) -> FieldPoint:
        """The random point at which everything was computed."""
        return cast(FieldPoint, self.setting.point)

    @property
    def degree(self) -> int:
        """The highest degree among the gradient's entries."""
        point = self.point
        return max([0, *(point.degree_of(x) for g in self.gradients.values() for x in g.flat)])


def unrolled_gradients(
    network: Network,
    *,
    sizes: Mapping[str, int] | None = None,
    lengths: Mapping[str, int] | None = None,
    point: FieldPoint,
    cotangents: Mapping[str, Any] | None = None,
) -> OracleResult:
    """Forward values and gradients of the unrolled network at a random point.

    Parameters
    ----------
    sizes, lengths : mapping, optional
        Dim → size, time axis → steps (see `setting`).
    cotangents : mapping, optional
        Output → array shaped like it, in columns; outputs left out have none. Random by default.

    Raises
    ------
    Redraw
        A denominator is zero at this point.
    UsageError
        A cotangent does not fit its output.
    """
    return differentiate(draw(network, point, sizes=sizes, lengths=lengths, cotangents=cotangents))


def differentiate(setting: Setting) -> OracleResult:
    """The oracle on given values; see `unrolled_gradients`."""
    point = cast(FieldPoint, setting.point)
    tape, leaves, made, frozen = record(setting)
    everything = {n: values_of(v, setting.point) for n, v in made.pop("everything").items()}
    total = made.pop("loss", setting.point.zero)
    for label, given in setting.cotangents.items():
        if label not in made:
            raise UsageError(f"network {setting.network.name!r} has no output {label!r}")
        if np.shape(given) != np.shape(made[label]):
            raise UsageError(
                f"the cotangent of {label!r} has shape {np.shape(given)}, the output "
                f"{np.shape(made[label])}"
            )
        for g, x in zip(np.ravel(given), np.ravel(made[label]), strict=True):
            total = total + g * x
    slopes, degree, inverses = tangent(tape, total) if isinstance(total, Scalar) else ({}, 0, {})

    def entry(leaf: Scalar) -> FieldElement:
        return FieldElement(point, slopes.get(leaf.index, 0), degree, inverses)

    return OracleResult(
        setting,
        {n: values_of(v, setting.point) for n, v in made.items()},
        everything,
        _value(total, point),
        {n: mapped(entry, array) for n, array in leaves.items()},
        len(tape.operations),
        frozen,
    )


def record(setting: Setting) -> tuple[Tape, dict[str, Array], dict[str, Any], bool]:
    """The tape, its leaves by name, what `run` makes, and whether something is frozen.

    Runs the definition on recorded scalars; frozen values are constants to the derivative.
    """
    with numeric.recording_frozen() as seen:
        tape, leaves, made = _run(setting)
    if not seen.values:
        return tape, leaves, made, False
    seen.values[:] = [values_of(v, setting.point) for v in seen.values]
    with numeric.holding_frozen(seen):
        tape, leaves, made = _run(setting)
    return tape, leaves, made, True


def _run(setting: Setting) -> tuple[Tape, dict[str, Array], dict[str, Any]]:
    tape = Tape(setting.point)
    leaves = {n: mapped(tape.leaf, setting.values[n]) for n in setting.differentiated}
    made = run(setting.network, {**setting.values, **leaves}, setting.lengths, everything=True)
    return tape, leaves, made


def mapped(function: Any, array: Array) -> Array:
    """The function of every entry."""
    out = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        out[index] = function(array[index])
    return out


def _value(x: Any, point: Numbers) -> Any:
    return x.value if isinstance(x, Scalar) else point.coerce(x)


def values_of(array: Any, point: Numbers) -> Array:
    """The values of scalars, and constants as numbers."""
    return mapped(lambda x: _value(x, point), np.asarray(array))


def tangent(tape: Tape, target: Scalar) -> tuple[dict[int, int], int, Mapping[int, int]]:
    """The derivatives of one scalar by all leaves, by the chain rule over the list.

    Every symbol has a sparse row of tangents, leaf → value; it is let go after its last use, so
    that memory holds about one time step.

    Returns
    -------
    slopes : dict
        Number of a leaf → derivative as an integer modulo the prime; a leaf left out has 0.
    degree, inverses : int, mapping
        A bound for the degree of every slope (see `FieldElement`).
    """
    operations = tape.operations[: target.index + 1]
    uses = uses_of(operations)
    rows: dict[int, dict[int, int]] = {}
    degrees: dict[int, tuple[int, Mapping[int, int]]] = {}
    for number, operands in enumerate(operations):
        if not uses[number]:
            continue
        if not operands:
            rows[number], degrees[number] = {number: 1}, (0, {})
            continue
        row: dict[int, int] | None = None
        degree = 0
        inverses: Mapping[int, int] = {}
        for operand, partial in operands:
            row = _add_multiple(row, partial.value, rows[operand])
            inner, below = degrees[operand]
            degree = max(degree, partial.degree + inner)
            inverses = larger(inverses, summed(partial.inverses, below))
            uses[operand] -= 1
            if not uses[operand]:
                del rows[operand], degrees[operand]
        rows[number], degrees[number] = row or {}, (degree, inverses)
    return rows[target.index], *degrees[target.index]


def uses_of(operations: Sequence[tuple[tuple[int, Any], ...]]) -> list[int]:
    """How often each symbol is read on the way to the last one; 0 for those it does not need."""
    uses = [0] * len(operations)
    uses[-1] = 1
    for number in range(len(operations) - 1, -1, -1):
        if uses[number]:
            for operand, _ in operations[number]:
                uses[operand] += 1
    return uses


def _add_multiple(row: dict[int, int] | None, factor: int, other: dict[int, int]) -> dict[int, int]:
    """row + factor · other; rows are shared, so a new one is made."""
    scaled = other if factor == 1 else {k: factor * v % PRIME for k, v in other.items()}
    if row is None:
        return scaled
    if len(scaled) > len(row):
        row, scaled = scaled, row
    out = dict(row)
    for k, v in scaled.items():
        held = out.get(k)
        out[k] = v if held is None else (held + v) % PRIME
    return out
