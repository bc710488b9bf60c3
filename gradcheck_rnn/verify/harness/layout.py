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

Inputs can also come in other numbers::

    inputs={
        "y": "labels of target: T B",        # the class instead of the one-hot vector
        "m": "mask: T B as bool",            # a 0/1 value as booleans; also int, int32, uint8
    }

which says of the definition's value that it is one-hot, or 0/1: points are drawn so. A vector that
the code holds as a matrix is ``"b as column"`` or ``"b as row"``.

Values of one shape in one array (states of several layers, matrices of several gates) are named one
after the other, with L for their axis::

    inputs={"h_0": "h_l00 h_l10: L B n"}, parameters={"R": "R_i R_f: L H n m"}

The axes of a matrix for every sequence have the names of its dims (n and m where they have none
of their own, or the same): where the definition says ``S: n m``, ``"state": "S0: B m n"`` is held
transposed. The axis of heads has the name of its dim, of parameters too, and two axes can be held
as one::

    inputs={"q": "q: B H T n", "k": "k: B T H*n", "state": "S0: B H n m"},
    parameters={"w_q": "W_q: H*n d"},        # without an order: (H, n, d)

Sequences of different lengths lie one after the other along P, with their borders beside them
(see `packed`)::

    inputs={"q": "q: 1 P H n", "cu_seqlens": "cumulative lengths", "S0": "S0: B H n m"}

Commas or spaces separate columns, semicolons rows. Everything comes down to index arrays: which
entry of the user's array is which entry of the definition's, with a sign. Values go one way by
them, gradients the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import check_placed
from ...errors import DefinitionError, DimensionError, UsageError
from ...language.network import Network, Ref
from ...language.running import array_shape
from .fitted import Fitted, Placed

__all__ = ["Fitted", "Layout", "Placed", "axes_of", "order_of"]

Array = NDArray[Any]
Indices = NDArray[np.intp]
_ITEM = re.compile(r"^(-?)([A-Za-z_]\w*)((?:\.T)?)$")
_MATRIX = re.compile(r"^\[(.*)\]((?:\.T)?)(?:\s+as\s+(row|column))?$", re.S)
_FLAT = re.compile(r"^flat\((.*)\)$", re.S)
_LABELS = re.compile(r"^labels\s+of\s+([A-Za-z_]\w*)$")
_AS = re.compile(r"^(.*?)\s*\bas\s+(\w+)$")
#: Formats of whole numbers and bits that an input can be declared in.
FORMATS = ("bool", "int", "int32", "uint8")
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
    adjoints : mapping
        An adjoint that is handed over → the equations it holds, one after the other along n, and
        its axes: ``"a_i a_f a_o a_c: T B n"``. ``da_i``, ``delta_c`` need no entry.
    """

    parameters: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    zero: Sequence[str] = ()
    batch: int | None = None
    name: str = "declared layout"
    adjoints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_placed(vars(self))

    @classmethod
    def of(cls, network: Network) -> Layout:
        """The definition's own names and shapes, ``(T, B, n)``."""
        return cls(
            {n: n for n in network.parameters},
            {n: n for n in network.inputs},
            {n: n for n in network.outputs},
            name="the definition's own names",
        )

    def narrowed(self, network: Network) -> Network:
        """The network with its inputs in the domains that labels and whole numbers tell of.

        Raises
        ------
        UsageError
            A declared domain that is no such thing.
        """
        told: dict[str, str] = {}
        for user, text in self.inputs.items():
            name, labels, _, form = _input(user, text)
            known = network.domains.get(name)
            if labels:
                told[name] = "one-hot"
            elif form == "bool":
                told[name] = "0/1"
            elif form and (known is None or known.kind not in ("integers", "one-hot")):
                said = f"is declared {known}" if known else "has no declared domain"
                raise UsageError(
                    f"layout: {user!r} holds {name!r} as {form}, but {name!r} {said}; declare it "
                    f'in the definition, as domains={{{name!r}: "0/1"}} or "integers 0..9"'
                )
        told = {n: d for n, d in told.items() if n in network.inputs}
        if not told:
            return network
        try:
            return network.narrowed(told)
        except DefinitionError as problem:
            raise UsageError(f"layout: {problem}") from None

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
        if any(str(t).startswith("cumulative lengths") for t in self.inputs.values()):
            raise UsageError("layout: packed sequences are for check_model; here all have a length")
        return _fit(self, network, sizes, batch, lengths)


def _way_out(name: str, table: Mapping[str, Ref]) -> str:
    """The way out where a definition has layers of its own, and the layout is of a library's."""
    if f"{name.partition('_l')[0]}_1" not in table:
        return ""
    return (
        "; a layout with layers is of one cell, which is stacked for it: lstm with 'pytorch lstm "
        "num_layers=2', in Python layers('lstm', 2)"
    )


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
                f"it has {', '.join(table)}{_way_out(name, table)}"
            )
        inner[name] = array_shape(table[name], sizes, batch=batch, lengths=lengths)
        return inner[name]

    shapes: dict[str, tuple[int, ...]] = {}
    pieces: dict[str, tuple[Placed, ...]] = {}
    held_labels: dict[str, Placed] = {}
    formats: dict[str, str] = {}
    for user, text in layout.parameters.items():

        def of_parameter(name: str, user: str = user) -> tuple[int, ...]:
            return shape(name, network.parameters, user, "parameter")

        name, _, order = (s.strip() for s in str(text).partition(":"))
        if len(name.split()) > 1 and order:
            table = network.parameters
            shapes[user], pieces[user] = _layered(user, name, order, table, "parameter", shape)
            continue
        parameter = network.parameters.get(name)
        if parameter is not None and (order or parameter.shape.headed):
            own = of_parameter(name)
            shapes[user], index = order_of(user, order, own, axes_of(parameter), parameter)
            pieces[user] = (Placed(name, index),)
        else:
            shapes[user], pieces[user] = _matrix(user, text, of_parameter)
    for what, table, given in (
        ("input", network.inputs, layout.inputs), ("output", network.outputs, layout.outputs),
    ):  # fmt: skip
        for user, text in given.items():
            if user in shapes:
                raise UsageError(f"layout: {user!r} is declared twice; give its arrays other names")
            name, labels, axes, form = _input(user, text)
            if len(name.split()) > 1:
                shapes[user], pieces[user] = _layered(user, name, axes, table, what, shape)
                continue
            if what == "output" and (labels or form):
                raise UsageError(f"layout: output {user!r}: {text!r} is a form of inputs only")
            own = shape(name, table, user, what)
            ref = table[name]
            have = axes_of(ref)
            if labels:
                if "n" not in have or ref.kind not in ("data", "static_data"):
                    raise UsageError(
                        f"layout: {user!r} holds labels of {name!r}, which is "
                        + ("a scalar" if "n" not in have else "differentiated: declare it as data")
                    )
                shapes[user], index = order_of(user, axes, own[:-1], have[:-1], ref)
                held_labels[user], pieces[user] = Placed(name, index), ()
                formats[user] = form or "int64"
                continue
            if form and ref.kind not in ("data", "static_data"):
                raise UsageError(
                    f"layout: {user!r} holds {name!r} as {form}, but {name!r} is differentiated; "
                    "declare it as data in the definition"
                )
            shapes[user], index = order_of(user, axes, own, have, ref)
            pieces[user] = (Placed(name, index),)
            if form:
                formats[user] = form
    fitted = Fitted(
        network, layout, shapes, pieces, inner,
        (*layout.parameters, *layout.inputs), tuple(layout.outputs), held_labels, formats,
    )  # fmt: skip
    starts = {
        i.ref.name for s in network.scans for st in s.states for i in st.initial
        if i.ref is not None and i.ref.name in network.inputs
    }  # fmt: skip
    starts |= {n for n, domain in network.domains.items() if domain.kind == "given"}
    for name in (*network.parameters, *network.inputs):
        if name not in fitted.names and name not in starts and name not in layout.zero:
            raise UsageError(
                f"layout: no array holds {name!r} of {network.name!r}; place it, or list it under "
                "zero if the code does without it"
            )
    return fitted


def _layered(
    user: str, names: str, axes: str, table: Mapping[str, Ref], what: str, shape: Any
) -> tuple[tuple[int, ...], tuple[Placed, ...]]:
    """Values of one shape along an axis L of their own."""
    owns = [shape(n, table, user, what) for n in names.split()]
    if len(set(owns)) > 1:
        raise DimensionError(
            f"layout: {user!r} holds {', '.join(names.split())} along L, which have the shapes "
            f"{', '.join(map(str, owns))}; give those of other sizes arrays of their own"
        )
    ref = table[names.split()[0]]
    full, index = order_of(user, axes, (len(owns), *owns[0]), ("L", *axes_of(ref)), ref)
    return full, tuple(Placed(n, index[k]) for k, n in enumerate(names.split()))


def _matrix(user: str, text: str, shape: Any) -> tuple[tuple[int, ...], tuple[Placed, ...]]:
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
            "[U_i; U_f].T, with ; between rows, or flat(U_i, U_f); a vector held as (n, 1) is "
            "'b as column', as (1, n) 'b as row'"
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
                Placed(part[0], block.reshape(part[1].shape).copy(), part[2], part[3] != whole)
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


def _flat(
    user: str, words: Sequence[str], shape: Any
) -> tuple[tuple[int, ...], tuple[Placed, ...]]:
    pieces, start = [], 0
    for word in words:
        item = _ITEM.match(word)
        if not item:
            raise UsageError(f"layout: parameter {user!r}: cannot read {word!r}")
        own = shape(item[2])
        size = int(np.prod(own))
        index = np.arange(start, start + size)
        index = index.reshape(own[::-1]).T if item[3] else index.reshape(own)
        pieces.append(Placed(item[2], index, -1.0 if item[1] else 1.0, bool(item[3])))
        start += size
    return (start,), tuple(pieces)


def _input(user: str, text: str) -> tuple[str, bool, str, str]:
    """Parts of ``"labels of target: T B as int32"``: name, whether labels, axes, format."""
    if not isinstance(text, str):
        raise UsageError(
            f"layout: {user!r} is {type(text).__name__}; write text such as 'x: T B n'"
        )
    body, form = text.strip(), ""
    if match := _AS.match(body):
        body, form = match[1].strip(), match[2]
        if form not in FORMATS:
            raise UsageError(
                f"layout: {user!r} is declared as {form!r}; inputs can be as {', '.join(FORMATS)}"
                + (", and parameters as row or column" if form in ("row", "column") else "")
            )
    name, _, axes = (s.strip() for s in body.partition(":"))
    labels = _LABELS.match(name)
    if labels and form == "bool":
        raise UsageError(f"layout: {user!r}: labels are whole numbers, not bool")
    return (labels[1] if labels else name), labels is not None, axes, form


def axes_of(ref: Ref) -> tuple[str, ...]:
    """The axes of a value: of ``T B n``, those it has; of a matrix its dims; heads before them."""
    lead: tuple[str, ...] = ()
    if ref.shape.batch or ref.kind in ("sequence", "final", "once"):
        lead = ("T", "B") if ref.axis else ("B",)
    if ref.shape.headed:
        lead = (*lead, ref.shape.heads.lone or "H")
    if ref.shape.column:
        return lead if ref.shape.scalar else (*lead, "n")
    rows, cols = ref.shape.rows.lone, ref.shape.cols.lone
    named = rows is not None and cols is not None and rows != cols
    return (*lead, rows, cols) if named else (*lead, "n", "m")  # type: ignore[arg-type]


def order_of(
    user: str, axes: str, own: tuple[int, ...], have: tuple[str, ...], ref: Ref
) -> tuple[tuple[int, ...], Indices]:
    """Shape of the user's array and the index, from an order such as ``B T n``.

    ``own`` and ``have`` are the shape and the names of the axes of the definition's value.
    """
    order = [a.split("*") for a in axes.replace(" * ", "*").split()] or [[a] for a in have]
    order = [["T" if ref.axis and a == ref.axis else a for a in joined] for joined in order]
    if ref.shape.column and ref.shape.rows.product:  # n*m is what it is declared
        order = [["n"] if "*".join(sorted(a)) == str(ref.shape.rows) else a for a in order]
    known = dict(zip(have, own, strict=True))
    named = [a for joined in order for a in joined if a != "1"]
    missing = [a for a in have if a not in named]
    if any(a not in known for a in named) or len(set(named)) != len(named):
        raise UsageError(
            f"layout: {user!r} has axes {axes!r}; write an order of {' '.join(have)}, with 1 for "
            "an axis of length one and H*n for two in one" + _hint(ref, have, named)
        )
    if any(a != "B" or known[a] != 1 for a in missing):
        raise DimensionError(
            f"layout: {user!r} leaves out the axes {' '.join(missing)}; only B can be left out, "
            "with batch=1" + _hint(ref, have, named)
        )
    full = tuple(math.prod(known.get(a, 1) for a in joined) for joined in order)
    index = np.arange(int(np.prod(full))).reshape([known[a] for a in named])
    index = index.transpose([named.index(a) for a in have if a in named])
    return full, np.ascontiguousarray(index.reshape(own))


def _hint(ref: Ref, have: tuple[str, ...], named: Sequence[str]) -> str:
    """What to write for a scalar a step, and for a class in place of a vector."""
    if "n" in named and "n" not in have:
        return (
            f"; {ref.name!r} is one number a step, so an array of one unit is "
            f"'{ref.name}: {' '.join(have)} 1'"
        )
    if "n" in have and "n" not in named and ref.kind in ("data", "static_data"):
        return f"; for classes in place of vectors write 'labels of {ref.name}: {' '.join(named)}'"
    return ""
