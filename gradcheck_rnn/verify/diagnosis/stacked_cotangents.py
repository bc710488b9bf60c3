"""The adjoint program for several cotangents of a point at once: they share its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...derivation.edits import NO_EDITS, Edits
from ...derivation.evaluate import Run, bptt
from ...derivation.weight_products import WeightProducts
from ...language.network import Ref
from ...language.running import to_columns, to_rows
from ..harness.modelpoint import ModelPoint
from ..harness.plan import Case

__all__ = ["as_program_takes", "pulled_back", "stacked_columns"]

Array = NDArray[Any]
Arrays = dict[str, Array]


def stacked_columns(point: ModelPoint, cases: Sequence[Case]) -> Arrays:
    """Cotangents of some cases, (K, …, n, B) by output; zeros where a case has none."""
    given = {}
    for n in dict.fromkeys(n for c in cases for n in c.cotangents):
        known = {id(c): c.cotangents[n] for c in cases if n in c.cotangents}
        like = np.zeros_like(next(iter(known.values())))
        ref = point.network.outputs[n]
        given[n] = np.stack([to_columns(ref, known.get(id(c), like)) for c in cases])
    return given


def as_program_takes(point: ModelPoint, given: Arrays) -> Arrays:
    """Stacked cotangents with time first, then the stack."""
    outputs = point.network.outputs
    return {n: g.swapaxes(0, 1) if outputs[n].axis is not None else g for n, g in given.items()}


def pulled_back(
    run: Run,
    point: ModelPoint,
    given: Arrays,
    count: int,
    *,
    edits: Edits = NO_EDITS,
    truncate: int | None = None,
    weights: Callable[[Run], WeightProducts] | None = None,
    draws: int = 0,
) -> Arrays:
    """Gradients (K, \\*shape in the public layout) of ⟨given, outputs⟩, or else of the loss.

    Of a run whose values have an axis of so many ``draws`` in front, (draws, K, \\*shape).
    """
    network = point.network
    refs = {**network.parameters, **network.inputs}
    bars = as_program_takes(point, given)
    with np.errstate(all="ignore"):
        found = bptt(run, bars, edits=edits, truncate=truncate, weights=weights)
        if network.loss_terms and given:
            silent = bptt(run, {}, edits=edits, truncate=truncate, weights=weights)
            found = {n: g - _behind(refs[n], silent[n], g) for n, g in found.items()}
    front = (draws, count) if draws else (count,)
    out = {}
    for n, g in found.items():
        ref = refs[n]
        moving = ref.axis is not None
        lead = g.ndim - (2 + moving + ref.shape.stack + ref.shape.headed)
        g = np.moveaxis(g, 0, lead) if moving and lead else g
        out[n] = to_rows(ref, np.broadcast_to(g, (*front, *g.shape[lead:])))
    return out


def _behind(ref: Ref, alone: Array, stacked: Array) -> Array:
    """A gradient without a stack, so shaped that it can be taken from one that has it."""
    if ref.axis is None:
        return alone
    return alone.reshape(len(alone), *[1] * (stacked.ndim - alone.ndim), *alone.shape[1:])
