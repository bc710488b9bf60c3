"""The command `verify`: a table for people, JSON for programs, an exit code for CI."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from gradcheck_rnn.cli.printing import console, emit_json
from gradcheck_rnn.cli.running import FAIL, MISUSE, PASS, UNDECIDED
from gradcheck_rnn.errors import GradcheckError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gradcheck_rnn.verify import Report, Row
    from gradcheck_rnn.verify.session import Verification

__all__ = ["verify"]

STYLES = {"pass": "green", "fail": "bold red", "undecided": "yellow"}
#: Pairs of parameter and cotangent shown in full when a kernel fails; the rest is counted.
MOST_FAILURES = 8


def verify(
    target: str,
    *,
    select: Sequence[str] | None,
    seed: str | None,
    budget: str | None,
    undecided: Literal["fail", "warn"],
    definition: str | None,
    loss: str | None,
    as_json: bool,
) -> int:
    """Verify `target` and print what was found.

    Returns
    -------
    int
        0 pass, 1 fail, 2 when a function of the user raises, 3 undecided.

    Raises
    ------
    GradcheckError
        Misuse; one line for the caller to print.
    """
    from gradcheck_rnn import api, loading

    reports: list[Report] = []
    with _waiting(target) as note, contextlib.redirect_stdout(sys.stderr):

        def on_report(report: Report, left: int) -> None:
            reports.append(report)
            note(f"{target}: {report.title.rpartition(': ')[2]} done, {left} to come")

        try:
            done = api.verify(
                target, seed=seed, select=select or None, budget=_budget(budget),
                undecided=undecided, definition=definition, loss=loss, on_report=on_report,
            )  # fmt: skip
        except GradcheckError:
            raise
        except Exception as error:
            frames = loading.user_frames(error)
            if not frames:
                raise
            failure = loading.shorten("".join(frames))
        else:
            failure = ""
    if failure:
        sys.stderr.write(failure)
        return MISUSE
    if as_json:
        emit_json(_plain(done))
    else:
        out = console()
        # A number cut short by a narrow terminal would be another number: the terminal wraps.
        out.width = max(out.width, 200)
        _show(out, done)
    return _code(done)


def _code(done: Verification) -> int:
    if done.passed:
        return PASS
    return FAIL if str(done.verdict) == "fail" else UNDECIDED


def _budget(text: str | None) -> int | str | None:
    """A plain number counts evaluations, ``10s`` is seconds."""
    return int(text) if text is not None and text.strip().isdigit() else text


@contextlib.contextmanager
def _waiting(target: str) -> Iterator[Any]:
    """A spinner on stderr with what was done last; silent where nobody watches."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield lambda text: None
        return
    with err.status(f"verifying {target}") as status:
        yield lambda text: status.update(text)


def _plain(done: Verification) -> dict[str, Any]:
    return {
        "target": done.target,
        "kind": done.kind,
        "verdict": str(done.verdict),
        "passed": done.passed,
        "reports": [
            {**report.to_json(), "replay": done.replay(report)} for report in done
        ],
    }  # fmt: skip


def _show(out: Console, done: Verification) -> None:
    if done.kind == "kernel":
        _show_kernel(out, done)
    else:
        for report in done:
            _show_case(out, report)
    bad = [r for r in done if not r.passed]
    # Checks of one kernel share everything that a command can name.
    for report in bad[:1] if done.kind == "kernel" else bad:
        _line(out, f"repeat: {done.replay(report)}")
    blind = [r.resolution for p in done for r in p.rows if p.mode != "forward"]
    if blind and done.passed and all(map(math.isfinite, blind)):
        _line(out, f"not seen: faults below {_number(max(blind))} of the gradient they are in")
    verdict = str(done.verdict)
    note = ", taken as a warning" if verdict == "undecided" and done.passed else ""
    what = "check" if done.kind == "kernel" else "case"
    plural = "" if len(done) == 1 else "s"
    _line(
        out,
        f"{verdict}: {len(done) - len(bad)} of {len(done)} {what}{plural} passed{note} "
        f"({sum(r.evaluations for r in done)} loss evaluations)",
        STYLES[verdict],
    )


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


def _show_case(out: Console, report: Report) -> None:
    _line(out, f"{report.title}: {report.verdict} (seed {report.seed})")
    columns = ["parameter", "verdict", "error÷bound", "worst entry", "gradient", "difference"]
    wrong = [] if report.passed else ["entries"]
    table = _table(*columns, "bound", *wrong)
    for row in report.rows:
        table.add_row(
            row.name.replace("[", "\\["), *_cells(row), _number(row.analytic, 9),
            _number(row.numeric, 9), _number(row.bound), *([_share(row)] if wrong else []),
        )  # fmt: skip
    out.print(table)
    for row in report.rows:
        if _told(row):
            _line(out, f"{row.name}: {_told(row)}")
    _findings(out, report)


def _share(row: Row) -> str:
    """How many entries did not pass."""
    return f"{row.failing + row.undecided} of {row.entries}"


def _told(row: Row) -> str:
    """What the row says beside the numbers, which are in the table."""
    return row.reason.partition("; ")[2] if row.failing else row.reason


def _findings(out: Console, report: Report) -> None:
    for finding in report.findings:
        _line(out, f"{'fault' if finding.fatal else 'note'}: {finding.message}")


def _show_kernel(out: Console, done: Verification) -> None:
    """Forward first; then a row a gradient, with the cotangent for which it does worst."""
    forward, *parts = done
    name, _, _ = forward.title.rpartition(": ")
    worst = max((r.ratio for r in forward.rows if math.isfinite(r.ratio)), default=0.0)
    agree = {"pass": "agrees with", "fail": "differs from", "undecided": "cannot be compared with"}
    _line(
        out,
        f"{name}: forward {agree[str(forward.verdict)]} the definition in "
        f"{', '.join(r.name for r in forward.rows)} (error÷bound at most {_number(worst)})",
    )
    _findings(out, forward)
    if not parts:
        if not forward.passed:
            _details(out, [forward])
        return
    table = _table("gradient of", "verdict", "error÷bound", "worst entry", "for the")
    for k, first in enumerate(parts[0].rows):
        rows = [(part.rows[k], part.title.rpartition(": ")[2]) for part in parts]
        row, what = max(rows, key=_severity)
        table.add_row(first.name, *_cells(row), what)
    out.print(table)
    _details(out, [p for p in parts if not p.passed])
    said = dict.fromkeys(f.message for p in parts for f in p.findings)
    for message in said:
        _line(out, f"note: {message}")


def _severity(pair: tuple[Row, str]) -> tuple[int, float]:
    row, _ = pair
    order = ("pass", "undecided", "fail").index(str(row.verdict))
    return order, row.ratio if math.isfinite(row.ratio) else math.inf if order else 0.0


def _details(out: Console, parts: Sequence[Report]) -> None:
    """The numbers behind what did not pass, the worst first."""
    bad = [(r, p.title.rpartition(": ")[2]) for p in parts for r in p.rows]
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
        if _told(row):
            _line(out, f"{row.name}, {what}: {_told(row)}")
    if len(bad) > MOST_FAILURES:
        _line(out, f"… and {len(bad) - MOST_FAILURES} more; --json gives all")
