"""The report of a verification: verdicts, errors against their bounds, and where a fault lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import shown
from ..derivation import derive
from ..derivation.simplification import tidy
from ..errors import UsageError
from ..verify.outcome import Diagnosis, Report
from ..verify.session import Verification
from ..verify.verdict import Finding, Row, Verdict, combine
from ..verify.wording import reproduced
from .chapters.evidence import plain_ticks, power, verdicts
from .manuscript import Manuscript
from .plots import BLUE, GRID, INK, ORANGE, drawing, new_figure, svg_of
from .typst_mathematics import plain, sentence_list

__all__ = ["entries_map", "lag_maps", "reports_of", "verification_report"]

Array = np.ndarray[Any, Any]
#: Beyond these a picture is no longer legible.
MOST_DOTS, MOST_MAPS = 28, 6
_MARKS = {Verdict.PASS: ("o", BLUE), Verdict.FAIL: ("X", ORANGE), Verdict.UNDECIDED: ("D", INK)}


def verification_report(reports: Sequence[Report], title: str = "") -> Manuscript:
    """Write the report of a verification.

    Parameters
    ----------
    reports : sequence of Report
        A `Verification`, or reports from anywhere (pytest, `check_gradient`, `check_model`).
    title : str
        What was verified; the target's name when left out.

    Returns
    -------
    Manuscript
        For `typesetting.write`.
    """
    target = title or getattr(reports, "target", "") or _common(reports)
    verdict = combine([r.verdict for r in reports]) if reports else Verdict.UNDECIDED
    m = Manuscript(
        f"Verification of {target}",
        f"Verdict: {verdict}",
        f"Gradient verification of {target}: {verdict}.",
    )
    m.say(_abstract(reports, verdict))
    m.heading("Verdicts")
    if reports:
        verdicts(m, reports)
        _dots(m, reports)
    for report in reports:
        if report.verdict is not Verdict.PASS or report.findings:
            _detail(m, report)
    passing = [r for r in reports if r.verdict is Verdict.PASS and not r.findings]
    if passing:
        m.heading("What passed")
        m.say(
            "For each array the entry with the largest error ÷ bound is shown. _Resolution_ is the "
            "size of an error, relative to the gradient, that the check would have seen."
        )
        for report in passing:
            m.heading(report.title, 2)
            _rows(m, report)
    _replays(m, reports)
    return m


def reports_of(plain: Sequence[Mapping[str, Any]]) -> list[Report]:
    """Reports from the plain data of `Report.to_json`, as pytest and ``verify --json`` keep them.

    Of arrays with ratios only the failing entries are known; the others count as passed.
    """
    if isinstance(plain, str | bytes | Mapping) or not isinstance(plain, Sequence) or not plain:
        raise UsageError(f"{shown(plain)} is no list of reports, as `verify --json` prints them")
    try:
        return [_report_of(p) for p in plain]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        said = f"{type(error).__name__}: {str(error)[:80]}"
        raise UsageError(
            f"a report among {len(plain)} is damaged ({said}); `verify --json` prints them whole"
        ) from None


def _report_of(plain: Mapping[str, Any]) -> Report:
    findings = [
        Finding(f["kind"], f["message"], f["fatal"], f["undecided"]) for f in plain["findings"]
    ]
    return Report(
        plain["title"],
        [_row_of(r) for r in plain["rows"]],
        findings,
        mode=plain["mode"],
        seed=plain["seed"],
        evaluations=plain["evaluations"],
        gradients=plain["gradients"],
        loss=_number(plain["loss"]),
        noise=_number(plain["noise"]),
        deterministic=plain["deterministic"],
        part=plain.get("part", ""),
    )


def _row_of(plain: Mapping[str, Any]) -> Row:
    ratios = None
    if plain.get("failing_entries"):
        ratios = np.zeros(plain["shape"])
        for entry in plain["failing_entries"]:
            ratios[tuple(entry["index"])] = _number(entry["ratio"])
    numbers: dict[str, Any] = {
        k: _number(plain[k]) for k in ("ratio", "analytic", "numeric", "bound", "resolution")
    }
    words: dict[str, Any] = {k: plain[k] for k in ("worst", "method", "missed")}
    words["reasons"] = tuple(Finding(r["kind"], r["text"]) for r in plain["reasons"])
    counts: dict[str, Any] = {k: int(plain[k]) for k in ("failing", "undecided", "entries")}
    verdict = Verdict(plain["verdict"])
    return Row(
        plain["name"], tuple(plain["shape"]), verdict, **numbers, **words, **counts, ratios=ratios
    )


def _number(x: float | None) -> float:
    return float("nan") if x is None else float(x)


def _common(reports: Sequence[Report]) -> str:
    names = dict.fromkeys(r.subject or r.title for r in reports)
    return sentence_list(list(names)[:3]) if names else "nothing"


def _abstract(reports: Sequence[Report], verdict: Verdict) -> str:
    if not reports:
        return "There was nothing to check, so nothing has passed."
    entries = sum(r.entries or int(np.prod(r.shape)) for report in reports for r in report.rows)
    calls = sum(r.evaluations for r in reports)
    failing = [r for report in reports for r in report.rows if r.verdict is Verdict.FAIL]
    words = {
        Verdict.PASS: "Every gradient agrees with its finite differences within their own error.",
        Verdict.FAIL: "At least one gradient is wrong by more than the finite differences can be.",
        Verdict.UNDECIDED: "Nothing was found wrong, but not everything could be decided.",
    }[verdict]
    lost = [report for report in reports if not report.rows]
    if lost and not failing:
        words = "Nothing is wrong as far as it was checked, but not everything was."
    text = (
        f"{words} {len(reports)} check{'s' * (len(reports) != 1)} compared {entries} numbers, with {calls} evaluations of "
        "the loss. The bound of each is the truncation, roundoff and measured noise of its "
        "difference plus the roundoff of the gradient itself; no tolerance was chosen."
    )
    if failing:
        names = sentence_list(dict.fromkeys(f"`{r.name}`" for r in failing))
        text += f" Wrong: {names}."
    if lost:
        text += f" Without a result: {sentence_list(f'`{r.title}`' for r in lost)}."
    return text


def _detail(m: Manuscript, report: Report) -> None:
    m.heading(report.title)
    if report.rows:
        _rows(m, report)
    diagnosed = getattr(report, "diagnosis", None) is not None
    for f in report.findings:
        if not (diagnosed and f.kind == "diagnosis"):
            m.say(f"#remark[*{'Fault' if f.fatal else 'Note'}:* {plain(f.message)}]")
    _reasons(m, report)
    _diagnosis(m, report)
    # What is wrong in every entry needs no map of where.
    shown = [r for r in report.rows if r.ratios is not None and 0 < r.failing < r.ratios.size]
    for r in shown[:MOST_MAPS]:
        entries_map(m, r)
    lag_maps(m, report)


def _reasons(m: Manuscript, report: Report) -> None:
    """Why arrays did not pass, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    for r in report.rows:
        if r.cause:
            reasons.setdefault(r.cause, []).append(f"`{r.name}`")
        if r.missed and r.verdict is not Verdict.FAIL and r.resolution > 0:
            reasons.setdefault(f"could have missed {r.missed}", []).append(f"`{r.name}`")
    m.items(f"{sentence_list(names)}: {plain(reason)}" for reason, names in reasons.items())


def _diagnosis(m: Manuscript, report: Report) -> None:
    diagnosis = report.diagnosis
    if diagnosis is None:
        return
    m.heading("Diagnosis", 2)
    m.say(plain(reproduced(diagnosis) + "."))
    _equations(m, report, diagnosis)
    m.items(plain(where) for where in diagnosis.where)


def _equations(m: Manuscript, report: Report, diagnosis: Diagnosis) -> None:
    """The derived contributions that the code computes otherwise, and what it computes."""
    terms = {k: t for c in diagnosis.candidates for k, t in c.edits.terms.items()}
    comparisons = report.comparisons
    if not terms or not comparisons:
        return
    edges = {e.id: e for e in derive(comparisons[0].point.network).edges}
    rows = []
    for key, term in list(terms.items())[:MOST_MAPS]:
        edge = edges[key]
        left = m.maths.left(edge.operand.with_(mark="bar"))
        rows.append((left, m.maths.pieces(tidy(edge.pullback), "arrow.l"), "derived"))
        found = ['$arrow.l "nothing"$'] if term is None else m.maths.pieces(tidy(term), "arrow.l")
        rows.append((left, found, "in this code"))
    m.say("What an equation passes back to its operand, as derived and as it was found:")
    m.display(rows)


def _rows(m: Manuscript, report: Report) -> None:
    rows = []
    for r in report.rows:
        rows.append(
            [
                f"`{r.name}`",
                plain(str(r.verdict)),
                f"{r.failing} of {r.entries or int(np.prod(r.shape))}" if r.failing else "",
                f"${power(r.ratio)}$" if np.isfinite(r.ratio) else "–",
                _place(r.worst),
                *(f"${power(x, 6)}$" if np.isfinite(x) else "–" for x in (r.analytic, r.numeric)),
                *(f"${power(x)}$" if np.isfinite(x) else "–" for x in (r.bound, r.resolution)),
            ]
        )
    header = (
        "Array",
        "Verdict",
        "Wrong",
        "Error ÷ bound",
        "at",
        "Gradient",
        "Difference",
        "Bound",
        "Resolution",
    )
    m.table(
        header,
        rows,
        align="(left, left, left, right, left, right, right, right, right)",
        small=True,
    )


def _from(report: Report) -> str:
    """The output whose cotangent a check propagated, or what else it was about."""
    return f" ← {(report.part or report.title).removeprefix('cotangent of ')}"


def _place(worst: str) -> str:
    """An index, kept on one line, and what is said about it."""
    index, bracket, about = worst.partition(" (")
    return (f"`{index}`" if index else "") + plain(bracket + about)


def _dots(m: Manuscript, reports: Sequence[Report]) -> None:
    """Error ÷ bound of every array, the worst at the top."""
    found = [
        (
            r.ratio,
            f"{r.name}{_from(report)}" if len(reports) > 1 else r.name,
            r.verdict,
        )
        for report in reports
        for r in report.rows
        if np.isfinite(r.ratio)
    ]
    if not found:
        return
    found.sort(key=lambda x: -x[0])
    left_out = len(found) - MOST_DOTS
    found = found[:MOST_DOTS]
    with drawing():
        figure, axes = new_figure(5.6, 1.3 + 0.2 * len(found))
        ax = axes[0, 0]
        place = np.arange(len(found))
        floor = 1e-3
        for verdict, (mark, colour) in _MARKS.items():
            k = [i for i, x in enumerate(found) if x[2] is verdict]
            if k:
                ax.plot(
                    [max(found[i][0], floor) for i in k], k, mark, color=colour, label=str(verdict)
                )
        ax.set_xscale("log")
        ax.axvline(1.0, color=INK, lw=1)
        ax.set_yticks(place, [x[1] for x in found], fontsize=10)
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.set_xlabel("error ÷ bound")
        ax.grid(axis="x", color=GRID, alpha=0.5, lw=0.6)
        plain_ticks(ax, y=False)
        ax.legend(
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, 1 + 0.45 / len(found) + 0.06),
            ncols=3,
        )
        svg = svg_of(figure)
    worst = found[0]
    caption = (
        f"Error ÷ bound of every array. To the right of the line at 1 a gradient is wrong. The "
        f"largest is ${power(worst[0])}$, of {plain(worst[1])}"
    )
    caption += f"; {left_out} smaller ones are left out." if left_out > 0 else "."
    if len(reports) > 1:
        caption += " Behind the arrow is the check: the output whose cotangent was propagated."
    m.picture(svg, f"Dot plot of error divided by bound for {len(found)} arrays.", caption)


def _replays(m: Manuscript, reports: Sequence[Report]) -> None:
    if not reports:
        return
    m.heading("To repeat this")
    if isinstance(reports, Verification) and reports.target:
        commands = list(dict.fromkeys(reports.replay(r) for r in reports))
        bad = [reports.replay(r) for r in reports if r.verdict is not Verdict.PASS]
        m.code("\n".join(dict.fromkeys(bad or commands[:1])), "sh")
        return
    seeds = sentence_list(dict.fromkeys(str(r.seed) for r in reports))
    m.say(f"Points and directions come from the seed {seeds}.")


#: Beyond this a picture is no longer legible.
MOST_CELLS = 4096
_PLURAL = {"entry": "entries", "row": "rows", "column": "columns"}


def entries_map(m: Manuscript, row: Row) -> None:
    """Where in an array the wrong entries are."""
    if row.ratios is None or row.ratios.size > MOST_CELLS or row.ratios.size < 2:
        return
    ratios = np.asarray(row.ratios, dtype=float)
    flat = ratios.reshape(len(ratios), -1) if ratios.ndim > 1 else ratios[None, :]
    names = {1: ("", "entry"), 2: ("row", "column")}.get(
        ratios.ndim, ("first axis (step)", "other axes, flattened")
    )
    bad = max(row.failing, int(np.sum(ratios > 1)))
    caption = (
        f"Error ÷ bound of the entries of `{row.name}`, {plain(' × '.join(map(str, row.shape)))}: {bad} of "
        f"{ratios.size} are wrong{_pattern(ratios > 1)}."
    )
    _heat(m, flat, names, caption)


def _pattern(bad: Array) -> str:
    """What the wrong entries have in common."""
    if bad.all():
        return ", all of them"
    words = []
    for axis, name in enumerate({1: ("entry",), 2: ("row", "column")}.get(bad.ndim, ())):
        others = tuple(a for a in range(bad.ndim) if a != axis)
        lines = np.flatnonzero(bad.any(axis=others))
        if len(lines) <= max(1, bad.shape[axis] // 2):
            words.append(
                f"{name if len(lines) == 1 else _PLURAL[name]} {sentence_list(str(int(i)) for i in lines)}"
            )
    return f", in {sentence_list(words)} (counted from 0)" if words else ""


def lag_maps(m: Manuscript, report: Report) -> None:
    """Errors of input gradients by step of the cotangent and lag, where cotangents were apart."""
    for name, grid in _lag_grids(report):
        wrong = np.argwhere(grid > 1)
        lags = sorted({int(k) for _, k in wrong})
        where = f"lags {lags[0]} to {lags[-1]}" if len(lags) > 1 else f"lag {lags[0]}"
        caption = (
            f"Error ÷ bound of the gradient of `{name}` by the step of the cotangent and the lag "
            f"from it: wrong at {where}. Empty cells lie before the start."
        )
        _heat(m, grid, ("step t of the cotangent", "lag"), caption)


def _lag_grids(report: Report) -> Iterator[tuple[str, Array]]:
    for comparison in report.comparisons[:2]:
        point = comparison.point
        T = max(point.lengths.values(), default=0)
        grids: dict[str, Array] = {}
        for record in comparison.records:
            if record.case.step is None:
                continue
            piece = point.fitted.pieces[record.user][0]
            ref = point.network.inputs.get(piece.name)
            if ref is None or ref.axis is None:
                continue
            ratio = record.ratio.reshape(-1)[piece.index]
            grid = grids.setdefault(record.user, np.full((T, T), np.nan))
            for t in range(min(record.case.step + 1, len(ratio))):
                lag = record.case.step - t
                grid[record.case.step, lag] = np.nanmax(ratio[t])
        yield from ((n, g) for n, g in grids.items() if np.nanmax(g) > 1)


def _heat(m: Manuscript, values: Array, names: tuple[str, str], caption: str) -> None:
    from matplotlib.colors import TwoSlopeNorm

    with drawing(), np.errstate(all="ignore"):
        rows, cols = values.shape
        figure, axes = new_figure(5.2, min(4.6, max(2.3, 1.1 + 3.6 * rows / max(rows, cols))))
        ax = axes[0, 0]
        shown = np.log10(np.clip(values, 1e-3, 1e6))
        top = max(1.0, float(np.nanmax(shown)))
        image = ax.pcolormesh(
            shown, cmap="PuOr_r", norm=TwoSlopeNorm(0.0, -3.0, top), edgecolors="face"
        )
        ax.invert_yaxis()
        ax.set_xticks(
            np.arange(cols)[:: max(1, cols // 12)] + 0.5, np.arange(cols)[:: max(1, cols // 12)]
        )
        ax.set_yticks(
            np.arange(rows)[:: max(1, rows // 8)] + 0.5, np.arange(rows)[:: max(1, rows // 8)]
        )
        ax.set_ylabel(names[0])
        ax.set_xlabel(names[1])
        bar = figure.colorbar(image, ax=ax)
        bar.set_label("log₁₀ (error ÷ bound)")
        svg = svg_of(figure)
    alt = f"Heat map of {rows} by {cols} cells; the largest is 10 to the power {top:.1f}."
    m.picture(svg, alt, caption, "72%")
