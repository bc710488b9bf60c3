"""Run a network on arrays by calling its definitions step by step: the forward oracle.

Nothing here is derived or generated. Arrays are ``(…, n, B)`` a step, a matrix for every sequence
``(…, n, m, B)``, what every head has ``(…, H, n, m, B)``; a sequence has time first,
``(T, …, n, B)``. `to_columns` and `to_rows` translate from and to the public ``(T, B, n)`` and
``(T, B, n, m)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DimensionError, UsageError
from .dims import ONE, Dim
from .network import Network, Ref, Scan

__all__ = ["array_shape", "run", "sizes_of", "to_columns", "to_rows"]

Array = np.ndarray[Any, Any]


def array_shape(
    ref: Ref, sizes: Mapping[str, int], *, batch: int, lengths: Mapping[str, int]
) -> tuple[int, ...]:
    """Shape of a value in the public layout: ``(T, B, n)``, ``(B, n)``, ``(n, m)``, ``(n,)``."""
    own = tuple(d.size({**sizes, **lengths}) for d in ref.shape.axes)
    if ref.shape.batch or ref.kind in ("sequence", "final", "once"):
        return (lengths[ref.axis], batch, *own) if ref.axis else (batch, *own)
    return own


def to_columns(ref: Ref, array: Any) -> Array:
    """From the public layout to ``(…, n, B)``, and ``(…, H, n, B)`` of what every head has."""
    a = np.asarray(array)
    if ref.shape.batch or ref.kind in ("sequence", "final", "once"):
        a = np.moveaxis(a, -1 - len(ref.shape.axes), -1)
        return a[..., None, :] if ref.shape.scalar else a
    if ref.shape.scalar:
        return a[..., None, None]
    return a[..., None] if ref.shape.column else a


def to_rows(ref: Ref, array: Any) -> Array:
    """From ``(…, n, B)`` to the public layout."""
    a = np.asarray(array)
    if ref.shape.batch or ref.kind in ("sequence", "final", "once"):
        a = a[..., 0, :] if ref.shape.scalar else a
        return np.moveaxis(a, -1, -1 - len(ref.shape.axes))
    if ref.shape.scalar:
        return a[..., 0, 0]
    return a[..., 0] if ref.shape.column else a


def sizes_of(network: Network, values: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of the named dims from arrays in the public layout; raises naming what disagrees."""
    found: list[tuple[Ref, Dim, int]] = []
    for ref in (*network.parameters.values(), *network.inputs.values()):
        if ref.name not in values:
            raise UsageError(f"network {network.name!r}: no array for {ref.kind} {ref.name!r}")
        actual = np.shape(values[ref.name])
        dims = ref.shape.axes
        lead = ([ref.axis] if ref.axis else []) + ["B"] if ref.shape.batch else []
        if len(actual) != len(lead) + len(dims):
            wanted = ", ".join([*lead, *map(str, dims)])
            raise DimensionError(
                f"network {network.name!r}: {ref.name!r} has shape {actual}, expected ({wanted})"
            )
        found += [(ref, d, n) for d, n in zip(dims, actual[len(lead) :], strict=True)]
    sizes: dict[str, int] = {}
    whose: dict[str, str] = {}
    # Bare names first, then multiples such as 4*p and sums such as p + q, if nothing else tells.
    for ref, dim, size in sorted(found, key=lambda f: (f[1].lone is None, len(f[1].names))):
        unknown = [n for n in dim.names if n not in sizes]
        if len(unknown) == 1:
            told = dim.solved(unknown[0], sizes, size)
            if told is not None:
                sizes[unknown[0]], whose[unknown[0]] = told, ref.name
                continue
            raise DimensionError(
                f"network {network.name!r}: {ref.name!r} has shape "
                f"{np.shape(values[ref.name])} but no size of {unknown[0]} makes {dim} = {size}"
            )
    for ref, dim, size in found:
        if dim.size(sizes) != size:
            by = f" by {whose[dim.names[0]]!r}" if dim.names else ""
            raise DimensionError(
                f"network {network.name!r}: {ref.name!r} has shape "
                f"{np.shape(values[ref.name])} but dim {dim} is {dim.size(sizes)}{by}"
            )
    return sizes


def _lengths(
    network: Network, values: Mapping[str, Any], given: Mapping[str, int] | None
) -> dict[str, int]:
    lengths: dict[str, int] = dict(given or {})
    for ref in network.inputs.values():
        if ref.axis is not None:
            steps = len(values[ref.name])
            if lengths.setdefault(ref.axis, steps) != steps:
                raise DimensionError(
                    f"network {network.name!r}: {ref.name!r} has {steps} steps along {ref.axis!r}, "
                    f"others have {lengths[ref.axis]}"
                )
    for axis in network.axes:
        if axis not in lengths:
            raise UsageError(
                f"network {network.name!r}: nothing tells the number of steps along {axis!r}; "
                "give lengths"
            )
    return lengths


def run(
    network: Network,
    values: Mapping[str, Any],
    lengths: Mapping[str, int] | None = None,
    *,
    everything: bool = False,
) -> dict[str, Any]:
    """The forward pass by the definitions themselves.

    Parameters
    ----------
    values : mapping
        Every parameter and input in ``(…, n, B)``, sequences with time first. Stacked
        perturbations broadcast.
    lengths : mapping, optional
        Steps along each time axis; needed for axes that no input runs along.
    everything : bool
        Also give the arrays of all states, outputs and final states of all scans, by name.

    Returns
    -------
    dict
        The outputs (sequences stacked along a leading time axis) and, if the network has one,
        ``"loss"``: summed over time, scans and batch, with the stacked axes left.
    """
    steps = _lengths(network, values, lengths)
    made: dict[str, Any] = dict(values)
    batch = max(
        [_columns(values[n]) for n, r in network.inputs.items() if r.shape.batch], default=1
    )
    sizes: dict[str, int] = dict(steps)
    before = -1
    while len(sizes) > before:  # p + q tells q once p is known, and then d + q may tell d
        before = len(sizes)
        for ref in (*network.parameters.values(), *network.inputs.values()):
            sizes.update(_told_sizes(ref, _one_step(ref, values[ref.name]), sizes))
    for scan in network.scans:
        for operand in scan.operands.values():
            if operand.ref.sequence is not None:
                made[operand.name] = _rows(operand.ref, made[operand.ref.sequence], batch)
        made.update(_run_scan(scan, made, steps.get(scan.axis or "", 1), batch, sizes))
    out: dict[str, Any] = {n: _stack(made[r.name]) for n, r in network.outputs.items()}
    if network.loss_terms:
        total: Any = 0
        for ref in network.loss_terms:
            term = made[ref.name]
            for step in term if ref.axis else [term]:
                total = total + step.sum(axis=(-2, -1))
        out["loss"] = total
    if everything:
        out["everything"] = {n: _stack(v) for n, v in made.items()}
    return out


def _rows(ref: Ref, steps: Any, batch: int) -> Array:
    """All steps of a sequence as rows, ``(…, S, k, B)``; of numbers as a vector."""
    made = np.moveaxis(_stack(steps), 0, -3)
    if made.shape[-1] != batch:  # the same for all sequences
        made = np.broadcast_to(made, (*made.shape[:-1], batch))
    return made[..., 0, :] if ref.shape.column else made


def _columns(value: Any) -> int:
    """Sequences of a batch: the last axis, of an array or of a list of arrays with time first."""
    while isinstance(value, list):
        value = value[0] if value else np.ones((1, 1))
    return int(np.shape(value)[-1])


def _stack(value: Any) -> Any:
    return np.stack(np.broadcast_arrays(*value)) if isinstance(value, list) else value


def _run_scan(
    scan: Scan, made: Mapping[str, Any], steps: int, batch: int, sizes: Mapping[str, int]
) -> dict[str, Any]:
    """One scan: lists of per-step arrays by global name, and final states."""
    own_of = scan.arguments
    equations = {e.name for e in scan.equations}
    past: dict[str, dict[int, Any]] = {}
    for state in scan.states:
        past[state.name] = {}
        for start in state.initial:
            past[state.name][start.lag] = _start(scan, state, start.ref, made, batch, sizes)
    lists: dict[str, list[Any]] = {n: [] for n in equations}
    order = range(steps - 1, -1, -1) if scan.reverse else range(steps)
    for t in order:
        values: dict[str, Any] = {}
        for own, kind in scan.cell.kinds.items():
            if kind == "state":
                line = past[own_of[own]]
                lags = scan.cell.lags[own]
                values[own] = line[1] if lags == (1,) else {k: line[k] for k in lags}
            else:
                operand = scan.operands[own_of[own]]
                held = made[operand.name]
                values[own] = held[t] if operand.ref.axis is not None else held
        new = scan.cell.step(values)
        for own, array in new.items():
            lists[own_of[own]].append(array)
        for state in scan.states:
            own = next(o for o, n in own_of.items() if n == state.name)
            line = past[state.name]
            depth = max(state.lags)
            past[state.name] = {1: new[own], **{k: line[k - 1] for k in range(2, depth + 1)}}
    out: dict[str, Any] = {}
    for n, sequence in lists.items():
        if not sequence:
            if not steps:  # else it is no result of a step, and nothing reads it
                out[n] = _no_steps(scan, n, made, batch, sizes)
        elif scan.axis is None:
            out[n] = sequence[0]
        else:
            out[n] = sequence[::-1] if scan.reverse else sequence
    for state in scan.states:
        out[state.final] = past[state.name][1]
    return out


def _no_steps(
    scan: Scan, name: str, made: Mapping[str, Any], batch: int, known: Mapping[str, int]
) -> Any:
    """What an equation gives in no step: an array (0, …, n, B)."""
    shape, dtype = _whole_shape(scan, scan.equation(name).shape, made, batch, known)
    return np.zeros((0, *shape), dtype=dtype)


def _start(
    scan: Scan,
    state: Any,
    ref: Ref | None,
    made: Mapping[str, Any],
    batch: int,
    known: Mapping[str, int],
) -> Any:
    if ref is not None:
        # A trained start is the same for all sequences; the state it starts is not.
        start = np.asarray(made[ref.name])
        if state.shape.stack and not ref.shape.batch:
            start = start[..., None]
        same = start.shape[-1] == batch
        return start if same else np.broadcast_to(start, (*start.shape[:-1], batch))
    shape, dtype = _whole_shape(scan, state.shape, made, batch, known)
    if dtype.kind != "O":
        return np.zeros(shape, dtype=dtype)
    # Objects compute in their own arithmetic, and so must the zeros they meet.
    arrays = (_one_step(o.ref, made[o.name]) for o in scan.operands.values())
    sample = next(a.flat[0] for a in map(np.asarray, arrays) if a.dtype == object and a.size)
    return np.full(shape, 0 * sample, dtype=object)


def _whole_shape(
    scan: Scan, of: Any, made: Mapping[str, Any], batch: int, known: Mapping[str, int]
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """A shape of the network's dims with the batch, and the dtype of whatever the scan reads."""
    sizes, dtypes = dict(known), []
    for operand in scan.operands.values():
        array = _one_step(operand.ref, made[operand.name])
        dtypes.append(np.asarray(array).dtype)
        sizes.update(_told_sizes(operand.ref, array, sizes))
    dims = of.axes if not of.scalar else (*of.axes, ONE)
    shape = (*(d.size(sizes) for d in dims), batch)
    return shape, np.result_type(*dtypes) if dtypes else np.dtype(float)


def _one_step(ref: Ref, array: Any) -> Any:
    if ref.axis is None:
        return array
    return array[0] if len(array) else np.zeros(np.shape(array)[1:])


def _told_sizes(ref: Ref, array: Any, known: Mapping[str, int]) -> dict[str, int]:
    """Sizes of the dims that one step of a value tells: of q by an axis of 2*q or p + q units."""
    dims = [(-3 if ref.shape.stack else -2, ref.shape.rows)]
    if ref.shape.stack:
        dims.append((-2, ref.shape.cols))
    elif not (ref.shape.batch or ref.scan):
        dims.append((-1, ref.shape.cols))
    if ref.shape.headed:
        dims.append((-3 - ref.shape.stack, ref.shape.heads))
    told: dict[str, int] = {}
    for axis, dim in dims:
        unknown = [n for n in dim.names if n not in known]
        if len(unknown) == 1:
            size = dim.solved(unknown[0], known, int(np.shape(array)[axis]))
            if size is not None:
                told[unknown[0]] = size
    return told
