"""All verdicts of a run, counted, annotated and written to a file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Verdicts"]

#: An annotation has the end of a traceback; the log has all of it.
MOST_LINES = 8


class Verdicts:
    """All verdicts of a run by test; in an xdist run, those of all workers."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.by_test: dict[str, list[dict[str, Any]]] = {}
        self.broken: list[str] = []
        self.planned: dict[str, None] = {}
        self.lost: dict[str, str] = {}
        #: By test or file without a report: where it is, its name, and what pytest says of it.
        self.said: dict[str, tuple[str, int, str, str]] = {}
        path = config.getoption("--gradcheck-report")
        self.path = None if path is None else Path(path).absolute()
        if self.path is not None and not self.path.parent.is_dir():
            raise pytest.UsageError(
                f"--gradcheck-report {path}: there is no folder {self.path.parent}; make it first"
            )

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is to be checked; in an xdist run it is known as it is begun."""
        for item in session.items:
            if item.get_closest_marker("gradcheck"):
                self.planned[item.nodeid] = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        if "gradcheck" in report.keywords and report.when == "setup":
            self.planned[report.nodeid] = None
            self.lost.pop(report.nodeid, None)
            self.said.pop(report.nodeid, None)
        if report.skipped:
            self.planned.pop(report.nodeid, None)
        if hasattr(report, "gradcheck_lost"):
            self.lost[report.nodeid] = report.gradcheck_lost
        if hasattr(report, "gradcheck"):
            self.by_test[report.nodeid] = report.gradcheck  # the last run of a repeated test counts
        elif report.failed and "gradcheck" in report.keywords:
            self.broken.append(report.nodeid)
            file, line, _ = report.location
            name = report.nodeid.rpartition("::")[2]
            self.said[report.nodeid] = file, (line or 0) + 1, name, report.longreprtext

    def pytest_collectreport(self, report: Any) -> None:
        """A file of gradient cases that cannot be loaded loses them all."""
        file = getattr(report, "gradcheck_file", None)
        if file is not None and report.nodeid not in self.said:
            self.broken.append(report.nodeid)
            self.said[report.nodeid] = file, 1, report.nodeid, report.longreprtext

    def pytest_sessionfinish(self) -> None:
        if self.path is None or self.is_worker:
            return
        from gradcheck_rnn.files import write_text

        if self.path.suffix.lower() in (".html", ".pdf"):
            from gradcheck_rnn import api

            api.report_plain(self.plain()["reports"], self.path)
            return
        write_text(self.path, json.dumps(self.plain(), indent=2, ensure_ascii=False) + "\n")

    def plain(self) -> dict[str, Any]:
        """The verdicts by the schema of ``verify --json``."""
        reports = [r for rows in self.by_test.values() for r in rows]
        found = [r["verdict"] for r in reports]
        verdict = next((v for v in ("fail", "undecided") if v in found), "pass")
        if not reports or (self.broken and verdict == "pass"):
            verdict = "undecided"
        if self.lost:
            verdict = "fail"
        harmless = [r["verdict"] == "pass" or _is_warning(r) for r in reports]
        return {
            "target": "pytest",
            "kind": "pytest",
            "verdict": verdict,
            "passed": bool(reports) and all(harmless) and not self.broken and not self.lost,
            "reports": [{k: v for k, v in r.items() if k != "undecided_is"} for r in reports],
            "broken": self.broken,
            "accounting": self.account(),
        }

    def account(self) -> dict[str, Any]:
        """What was planned and what became of it, by test; what is not known otherwise raised."""
        kinds = {"crashed": ("crash", "exit"), "timed_out": ("timeout",),
                 "out_of_memory": ("memory",)}  # fmt: skip
        lost = {k: [t for t, kind in self.lost.items() if kind in v] for k, v in kinds.items()}
        told = [t for tests in lost.values() for t in tests] + list(self.by_test)
        raised = [t for t in self.planned if t not in told]
        reported = sum(t in self.by_test for t in self.planned)
        return {"planned": len(self.planned), "reported": reported, **lost, "raised": raised}

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        reports = [r for rows in self.by_test.values() for r in rows]
        if self.is_worker or not (reports or self.said):
            return
        counts = {v: sum(r["verdict"] == v for r in reports) for v in ("pass", "fail", "undecided")}
        counts["without a report"] = len(self.said)
        told = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
        terminalreporter.write_line(f"gradcheck: {told}")
        from gradcheck_rnn.verify.annotations import annotation, on_github

        if not on_github(self.config.getoption("--gradcheck-github")):
            return
        for r in (*reports, *self._unreported()):
            file = str(self.config.rootpath / r["file"])
            said = annotation(
                r, file=file, line=r["line"], warn=_is_warning(r), replay=r["replay"]
            )  # fmt: skip
            if said is not None:
                terminalreporter.write_line(said)

    def _unreported(self) -> Iterator[dict[str, Any]]:
        """What has no report in the form of one, for an annotation."""
        for test, (file, line, name, text) in self.said.items():
            last = text.strip().splitlines()[-MOST_LINES:]
            yield {
                "verdict": "fail", "title": name, "file": file, "line": line, "rows": (),
                "findings": [{"fatal": True, "message": "\n".join(last)}],
                "replay": shlex.join(["pytest", test]),
            }  # fmt: skip


def _is_warning(report: Mapping[str, Any]) -> bool:
    return bool(report["verdict"] == "undecided" and report["undecided_is"] == "warn")
