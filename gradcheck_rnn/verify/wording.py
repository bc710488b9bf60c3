"""Results in words: what is wrong in one sentence, all of it as a text with a table, a diagnosis.

Sentences are made here from rows and findings, and nothing reads them back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from .hints import DROPPED
from .verdict import Finding, Row, Verdict

__all__ = [
    "diagnosis", "line", "line_verdict", "lines", "page", "reproduced", "sentence", "text",
    "unsaid",
]  # fmt: skip

#: Longer tables are folded: what is not pass first, then the rows with the largest errors.
MOST_ROWS, SHOWN_ROWS = 24, 12
#: Findings that say why several rows fail.
CAUSES = ("common-factor", "clipped", "gradient-ignores-argument", "loss-ignores-argument")
#: Findings about the forward pass that come before everything about gradients.
FORWARD = ("other-function", "unsteady-forward")
#: Findings after which a wrong gradient says nothing about the code.
FIRST = ("tracing",)
#: Names of wrong gradients before a list of them is cut.
MOST_NAMES = 12


class Diagnosed(Protocol):
    """What is put into words: a `Diagnosis`."""

    matches: list[Finding]
    tried: int
    wrong: list[str]
    where: list[str]
    steps: str
    lines: tuple[tuple[str, ...], ...]


class Worded(Protocol):
    """What is put into words: a `Report`."""

    title: str
    rows: list[Row]
    findings: list[Finding]
    mode: str
    seed: int
    evaluations: int
    gradients: int
    noise: float
    deterministic: bool
    where: str
    arrays: dict[str, str]

    @property
    def diagnosis(self) -> Diagnosed | None: ...
    @property
    def verdict(self) -> Verdict: ...


def sentence(report: Worded) -> str:
    """What is wrong and where, in one sentence; empty where nothing is.

    In model mode with the shapes at which it is; of what passes, what was not returned.
    """
    if report.mode != "model":
        return _plain_sentence(report)
    forward = [f.message for f in report.findings if f.fatal and f.kind in FORWARD]
    if forward:
        return forward[0]
    if report.verdict is Verdict.PASS:
        return "; ".join(f.message for f in report.findings if f.kind == "no-gradient")
    text, found = _plain_sentence(report), report.diagnosis
    if report.verdict is not Verdict.FAIL or not text:
        return text
    if found is not None and not found.matches:
        wrong = _wrong(found.wrong, len(found.wrong), report.arrays)
        text = f"{wrong} wrong {report.where}".rstrip()
    elif report.where:
        text = f"{text}; wrong {report.where}"
    more = (wrong_lines(found), found.steps) if found else ()
    return "; ".join(filter(None, (text, *more)))


def _plain_sentence(report: Worded) -> str:
    """`sentence` from rows and findings alone."""
    named = [f.message for f in report.findings if f.kind in ("diagnosis", *FIRST)]
    fatal = [f.message for f in report.findings if f.fatal]
    open_ = [f.message for f in report.findings if f.undecided]
    bad = [r for r in report.rows if r.verdict is not Verdict.PASS]
    failing = [r for r in bad if r.verdict is Verdict.FAIL]
    if named:
        return _first_line(named[0])
    if fatal and not any(r.failing for r in failing):
        return _first_line(fatal[0])
    if failing:
        worst = max(failing, key=lambda r: r.ratio if math.isfinite(r.ratio) else math.inf)
        # of the steps of one output the first that is wrong tells more than the worst
        worst = next(r for r in failing if _array(r) == _array(worst))
        others = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        common = next((_first_line(f.message) for f in report.findings if f.kind in CAUSES), "")
        text = f"the gradient of {worst.name}{others} is wrong"
        if worst.has("not-finite"):
            return f"{text}: {worst.reason}"
        if worst.has("dropped"):
            text = (
                f"the gradient of {worst.name}{others} is lost: 0 for {worst.numeric:.6g} at "
                f"{worst.worst}, {DROPPED}"
            )
        elif worst.failing:
            text += (
                f": {_apart(worst.analytic, worst.numeric)} at {worst.worst}, "
                f"{worst.failing} of {worst.entries} entries"
            )
            cause = common or worst.cause
            text += f"; {cause}" if cause else ""
        return f"{text}: {worst.reason}" if worst.reason and not worst.failing else text
    if open_:
        return _first_line(open_[0])
    if bad:
        others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        random = next((f.message for f in report.findings if f.kind == "nondeterministic"), "")
        if random and not report.deterministic:
            return f"{bad[0].name}{others}: {_first_line(random)}"
        advice = next((f.message for f in report.findings if f.kind == "coarse"), "")
        advice = f"; {advice}" if advice and bad[0].has("hidden") else ""
        return f"{bad[0].name}{others}: {bad[0].reason or bad[0].verdict}{advice}"
    return ""


def text(report: Worded, *, whole: bool = False) -> str:
    """All of it: the sentence, what ran, a table, reasons, findings, what was not seen.

    Long tables are folded; ``whole`` has every row, and what each could have missed.
    """
    # Model mode compares with a gradient computed from the definition: no loss is differenced.
    noise = f", noise of the loss {report.noise:.1e}" if math.isfinite(report.noise) else ""
    head = (
        f"{report.title}: {report.verdict} "
        f"({report.mode}, seed {report.seed}, {report.evaluations} loss and {report.gradients} "
        f"gradient evaluations{noise}{'' if report.deterministic else ', not deterministic'})"
    )
    first = sentence(report)
    lines = [f"{report.title}: {first}", head] if first else [head]
    shown, folded = (report.rows, []) if whole else _folded(report.rows)
    lines += _table(shown)
    if folded:
        worst = max((r.ratio for r in folded if math.isfinite(r.ratio)), default=0.0)
        kinds = ", ".join(
            f"{sum(r.verdict is v for r in folded)} {v}"
            for v in dict.fromkeys(r.verdict for r in folded)
        )
        lines.append(f"  … and {len(folded)} more: {kinds}, error÷bound up to {worst:.2g}")
    lines += [f"  {r.name}: {r.reason}" for r in shown if r.reason and unsaid(r, first)]
    lines += [f"  {f.rank}: {f.message}" for f in report.findings if f.message not in first]
    lines += _unseen(report.rows, whole)
    return "\n".join(lines)


def unsaid(row: Row, first: str) -> bool:
    """Whether the reasons of a row tell more than the sentence that a report begins with."""
    if row.verdict is Verdict.FAIL and row.failing and f"gradient of {row.name} " in first:
        return row.cause not in first
    return not first.startswith(f"{row.name}: {row.reason}")


def _unseen(rows: list[Row], whole: bool = False) -> list[str]:
    """What could hide, for the row in which most could, or with ``whole`` for every row."""
    rows = [r for r in rows if r.missed]
    if not rows:
        return []
    most = max(rows, key=lambda r: r.resolution)
    where = f"{most.name}, of all parameters the most," if len(rows) > 1 else most.name
    said = [(r.name, r.missed) for r in rows] if whole else [(where, most.missed)]
    told = [f"  not seen: {name} could have missed {missed}" for name, missed in said]
    small = [
        f"{r.hidden} of {r.entries} of {r.name}{r.hidden_places}"
        for r in rows
        if r is not most and r.hidden
    ]
    if small:
        more = f" and of {len(small) - MOST_NAMES} more" if len(small) > MOST_NAMES else ""
        text = f"entries too small beside their block: {', '.join(small[:MOST_NAMES])}{more}"
        told.append(f"  not seen: {text}")
    return told


def _folded(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to show, in their order, and those that a line stands for.

    What is not right comes first, and of the steps of one output the first of them.
    """
    if len(rows) <= MOST_ROWS:
        return rows, []
    rank = {Verdict.FAIL: 0, Verdict.UNDECIDED: 1, Verdict.PASS: 2}
    begins: dict[tuple[Verdict, tuple[str, str]], int] = {}
    for k, r in enumerate(rows):
        begins.setdefault((r.verdict, _array(r)), k)

    def order(k: int) -> tuple[int, bool, float]:
        r = rows[k]
        later = r.verdict is not Verdict.PASS and begins[r.verdict, _array(r)] != k
        return rank[r.verdict], later, -(r.ratio if math.isfinite(r.ratio) else math.inf)

    first = set(sorted(range(len(rows)), key=order)[:SHOWN_ROWS])
    return (
        [r for k, r in enumerate(rows) if k in first],
        [r for k, r in enumerate(rows) if k not in first],
    )


def page(report: Worded) -> str:
    """For notebooks: the verdict, what is wrong, the table, and the rest folded away."""
    from .. import html

    shown, folded = _folded(report.rows)
    head, *rows = _cells(shown)
    colour = html.COLOURS[str(report.verdict)]
    parts = [html.paragraph(f"{report.title}: {report.verdict}", colour=colour, bold=True)]
    first = sentence(report)
    parts += [html.paragraph(first)] if first else []
    parts.append(html.table(head, rows))
    parts += [html.paragraph(f"… and {len(folded)} more rows")] if folded else []
    rest = [f"{r.name}: {r.reason}" for r in shown if r.reason and unsaid(r, first)]
    rest += [f"{f.rank}: {f.message}" for f in report.findings if f.message not in first]
    rest += [line.strip() for line in _unseen(report.rows)]
    calls = f"{report.evaluations} loss and {report.gradients} gradient calls"
    rest.append(f"seed {report.seed}, {calls}")
    return "".join(parts) + html.details("notes", html.block("\n".join(rest)))


def _cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """A head and rows of text; the column of mean errors only where there are any."""
    means = any(math.isfinite(r.rms) for r in rows)
    head = ["parameter", "shape", "verdict", "error÷bound", "at", "gradient", "difference", "bound"]
    table: list[tuple[str, ...]] = [(*head, *(["rms error"] if means else []), "resolution")]
    for r in rows:
        table.append(
            (r.name, str(r.shape), str(r.verdict), _number(r.ratio), r.worst,
             f"{r.analytic:.9g}", f"{r.numeric:.9g}", _number(r.bound),
             *([_number(r.rms)] if means else []), _number(r.resolution))
        )  # fmt: skip
    return table


def _table(rows: list[Row]) -> list[str]:
    """Rows in columns."""
    table = _cells(rows)
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def diagnosis(found: Diagnosed) -> str:
    """What reproduces a wrong gradient, and on lines of their own what is known of the place."""
    return "\n".join([reproduced(found), *(f"  {where}" for where in found.where)])


def reproduced(found: Diagnosed) -> str:
    """Which mistakes reproduce a wrong gradient, or that none does."""
    subject = _wrong(found.wrong, MOST_NAMES)
    if not found.matches:
        place = wrong_lines(found)
        return (
            f"{subject} wrong; {place}{'; ' * bool(place)}none of {found.tried} known mistakes, "
            "and no pair of them that was tried, reproduces the gradient"
        )
    known = "; or ".join(m.message for m in found.matches)
    worst = max(m.residual for m in found.matches)
    if len(found.matches) == 1:
        return f"{subject} what you get with: {known}: residual {worst:.0e}"
    return (
        f"{subject} what you get with any of {len(found.matches)} mistakes, which "
        f"nothing tried tells apart: {known}: residual {worst:.0e}"
    )


def wrong_lines(found: Diagnosed) -> str:
    """Which lines make all that is wrong, whatever it is that they say; empty where unknown."""
    if not found.lines:
        return ""
    first = found.lines[0]
    if len(first) == 1 and len(found.lines) == 1:
        return f"the line of {first[0]} makes all of it"
    if len(first) == 1:
        return f"one line makes all of it, that of {' or of '.join(n for (n,) in found.lines)}"
    sets = ", or of ".join(" and ".join(some) for some in found.lines)
    return f"no line alone makes all of it, those of {sets} do together"


def _wrong(
    names: Sequence[str], most: int, arrays: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The gradients of these names, at most so many, with the code's names for them."""
    own = {n: f" (the code's d{a})" for n, a in arrays.items()}
    text = ", ".join(f"d{n}{own.get(n, '')}" for n in names[:most])
    text += f" and {len(names) - most} more" if len(names) > most else ""
    return f"{text} {'is' if len(names) == 1 else 'are'}"


def line_verdict(row: Row) -> str:
    """The verdict on a line of a backward pass."""
    if row.verdict is Verdict.FAIL:
        return "wrong"
    return "another quantity" if row.has("another-quantity") else "right"


def line(row: Row) -> str:
    """A line of a backward pass: what it is, and what the code has in its place."""
    verdict = line_verdict(row)
    text = f"{row.name}: {verdict}"
    if verdict == "another quantity":
        return f"{text} than ∂L/∂{row.source}; used consistently"
    if verdict == "wrong":
        text += f" (first at t = {row.step})" if row.step else ""
        text += f"; the line is {row.told('derived')[0]}"
        here, gradients = row.told("mistake"), row.told("by-gradients")
        if here:
            text += f"; here it is {here[0]}"
        elif gradients:
            text += f"; the gradients are what you get with: {gradients[0]}"
        else:
            text += f"; nothing fits: {row.told('fit')[0]}"
    unseen = row.told("unseen")
    if unseen:
        text += f"; it reads {', '.join(unseen)}, which was not handed over"
    return text


def lines(rows: Sequence[Row]) -> str:
    """The wrong lines of a backward pass, the first one first, then those that are right."""
    told: dict[str, list[Row]] = {"wrong": [], "another quantity": [], "right": []}
    for row in rows:
        told[line_verdict(row)].append(row)
    text = [line(row) for row in told["wrong"] + told["another quantity"]]
    if told["right"]:
        cleared = "right, given what they read" if told["wrong"] else "right line by line"
        text.append(f"{cleared}: {', '.join(row.name for row in told['right'])}")
    return "\n    ".join(text)


def _apart(a: float, b: float) -> str:
    """Two numbers in as many digits as tell them apart, at least six."""
    for digits in range(6, 17):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            break
    return f"{a:.{digits}g} for {b:.{digits}g}"


def _array(row: Row) -> tuple[str, str]:
    """The output and the input of a row, of whatever step, or its name."""
    return row.output, row.source or row.name


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def _number(x: float) -> str:
    return f"{x:.2g}" if math.isfinite(x) else "–"
