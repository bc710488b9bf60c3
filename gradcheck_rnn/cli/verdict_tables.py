"""How verdicts look: tables for people, plain data for programs, annotations for workflows."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.cli import output
from gradcheck_rnn.cli.codes import FAIL, MISUSE, PASS, UNDECIDED
from gradcheck_rnn.cli.printing import console, flat
from gradcheck_rnn.loading import split_target

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gradcheck_rnn.verify import Report, Row
    from gradcheck_rnn.verify.session import Verification

__all__ = [
    "STYLES",
    "account",
    "annotate",
    "annotate_misuse",
    "code",
    "keep",
    "plain",
    "say_lost",
    "show",
    "show_all",
    "show_failing",
    "waiting",
    "wide_console",
]

STYLES = {"pass": "green", "fail": "bold red", "undecided": "yellow"}
#: Names in the account -> modes of reports.
LOST = {
    "crashed": ("crash", "exit"), "timed_out": ("timeout",), "out_of_memory": ("memory",),
    "raised": ("error",),
}  # fmt: skip
#: Pairs of parameter and cotangent shown in full when a kernel fails; the rest is counted.
MOST_FAILURES = 8


def keep(found: Sequence[Verification], paths: Sequence[Path]) -> None:
    """Write what was found as HTML or PDF, where paths are given."""
    if not paths:
        return
    from gradcheck_rnn import api

    api.report(found[0] if len(found) == 1 else [r for v in found for r in v], *paths)


def wide_console() -> Console:
    """A number cut short by a narrow terminal would be another number: the terminal wraps."""
    out = console()
    out.width = max(out.width, 200)
    return out


def code(done: Sequence[Verification]) -> int:
    """The exit code of one or several verifications; a wrong gradient counts before misuse."""
    failed = [r for v in done for r in v if str(r.verdict) == "fail"]
    if any(r.mode != "error" for r in failed):
        return FAIL
    if failed:
        return MISUSE
    return PASS if done and all(v.passed for v in done) else UNDECIDED


def say_lost(done: Sequence[Verification]) -> None:
    """On stderr, what gave no report: a line each, or the traceback of a user's exception."""
    said = set()
    for verification in done:
        for lost in verification.lost:
            what = " ".join(lost.findings[0].message.split())
            if lost.mode != "error":
                what = f"{_case(verification, lost.title)}: {what}"
            text = lost.traceback or f"error: {flat(what)}\n"
            if text not in said:  # what is wrong with a file is wrong with all of its cases
                sys.stderr.write(text)
            said.add(text)


def _case(done: Verification, title: str) -> str:
    path, name = split_target(done.target)
    return done.target if path is None or name or title == done.target else f"{path}:{title}"


def account(done: Sequence[Verification]) -> dict[str, Any]:
    """What was planned, and what became of it."""
    lost = {
        name: [_case(v, gone.title) for v in done for gone in v.lost if gone.mode in kinds]
        for name, kinds in LOST.items()
    }
    counts = {"planned": sum(v.planned for v in done), "reported": sum(v.reported for v in done)}
    return {**counts, **lost}


def annotate(done: Sequence[Verification], asked: bool | None, *, stderr: bool) -> None:
    """Workflow commands for what did not pass; beside JSON they go to the other stream."""
    from gradcheck_rnn.verify.annotations import annotation, on_github

    if not on_github(asked):
        return
    for verification in done:
        path, _ = split_target(verification.target)
        for report in verification:
            file, line = report.place or (path, None)
            said = annotation(
                report.to_json(), file=file, line=line, warn=verification.undecided == "warn",
                replay=verification.replay(report),
            )  # fmt: skip
            if said is not None:
                print(said, file=sys.stderr if stderr else output.stream())


def annotate_misuse(error: Exception, asked: bool | None, *, stderr: bool) -> None:
    """A workflow command for what kept everything from being checked."""
    from gradcheck_rnn.verify.annotations import misuse, on_github

    if on_github(asked):
        print(misuse(flat(str(error))), file=sys.stderr if stderr else output.stream())


@contextlib.contextmanager
def waiting(what: str) -> Iterator[Any]:
    """A spinner on stderr with what was done last; silent where nobody watches."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield lambda text: None
        return
    with err.status(what) as status:
        yield lambda text: status.update(text)


def plain(done: Verification) -> dict[str, Any]:
    """As docs/json-schema/verify.json has it."""
    return {
        "target": done.target,
        "kind": done.kind,
        "verdict": str(done.verdict),
        "passed": done.passed,
        **({} if done.kind == "vectors" else {"accounting": account([done])}),
        "reports": [_plain_report(done, report) for report in done],
    }


def _plain_report(done: Verification, report: Report) -> dict[str, Any]:
    file, line = report.place or (None, None)
    return {**report.to_json(), "replay": done.replay(report), "file": file, "line": line}


def show(out: Console, done: Verification, budget: int | str | None = None) -> None:
    """For people: tables, then what does not pass, what could hide, and how to repeat it."""
    kinds = {lost.mode for lost in done.lost}
    if done.kind == "kernel" and not kinds:
        _show_kernel(out, done)
    elif done.kind == "vectors":
        _show_vectors(out, done)
    else:
        for report in done:
            if report.mode in kinds:
                _line(out, f"{flat(report.title)}: {report.verdict} ({report.findings[0].message})")
            else:
                _show_case(out, report)
    bad = [r for r in done if not r.passed]
    _show_repeats(out, done)
    _show_power(out, done)
    verdict = str(done.verdict)
    note = ", taken as a warning" if verdict == "undecided" and done.passed else ""
    what = {"kernel": "check", "cases": "case", "vectors": "probe"}[done.kind]
    plural = "" if len(done) == 1 else "s"
    if done.lost:
        _line(out, f"planned {done.planned}, reported {done.reported}")
    spent = sum(r.evaluations for r in done)
    allowed = f" of a budget of {budget}" if budget is not None else ""
    cost = f" ({spent} loss evaluations{allowed})" if done.kind != "vectors" else ""
    _line(
        out,
        f"{verdict}: {len(done) - len(bad)} of {len(done)} {what}{plural} passed{note}{cost}",
        STYLES[verdict],
    )


def show_failing(found: Sequence[Verification]) -> None:
    """A line and a command for each report that did not pass; nothing else."""
    out = wide_console()
    for done in found:
        for report in done:
            if not report.passed and not (done.passed and done.undecided == "warn"):
                _line(out, flat(report.summary()))
                if done.kind != "vectors":
                    _line(out, f"repeat: {flat(done.replay(report))}")


def show_all(found: Sequence[Verification]) -> None:
    """Every report with all of its rows and notes, then the verdict of each verification."""
    out = wide_console()
    for done in found:
        for report in done:
            _line(out, report.in_full())
        _show_repeats(out, done)
        passed = sum(report.passed for report in done)
        _line(out, f"{done.verdict}: {passed} of {len(done)} passed", STYLES[str(done.verdict)])


def _show_repeats(out: Console, done: Verification) -> None:
    """The commands that repeat what did not pass."""
    bad = [r for r in done if not r.passed]
    # Checks of one kernel share everything that a command can name; results are judged as a whole.
    for report in bad if done.kind == "cases" else bad[:1] if done.kind == "kernel" else ():
        _line(out, f"repeat: {flat(done.replay(report))}")


def _show_power(out: Console, done: Verification) -> None:
    """What could have been missed: a size below which entries hide, or the chances of probes."""
    blind = [r.resolution for p in done for r in p.rows if p.mode not in ("forward", "directional")]
    if blind and done.passed and all(map(math.isfinite, blind)):
        _line(out, f"not seen: faults below {_number(max(blind))} of the gradient they are in")
    for report in done:
        passed = [r for r in report.rows if str(r.verdict) == "pass" and r.missed]
        if report.mode == "directional" and passed:
            # Of several parameters the one in which most could hide.
            row = max(passed, key=lambda r: r.resolution)
            _line(out, f"{flat(report.title)}: {flat(row.name)} could have missed {row.missed}")


def _line(out: Console, text: str, style: str = "") -> None:
    """A line as it is, however long: commands and messages are to be copied."""
    out.print(text, style=style, markup=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = column in ("error÷bound", "gradient", "difference", "bound")
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _cells(row: Row) -> tuple[str, ...]:
    style = STYLES[str(row.verdict)]
    return (f"[{style}]{row.verdict}[/]", _number(row.ratio), row.worst.replace("[", "\\["))


def _number(x: float, digits: int = 2) -> str:
    return f"{x:.{digits}g}" if math.isfinite(x) else "–"


def _show_case(out: Console, report: Report, *, fold: bool = False) -> None:
    """The sentence, the table (with rows that passed, unless they are folded), the notes."""
    from gradcheck_rnn.verify.wording import unsaid

    how = report.mode
    if not how.startswith("against"):
        how = f"{how}, seed {report.seed}"
    _line(out, f"{flat(report.title)}: {report.verdict} ({how})")
    first = "" if report.passed else report.sentence()
    if not report.passed:
        _line(out, flat(first))
    columns = ["parameter", "verdict", "error÷bound", "worst entry", "gradient", "difference"]
    wrong = [] if report.passed else ["entries"]
    table = _table(*columns, "bound", *wrong)
    right = [row for row in report.rows if str(row.verdict) == "pass"] if fold else []
    shown = [row for row in report.rows if not fold or str(row.verdict) != "pass"]
    for row in shown:
        table.add_row(
            flat(row.name).replace("[", "\\["), *_cells(row), _number(row.analytic, 9),
            _number(row.numeric, 9), _number(row.bound), *([_share(row)] if wrong else []),
        )  # fmt: skip
    if shown:
        out.print(table)
    if right:
        _line(out, f"pass: {', '.join(flat(row.name) for row in right)}")
    for row in report.rows:
        if row.cause and unsaid(row, first):
            _line(out, f"{flat(row.name)}: {row.cause}")
    _findings(out, report, first)


def _share(row: Row) -> str:
    """How many entries did not pass."""
    return f"{row.failing + row.undecided} of {row.entries}"


def _findings(out: Console, report: Report, first: str = "") -> None:
    said = report.sentence() if report.rows == [] else first
    for finding in report.findings:
        if finding.message not in said:
            _line(out, f"{finding.rank}: {finding.message}")


def _show_vectors(out: Console, done: Verification) -> None:
    """The first probe that shows what is wrong, and a line for each other."""
    bad = [r for r in done if not r.passed]
    right = [r for r in done if r.passed]
    worst = [r for r in bad if str(r.verdict) == str(done.verdict)]
    if worst:
        _show_case(out, worst[0], fold=True)
    for report in bad:
        if report is not worst[0]:
            _line(out, flat(report.summary()))
    rows = [(row, report.part) for report in right for row in report.rows]
    if rows:
        row, what = max(rows, key=_severity)
        _line(
            out,
            f"passed ({right[0].mode}): {', '.join(flat(r.part) for r in right)}; error÷bound at "
            f"most {_number(row.ratio)} (of {flat(row.name)}, {flat(what)})",
        )


def _show_kernel(out: Console, done: Verification) -> None:
    """Forward first; then a row a gradient, with the cotangent for which it does worst."""
    forward, *parts = done
    worst = max((r.ratio for r in forward.rows if math.isfinite(r.ratio)), default=0.0)
    agree = {"pass": "agrees with", "fail": "differs from", "undecided": "cannot be compared with"}
    _line(
        out,
        f"{forward.subject}: forward {agree[str(forward.verdict)]} the definition in "
        f"{', '.join(r.name for r in forward.rows)} (error÷bound at most {_number(worst)})",
    )
    _findings(out, forward)
    if not parts:
        if not forward.passed:
            _details(out, [forward])
        return
    table = _table("gradient of", "verdict", "error÷bound", "worst entry", "for the")
    for k, first in enumerate(parts[0].rows):
        rows = [(part.rows[k], part.part) for part in parts]
        row, what = max(rows, key=_severity)
        table.add_row(first.name, *_cells(row), what)
    out.print(table)
    _details(out, [p for p in parts if not p.passed])
    said = {f.message: f.rank for p in parts for f in p.findings}
    for message, rank in said.items():
        _line(out, f"{rank}: {message}")


def _severity(pair: tuple[Row, str]) -> tuple[int, float]:
    row, _ = pair
    order = ("pass", "undecided", "fail").index(str(row.verdict))
    return order, row.ratio if math.isfinite(row.ratio) else math.inf if order else 0.0


def _details(out: Console, parts: Sequence[Report]) -> None:
    """The numbers behind what did not pass, the worst first."""
    bad = [(r, p.part) for p in parts for r in p.rows]
    bad = sorted((b for b in bad if str(b[0].verdict) != "pass"), key=_severity, reverse=True)
    if not bad:
        return
    table = _table("not passed", "for the", "entries", "worst", "kernel", "definition", "bound")
    for row, what in bad[:MOST_FAILURES]:
        table.add_row(
            row.name, what, _share(row), row.worst.replace("[", "\\["),
            _number(row.analytic, 9), _number(row.numeric, 9), _number(row.bound),
        )  # fmt: skip
    out.print(table)
    for row, what in bad[:MOST_FAILURES]:
        if row.cause:
            _line(out, f"{row.name}, {what}: {row.cause}")
    if len(bad) > MOST_FAILURES:
        _line(out, f"… and {len(bad) - MOST_FAILURES} more; --json gives all")
