"""A point at which a network is checked: sizes, values, and the part it plays in a check.

Equal sizes hide transposes and a single step hides the carry, so in a drawn one all dims, the batch
and the lengths of time are pairwise different, and every initial state is there and not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..language.dims import Dim
from ..language.domains import Domain
from ..language.network import Network, Ref
from ..language.running import array_shape, to_columns
from ..streams import Stream, generator

__all__ = ["Point", "Role", "draw_point"]

Array = NDArray[Any]
DIFFERENTIATED = ("param", "input", "static")
DATA = ("data", "static_data")
FEWEST = {"d": 2, "p": 3, "q": 4}
#: Below these are the sizes of further shapes, before they are told apart.
LARGEST = {"p": 9, "d": 7, "q": 6, "T": 12, "t": 12, "B": 5}
STEPS = 4
#: Share of the entries of data of no declared domain that are zero.
ZEROS = 0.25


class Role(StrEnum):
    """What a point is there for."""

    ONE_STEP = "one step"
    SHORT = "short"
    ORDINARY = "ordinary"
    LONG = "long"
    ONE_SEQUENCE = "one sequence"
    SATURATED = "saturated"
    ZEROS = "rows of zeros"
    REVERSED = "sizes in the other order"
    SIZE = "size"
    VECTORS = "vectors"


@dataclass(eq=False)
class Point:
    """A network and an array for everything that it is given.

    Attributes
    ----------
    values : mapping
        Parameter or input → array: ``(n, m)``, ``(n,)``, ``(B, n)`` or ``(T, B, n)``.
    sizes, lengths : mapping
        Dim → size; time axis → steps.
    batch : int
        Sequences.
    role : Role
        What it is there for.
    label : str
        Its name in a report, by default that of the role.
    single_steps : bool
        Whether every step gets a cotangent of its own.
    without_zeros : mapping
        Of a point with exact zeros: what has none, and why.
    """

    network: Network
    values: Mapping[str, Array]
    sizes: Mapping[str, int]
    lengths: Mapping[str, int]
    batch: int
    role: Role = Role.ORDINARY
    label: str = ""
    single_steps: bool = False
    without_zeros: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.label = self.label or str(self.role)

    @property
    def empty(self) -> bool:
        """Whether there is a time axis of no steps, or no sequence."""
        return 0 in self.lengths.values() or not self.batch

    @property
    def steps(self) -> int:
        """Steps of the longest time axis; 1 where there is none."""
        return max(self.lengths.values(), default=1)

    @property
    def differentiated(self) -> dict[str, Array]:
        """What has a gradient: parameters, inputs and initial states."""
        return {n: a for n, a in self.values.items() if self.ref(n).kind in DIFFERENTIATED}

    def ref(self, name: str) -> Ref:
        """The declaration of a parameter or input."""
        network = self.network
        return network.parameters[name] if name in network.parameters else network.inputs[name]

    def split(self, values: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Values as the two dicts a kernel takes: parameters, inputs."""
        return (
            {n: values[n] for n in self.network.parameters},
            {n: values[n] for n in self.network.inputs},
        )

    def columns(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Values as a definition takes them, ``(…, n, B)``."""
        return {n: to_columns(self.ref(n), a) for n, a in values.items()}


def draw_point(
    network: Network, seed: int, shape: int = 0, sizes: Mapping[str, int] | None = None
) -> Point:
    """Draw a point in the ordinary regime: nothing saturated, nothing vanishing.

    Parameters
    ----------
    network : Network
        What is to be checked.
    seed : int
        It repeats the point.
    shape : int
        0 takes the smallest sizes that tell the dims apart; every other number draws sizes of its
        own, single steps, sequences and units among them.
    sizes : mapping, optional
        Sizes that are wanted exactly: of dims, of time axes, of the batch as ``"B"``.

    Returns
    -------
    Point
        Values in float64, inside the domains that the cells declare.

    Raises
    ------
    UsageError
        `sizes` names something else.
    """
    rng = generator(seed, Stream.POINT)
    least = _least(network, shape)
    wanted = dict(sizes or {})
    known = (*network.dims, *network.axes, "B")
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"network {network.name!r} has no size {name!r}; there are {', '.join(known)}"
            )
    sizes, taken = _sizes(network, least)
    lengths, batch = {}, _unused(taken, least.get("B", 2))
    for axis in network.axes:
        lags = [max(s.lags) for scan in network.scans if scan.axis == axis for s in scan.states]
        lengths[axis] = _unused(
            taken, max([least.get(axis, STEPS), *(k + 2 for k in lags if not shape)])
        )
    sizes = {n: wanted.get(n, size) for n, size in sizes.items()}
    lengths = {n: wanted.get(n, steps) for n, steps in lengths.items()}
    batch = wanted.get("B", batch)
    domains = network.domains
    values = {
        ref.name: _draw(
            ref,
            array_shape(ref, sizes, batch=batch, lengths=lengths),
            domains.get(ref.name),
            rng,
        )
        for ref in (*network.parameters.values(), *network.inputs.values())
    }
    return Point(network, values, sizes, lengths, batch)


def _draw(
    ref: Ref, shape: tuple[int, ...], domain: Domain | None, rng: np.random.Generator
) -> Array:
    if domain is not None:
        return domain.draw(rng, shape, data=ref.kind in DATA)
    array = np.asarray(rng.standard_normal(shape))
    if ref.kind in ("param", "fixed"):
        # Products of many weights neither saturate the units that they feed nor leave them linear.
        return array / np.sqrt(shape[-1]) if len(shape) > 1 else 0.5 * array
    if ref.kind in DATA:
        return array * (rng.random(shape) >= ZEROS)
    return array


def _least(network: Network, shape: int) -> dict[str, int]:
    """Sizes to start from: dims by name, time axes by name, ``"B"``."""
    if not shape:
        return FEWEST
    rng = generator(shape, Stream.SHAPE)
    # Of all networks the same stream, so that one shape of two cells can be compared.
    drawn = {n: int(rng.integers(1, most)) for n, most in LARGEST.items()}
    others = sorted(n for n in (*network.dims, *network.axes) if n not in drawn)
    return {**drawn, **{n: int(rng.integers(1, 6)) for n in others}}


def _sizes(network: Network, least: Mapping[str, int]) -> tuple[dict[str, int], set[int]]:
    """Dim → size, and all sizes in use, those of sums and multiples (``4*p``) among them."""
    refs = (*network.parameters.values(), *network.inputs.values())
    shapes = [r.shape for r in refs] + [e.shape for s in network.scans for e in s.equations]
    dims = {dim for shape in shapes for dim in (shape.heads, shape.rows, shape.cols)}
    sizes: dict[str, int] = {}
    for name in sorted(network.dims, key=lambda n: (n not in FEWEST, network.dims.index(n))):
        candidate = least.get(name, 2)
        while _clash(dims, {**sizes, name: candidate}):
            candidate += 1
        sizes[name] = candidate
    return sizes, set(_known(dims, sizes))


def _known(dims: set[Dim], sizes: Mapping[str, int]) -> list[int]:
    return [dim.size(sizes) for dim in dims if all(n in sizes for n in dim.names)]


def _clash(dims: set[Dim], sizes: Mapping[str, int]) -> bool:
    known = _known(dims, sizes)
    return len(set(known)) < len(known)


def _unused(taken: set[int], least: int) -> int:
    """The smallest number from `least` on that is no size yet; it is one from now on."""
    while least in taken:
        least += 1
    taken.add(least)
    return least
