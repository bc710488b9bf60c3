"""The mistake in results of foreign code, from the gradients alone: no code is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import GradcheckError
from ...language.network import Network
from ...language.running import array_shape
from ..harness.arrays import PRECISIONS
from ..harness.compare import Comparison, Record, ratio_of
from ..harness.layout import Fitted, Layout
from ..harness.modelpoint import ModelPoint
from ..harness.plan import Case
from ..harness.ready import ready
from ..harness.subject import Subject
from ..outcome import Diagnosis
from ..points import Point, Role
from ..vectorfiles import Results
from ..vectorvalues import OUTPUTS, VectorFile
from .find import find_mistake

__all__ = ["diagnose_results"]

Array = NDArray[Any]
#: ``h[3]``: the probe of one step.
_STEP = re.compile(r"^(\w+)\[(\d+)\]$")


def diagnose_results(
    network: Network, known: VectorFile, results: Results, form: str
) -> Diagnosis | None:
    """What mistake gives these gradients; None where the vectors are not of this definition.

    Parameters
    ----------
    network : Network
        The definition that the vectors were made of.
    known, results
        As in `judge_vectors`.
    form : str
        The number format of the results.
    """
    lengths = {a: known.sizes.get(a, 0) for a in network.axes}
    sizes = {d: known.sizes.get(d, 0) for d in network.dims}
    batch = known.sizes.get("B", 0)
    refs = {**network.parameters, **network.inputs}
    if not all((*lengths.values(), *sizes.values(), batch)):
        return None
    layout = ready(known.layout, network) if known.layout else Layout.of(network)
    arrays = dict(known.arrays)
    if known.layout:
        fitted = layout.fit(network, sizes, batch, lengths)
        arrays = fitted.unpack(arrays) if set(arrays) == set(fitted.arguments) else {}
    if set(refs) != set(arrays):
        return None
    for name, ref in refs.items():
        if arrays[name].shape != array_shape(ref, sizes, batch=batch, lengths=lengths):
            return None
    point = Point(network, arrays, sizes, lengths, batch, Role.VECTORS)
    try:
        comparison = _compare(point, layout, known, results, form)
    except GradcheckError:  # another definition of the same names and shapes
        return None
    if not comparison.wrong:
        return None
    return find_mistake(network, [comparison], noisy=lambda: _as_large(comparison))


def _as_large(comparison: Comparison) -> list[Comparison]:
    """The comparison with bounds for arrays that the mistake makes larger; empty if none is.

    The bounds of vectors are of rounding in the true gradients; numbers that are thirty times as
    large are rounded by thirty times as much.
    """
    records = []
    for r in comparison.records:
        found, true, bound = (np.max(np.abs(a), initial=0.0) for a in (r.got, r.want, r.bound))
        grown = found / true if true > 0 else 0.0
        if np.isfinite(grown) and np.isfinite(bound) and grown > 1:
            r = replace(r, bound=np.maximum(r.bound, bound * grown))
        records.append(r)
    if all(new is old for new, old in zip(records, comparison.records, strict=True)):
        return []
    return [replace(comparison, records=records)]


def _compare(
    point: Point, layout: Layout, known: VectorFile, results: Results, form: str
) -> Comparison:
    """The results beside the vectors, as if the code had been run at this one point."""
    network, precision = point.network, PRECISIONS[form]
    nothing: Any = lambda *_: {}  # noqa: E731
    with_loss = nothing if network.loss_terms else None
    subject = Subject(nothing, nothing, with_loss, None, np.asarray, precision)
    here = ModelPoint.build(point, layout, precision, subject, 0)
    cases = {group: _case(group, known, here.fitted) for group in known.high if group != OUTPUTS}
    here.cases = [c for group, c in cases.items() if results.arrays.get(group)]
    out = Comparison(here)
    out.truth = here.truth(here.oracle, here.cases)
    for group, case in cases.items():
        for name, found in results.arrays.get(group, {}).items():
            got, want = np.asarray(found, dtype=np.float64), known.high[group][name]
            bound = known.bounds[form][group][name]
            out.records.append(Record(name, case, got, want, bound, ratio_of(got, want, bound)))
    return out


def _case(group: str, known: VectorFile, fitted: Fitted) -> Case:
    """The cotangents of a probe."""
    given: Mapping[str, Array] = fitted.unpack(known.cotangents.get(group, {}))
    step = _STEP.match(group)
    if not given:
        return Case("the loss", {})
    if step is not None:
        return Case(f"{step[1]} at step {int(step[2]) + 1} alone", given, int(step[2]))
    return Case("all outputs" if len(given) > 1 else f"{group} alone", given)
