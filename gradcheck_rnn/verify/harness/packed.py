"""Sequences of different lengths one after the other in one array, with their cumulative lengths.

In a layout P is the axis on which they lie, in place of T and B, and one input has their borders::

    inputs={"q": "q: 1 P H n", "cu_seqlens": "cumulative lengths", "S0": "S0: B H n m"}

The definition runs all of them side by side, as long as the longest, with a mask that holds the
states of those that have ended, or have not begun where it runs from the last step; what it hands
out beyond their end is zero, or the state that is held. Arrays are cut and joined where they are
given to the code and taken from it.
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

__all__ = ["MASK", "PackedArrays", "segments"]

Array = NDArray[Any]
#: The definition's name for what holds the states of sequences that have ended.
MASK = "mask"
_BORDERS = re.compile(r"cumulative lengths(?:\s+as\s+(int|int32))?(,?\s+none empty)?")


def segments(steps: int, batch: int, empty: bool = True) -> list[int]:
    """Lengths of the sequences of a batch: different ones, the last is the longest.

    ``empty``: one of several may have none; not at every point, so that borders are seen, too.
    """
    if not steps:
        return [0] * batch
    by = max(1, 2 * steps // 5)
    out = [1 + (steps - 1 - (b + 1) % batch * by) % steps for b in range(batch)]
    if empty and ((batch > 2 and steps % 2) or (batch == 2 and steps == 1)):
        out[batch // 2 - 1] = 0
    return out


@dataclass
class PackedArrays:
    """How the arrays of a layout hold sequences one after the other.

    Attributes
    ----------
    axes : mapping
        The user's array → its axis P.
    held : mapping
        Outputs that are states, which hold their last value → the array that has their starts,
        with its axis of sequences; ``("", 0)`` where they start at zero.
    borders : str
        The array of cumulative lengths.
    empty : bool
        Whether a sequence may have no steps.
    reverse : bool
        Whether the definition runs from the last step.
    lengths : list of int
        Of the sequences of the arrays that the code was given last.
    """

    axes: Mapping[str, int]
    held: Mapping[str, tuple[str, int]]
    borders: str
    form: str = "int64"
    empty: bool = True
    reverse: bool = False
    lengths: list[int] = field(default_factory=list)
    _starts: dict[str, Array] = field(default_factory=dict)

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
        borders, form, empty = "", "", True
        lines = _lines(network)
        for table in tables.values():
            for user, text in table.items():
                if m := _BORDERS.fullmatch(str(text).strip()):
                    borders, form = user, "int32" if m[1] == "int32" else "int64"
                    empty = m[2] is None
                    table[user] = f"{MASK}: B T as int"
                    continue
                name, _, order = str(text).partition(":")
                words = order.split()
                if set(name.split()) & set(lines):
                    name = " ".join(lines.get(n, n) for n in name.split())
                    table[user] = f"{name}:{order}" if order else name
                if "P" in words:
                    axes[user] = words.index("P")
                    table[user] = f"{name}:{order.replace('P', 'B T')}"
        if not axes and not borders:
            return None, layout, network
        if not axes or not borders:
            lacks = "no array has the axis P" if borders else "no input is 'cumulative lengths'"
            raise UsageError(f"layout: packed sequences need both: {lacks}")
        packed = _masked(network)
        states = {s.name: s.initial for scan in packed.scans for s in scan.states}
        shown = {u: str(t).partition(":")[0].split() for u, t in tables["outputs"].items()}
        of_state = [u for u in axes if u in shown and set(shown[u]) <= set(states)]
        if any(set(shown.get(u, ())) & set(states) for u in axes if u not in of_state):
            raise UsageError("layout: states and other outputs lie in one packed array")
        held: dict[str, tuple[str, int]] = {}
        for user in of_state:
            names = [i.ref.name for n in shown[user] for i in states[n] if i.ref is not None]
            start = _start_array(names, tables["outputs"][user], tables["inputs"])
            if start is None and network.scans[0].reverse:
                raise UsageError(
                    f"layout: packed states {user!r} of sequences that run from the last step need "
                    f"their starts, {' '.join(names)}, in an array with the same order of axes"
                )
            empty = empty and start is not None
            held[user] = start or ("", 0)
        rectangular = replace(layout, inputs=tables["inputs"], outputs=tables["outputs"])
        turned = network.scans[0].reverse
        return cls(axes, held, borders, form, empty, turned), rectangular, packed

    def begin(self, arrays: Mapping[str, Array]) -> None:
        """Take lengths and starts from the arrays that the code is given."""
        self.lengths = [int(n) for n in np.asarray(arrays[self.borders]).sum(axis=1)]
        self._starts = {
            user: np.moveaxis(arrays[name], at, 0)
            for user, (name, at) in self.held.items() if name
        }  # fmt: skip

    def outward(self, name: str, array: Array) -> Array:
        """An array of the rectangular layout as the code takes it."""
        if name == self.borders:
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
                beyond = spread[b * steps + n : (b + 1) * steps]
                if n and not self.reverse:
                    beyond[:] = spread[b * steps + n - 1]
                elif name in self._starts:
                    beyond[:] = self._starts[name][b].reshape(spread.shape[1:])
        return out.reshape(shape)

    def shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the code's array has, of one in the rectangular layout."""
        if name not in self.axes:
            return shape
        at = self.axes[name]
        return (*shape[:at], sum(self.lengths), *shape[at + 2 :])

    def mask(self, steps: int, batch: int) -> Array:
        """1 where a sequence has not ended, (steps, batch)."""
        lengths = np.array(segments(steps, batch, self.empty))
        return (np.arange(steps)[:, None] < lengths).astype(np.float64)

    def _places(self, steps: int) -> Array:
        return np.array(
            [b * steps + t for b, n in enumerate(self.lengths) for t in range(n)], dtype=np.intp
        )


def _lines(network: Network) -> dict[str, str]:
    """Starts of states that are read at several lags → what the masked definition calls them."""
    out: dict[str, str] = {}
    for scan in network.scans:
        for state in scan.states:
            for start in state.initial if max(state.lags) > 1 else ():
                if start.ref is not None:
                    back = f"_back{start.lag - 1}" if start.lag > 1 else ""
                    out[start.ref.name] = f"{state.name}{back}0"
    return out


def _start_array(names: list[str], text: Any, inputs: Mapping[str, Any]) -> tuple[str, int] | None:
    """The input that has starts in the order of axes of a packed output, and its axis of sequences.

    ``("", 0)`` if no input has one of them; None if they lie in another order.
    """
    order = [w for w in str(text).partition(":")[2].split() if w not in ("T", "1")]
    met = False
    for user, given in inputs.items():
        found, _, axes = str(given).partition(":")
        words = axes.split()
        met = met or bool(set(found.split()) & set(names))
        if found.split() == names and [w for w in words if w != "1"] == order:
            return user, words.index("B")
    return None if met else ("", 0)


def _masked(network: Network) -> Network:
    """The definition with a mask that holds states and makes outputs zero."""
    alone = len(network.scans) == 1 and MASK not in network.scans[0].cell.shapes
    cell = network.scans[0].cell if alone else None
    if cell is None or set(as_network(cell).inputs) != set(network.inputs):
        raise UsageError(
            f"layout: packed sequences are those of one cell; network {network.name!r} has other "
            "scans or inputs. Pack the sequences of each cell by itself"
        )
    return as_network(masked(cell, outputs=True), reverse=network.scans[0].reverse)
