"""Sequences of different lengths one after the other in one array, with their cumulative lengths.

In a layout P is the axis on which they lie, in place of T and B, and one input has their borders::

    inputs={"q": "q: 1 P H n", "cu_seqlens": "cumulative lengths", "S0": "S0: B H n m"}

The definition runs all of them side by side, as long as the longest, with a mask that holds the
states of those that have ended; what it hands out beyond their end is zero, or the state that is
held. Arrays are cut and joined where they are given to the code and taken from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...language.network import Network, as_network
from ...language.transforms import masked
from .layout import Layout

__all__ = ["MASK", "PackedArrays", "mask_of", "segments"]

Array = NDArray[Any]
#: The definition's name for what holds the states of sequences that have ended.
MASK = "mask"
_BORDERS = re.compile(r"cumulative lengths(?:\s+as\s+(int|int32))?")


def segments(steps: int, batch: int) -> list[int]:
    """Lengths of the sequences of a batch: different ones, the last is the longest."""
    if not steps:
        return [0] * batch
    by = max(1, 2 * steps // 5)
    return [1 + (steps - 1 - (b + 1) % batch * by) % steps for b in range(batch)]


@dataclass
class PackedArrays:
    """How the arrays of a layout hold sequences one after the other.

    Attributes
    ----------
    axes : mapping
        The user's array → its axis P.
    held : frozenset
        Outputs that are states, which hold their last value.
    borders : str
        The array of cumulative lengths.
    lengths : list of int
        Of the sequences of the arrays that the code was given last.
    """

    axes: Mapping[str, int]
    held: frozenset[str]
    borders: str
    form: str = "int64"
    lengths: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, layout: Layout, network: Network) -> tuple[PackedArrays | None, Layout, Network]:
        """What a layout packs, the layout with T and B in its place, and the masked definition.

        A layout that packs nothing comes back, and so does the definition.

        Raises
        ------
        UsageError
            P without cumulative lengths or the reverse, a network of several scans.
        """
        tables = {"inputs": dict(layout.inputs), "outputs": dict(layout.outputs)}
        axes: dict[str, int] = {}
        borders, form = "", ""
        for table in tables.values():
            for user, text in table.items():
                if m := _BORDERS.fullmatch(str(text).strip()):
                    borders, form = user, "int32" if m[1] == "int32" else "int64"
                    table[user] = f"{MASK}: B T as int"
                    continue
                name, _, order = str(text).partition(":")
                words = order.split()
                if "P" in words:
                    axes[user] = words.index("P")
                    table[user] = f"{name}:{order.replace('P', 'B T')}"
        if not axes and not borders:
            return None, layout, network
        if not axes or not borders:
            lacks = "no array has the axis P" if borders else "no input is 'cumulative lengths'"
            raise UsageError(f"layout: packed sequences need both: {lacks}")
        packed = _masked(network)
        states = {s.name for scan in network.scans for s in scan.states}
        shown = {u: str(t).partition(":")[0].split() for u, t in layout.outputs.items()}
        of_state = {u for u in axes if u in shown and set(shown[u]) <= states}
        if any(set(shown.get(u, ())) & states for u in axes if u not in of_state):
            raise UsageError("layout: states and other outputs lie in one packed array")
        rectangular = replace(layout, inputs=tables["inputs"], outputs=tables["outputs"])
        return cls(axes, frozenset(of_state), borders, form), rectangular, packed

    def outward(self, name: str, array: Array) -> Array:
        """An array of the rectangular layout as the code takes it."""
        if name == self.borders:
            self.lengths = [int(n) for n in np.asarray(array).sum(axis=1)]
            return np.cumsum([0, *self.lengths]).astype(self.form)
        if name not in self.axes:
            return array
        at, steps = self.axes[name], array.shape[self.axes[name] + 1]
        flat = array.reshape(*array.shape[:at], -1, *array.shape[at + 2 :])
        return np.take(flat, self._places(steps), axis=at)

    def inward(self, name: str, array: Array, shape: tuple[int, ...]) -> Array:
        """An array of the code in the rectangular layout; one of another shape as it is."""
        if name not in self.axes:
            return array
        at = self.axes[name]
        wanted = (*shape[:at], sum(self.lengths), *shape[at + 2 :])
        if array.shape != wanted:
            return array
        steps = shape[at + 1]
        out = np.zeros((*shape[:at], shape[at] * steps, *shape[at + 2 :]), array.dtype)
        spread = np.moveaxis(out, at, 0)
        spread[self._places(steps)] = np.moveaxis(array, at, 0)
        if name in self.held:
            for b, n in enumerate(self.lengths if steps else []):
                spread[b * steps + n : (b + 1) * steps] = spread[b * steps + n - 1]
        return out.reshape(shape)

    def shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the code's array has, of one in the rectangular layout."""
        if name not in self.axes:
            return shape
        at = self.axes[name]
        return (*shape[:at], sum(self.lengths), *shape[at + 2 :])

    def _places(self, steps: int) -> Array:
        return np.array(
            [b * steps + t for b, n in enumerate(self.lengths) for t in range(n)], dtype=np.intp
        )


def mask_of(steps: int, batch: int) -> Array:
    """1 where a sequence has not ended, (steps, batch)."""
    return (np.arange(steps)[:, None] < np.array(segments(steps, batch))).astype(np.float64)


def _masked(network: Network) -> Network:
    """The definition with a mask that holds states and makes outputs zero."""
    alone = len(network.scans) == 1 and MASK not in network.scans[0].cell.shapes
    cell = network.scans[0].cell if alone else None
    if cell is None or set(as_network(cell).inputs) != set(network.inputs):
        raise UsageError(
            f"layout: packed sequences are those of one cell; network {network.name!r} has other "
            "scans or inputs. Pack the sequences of each cell by itself"
        )
    if network.scans[0].reverse:
        raise UsageError(
            f"layout: packed sequences run from their first step on; {network.name!r} runs from "
            "the last. Turn the sequences round in the code"
        )
    if max((max(lags) for lags in cell.lags.values()), default=1) > 1:
        raise UsageError(f"layout: packed sequences: {cell.name!r} reads states at several lags")
    return as_network(masked(cell, outputs=True))
