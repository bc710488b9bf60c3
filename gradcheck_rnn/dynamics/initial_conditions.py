"""Where a trajectory starts: as the definition says, at random, or at given arrays.

Lyapunov exponents are those of what a trajectory settles on. A start that is a fixed point, such as
zero in h = J tanh(h₋), is never left, however unstable it is, and shows its own Jacobian only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_path, shown
from ..errors import DimensionError, UsageError
from ..language.dims import ONE
from ..language.scans import State
from ..language.stacks import entries_of
from ..streams import Stream, generator
from .entry_columns import from_blocks
from .system import Model
from .weights import read_weights

__all__ = ["Start", "read_start", "started"]

Array = np.ndarray[Any, Any]
#: "zeros", "drawn", or arrays by the name of a state or of its initial value.
Start = str | Mapping[str, Array]


def read_start(start: str | os.PathLike[str] | Mapping[str, Any]) -> Start:
    """What a caller says of the start: a word, a file of arrays, or arrays.

    Raises
    ------
    UsageError
        It is something else, or the file cannot be read.
    """
    if isinstance(start, str) and start in ("zeros", "drawn"):
        return start
    if isinstance(start, Mapping):
        return {n: np.asarray(a, dtype=float) for n, a in start.items()}
    if isinstance(start, str) and not Path(start).suffix:
        raise UsageError(f"start is {shown(start)}; give zeros, drawn, or a file such as start.npz")
    return read_weights(check_path(start, "start"))


def started(model: Model, start: Start, seed: int) -> Model:
    """The model with its trajectory's start.

    Parameters
    ----------
    start : str or mapping
        From `read_start`. An array is ``(n,)``, or ``(n, m)`` of a matrix, with the heads in front,
        and ``(lags, n)`` for a state that is read at several lags, lag 1 first; states that are not
        named start as the definition says.
    seed : int
        Of a drawn start: N(0, 1), or its absolute value above the bound of an initial state that
        has one.

    Raises
    ------
    UsageError, DimensionError
        No state has that name, or another shape.
    """
    if isinstance(start, str) and start == "zeros":
        return model
    states = {s.name: s for p in model.derivation.scans for s in p.scan.states}
    # Initial values that another scan computes (a decoder's) are not the user's to choose.
    computed = {
        n for n, s in states.items()
        if any(i.ref is not None and i.ref.name not in model.values for i in s.initial)
    }  # fmt: skip
    first: dict[str, Array] = {}
    if isinstance(start, str):
        for k, (name, state) in enumerate(states.items()):
            if name not in computed:
                size = entries_of(state.shape, model.sizes)
                rng = generator(seed, Stream.INITIAL_STATES, k)
                first[name] = rng.standard_normal((size, max(state.lags)))
                domains = [
                    model.network.domains[i.ref.name] for i in state.initial
                    if i.ref is not None and i.ref.name in model.network.domains
                ]  # fmt: skip
                if domains:
                    shape = (max(state.lags), size)
                    first[name] = domains[0].draw(rng, shape, data=False).T
        return _with_first(model, first)
    by_start = {
        i.ref.name: n
        for n, s in states.items()
        for i in s.initial
        if i.ref is not None and i.lag == 1
    }
    for given, array in start.items():
        name = by_start.get(given, given)
        if name not in states or name in computed:
            known = ", ".join(n for n in states if n not in computed) or "none"
            raise UsageError(
                f"{model.network.name!r} has no state {given!r} to start; it has {known}"
            )
        first[name] = _column(given, array, states[name], model.sizes)
    return _with_first(model, first)


def _with_first(model: Model, first: Mapping[str, Array]) -> Model:
    """The model with other starts; the derivation is kept."""
    made = replace(model, first=first)
    made.__dict__["derivation"] = model.derivation
    return made


def _column(name: str, array: Array, state: State, sizes: Mapping[str, int]) -> Array:
    """One start as ``(size, depth)``, the last step before the first one last."""
    if not np.isfinite(array).all():
        raise UsageError(f"the start {name!r} has values that are not finite")
    one, most = tuple(d.size(sizes) for d in state.shape.axes or (ONE,)), max(state.lags)
    rows = array[None] if array.shape == one else array
    if array.shape == (*one, 1):
        rows = array[None, ..., 0]
    if rows.shape[1:] != one or not 0 < len(rows) <= most:
        wanted = one if most == 1 else (most, *one)
        raise DimensionError(f"the start {name!r} has shape {array.shape}, expected {wanted}")
    return np.asarray(from_blocks(rows[::-1], state.shape, sizes), dtype=float)
