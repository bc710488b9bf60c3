"""`check_model`: a hand-written gradient beside a definition, and the name of what is wrong.

report = check_model(cell, forward=forward, backward=backward, layout="lecture lstm")
report.raise_for_failure()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...language.cell import Cell
from ...language.network import Network, as_network
from ..blackbox import parse_seed
from ..guard import fails_on_misbehaviour
from ..harness.arrays import make_arrays, precision
from ..harness.compare import (
    Comparison,
    Record,
    Station,
    compare_forward,
    compare_gradients,
    compare_loss,
)
from ..harness.layout import Layout
from ..harness.plan import Case, Place, Shapes, plan_places
from ..harness.ready import ready
from ..harness.subject import Subject
from ..oracle.directions import fresh_seed
from ..outcome import Report
from ..verdict import EntryState, Finding, Row, Verdict, relative_resolution
from .confirm import confirm
from .missed import could_have_missed
from .steadiness import unsteady

if TYPE_CHECKING:
    from .rounding import SavedRounding
    from .search import Diagnosis

__all__ = ["ModelReport", "check_model"]


@dataclass
class ModelReport(Report):
    """A report with the diagnosis, and how many cotangents at how many points were compared."""

    diagnosis: Diagnosis | None = None
    comparisons: list[Comparison] = field(default_factory=list, repr=False)

    def to_send(self) -> ModelReport:
        """Without comparisons and with the diagnosis in words: the code under test stays here."""
        said = None if self.diagnosis is None else self.diagnosis.in_words()
        rows = super().to_send().rows
        return replace(self, rows=rows, diagnosis=said, comparisons=[])

    def to_json(self) -> dict[str, Any]:
        """As `Report.to_json`, with the diagnosis, null where nothing was wrong or looked for."""
        said = None if self.diagnosis is None else self.diagnosis.to_json()
        return {**super().to_json(), "diagnosis": said}


@fails_on_misbehaviour(lambda title: ModelReport(title, [], mode="model"))
def check_model(
    target: Cell | Network,
    *,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    layout: Layout | str | None = None,
    shapes: Shapes | None = None,
    dtype: Any = "float64",
    array: str | Callable[[Any], Any] = "numpy",
    plan: str = "full",
    seed: int | str | None = None,
    select: str | Iterable[str] | None = None,
    diagnose: bool = True,
    title: str = "",
) -> ModelReport:
    """Check a hand-written gradient against a cell or network, and say what is wrong with it.

    Parameters
    ----------
    target : Cell or Network
        The definition that the code implements.
    forward, backward : callable
        ``forward(**arrays)`` returns (outputs, cache), outputs a dict by the layout's names or a
        tuple in its order; ``backward(cotangents, cache)`` returns the gradients of the arrays by
        name (``Wx`` or ``dWx``) or in order. Cotangents are a dict by output name.
    gradient, loss : callable
        Instead of both, for a definition with a loss: ``gradient(arrays)`` returns the gradients
        of the arrays, or (loss, gradients); ``loss(arrays)`` the loss.
    layout : Layout or str, optional
        How the arrays hold the definition's values: a `Layout`, or a ready one such as
        ``"pytorch lstm"``, ``"keras gru"``, ``"lecture lstm"``. By default the definition's names.
    shapes : mapping, optional
        What the code takes: dim, time axis or ``"B"`` → a size, or the sizes allowed
        (``{"p": range(8, 65, 8), "B": 1}``).
    dtype : str
        ``"float64"``, ``"float32"``, ``"tf32"``, ``"float16"`` or ``"bfloat16"``. Inputs are
        quantised once; the definition runs in float64 at just these numbers.
    array : str or callable
        The arrays that the code takes: ``"numpy"``, ``"torch"``, ``"cupy"``, ``"jax"``, or a
        function of a NumPy array.
    plan : {"full", "point"}
        All places of the plan, or one ordinary point.
    seed : int or "fresh", optional
        Of points and cotangents; logged in the report.
    select : str or iterable of str, optional
        Only the gradients of these arrays.
    diagnose : bool
        Look for the mistake when the gradient is wrong.

    Returns
    -------
    ModelReport
        Rows by array, `diagnosis`, and everything a `Report` has.

    Raises
    ------
    UsageError, DimensionError
        A layout that does not fit, functions that do not return what they should. Exceptions of
        the code under test propagate unchanged.
    """
    network = as_network(target)
    form = precision(dtype)
    if gradient is not None and not network.loss_terms:
        raise UsageError(
            f"{network.name!r} has no loss; put one on with with_loss, or give forward and backward"
        )
    if plan not in ("full", "point"):
        raise UsageError(f"plan {plan!r} is unknown; use 'full' or 'point'")
    fitted = ready(layout) if isinstance(layout, str) else layout or Layout.of(network)
    subject = Subject(forward, backward, gradient, loss, make_arrays(array, form), form)
    used = fresh_seed() if seed == "fresh" else parse_seed(0 if seed is None else seed)
    report = ModelReport(title or f"{network.name} in {fitted.name}", [], mode="model", seed=used)
    wanted = _wanted(fitted, select)
    places = list(
        plan_places(network, used, shapes, batch=fitted.batch, full=plan == "full")
    )  # fmt: skip
    stations = [Station.build(p, fitted, form, subject, used) for p in places]
    if not _same_forward(report, stations, subject, used):
        return _finish(report, stations, subject)
    rounding = _Rounding(network, form.eps, used)
    for station in stations:
        found = compare_gradients(station, subject, used, rounding)
        found.records = [r for r in found.records if wanted is None or r.user in wanted]
        report.comparisons.append(found)
    _check_present(report, network, fitted, wanted)
    report.findings += confirm(stations[-1], used)
    accepted = not any(c.wrong for c in report.comparisons)
    second = stations[min(1, len(stations) - 1)]
    report.findings += unsteady(second, subject, used, accepted=accepted, wanted=wanted)
    report.rows = _rows(report.comparisons)
    report.findings += could_have_missed(report.comparisons, places, shapes)
    if stations[0].oracle.frozen:
        report.findings.append(
            Finding(
                "frozen",
                "the definition has frozen values, held while differentiating: by intent this is "
                "not the derivative of the loss as run",
            )
        )
    if diagnose and any(c.wrong for c in report.comparisons):
        try:
            report.diagnosis = _diagnose(network, report.comparisons)
        except Exception as error:  # a fault of ours must not cost the user the verdict
            said = f"the search for the mistake broke off ({type(error).__name__}: {error}); "
            said += "this is a fault of gradcheck-rnn itself, please report it"
            report.findings.insert(0, Finding("no-diagnosis", said))
        else:
            report.findings.insert(0, Finding("diagnosis", str(report.diagnosis)))
    return _finish(report, stations, subject)


class _Rounding:
    """`SavedRounding`, imported when it is first needed: it brings SymPy."""

    def __init__(self, network: Network, eps: float, seed: int) -> None:
        self._arguments = (network, eps, seed)
        self._made: SavedRounding | None = None

    def __call__(self, station: Station, case: Case) -> Mapping[str, Any]:
        if self._made is None:
            from .rounding import SavedRounding

            self._made = SavedRounding(*self._arguments)
        return self._made(station, case)


def _wanted(layout: Layout, select: str | Iterable[str] | None) -> set[str] | None:
    if select is None:
        return None
    names = [select] if isinstance(select, str) else list(select)
    known = {**layout.parameters, **layout.inputs}
    for n in names:
        if n not in known:
            raise UsageError(f"select names {n!r}; the layout has {', '.join(known)}")
    return set(names)


def _same_forward(
    report: ModelReport, stations: Sequence[Station], subject: Subject, seed: int
) -> bool:
    """Compare forward passes; what differs is said, and gradients are not looked at."""
    bad: list[tuple[Place, Record]] = []
    if subject.forward is not None and subject.with_cotangents:
        for station in stations[:3]:
            for record in compare_forward(station, subject, seed):
                if np.any(record.ratio > 1):
                    bad.append((station.place, record))
    elif subject.loss is not None:
        for station in stations[:3]:
            record = compare_loss(station, subject, seed)
            if np.any(record.ratio > 1):
                bad.append((station.place, record))
    if not bad:
        return True
    seen: set[str] = set()
    for place, r in bad:
        if r.user in seen:
            continue
        seen.add(r.user)
        row = _row(r.user, [(place.label, r, r.case.label)])
        row.reason = f"the forward pass gives another {r.user} ({place.label})"
        report.rows.append(row)
    report.findings.append(
        Finding(
            "other-function",
            f"the forward pass differs from the definition {stations[0].place.network.name!r} in "
            f"{', '.join(sorted(seen))}: the code computes another function, or the layout does "
            "not describe it (gate order, transposes, signs); gradients were not compared",
            fatal=True,
        )
    )
    return False


def _check_present(
    report: ModelReport, network: Network, layout: Layout, wanted: set[str] | None
) -> None:
    missing = dict.fromkeys(n for c in report.comparisons for n in c.missing)
    lost = [n for n in missing if n in layout.parameters and (wanted is None or n in wanted)]
    if lost:
        raise UsageError(
            f"the gradient of {lost[0]!r} is missing; return it, or name the others with select"
        )
    for n in missing:
        if wanted is None or n in wanted:
            report.findings.append(
                Finding("no-gradient", f"no gradient of {n!r} is returned; it was not checked")
            )


def _diagnose(network: Network, comparisons: Sequence[Comparison]) -> Diagnosis:
    from ...derivation import derive
    from .afterwards import afterwards
    from .candidates import Bench, derived_candidates
    from .groups import grouped
    from .localise import localise
    from .search import search, wrong_names

    derivation = derive(network)
    ill = [c for c in comparisons if c.wrong]
    after = afterwards(ill[0], wrong_names(ill[0]))
    if ill[-1] is not ill[0]:
        known = {c.id for c in after}
        after += [c for c in afterwards(ill[-1], wrong_names(ill[-1])) if c.id not in known]
    single = derived_candidates(derivation)
    single += grouped(single, ill[0].station.fitted)
    found = search(Bench(derivation), single, after, comparisons)
    found.where = localise(ill)
    return found


def _rows(comparisons: Sequence[Comparison]) -> list[Row]:
    table: dict[str, list[tuple[str, Record, str]]] = {}
    for c in comparisons:
        for r in c.records:
            table.setdefault(r.user, []).append((c.station.place.label, r, r.case.label))
    return [_row(user, found, comparisons) for user, found in table.items()]


def _row(
    user: str,
    found: Sequence[tuple[str, Record, str]],
    comparisons: Sequence[Comparison] = (),
) -> Row:
    """The worst of all probes of one array."""

    def top(r: Record) -> float:
        return float(np.max(np.nan_to_num(r.ratio, nan=0.0, posinf=1e300), initial=0.0))

    where, worst, case = max(found, key=lambda f: top(f[1]))
    at = np.unravel_index(
        int(np.argmax(np.nan_to_num(worst.ratio, nan=-1.0, posinf=1e300))), worst.ratio.shape
    )
    failing = [f for f in found if np.any(f[1].ratio > 1)]
    verdict = Verdict.FAIL if failing else Verdict.PASS
    reason = ""
    if failing:
        labels = dict.fromkeys(f"{place}: {label}" for place, _, label in failing)
        shown = list(labels)[:4]
        more = f" and {len(labels) - 4} more" if len(labels) > 4 else ""
        reason = f"wrong in {len(failing)} of {len(found)} probes ({', '.join(shown)}{more})"
    states = np.where(worst.ratio > 1, EntryState.FAIL, EntryState.PASS).astype(np.int8)
    entry = _entry(user, at, comparisons)
    return Row(
        name=user,
        shape=worst.got.shape,
        verdict=verdict,
        ratio=float(worst.ratio[at]),
        worst=f"{entry} ({where}, {case})",
        analytic=float(worst.got[at]),
        numeric=float(worst.want[at]),
        bound=float(worst.bound[at]),
        resolution=min(relative_resolution(r.got, r.want, r.bound) for _, r, _ in found),
        failing=int(np.sum(worst.ratio > 1)),
        entries=worst.got.size,
        method="complex step of the definition, step by step",
        reason=reason,
        ratios=worst.ratio,
        states=states,
    )


def _entry(user: str, at: tuple[Any, ...], comparisons: Sequence[Comparison]) -> str:
    """An entry by the user's index and the definition's name: ``[3, 1] = W_f[0, 1]``."""
    index = [int(i) for i in at]
    if not comparisons:
        return str(index)
    fitted = comparisons[0].station.fitted
    pieces = fitted.pieces[user]
    if user in fitted.layout.parameters and len(fitted.shapes[user]) == len(index):
        flat = int(np.ravel_multi_index(at, fitted.shapes[user]))
        for piece in pieces:
            inner = np.argwhere(piece.index == flat)
            if len(inner):
                return f"{index} = {piece.name}{[int(i) for i in inner[0]]}"
    return str(index)


def _finish(report: ModelReport, stations: Sequence[Station], subject: Subject) -> ModelReport:
    report.findings = [*subject.findings, *report.findings]
    report.gradients = subject.calls
    report.evaluations = sum(s.oracle.evaluations for s in stations)
    return report
