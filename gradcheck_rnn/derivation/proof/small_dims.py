"""The setting of a proof: small dims that are pairwise different, and random values for all names.

Equal dims hide transposes and one step hides the carry, so d, p, q are 2, 3, 4 and T is 3 unless
delays reach further (design decision 8 counts what smaller settings miss).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...language.dims import Dim
from ...language.network import Network, Ref

__all__ = ["Numbers", "Setting", "default_lengths", "default_sizes", "draw"]

Array = np.ndarray[Any, Any]
_PREFERRED = {"d": 2, "p": 3, "q": 4}
_DIFFERENTIATED = ("param", "input", "static")


class Numbers(Protocol):
    """What exact numbers are drawn from: a `FieldPoint` or an `ExactGraph`."""

    @property
    def zero(self) -> Any: ...

    def random(self) -> Any: ...

    def coerce(self, number: Any) -> Any: ...


@dataclass(frozen=True)
class Setting:
    """A network with an exact number for every number that goes in.

    Attributes
    ----------
    values : mapping
        Parameter or input → object array in columns, ``(n, m)`` or ``(T, n, 1)``; of what
        every head has ``(H, n, m)``.
    cotangents : mapping
        Output → object array shaped like it.
    """

    network: Network
    sizes: Mapping[str, int]
    lengths: Mapping[str, int]
    point: Numbers
    values: Mapping[str, Array]
    cotangents: Mapping[str, Array]

    @property
    def differentiated(self) -> tuple[str, ...]:
        """Parameters, inputs and initial states that have a gradient."""
        refs = (*self.network.parameters.values(), *self.network.inputs.values())
        return tuple(r.name for r in refs if r.kind in _DIFFERENTIATED)


def _all_dims(network: Network) -> set[Dim]:
    refs = (*network.parameters.values(), *network.inputs.values())
    shapes = [r.shape for r in refs] + [e.shape for s in network.scans for e in s.equations]
    return {d for shape in shapes for d in (shape.heads, shape.rows, shape.cols)}


def default_sizes(network: Network) -> dict[str, int]:
    """d, p, q = 2, 3, 4 and the other dims further numbers, so that no two dims are equal.

    Composite dims (``4*p``) follow their parts and count as dims of their own.
    """
    names = network.dims
    dims = _all_dims(network)
    sizes: dict[str, int] = {}
    for name in sorted(names, key=lambda n: (n not in _PREFERRED, names.index(n))):
        candidate = _PREFERRED.get(name, 2)
        while _clashes(dims, {**sizes, name: candidate}):
            candidate += 1
        sizes[name] = candidate
    return sizes


def _clashes(dims: set[Dim], sizes: Mapping[str, int]) -> bool:
    known = [d.size(sizes) for d in dims if all(n in sizes for n in d.names)]
    return len(set(known)) < len(known)


def default_lengths(network: Network, taken: Collection[int] = ()) -> dict[str, int]:
    """T = 3, two more than the longest delay at least; a second time axis is one longer.

    Steps that are rows of a matrix are none of the numbers ``taken`` by dims.
    """
    lengths: dict[str, int] = {}
    rows = {ref.shape.rows.lone for ref in network.wholes.values()}
    for number, axis in enumerate(network.axes):
        lags = [max(s.lags) for scan in network.scans if scan.axis == axis for s in scan.states]
        lengths[axis] = max([1, *lags]) + 2 + number
        while axis in rows and lengths[axis] in {*taken, *list(lengths.values())[:-1]}:
            lengths[axis] += 1
    return lengths


def draw(
    network: Network,
    point: Numbers,
    *,
    sizes: Mapping[str, int] | None = None,
    lengths: Mapping[str, int] | None = None,
    cotangents: Mapping[str, Any] | None = None,
    assumed: Collection[str] = (),
) -> Setting:
    """Draw every parameter, input, initial state, datum and cotangent at random.

    Data (softmax targets, masks, elapsed times) are generic numbers too: what is proved does not
    use that a target is one-hot or a mask 0 or 1, but of those in ``assumed``.

    Parameters
    ----------
    sizes, lengths : mapping, optional
        Dim name → size and time axis → steps; defaults where left out.
    cotangents : mapping, optional
        Output → array; an output left out has none. All are drawn at random by default.
    assumed : collection of str
        Names whose units sum to one: the last unit is one minus the others.

    Raises
    ------
    DimensionError
        A dim has no size.
    """
    known = {**default_sizes(network), **(sizes or {})}
    steps = {**default_lengths(network, known.values()), **(lengths or {})}
    known = {**known, **steps}

    def fill(ref: Ref) -> Array:
        shape: tuple[int, ...] = (ref.shape.rows.size(known), ref.shape.cols.size(known))
        if ref.shape.stack:
            shape = (*shape, 1)
        if ref.shape.headed:
            shape = (ref.shape.heads.size(known), *shape)
        if ref.axis is not None:
            shape = (steps[ref.axis], *shape)
        out = np.empty(shape, dtype=object)
        for index in np.ndindex(shape):
            out[index] = point.random()
        if ref.name in assumed:
            out[..., -1, :] = point.coerce(1) - out[..., :-1, :].sum(axis=-2)
        return out

    refs = (*network.parameters.values(), *network.inputs.values())
    values = {r.name: fill(r) for r in refs}
    if cotangents is None:
        cotangents = {label: fill(ref) for label, ref in network.outputs.items()}
    else:
        cotangents = {k: np.asarray(v, dtype=object) for k, v in cotangents.items()}
    return Setting(network, known, steps, point, values, cotangents)
