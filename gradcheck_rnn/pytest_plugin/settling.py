"""What a check leaves behind: its verdict for the report of the run, and how to repeat it."""

from __future__ import annotations

import linecache
import re
import shlex
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradcheck_rnn.verify.cases import GradientCase
    from gradcheck_rnn.verify.outcome import Report

__all__ = [
    "CHECKS",
    "OURS",
    "GradcheckWarning",
    "budget_of",
    "calling_place",
    "denied",
    "misuse",
    "place_of",
    "replay",
    "settle",
    "settle_raised",
    "theirs_of",
]

CHECKS = pytest.StashKey[list[dict[str, Any]]]()
#: The package: its frames are nobody's business.
OURS = Path(__file__).parents[1]


class GradcheckWarning(UserWarning):
    """An undecided check under ``--gradcheck-undecided warn``; a file for cases that has none."""


def place_of(case: GradientCase) -> tuple[str, int]:
    """File and line of a case."""
    return case.path, case.line


def calling_place(item: pytest.Item, frames: Iterable[tuple[FrameType, int]]) -> tuple[str, int]:
    """File and line of the innermost of these frames in the test's file, or of the test itself."""
    file, line, _ = item.location
    for frame, at in frames:
        if Path(frame.f_code.co_filename) == item.path:
            return file, at
    return file, (line or 0) + 1


def theirs_of(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without our own frames, as far as others are in it."""
    frames = []
    while trace is not None:
        if OURS not in Path(trace.tb_frame.f_code.co_filename).parents:
            frames.append(trace)
        trace = trace.tb_next
    kept = None
    for frame in reversed(frames):
        kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept


def misuse(message: str) -> Exception:
    """A user's mistake, to be raised."""
    from gradcheck_rnn.errors import UsageError

    return UsageError(message)


def budget_of(text: str | None) -> int | str | None:
    """A plain number counts evaluations, ``10s`` is seconds."""
    return int(text) if text is not None and text.strip().isdigit() else text


def settle(item: pytest.Item, report: Report, undecided: str, place: tuple[str, int]) -> None:
    """Note a verdict for the report of the run, then raise if it fails."""
    __tracebackhide__ = True
    if undecided not in ("fail", "warn"):
        raise misuse(f"undecided={undecided!r} is unknown; use 'fail' or 'warn'")
    again = replay(item, report)
    plain = {
        **report.to_json(), "replay": again, "test": item.nodeid,
        "file": place[0], "line": place[1], "undecided_is": undecided,
    }  # fmt: skip
    item.stash.setdefault(CHECKS, []).append(plain)
    item.user_properties.append((f"gradcheck {report.title}", str(report.verdict)))
    if not report.passed and not hasattr(item, "case"):
        item.add_report_section("call", "gradcheck", f"repeat: {again}")
    if str(report.verdict) == "undecided" and undecided == "warn":
        reasons = "; ".join(f"{r.name}: {r.reason}" for r in report.rows if r.reason)
        warnings.warn(f"{report.title}: undecided ({reasons})", GradcheckWarning, stacklevel=2)
        return
    report.raise_for_failure()


def settle_raised(item: pytest.Item, report: Report, trace: TracebackType | None) -> None:
    """Note the verdict of a check by hand: let through as `GradientMismatch`, or asserted."""
    place = calling_place(item, reversed(list(traceback.walk_tb(trace))))
    item.stash[CHECKS] = [{
        **report.to_json(), "replay": shlex.join(["pytest", item.nodeid]), "test": item.nodeid,
        "file": place[0], "line": place[1], "undecided_is": "fail",
    }]  # fmt: skip


def denied(trace: TracebackType | None) -> Report | None:
    """The report that did not pass in an ``assert``, by the values of its statement.

    Pytest keeps the parts of a failed ``assert`` in variables ``@py_assert…``; a report that has
    a name of its own stands in the statement's line; unittest has it as an argument.
    """
    from gradcheck_rnn.verify.outcome import Report

    for frame, at in reversed(list(traceback.walk_tb(trace))):
        text = linecache.getline(frame.f_code.co_filename, at)
        asked = frame.f_globals.get("__name__") == "unittest.case"
        for name, value in frame.f_locals.items():
            named = (
                asked or name.startswith("@py_assert") or re.search(rf"\b{re.escape(name)}\b", text)
            )
            if named and isinstance(value, Report) and not value.passed:
                return value
    return None


def replay(item: pytest.Item, report: Report) -> str:
    """The command that repeats a check."""
    words = ["pytest", item.nodeid, "--gradcheck-seed", str(report.seed)]
    bad = [r.name for r in report.rows if str(r.verdict) != "pass"]
    if hasattr(item, "case") and len(bad) < min(len(report.rows), 5):
        for name in bad:
            words += ["--gradcheck-select", name]
    return shlex.join(words)
