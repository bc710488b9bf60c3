"""The independent oracle: the derivative of the unrolled network, scalar by scalar.

It calls the definition on object arrays of recorded scalars and goes through the list of their
operations once, last to first, by the chain rule of scalars. No matrix, no transpose, no rules, no
simplifier, no shortcut for softmax: nothing of what it judges.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    "slopes_of",
    "unrolled_gradients",
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
    slopes, degree, inverses = slopes_of(tape, total) if isinstance(total, Scalar) else ({}, 0, {})

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


def slopes_of(tape: Tape, target: Scalar) -> tuple[dict[int, int], int, Mapping[int, int]]:
    """The derivatives of one scalar by all leaves, by the chain rule over the list, last to first.

    Every operation hands what it got, times a partial, to its operands: each is met once.

    Returns
    -------
    slopes : dict
        Number of a leaf → derivative as an integer modulo the prime; a leaf left out has 0.
    degree, inverses : int, mapping
        A bound for the degree of every slope (see `FieldElement`).
    """
    sums: dict[int, int] = {target.index: 1}
    degrees: dict[int, tuple[int, Mapping[int, int]]] = {target.index: (0, {})}
    slopes: dict[int, int] = {}
    degree, inverses = 0, dict[int, int]()
    for number in range(target.index, -1, -1):
        if number not in sums:
            continue
        given, (above, powers) = sums.pop(number), degrees.pop(number)
        operands = tape.operations[number]
        if not operands:
            slopes[number] = given
            degree, inverses = max(degree, above), dict(larger(inverses, powers))
        for operand, partial in operands:
            sums[operand] = (sums.get(operand, 0) + given * partial.value) % PRIME
            own, below = degrees.get(operand, (0, {}))
            new = summed(partial.inverses, powers)
            degrees[operand] = max(own, partial.degree + above), larger(below, new)
    return slopes, degree, inverses
