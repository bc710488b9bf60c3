"""How a user's arrays hold the values of a definition: packing, transposes, signs, order of axes.

A layout is written as text, one line an array. Parameters are matrices of the definition's names,
as they would be written on paper::

    Layout(
        parameters={
            "Wx": "[U_i; U_f; U_o; U_c].T",      # gates stacked as rows, then transposed
            "b": "[b_i; b_f; b_o; b_c]",
            "bias_hh": "[b_r; -b_z; d_c]",       # a sign; a name in two arrays is their sum
            "buffer": "flat(U_i, W_i, b_i)",     # one after the other, each in row order
        },
        inputs={"x": "x: B T n", "h0": "h0: 1 B n"},
        outputs={"hs": "h: B T n", "h_last": "h_final"},
    )

Commas or spaces separate columns, semicolons rows. Everything comes down to index arrays: which
entry of the user's array is which entry of the definition's, with a sign. Values go one way by
them, gradients the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DimensionError, UsageError
from ...language.network import Network, Ref
from ...language.running import array_shape

__all__ = ["Fitted", "Layout", "Piece"]

Array = NDArray[Any]
Indices = NDArray[np.intp]
_ITEM = re.compile(r"^(-?)([A-Za-z_]\w*)((?:\.T)?)$")
_MATRIX = re.compile(r"^\[(.*)\]((?:\.T)?)(?:\s+as\s+(row|column))?$", re.S)
_FLAT = re.compile(r"^flat\((.*)\)$", re.S)
_LONE = re.compile(r"^(-?[A-Za-z_]\w*(?:\.T)?)(?:\s+as\s+(row|column))?$")


@dataclass(frozen=True)
class Layout:
    """A declared layout; see the module for the notation.

    Attributes
    ----------
    parameters, inputs, outputs : mapping
        The user's name → where it is in the definition.
    zero : sequence of str
        Parameters of the definition that the user's code does not have; they are held at zero.
        Initial states that no input names are zero as well.
    batch : int or None
        The only batch size the code takes; None: any.
    name : str
        For reports.
    """

    parameters: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    zero: Sequence[str] = ()
    batch: int | None = None
    name: str = "declared layout"

    @classmethod
    def of(cls, network: Network) -> Layout:
        """The definition's own names and shapes, ``(T, B, n)``."""
        return cls(
            {n: n for n in network.parameters},
            {n: n for n in network.inputs},
            {n: n for n in network.outputs},
            name="the definition's own names",
        )

    def fit(
        self, network: Network, sizes: Mapping[str, int], batch: int, lengths: Mapping[str, int]
    ) -> Fitted:
        """The layout for given sizes.

        Raises
        ------
        UsageError, DimensionError
            A name that the definition does not have or that the layout does not place, pieces
            that do not fit together; the message names the array.
        """
        return _fit(self, network, sizes, batch, lengths)


@dataclass(frozen=True)
class Piece:
    """One value of the definition inside one array of the user.

    ``index`` has the definition's shape and holds flat positions in the user's array.
    """

    name: str
    index: Indices
    sign: float = 1.0
    transposed: bool = False


@dataclass(frozen=True)
class Fitted:
    """A layout for given sizes: shapes of the user's arrays and the pieces they hold."""

    network: Network
    layout: Layout
    shapes: Mapping[str, tuple[int, ...]]
    pieces: Mapping[str, tuple[Piece, ...]]
    of_definition: Mapping[str, tuple[int, ...]]
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]

    def unpack(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The definition's values (or outputs) from the user's arrays, in their widest dtype."""
        out: dict[str, Array] = {}
        for user, array in arrays.items():
            flat = np.asarray(array).reshape(-1)
            for piece in self.pieces[user]:
                part = flat[piece.index]
                part = part if piece.sign > 0 else -part
                out[piece.name] = out[piece.name] + part if piece.name in out else part
        return out

    def pack(self, values: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """The user's arguments from the definition's values.

        A value that several arrays hold a part of is shared out at random, so that each part is
        looked at by itself.
        """
        holders: dict[str, int] = {}
        for user in self.arguments:
            for piece in self.pieces[user]:
                holders[piece.name] = holders.get(piece.name, 0) + 1
        left = {n: np.array(values[n], dtype=np.float64) for n in holders}
        out = {}
        for user in self.arguments:
            flat = np.zeros(int(np.prod(self.shapes[user])))
            for piece in self.pieces[user]:
                holders[piece.name] -= 1
                part = left[piece.name]
                if holders[piece.name]:
                    part = part * rng.uniform(0.2, 0.8, size=part.shape)
                    left[piece.name] = left[piece.name] - part
                flat[piece.index] = piece.sign * part
            out[user] = flat.reshape(self.shapes[user])
        return out

    def pull(self, user: str, gradients: Mapping[str, Array], *, absolute: bool = False) -> Array:
        """The gradient of one of the user's arrays from those of the definition's values.

        ``absolute`` leaves the signs out: for magnitudes.
        """
        dtype = np.result_type(np.float64, *gradients.values())
        flat = np.zeros(int(np.prod(self.shapes[user])), dtype)
        for piece in self.pieces[user]:
            if piece.name in gradients:
                sign = 1.0 if absolute else piece.sign
                flat[piece.index] += sign * gradients[piece.name]
        return flat.reshape(self.shapes[user])

    def place(self, name: str, value: Array, user: str) -> Array:
        """An output of the definition as the user hands it out."""
        flat = np.zeros(int(np.prod(self.shapes[user])), dtype=value.dtype)
        for piece in self.pieces[user]:
            if piece.name == name:
                flat[piece.index] = piece.sign * value
        return flat.reshape(self.shapes[user])

    @property
    def names(self) -> set[str]:
        """The definition's values that the arguments hold."""
        return {p.name for user in self.arguments for p in self.pieces[user]}


def _fit(
    layout: Layout,
    network: Network,
    sizes: Mapping[str, int],
    batch: int,
    lengths: Mapping[str, int],
) -> Fitted:
    inner: dict[str, tuple[int, ...]] = {}

    def shape(name: str, table: Mapping[str, Ref], user: str, what: str) -> tuple[int, ...]:
        if name not in table:
            raise UsageError(
                f"layout: {what} {user!r} names {name!r}, which {network.name!r} does not have; "
                f"it has {', '.join(table)}"
            )
        inner[name] = array_shape(table[name], sizes, batch=batch, lengths=lengths)
        return inner[name]

    shapes: dict[str, tuple[int, ...]] = {}
    pieces: dict[str, tuple[Piece, ...]] = {}
    for user, text in layout.parameters.items():

        def of_parameter(name: str, user: str = user) -> tuple[int, ...]:
            return shape(name, network.parameters, user, "parameter")

        shapes[user], pieces[user] = _matrix(user, text, of_parameter)
    for what, table, given in (
        ("input", network.inputs, layout.inputs), ("output", network.outputs, layout.outputs),
    ):  # fmt: skip
        for user, text in given.items():
            if user in shapes:
                raise UsageError(f"layout: {user!r} is declared twice; give its arrays other names")
            name, _, axes = (s.strip() for s in text.partition(":"))
            own = shape(name, table, user, what)
            shapes[user], index = _axes(user, axes, own)
            pieces[user] = (Piece(name, index),)
    fitted = Fitted(
        network, layout, shapes, pieces, inner,
        (*layout.parameters, *layout.inputs), tuple(layout.outputs),
    )  # fmt: skip
    starts = {
        i.ref.name for s in network.scans for st in s.states for i in st.initial
        if i.ref is not None and i.ref.name in network.inputs
    }  # fmt: skip
    for name in (*network.parameters, *network.inputs):
        if name not in fitted.names and name not in starts and name not in layout.zero:
            raise UsageError(
                f"layout: no array holds {name!r} of {network.name!r}; place it, or list it under "
                "zero if the code does without it"
            )
    return fitted


def _matrix(user: str, text: str, shape: Any) -> tuple[tuple[int, ...], tuple[Piece, ...]]:
    text = text.strip()
    flat = _FLAT.match(text)
    if flat:
        return _flat(user, re.split(r"[,\s]+", flat[1].strip()), shape)
    lone = _LONE.match(text)
    if lone:
        text = f"[{lone[1]}]" + (f" as {lone[2]}" if lone[2] else "")
    match = _MATRIX.match(text)
    if not match:
        raise UsageError(
            f"layout: parameter {user!r}: {text!r} is no matrix of names; write it as "
            "[U_i; U_f].T, with ; between rows, or flat(U_i, U_f)"
        )
    whole = bool(match[2])
    position = 0
    rows: list[list[tuple[str, Indices, float, bool]]] = []
    heights: list[int] = []
    for line in match[1].split(";"):
        row: list[tuple[str, Indices, float, bool]] = []
        for word in re.split(r"[,\s]+", line.strip()):
            item = _ITEM.match(word)
            if not item:
                raise UsageError(f"layout: parameter {user!r}: cannot read {word!r}")
            own = shape(item[2])
            row.append((item[2], np.zeros(own, np.intp), -1.0 if item[1] else 1.0, bool(item[3])))
        tall = {_size(part)[0] for part in row}
        if len(tall) != 1:
            raise DimensionError(
                f"layout: parameter {user!r}: the pieces of the row {line.strip()!r} have "
                f"{sorted(tall)} rows; they stand side by side and need as many"
            )
        rows.append(row)
        heights.append(tall.pop())
    widths = {sum(_size(part)[1] for part in row) for row in rows}
    if len(widths) != 1:
        raise DimensionError(
            f"layout: parameter {user!r}: its rows have {sorted(widths)} columns; pieces under "
            "each other need as many"
        )
    R, C = sum(heights), widths.pop()
    table = np.arange(R * C).reshape((C, R)).T if whole else np.arange(R * C).reshape(R, C)
    pieces = []
    top = position
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for part in row:
            width = _size(part)[1]
            block = table[top : top + height, left : left + width]
            block = block.T if part[3] else block
            pieces.append(
                Piece(part[0], block.reshape(part[1].shape).copy(), part[2], part[3] != whole)
            )
            left += width
        top += height
    outer = (C, R) if whole else (R, C)
    # A matrix of one column is a matrix still: only what the definition has as vectors is flat.
    vectors = all(part[1].ndim < 2 for row in rows for part in row)
    if 1 in outer and match[3]:
        outer = (1, R * C) if match[3] == "row" else (R * C, 1)
    elif vectors and (outer[1] == 1 or (whole and outer[0] == 1)):
        # A scalar by itself has no axis, stacked with others it is an entry of a vector.
        alone = lone is not None and rows[0][0][1].ndim == 0
        outer = () if alone else (R * C,)  # type: ignore[assignment]
    return outer, tuple(pieces)


def _size(part: tuple[str, Indices, float, bool]) -> tuple[int, int]:
    own = part[1].shape
    rows, cols = (own[0], own[1]) if len(own) == 2 else ((own[0], 1) if own else (1, 1))
    return (cols, rows) if part[3] else (rows, cols)


def _flat(user: str, words: Sequence[str], shape: Any) -> tuple[tuple[int, ...], tuple[Piece, ...]]:
    pieces, start = [], 0
    for word in words:
        item = _ITEM.match(word)
        if not item:
            raise UsageError(f"layout: parameter {user!r}: cannot read {word!r}")
        own = shape(item[2])
        size = int(np.prod(own))
        index = np.arange(start, start + size)
        index = index.reshape(own[::-1]).T if item[3] else index.reshape(own)
        pieces.append(Piece(item[2], index, -1.0 if item[1] else 1.0, bool(item[3])))
        start += size
    return (start,), tuple(pieces)


def _axes(user: str, axes: str, own: tuple[int, ...]) -> tuple[tuple[int, ...], Indices]:
    """Shape of the user's array and the index, from an order such as ``B T n``."""
    letters = {3: "TBn", 2: "Bn", 1: "B" if not axes or "n" not in axes.split() else "n"}
    have = letters.get(len(own), "")
    order = axes.split() if axes else list(have)
    known = dict(zip(have, own, strict=True))
    missing = [a for a in have if a not in order]
    if any(a not in known and a != "1" for a in order) or len(set(order) - {"1"}) != len(
        [a for a in order if a != "1"]
    ):
        raise UsageError(
            f"layout: {user!r} has axes {axes!r}; write an order of {' '.join(have)}, with 1 for "
            "an axis of length one"
        )
    if any(a != "B" or known[a] != 1 for a in missing):
        raise DimensionError(
            f"layout: {user!r} leaves out the axes {' '.join(missing)}; only B can be left out, "
            "with batch=1"
        )
    full = tuple(1 if a == "1" else known[a] for a in order)
    kept = [a for a in order if a != "1"]
    index = np.arange(int(np.prod(full))).reshape([known[a] for a in kept])
    index = index.transpose([kept.index(a) for a in have if a in kept])
    return full, np.ascontiguousarray(index.reshape(own))
