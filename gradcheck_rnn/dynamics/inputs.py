"""Input sequences that are made as they are needed: given arrays, random numbers, text, CSV.

A source hands out segments of time, so that a run over T steps holds one segment, not T steps.
Random segments are keyed by (seed, block number): they are the same in whatever order a backward
pass asks for them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import reading
from ..checks import shown
from ..errors import DimensionError, UsageError
from ..language.domains import Domain
from ..language.network import Network
from ..language.values import Expr

__all__ = [
    "Given",
    "InputSource",
    "OneHot",
    "RandomInputs",
    "Rows",
    "from_file",
    "loss_data",
    "read_csv",
    "read_text",
]

Array = np.ndarray[Any, Any]
BLOCK = 256


class InputSource(Protocol):
    """A sequence of vectors of one input."""

    width: int
    steps: int | None  # None: as many as are asked for

    def block(self, start: int, stop: int) -> Array:
        """Steps start … stop − 1 as ``(stop − start, width)``."""
        ...


class Given:
    """A sequence that is held as an array ``(T, d)``, or ``(T, H, n, m)`` of matrices or heads."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array, dtype=float)
        if self.array.ndim < 2:
            raise DimensionError(
                f"an input sequence has shape (T, d); this one has shape {self.array.shape}"
            )
        self.array = self.array.reshape(len(self.array), math.prod(self.array.shape[1:]))
        if not np.isfinite(self.array).all():
            bad = int(np.argwhere(~np.isfinite(self.array).all(axis=1))[0, 0])
            raise UsageError(f"the input sequence is not finite, first at step {bad}")
        self.steps: int | None = len(self.array)
        self.width = self.array.shape[1]

    def block(self, start: int, stop: int) -> Array:
        return self.array[start:stop]


class Rows:
    """Rows of a table by number: the embeddings of a sequence of symbols.

    Parameters
    ----------
    ids : array of int, ``(T,)``
    table : array ``(symbols, width)``
    """

    def __init__(self, ids: Any, table: Array) -> None:
        self.ids, self.table = np.asarray(ids, dtype=np.int64), table
        self.width = table.shape[1]
        self.steps: int | None = len(self.ids)

    def block(self, start: int, stop: int) -> Array:
        return self.table[self.ids[start:stop]]


class OneHot:
    """One-hot vectors of a sequence of symbol numbers.

    Parameters
    ----------
    ids : array of int, ``(T,)``
    width : int
        Number of symbols.
    """

    def __init__(self, ids: Any, width: int) -> None:
        self.ids = np.asarray(ids, dtype=np.int64)
        self.width = width
        self.steps: int | None = len(self.ids)

    def block(self, start: int, stop: int) -> Array:
        ids = self.ids[start:stop]
        out = np.zeros((len(ids), self.width))
        out[np.arange(len(ids)), ids] = 1.0
        return out


class RandomInputs:
    """Independent draws without end.

    Parameters
    ----------
    scale : float
        Standard deviation of normal numbers.
    domain : Domain, optional
        Where the values lie; they are then drawn from it, whatever the scale.
    """

    def __init__(
        self,
        width: int,
        *,
        scale: float = 1.0,
        seed: int = 0,
        domain: Domain | None = None,
    ) -> None:
        self.width, self.scale, self.seed = width, scale, seed
        self.domain = domain
        self.steps: int | None = None

    def _whole(self, number: int) -> Array:
        rng = np.random.default_rng([self.seed, number])
        if self.domain is not None:
            return self.domain.draw(rng, (BLOCK, self.width), data=True)
        return np.asarray(self.scale * rng.standard_normal((BLOCK, self.width)))

    def block(self, start: int, stop: int) -> Array:
        first, last = start // BLOCK, math.ceil(stop / BLOCK)
        if first >= last:
            return np.zeros((0, self.width))
        whole = np.concatenate([self._whole(k) for k in range(first, last)])
        return whole[start - first * BLOCK : stop - first * BLOCK]


def read_text(path: Path) -> tuple[Array, str]:
    """The characters of a text as numbers, and the alphabet in code-point order.

    Raises
    ------
    UsageError
        The file is missing, not UTF-8, or shorter than two characters.
    """
    text = reading.read_text(path, "input file", factor=64)
    if len(text) < 2:
        raise UsageError(f"{path} has {len(text)} characters; a sequence needs at least two")
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    letters, ids = np.unique(points, return_inverse=True)
    return ids, "".join(chr(c) for c in letters)


def read_csv(path: Path) -> Array:
    """The numbers of a CSV file as ``(T, d)``; one line of column titles is allowed.

    Raises
    ------
    UsageError
        The file is missing, a line has another number of columns, or a cell is not a number.
    """
    text = reading.read_text(path, "input file", factor=64).removeprefix("\ufeff")
    try:
        rows = enumerate(csv.reader(io.StringIO(text, newline="")), 1)
        lines = [(i, row) for i, row in rows if any(row)]
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV text: {error}") from error
    if lines and not any(_is_number(c) for c in lines[0][1]):
        lines = lines[1:]
    if not lines:
        raise UsageError(f"{path} has no rows of numbers")
    width = len(lines[0][1])
    out = np.empty((len(lines), width))
    for k, (number, row) in enumerate(lines):
        if len(row) != width:
            raise UsageError(f"{path}:{number}: {len(row)} columns, the rows before have {width}")
        for j, c in enumerate(row):
            if not _is_number(c) or not math.isfinite(float(c)):
                raise UsageError(
                    f"{path}:{number}: column {j + 1} is {shown(c)}, not a finite number"
                )
            out[k, j] = float(c)
    return out


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def from_file(path: Path, width: int | None = None) -> Mapping[str, InputSource]:
    """The input and target sequences in a file.

    A text becomes one-hot characters, its target the next character; a CSV file its rows,
    standardised by column (scale matters for saturation; the raw scale of a table is arbitrary),
    its target the next row.

    Parameters
    ----------
    width : int, optional
        The input dim the weights have. A text with fewer symbols leaves the others unused.

    Raises
    ------
    UsageError
        An unknown suffix, an unreadable file, or more symbols or columns than `width`.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        table = read_csv(path)
        if width is not None and table.shape[1] != width:
            raise UsageError(f"{path} has {table.shape[1]} columns, the model's input has {width}")
        # Columns are brought to size 1 first: their squares must not overflow.
        largest = np.abs(table).max(axis=0)
        table = table / np.where(largest > 0, largest, 1.0)
        spread = table.std(axis=0)
        rows = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        if len(rows) < 2:
            raise UsageError(f"{path} has one row; a sequence needs at least two")
        return {"x": Given(rows[:-1]), "target": Given(rows[1:])}
    if suffix not in (".txt", ".md", ".text", ""):
        raise UsageError(f"{path}: inputs are .txt or .csv files, not {suffix!r}")
    ids, letters = read_text(path)
    n = len(letters) if width is None else width
    if len(letters) > n:
        raise UsageError(
            f"{path} has {len(letters)} different characters, the model's input has {n}"
        )
    return {"x": OneHot(ids[:-1], n), "target": OneHot(ids[1:], n)}


def loss_data(network: Network) -> list[str]:
    """Data sequences that nothing but the loss depends on: its targets.

    Parameters
    ----------
    network : Network
        The network, with its loss; without one it has no such data.

    Returns
    -------
    list of str
        Names of inputs, in the network's order.
    """
    read = {
        e.name: set(_symbols(e.rhs)) for scan in network.scans for e in scan.equations
    }  # what each equation reads, by name

    def behind(names: Iterable[str]) -> set[str]:
        """All that these values depend on, themselves among it."""
        found: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += read.get(name, ())
        return found

    loss = behind(r.maker for r in network.loss_terms)
    states = {s.name for scan in network.scans for s in scan.states}
    summed = {r.name for r in network.loss_terms}
    shown = {r.maker for r in network.outputs.values() if r.name not in summed}
    other = behind(states | shown)
    return [
        n for n, r in network.inputs.items()
        if r.kind == "data" and r.axis is not None and n in loss and n not in other
    ]  # fmt: skip


def _symbols(e: Expr) -> Iterator[str]:
    """Names of the leaves of a right-hand side."""
    left = [e]
    while left:
        node = left.pop()
        if node.op == "symbol":
            yield node.symbol.name
        left += node.args
