"""What a check returns: rows, findings, the diagnosis, and how to print, store or raise them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import GradcheckError
from . import wording
from .verdict import EntryState, Finding, Row, Verdict, combine

__all__ = ["Diagnosis", "GradientMismatch", "Report"]

MOST_ENTRIES = 20


class GradientMismatch(GradcheckError):
    """Raised by `Report.raise_for_failure`; carries the report as `.report`."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass
class Diagnosis:
    """Which known mistakes reproduce a wrong gradient.

    `matches` are the mistakes, `same` the ids of others that are the same edit of the program;
    `tried` counts those that were tried, and `stopped` says whether the search ended at its limit
    of work, which `where` tells in words; `wrong` has the gradients that are wrong and `where` what
    is known of the place, of which `steps` is the line that tells most of the steps at which an
    input is wrong; `lines` are the smallest sets of lines that can make all that is wrong, where no
    mistake does; `noise` names the arrays of which the code's own roundoff had to be allowed for.
    `candidates` are the mistakes as programs: working state, left out where a report is sent.
    """

    matches: list[Finding] = field(default_factory=list)
    same: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tried: int = 0
    stopped: bool = False
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    steps: str = ""
    lines: tuple[tuple[str, ...], ...] = ()
    noise: tuple[str, ...] = ()
    candidates: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def found(self) -> bool:
        return bool(self.matches)

    def to_json(self) -> dict[str, Any]:
        """As docs/json-schema/verify.json has it."""
        return {
            "wrong": list(self.wrong),
            "matches": [
                {"mistake": m.id, "kind": m.kind, "says": m.message, "residual": m.residual}
                for m in self.matches
            ],
            "tried": self.tried,
            "lines": [list(some) for some in self.lines],
            "where": list(self.where),
        }

    def __str__(self) -> str:
        return wording.diagnosis(self)


@dataclass(repr=False)
class Report:
    """What a check found.

    `rows` are verdicts per parameter; `findings` what was seen beside the numbers; `seed` repeats
    the directions; `evaluations` counts calls of the loss, `gradients` of the gradient; `noise` is
    the measured standard deviation of the loss, and `deterministic` whether it repeats; `place` is
    the file and line of what was checked, where they are known; `traceback` is of what the user's
    code raised. Of several reports on one `subject` each is about a `part` of it (a cotangent).

    Model mode has more: `diagnosis`, which shapes are wrong (`where`), and the `lines` of a
    backward pass that hands its adjoints over, as rows. `comparisons` are the numbers behind it by
    point: working state, left out where a report is sent.
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
    subject: str = ""
    part: str = ""
    traceback: str = field(default="", repr=False)
    diagnosis: Diagnosis | None = None
    where: str = ""
    #: Name of the definition → the code's array that holds it, where that has another name.
    arrays: dict[str, str] = field(default_factory=dict, repr=False)
    lines: list[Row] = field(default_factory=list)
    comparisons: list[Any] = field(default_factory=list, repr=False, compare=False)

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

    def __bool__(self) -> bool:
        """As `passed`: ``assert check_gradient(...)`` holds for what passed alone."""
        return self.passed

    def raise_for_failure(self, *, undecided: str = "raise") -> Report:
        """Raise `GradientMismatch` unless passed; ``undecided="allow"`` lets undecided through."""
        __tracebackhide__ = True  # pytest shows the caller
        if self.verdict is Verdict.FAIL or (
            self.verdict is Verdict.UNDECIDED and undecided != "allow"
        ):
            raise GradientMismatch(self)
        return self

    def sentence(self) -> str:
        """What is wrong and where, in one sentence; empty where nothing is."""
        return wording.sentence(self)

    def __str__(self) -> str:
        return wording.text(self)

    def __repr__(self) -> str:
        return f"<Report of {self.summary()}>"

    def in_full(self) -> str:
        """As `str`, with every row and what each of them could have missed."""
        return wording.text(self, whole=True)

    def _repr_html_(self) -> str:
        return wording.page(self)

    def summary(self, within: str = "") -> str:
        """One line: the title, the verdict, and what is wrong; no title it is ``within``."""
        title = f"{self.title}: ".removeprefix(f"{within}: ")
        return " ".join(f"{title}{self.verdict}. {self.sentence()}".split()).rstrip(". ")

    def to_send(self) -> Report:
        """The same without working state: the code under test and the numbers behind stay here."""
        rows = [replace(row, check=None, probes=()) for row in self.rows]
        found = self.diagnosis and replace(self.diagnosis, candidates=[])
        return replace(self, rows=rows, diagnosis=found, comparisons=[])

    def to_json(self) -> dict[str, Any]:
        """The report as plain data for `json.dumps`; numbers that are not finite become None.

        In model mode with the judged lines and the diagnosis, null if none was made.
        """
        plain = {
            "title": self.title,
            "part": self.part,
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
        if self.mode == "model":
            found, wrong = self.diagnosis, [r for r in self.lines if r.verdict is Verdict.FAIL]
            if found is None and wrong:
                found = Diagnosis(
                    wrong=[r.source for r in wrong], where=[*map(wording.line, wrong)]
                )
            plain["diagnosis"] = None if found is None else found.to_json()
            plain["lines"] = [_line(r) for r in self.lines]
        return plain

    def dumps(self) -> str:
        """`to_json` as text."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)


def _row(r: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": r.name,
        "output": r.output,
        "step": r.step,
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
        "reasons": [{"kind": x.kind, "text": x.message} for x in r.reasons],
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


def _line(r: Row) -> dict[str, Any]:
    said = {kind: next(iter(r.told(kind)), None) for kind in ("derived", "mistake", "fit")}
    said["mistake"] = said["mistake"] or next(iter(r.told("by-gradients")), None)
    return {
        "name": r.name,
        "verdict": wording.line_verdict(r),
        "first_step": r.step or None,
        "ratio": _finite(r.ratio),
        **said,
        "reads": r.told("reads"),
        "unseen": r.told("unseen"),
    }


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
