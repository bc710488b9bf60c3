"""Sequences that another scan reads whole: all steps as the rows of one matrix.

Their values lie at time 0, as those of all that does not move. The adjoint of the matrix is the sum
of what the steps of its readers give; row t of it is part of the adjoint of the sequence at t.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

import numpy as np

from ..language.network import Network, Ref, Scan
from .batches import turned
from .edits import Rows

__all__ = [
    "add_rows", "row", "rows", "rows_given", "stacked", "stacked_tangents", "wholes_of",
    "wholes_read",
]  # fmt: skip

Array = Any
Run = Any  # of `evaluate`, which imports this module
Adjoints = Any  # of `editing`, which imports this module


def wholes_read(scan: Scan) -> Iterator[Ref]:
    """What a scan reads of sequences handed on whole."""
    return (o.ref for o in scan.operands.values() if o.ref.sequence is not None)


def wholes_of(network: Network, names: Collection[str]) -> Iterator[Ref]:
    """The sequences among some names that are handed on whole."""
    return (ref for ref in network.wholes.values() if ref.sequence in names)


def _steps(run: Run, ref: Ref) -> range:
    return range(1, run.steps[ref.shape.rows.lone] + 1)


def stacked(run: Run, ref: Ref) -> Array:
    """The matrix of all steps; of numbers a vector."""
    line = run.series[ref.sequence]
    steps = np.broadcast_arrays(*(line[t] for t in _steps(run, ref)))
    return np.concatenate([a if ref.shape.column else turned(a) for a in steps], axis=-2)


def row(ref: Ref, value: Array, t: int) -> Array:
    """Row t of a matrix of all steps, as the column that the step has."""
    one = value[..., t - 1 : t, :]
    return one if ref.shape.column else turned(one)


def rows(run: Run, ref: Ref, value: Array) -> Iterator[tuple[int, Array]]:
    """All rows with their steps, as columns."""
    return ((t, row(ref, value, t)) for t in _steps(run, ref))


def rows_given(value: Array, how: Rows) -> Array:
    """What steps get of a matrix of all of them, by a backward pass that gives it to others."""
    which, k = how
    count = value.shape[-2]
    place = np.arange(count)
    if which == "goes":
        source = place - k if k else count - 1 - place
        there = (source >= 0) & (source < count)
        value = value[..., np.where(there, source, 0), :]
    else:
        there = (place == (k - 1 if k > 0 else count + k)) == (which == "only")
    return np.where(there[:, None], value, np.zeros_like(value))


def add_rows(run: Run, sums: Adjoints, names: Collection[str]) -> None:
    """Give the adjoints of sequences that were handed on whole to their steps."""
    for ref in wholes_of(run.derivation.network, names):
        whole = sums.get(ref.name, 0)
        for t, part in rows(run, ref, whole) if whole is not None else ():
            sums.add(cast(str, ref.sequence), t, part, f"rows of {ref.name}")


def stacked_tangents(
    run: Run, ref: Ref, line: Mapping[int, Array], filled: Callable[..., Array]
) -> Array | None:
    """The tangent of vec of the matrix from those of the steps; None where there are none."""
    known = next((a for t, a in line.items() if t >= 1), None)
    if known is None:
        return None
    parts = [line[t] if t in line else filled(known.shape, 0) for t in _steps(run, ref)]
    made = np.stack(np.broadcast_arrays(*parts), axis=-2)  # (…, k, S, columns)
    return made.reshape(*made.shape[:-3], -1, made.shape[-1])
