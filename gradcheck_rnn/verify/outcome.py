"""The report of a check: rows, findings, and how to print, store or raise it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import GradcheckError
from .hints import DROPPED
from .verdict import EntryState, Finding, Row, Verdict, combine

__all__ = ["GradientMismatch", "Report"]

MOST_ENTRIES = 20
#: Longer tables are folded: what is not pass first, then the rows with the largest errors.
MOST_ROWS, SHOWN_ROWS = 24, 12
_STEP = re.compile(r" at step \d+")
#: Findings that say why several rows fail.
CAUSES = ("common-factor", "clipped", "gradient-ignores-argument", "loss-ignores-argument")


class GradientMismatch(GradcheckError):
    """Raised by `Report.raise_for_failure`; carries the report as `.report`."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass
class Report:
    """What a check found.

    `rows` are verdicts per parameter; `findings` what was seen beside the numbers; `seed` repeats
    the directions; `evaluations` counts calls of the loss, `gradients` of the gradient; `noise` is
    the measured standard deviation of the loss, and `deterministic` whether it repeats; `place` is
    the file and line of what was checked, where they are known.
    """

    title: str
    rows: list[Row]
    findings: list[Finding] = field(default_factory=list)
    mode: str = "entrywise"
    seed: int = 0
    evaluations: int = 0
    gradients: int = 0
    loss: float = float("nan")
    noise: float = float("nan")
    deterministic: bool = True
    place: tuple[str, int] | None = None

    @property
    def verdict(self) -> Verdict:
        """Fail if any row or finding fails, undecided if any row or finding is, else pass."""
        found = [Verdict.FAIL for f in self.findings if f.fatal]
        found += [Verdict.UNDECIDED for f in self.findings if f.undecided]
        return combine([row.verdict for row in self.rows] + found)

    @property
    def passed(self) -> bool:
        """Whether the verdict is pass; undecided is not."""
        return self.verdict is Verdict.PASS

    def raise_for_failure(self, *, undecided: str = "raise") -> Report:
        """Raise `GradientMismatch` unless passed; ``undecided="allow"`` lets undecided through."""
        if self.verdict is Verdict.FAIL or (
            self.verdict is Verdict.UNDECIDED and undecided != "allow"
        ):
            raise GradientMismatch(self)
        return self

    def sentence(self) -> str:
        """What is wrong and where, in one sentence; empty where nothing is."""
        named = [f.message for f in self.findings if f.kind == "diagnosis"]
        fatal = [f.message for f in self.findings if f.fatal]
        open_ = [f.message for f in self.findings if f.undecided]
        bad = [r for r in self.rows if r.verdict is not Verdict.PASS]
        failing = [r for r in bad if r.verdict is Verdict.FAIL]
        if named:
            return _first_line(named[0])
        if fatal and not any(r.failing for r in failing):
            return _first_line(fatal[0])
        if failing:
            worst = max(failing, key=lambda r: r.ratio if math.isfinite(r.ratio) else math.inf)
            # of the steps of one output the first that is wrong tells more than the worst
            worst = next(r for r in failing if _without_step(r) == _without_step(worst))
            others = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
            common = next((_first_line(f.message) for f in self.findings if f.kind in CAUSES), "")
            text = f"the gradient of {worst.name}{others} is wrong"
            if worst.reason.endswith(DROPPED):
                text = (
                    f"the gradient of {worst.name}{others} is lost: 0 for {worst.numeric:.6g} at "
                    f"{worst.worst}, {DROPPED}"
                )
            elif worst.failing:
                text += (
                    f": {_apart(worst.analytic, worst.numeric)} at {worst.worst}, "
                    f"{worst.failing} of {worst.entries} entries"
                )
                cause = common or worst.reason.partition("; ")[2]
                text += f"; {cause}" if cause else ""
            return f"{text}: {worst.reason}" if worst.reason and not worst.failing else text
        if open_:
            return _first_line(open_[0])
        if bad:
            others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            return f"{bad[0].name}{others}: {bad[0].reason or bad[0].verdict}"
        return ""

    def __str__(self) -> str:
        return self._text(*self._folded())

    def in_full(self) -> str:
        """As `str`, with every row and what each of them could have missed."""
        missed = [f"  {r.name} could have missed {r.missed}" for r in self.rows if r.missed]
        return "\n".join([self._text(self.rows, []), *missed])

    def _text(self, shown: list[Row], folded: list[Row]) -> str:
        # Model mode compares with a gradient computed from the definition: no loss is differenced.
        noise = f", noise of the loss {self.noise:.1e}" if math.isfinite(self.noise) else ""
        head = (
            f"{self.title}: {self.verdict} "
            f"({self.mode}, seed {self.seed}, {self.evaluations} loss and {self.gradients} "
            f"gradient evaluations{noise}{'' if self.deterministic else ', not deterministic'})"
        )
        sentence = self.sentence()
        lines = [f"{self.title}: {sentence}", head] if sentence else [head]
        lines += _table(shown)
        if folded:
            worst = max((r.ratio for r in folded if math.isfinite(r.ratio)), default=0.0)
            kinds = ", ".join(
                f"{sum(r.verdict is v for r in folded)} {v}"
                for v in dict.fromkeys(r.verdict for r in folded)
            )
            lines.append(f"  … and {len(folded)} more: {kinds}, error÷bound up to {worst:.2g}")
        lines += [f"  {r.name}: {r.reason}" for r in shown if r.reason]
        lines += [f"  {f.rank}: {f.message}" for f in self.findings]
        lines += self._unseen()
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, what is wrong, the table, and the rest folded away."""
        from .. import html

        shown, folded = self._folded()
        head, *rows = _cells(shown)
        colour = html.COLOURS[str(self.verdict)]
        parts = [html.paragraph(f"{self.title}: {self.verdict}", colour=colour, bold=True)]
        sentence = self.sentence()
        parts += [html.paragraph(sentence)] if sentence else []
        parts.append(html.table(head, rows))
        parts += [html.paragraph(f"… and {len(folded)} more rows")] if folded else []
        rest = [f"{r.name}: {r.reason}" for r in shown if r.reason]
        rest += [f"{f.rank}: {f.message}" for f in self.findings if f.message != sentence]
        rest += [line.strip() for line in self._unseen()]
        rest.append(
            f"seed {self.seed}, {self.evaluations} loss and {self.gradients} gradient calls"
        )
        return "".join(parts) + html.details("notes", html.block("\n".join(rest)))

    def _unseen(self) -> list[str]:
        """One line on what could hide, for the row in which most could."""
        rows = [r for r in self.rows if r.missed]
        if not rows:
            return []
        most = max(rows, key=lambda r: r.resolution)
        where = f"{most.name}, of all parameters the most," if len(rows) > 1 else most.name
        return [f"  not seen: {where} could have missed {most.missed}"]

    def _folded(self) -> tuple[list[Row], list[Row]]:
        """Rows to show, in their order, and those that a line stands for.

        What is not right comes first, and of the steps of one output the first of them.
        """
        if len(self.rows) <= MOST_ROWS:
            return self.rows, []
        rank = {Verdict.FAIL: 0, Verdict.UNDECIDED: 1, Verdict.PASS: 2}
        begins: dict[tuple[Verdict, str], int] = {}
        for k, r in enumerate(self.rows):
            begins.setdefault((r.verdict, _without_step(r)), k)

        def order(k: int) -> tuple[int, bool, float]:
            r = self.rows[k]
            later = r.verdict is not Verdict.PASS and begins[r.verdict, _without_step(r)] != k
            return rank[r.verdict], later, -(r.ratio if math.isfinite(r.ratio) else math.inf)

        first = set(sorted(range(len(self.rows)), key=order)[:SHOWN_ROWS])
        return (
            [r for k, r in enumerate(self.rows) if k in first],
            [r for k, r in enumerate(self.rows) if k not in first],
        )

    def summary(self) -> str:
        """One line: the title, the verdict, and what is wrong."""
        return " ".join(f"{self.title}: {self.verdict}. {self.sentence()}".split()).rstrip(". ")

    def to_send(self) -> Report:
        """The same without what a worker need not send: the numbers behind each difference."""
        return replace(self, rows=[replace(row, check=None, probes=()) for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """The report as plain data for `json.dumps`; numbers that are not finite become None."""
        return {
            "title": self.title,
            "verdict": str(self.verdict),
            "sentence": self.sentence(),
            "mode": self.mode,
            "seed": self.seed,
            "evaluations": self.evaluations,
            "gradients": self.gradients,
            "loss": _finite(self.loss),
            "noise": _finite(self.noise),
            "deterministic": self.deterministic,
            "rows": [_row(r) for r in self.rows],
            "findings": [
                {
                    "kind": f.kind,
                    "message": f.message,
                    "fatal": f.fatal,
                    "undecided": f.undecided,
                }
                for f in self.findings
            ],
        }

    def dumps(self) -> str:
        """`to_json` as text."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)


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


def _apart(a: float, b: float) -> str:
    """Two numbers in as many digits as tell them apart, at least six."""
    for digits in range(6, 17):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            break
    return f"{a:.{digits}g} for {b:.{digits}g}"


def _without_step(row: Row) -> str:
    """``h -> W`` of ``h at step 3 -> W``."""
    return _STEP.sub("", row.name)


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def _row(r: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": r.name,
        "shape": list(r.shape),
        "verdict": str(r.verdict),
        "ratio": _finite(r.ratio),
        "worst": r.worst,
        "analytic": _finite(r.analytic),
        "numeric": _finite(r.numeric),
        "bound": _finite(r.bound),
        "resolution": _finite(r.resolution),
        "entries": r.entries,
        "failing": r.failing,
        "undecided": r.undecided,
        "method": r.method,
        "reason": r.reason,
        "missed": r.missed,
        "rms_error": _finite(r.rms),
    }
    if r.states is not None and r.ratios is not None:
        bad = np.argwhere(r.states == EntryState.FAIL)[:MOST_ENTRIES]
        plain["failing_entries"] = [
            {"index": [int(i) for i in at], "ratio": _finite(float(r.ratios[tuple(at)]))}
            for at in bad
        ]
    return plain


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _number(x: float) -> str:
    return f"{x:.2g}" if math.isfinite(x) else "–"
