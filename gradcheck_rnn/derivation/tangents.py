"""Run a derivation in forward mode: gradients by its tangent program (RTRL)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DimensionError
from ..language.network import Ref
from .batches import turned, vec
from .evaluate import Run
from .program import ScanProgram
from .wholes import stacked_tangents, wholes_read

__all__ = ["rtrl", "rtrl_along"]

Array = Any


def rtrl(
    run: Run, cotangents: Mapping[str, Array], wrt: tuple[str, ...] | None = None
) -> dict[str, Array]:
    """Gradients by the tangent program, one parameter, start or input at a time (one sequence).

    An input that moves with time is taken as one vector per step; its gradient has time first.
    """
    derivation = run.derivation
    if run.batch != 1:
        raise DimensionError("RTRL runs one sequence at a time")
    out: dict[str, Array] = {}
    for ref in derivation.differentiated():
        if wrt is not None and ref.name not in wrt:
            continue
        times = [0] if ref.axis is None else range(1, run.steps[ref.axis] + 1)
        rows = [_tangent_gradient(run, ref, t, cotangents) for t in times]
        made = rows[0] if ref.axis is None else np.stack(rows)
        out[ref.name] = made[..., None] if ref.shape.stack else made
    return out


def rtrl_along(run: Run, cotangents: Mapping[str, Array], directions: Mapping[str, Array]) -> Any:
    """The derivative by the tangent program along one direction through all arrays: a number.

    Parameters
    ----------
    directions : mapping
        Every parameter, start and input → array shaped like it.
    """
    if run.batch != 1:
        raise DimensionError("RTRL runs one sequence at a time")
    tangents: dict[str, dict[int, Array]] = {}
    for ref in run.derivation.differentiated():
        given = directions[ref.name]
        steps = [(0, given)] if ref.axis is None else list(enumerate(given, 1))
        tangents[ref.name] = {t: vec(run.batches.single(run.inward(ref, v))) for t, v in steps}
    return _derivative(run, tangents, cotangents, 1)[0, 0]


def _tangent_gradient(run: Run, ref: Ref, at: int, cotangents: Mapping[str, Array]) -> Array:
    like = run.batches.single(run.series[ref.name][at])
    # A row for each entry of vec; of what every head has, rows for each head.
    identity = np.eye(like.size, dtype=run.terms.dtype)
    tangents = {ref.name: {at: identity.reshape(*like.shape[:-2], -1, like.size)}}
    total = _derivative(run, tangents, cotangents, like.size)
    made = turned(total.reshape(*like.shape[:-2], like.shape[-1], like.shape[-2]))
    return made if ref.shape.headed or made.ndim == 2 else made[0]


def _derivative(
    run: Run,
    tangents: dict[str, dict[int, Array]],
    cotangents: Mapping[str, Array],
    columns: int,
) -> Array:
    """Derivatives of the loss and <cotangents, outputs>, (1, columns), of so many tangents."""
    network = run.derivation.network
    total = run.terms.filled((1, columns), 0)
    for program in run.derivation.scans:
        _push(run, program, tangents)
    for label, given in cotangents.items():
        out = network.outputs[label]
        line = tangents.get(out.name, {})
        items = [(0, given)] if out.axis is None else [(t + 1, g) for t, g in enumerate(given)]
        for t, g in items:
            if t in line:
                weights = turned(vec(run.batches.single(run.inward(out, g))))
                total = total + _over_heads(np.matmul(weights, line[t]))
    for loss in network.loss_terms:
        for t, tangent in tangents.get(loss.name, {}).items():
            if (t >= 1 and t == math.ceil(t)) or loss.axis is None:
                total = total + _over_heads(tangent)
    return total


def _over_heads(x: Array) -> Array:
    return x.sum(axis=0) if x.ndim == 3 else x


def _push(run: Run, program: ScanProgram, tangents: dict[str, dict[int, Array]]) -> None:
    scan = program.scan
    for ref in wholes_read(scan):
        line = tangents.get(str(ref.sequence), {})
        if (made := stacked_tangents(run, ref, line, run.terms.filled)) is not None:
            tangents[ref.name] = {0: made}
    for state in scan.states:
        for start in state.initial:
            if start.ref is not None and 0 in tangents.get(start.ref.name, {}):
                at = run.before(program, start.lag)
                tangents.setdefault(state.name, {})[at] = tangents[start.ref.name][0]
    times = run.times(program)
    for t in times:
        for e in program.equations:
            parts = []
            for edge in e.edges:
                source = tangents.get(edge.operand.name, {})
                at = run.at(edge.operand.name, t, edge.lag)
                if at in source:
                    values = run.lookup(t, {edge.tangent: source[at]})
                    parts.append(
                        run.terms(edge.pushforward, lambda s: run.batches.single(values(s)))  # noqa: B023
                    )
            if parts:
                total = parts[0]
                for p in parts[1:]:
                    total = total + p
                tangents.setdefault(e.name, {})[t] = total
    for state in scan.states:
        line = tangents.get(state.name, {})
        if times[-1] in line:
            tangents[state.final] = {0: line[times[-1]]}
