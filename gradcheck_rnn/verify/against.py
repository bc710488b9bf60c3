"""Test vectors in the layout of foreign code, and its results judged: error ÷ bound, by entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DimensionError, UsageError
from ..language.network import Network
from .harness.arrays import PRECISIONS
from .harness.layout import Fitted, Layout
from .hints import explain
from .outcome import Report
from .points import Point
from .vectorfiles import Results
from .vectors import VectorProbe, Vectors
from .vectorvalues import OUTPUTS, VectorFile
from .verdict import EntryState, Finding, Row, Verdict, judge, relative_resolution

__all__ = ["judge_vectors", "laid_out", "left_out"]

Array = NDArray[Any]
#: As in `check_gradient`: a block in which a fault of this relative size could hide is undecided.
RESOLVE = 0.1
#: bfloat16 cannot meet that; there the demand is half of the gradient.
RESOLVED_UNITS = 64
#: Standard deviations of a whole array's rounding, which that of the vectors exceeds twice.
SPREADS = 3.0


def judge_vectors(
    known: VectorFile,
    results: Results,
    *,
    dtype: str | None = None,
    select: Iterable[str] | None = None,
) -> list[Report]:
    """Judge results, probe by probe, outputs first.

    Parameters
    ----------
    known : VectorFile
        The vectors, from `read_vectors`.
    results : Results
        What the code under test computed, from `read_results`.
    dtype : str, optional
        The number format it computed in; by default what the results say.
    select : iterable of str, optional
        Only the gradients of these.

    Returns
    -------
    list of Report
        One for the outputs and one for each probe of the vectors. What the results leave out is
        undecided, except outputs, which are not asked for.

    Raises
    ------
    UsageError, DimensionError
        An unknown format, probe or name, or another shape.
    """
    form = dtype or results.dtype
    if form is None and (mixed := _formats(results)):
        raise UsageError(
            f"the results are in several number formats ({mixed}); write them in that of the code, "
            "or say which it is with --dtype"
        )
    if form is None:
        raise UsageError(
            "the results do not say in which number format they were computed; give --dtype "
            f"{'|'.join(PRECISIONS)}"
        )
    if form not in known.bounds:
        raise UsageError(f"there are no bounds for {form!r}; there are {', '.join(known.bounds)}")
    wanted = None if select is None else list(select)
    _check_names(known, results, wanted)
    reports = []
    for group in sorted(known.high, key=lambda g: g != OUTPUTS):
        found = results.arrays.get(group, {})
        if group == OUTPUTS and not found:
            continue
        report = Report(f"{known.cell}: {group}", [], mode=f"against vectors, {form}", part=group)
        for name, high in known.high[group].items():
            if group != OUTPUTS and wanted is not None and name not in wanted:
                continue
            bound = known.bounds[form][group].get(name)
            if bound is None:
                continue  # the loss: it is exported for information
            if name in found:
                low = known.low[group][name]
                whole = known.whole.get(form, {}).get(group, {}).get(name)
                report.rows.append(_row(name, found[name], high, low, bound, form, whole))
            elif group != OUTPUTS:
                report.rows.append(_left_out(name, high))
        reports.append(report)
    if all(report.verdict is not Verdict.FAIL for report in reports):
        named = [r for r in reports if r.part != OUTPUTS]
        named[0].findings += _over_all_probes(known, results, form, wanted)
    if reports[0].part == OUTPUTS and reports[0].verdict is Verdict.FAIL:
        reports[0].findings.append(
            Finding(
                "other-function",
                "the code computes another function than the definition; mend that first, its "
                "gradients cannot be right",
            )
        )
    return reports


def _formats(results: Results) -> str:
    """The formats of the arrays, each with one that has it; nothing if there is one only."""
    first: dict[str, str] = {}
    for group, arrays in results.arrays.items():
        for name, array in arrays.items():
            first.setdefault(array.dtype.name, f"{array.dtype.name} of {group}/{name}")
    return ", ".join(first.values()) if len(first) > 1 else ""


def _check_names(known: VectorFile, results: Results, wanted: list[str] | None) -> None:
    names = dict.fromkeys(n for g, arrays in known.high.items() if g != OUTPUTS for n in arrays)
    for name in wanted or ():
        if name not in names:
            raise UsageError(f"select names {name!r}; the vectors have {', '.join(names)}")
    for group, arrays in results.arrays.items():
        if group not in known.high:
            probes = [g for g in known.high if g != OUTPUTS]
            raise UsageError(f"the results have the probe {group!r}; there are {', '.join(probes)}")
        for name, array in arrays.items():
            if name not in known.high[group]:
                raise UsageError(
                    f"the results have {group}/{name}; the vectors have there "
                    f"{', '.join(known.high[group])}"
                )
            shape = known.high[group][name].shape
            if array.shape != shape:
                turned = "; it looks transposed" if array.shape == shape[::-1] else ""
                raise DimensionError(
                    f"the results' {group}/{name} has shape {array.shape}, the vectors' "
                    f"{shape}{turned}"
                )


def _limits(errors: Array, form: str) -> Array:
    """What rounding may make of a whole array along itself, and of its norm, relative to it."""
    typical = np.sqrt(np.mean(errors**2, axis=1))
    return np.asarray(SPREADS * typical + PRECISIONS[form].eps)


def _along(got: Array, high: Array) -> float:
    return float(np.sum((got - high) * high) / np.sum(high**2))


def _off_as_a_whole(got: Array, high: Array, limits: Array, form: str) -> list[Finding]:
    """What is more than rounding of a whole array: along itself, and altogether."""
    if not (np.isfinite(got).all() and np.any(high)):
        return []
    along = _along(got, high)
    altogether = float(np.sqrt(np.sum((got - high) ** 2) / np.sum(high**2)))
    if abs(along) > limits[0]:
        return [Finding("whole", _factor(along, limits[0], form))]
    if altogether > limits[1]:
        said = (
            f"the root mean square of its errors is {altogether:.1%} of the array, where rounding "
            f"in {form} explains {limits[1]:.1%}"
        )
        return [Finding("whole", said)]
    return []


def _factor(along: float, limit: float, form: str) -> str:
    return (
        f"the array is {1 + along:.4g} times the true one along itself, {abs(along):.1%} off where "
        f"rounding in {form} explains {limit:.1%}"
    )


def _over_all_probes(
    known: VectorFile, results: Results, form: str, wanted: list[str] | None
) -> list[Finding]:
    """Factors that show over all probes together, where one run of rounding is one of them all.

    Probes count by how well they are known. Where none shows, the least that all gradients could
    have in common and be seen: rounding of saved values is common to the arrays, too, so that
    all of them together show no less than the best of them.
    """
    found, least = list[Finding](), dict[str, float]()
    groups = known.whole.get(form, {})
    for name in dict.fromkeys(n for arrays in groups.values() for n in arrays):
        if wanted is not None and name not in wanted:
            continue
        seen, runs = [], []
        for group, arrays in groups.items():
            got, errors = results.arrays.get(group, {}).get(name), arrays.get(name)
            if got is None or errors is None or not np.isfinite(errors).all():
                continue
            if not np.isfinite(got).all() or not np.any(errors[0]):
                continue
            seen.append(_along(np.asarray(got, dtype=np.float64), known.high[group][name]))
            runs.append(errors[0])
        if not seen:
            continue
        weight = 1 / np.mean(np.square(runs), axis=1)
        weight /= np.sum(weight)
        along = float(weight @ seen)
        typical = float(np.sqrt(np.mean((weight @ np.array(runs)) ** 2)))
        limit = least[name] = SPREADS * typical + PRECISIONS[form].eps
        if len(seen) > 1 and abs(along) > limit:
            text = f"d{name}, over all probes: {_factor(along, limit, form)}"
            found.append(Finding("whole", text, fatal=True))
    if least and not found:
        best = min(least, key=lambda n: least[n])
        text = (
            f"a factor that all gradients have in common could be missed within {least[best]:.1%} "
            f"of 1 (d{best} shows it best)"
        )
        found.append(Finding("could-have-missed", text))
    return found


def _row(
    name: str,
    found: Array,
    high: Array,
    low: Array,
    bound: Array,
    form: str,
    whole: Array | None = None,
) -> Row:
    got = np.asarray(found, dtype=np.float64)
    with np.errstate(all="ignore"):
        error = np.abs((got - high) - low)
    ratio = judge(error, np.zeros_like(error), bound)
    ratio = np.where(~np.isfinite(got) & np.isfinite(bound), np.inf, ratio)
    states = np.where(ratio > 1, EntryState.FAIL, EntryState.PASS).astype(np.int8)
    unknown = ~np.isfinite(bound)
    states[unknown] = EntryState.UNPROBED
    failing, blind = int(np.sum(states == EntryState.FAIL)), int(np.sum(unknown))
    worst = int(np.argmax(np.nan_to_num(ratio, nan=-1.0, posinf=1e308)))
    at = np.unravel_index(worst, got.shape)
    resolution = relative_resolution(got, high, bound)
    verdict, reasons = Verdict.PASS, list[Finding]()
    if whole is not None:
        limits = _limits(whole, form)
        resolution = min(resolution, float(np.max(limits)))
        reasons += _off_as_a_whole(got, high, limits, form)
    if failing:
        verdict = Verdict.FAIL
        said = f"{failing} of {got.size} entries differ by more than {form} explains"
        reasons.append(Finding("count", said))
        lost = got.size - np.count_nonzero(np.isfinite(got))
        hint = explain(got, high, bound) if not lost and not blind else ""
        if lost:
            hint = f"{lost} of {got.size} entries are NaN or infinite"
        if hint:
            hint = hint.replace("difference quotients", "true values")
            reasons.append(Finding("pattern", hint))
    elif reasons:
        verdict = Verdict.FAIL
    elif blind:
        verdict = Verdict.UNDECIDED
        said = f"{form} overflows in {blind} of {got.size} entries"
        reasons.append(Finding("not-finite", said))
    elif resolution > max(RESOLVE, RESOLVED_UNITS * PRECISIONS[form].eps) and np.any(high):
        verdict = Verdict.UNDECIDED
        said = (
            f"in {form} careful arithmetic may be off by {resolution:.2g} of this gradient; "
            "a fault could hide in that"
        )
        reasons.append(Finding("hidden", said))
    return Row(
        name=name,
        shape=got.shape,
        verdict=verdict,
        ratio=float(ratio[at]),
        worst=str([int(i) for i in at]),
        analytic=float(got[at]),
        numeric=float(high[at]),
        bound=float(bound[at]),
        resolution=resolution,
        failing=failing,
        undecided=blind,
        entries=got.size,
        method="against vectors",
        reasons=tuple(reasons),
        missed=f"faults below {resolution:.2g} of the gradient" if verdict is Verdict.PASS else "",
        ratios=ratio,
        states=states,
    )


def _left_out(name: str, high: Array) -> Row:
    nan = float("nan")
    return Row(
        name, high.shape, Verdict.UNDECIDED, nan, "", nan, nan, nan, float("inf"),
        undecided=high.size, entries=high.size, missed="any fault",
        reasons=(Finding("left-out", "the results leave it out"),),
    )  # fmt: skip


class _Halves(np.random.Generator):
    """Shares a value between two arrays in halves, which every format holds exactly."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.full(size, 0.5)


def laid_out(vectors: Vectors, network: Network, layout: Layout, name: str) -> Vectors:
    """The same vectors with arrays, outputs, cotangents and gradients as a layout holds them.

    A bound of an array that holds several values is that of each; where two arrays hold parts of
    one value, both have its gradient.

    Raises
    ------
    UsageError, DimensionError
        The layout does not fit the definition.
    """
    lengths = {a: vectors.sizes[a] for a in network.axes}
    sizes = {d: vectors.sizes[d] for d in network.dims}
    fitted = layout.fit(layout.narrowed(network), sizes, vectors.sizes["B"], lengths)
    packed = fitted.pack(vectors.arrays, _Halves(np.random.PCG64(0)))
    roles = {n: "param" if n in layout.parameters else "input" for n in fitted.arguments}
    probes = [
        VectorProbe(
            p.name,
            {n: fitted.place(n, p.cotangents) for n in _given(fitted, p)},
            _gradients(fitted, p.gradients),
            {form: _gradients(fitted, b, absolute=True) for form, b in p.bounds.items()},
            {form: _draws(fitted, errors) for form, errors in p.errors.items()},
        )
        for p in vectors.probes
    ]
    return replace(
        vectors,
        roles=roles, arrays={n: a for n, a in packed.items() if n not in fitted.labels},
        outputs=_outputs(fitted, vectors.outputs),
        output_bounds={
            form: {n: np.abs(a) for n, a in _outputs(fitted, held).items()}
            for form, held in vectors.output_bounds.items()
        },
        probes=probes,
        domains={}, classes={n: packed[n].astype(np.int64) for n in fitted.labels}, layout=name,
    )  # fmt: skip


def left_out(network: Network, layout: Layout, point: Point) -> set[str]:
    """Names of the definition that code in this layout does not have.

    Raises
    ------
    UsageError, DimensionError
        The layout does not fit the definition.
    """
    fitted = layout.fit(layout.narrowed(network), point.sizes, point.batch, point.lengths)
    outputs = {p.name for n in fitted.outputs for p in fitted.pieces[n]}
    return {*network.parameters, *network.inputs, *network.outputs} - fitted.names - outputs


def _given(fitted: Fitted, probe: VectorProbe) -> set[str]:
    """Outputs of which the probe has a cotangent."""
    return {n for n in fitted.outputs if any(p.name in probe.cotangents for p in fitted.pieces[n])}


def _outputs(fitted: Fitted, values: Mapping[str, Array]) -> dict[str, Array]:
    found = {n: fitted.place(n, values) for n in fitted.outputs}
    return found | ({"loss": values["loss"]} if "loss" in values else {})


def _draws(fitted: Fitted, errors: Mapping[str, Array]) -> dict[str, Array]:
    """Errors of every draw."""
    count = len(next(iter(errors.values())))
    drawn = [_gradients(fitted, {n: e[k] for n, e in errors.items()}) for k in range(count)]
    return {n: np.stack([d[n] for d in drawn]) for n in drawn[0]}


def _gradients(
    fitted: Fitted, gradients: Mapping[str, Array], *, absolute: bool = False
) -> dict[str, Array]:
    """Of the arguments that hold something differentiated."""
    return {
        n: fitted.pull(n, gradients, absolute=absolute)
        for n in fitted.arguments
        if any(p.name in gradients for p in fitted.pieces[n])
    }
