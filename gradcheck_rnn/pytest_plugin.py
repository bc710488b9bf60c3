"""The pytest door: gradient cases as tests, a fixture, a marker, and a report that CI can keep.

A run that does not use it pays for this file only: everything else is imported when a check runs.
Cases marked with ``@gradient_case`` are collected from every test module and from files that match
the ini option ``gradcheck_files`` (``gradcheck_*.py`` by default)::

    def test_lstm(gradcheck):
        gradcheck(loss, gradient, {"W": W, "b": b})

A case runs in a fork of this process where that can be done (see `_Isolation`): a crash, an exit or
a loop without end costs this case alone. Calls of the fixture run here, within the time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradcheck_rnn.verify.cases import GradientCase
    from gradcheck_rnn.verify.limits import Limits
    from gradcheck_rnn.verify.outcome import Report

REGISTER = "__gradient_cases__"
#: What the marker may set; the fixture's calls take these and those of their own function.
MARKER = ("budget", "mode", "resolve", "seed", "select", "undecided")
CHECKS = pytest.StashKey[list[dict[str, Any]]]()
TAKEN = pytest.StashKey[bool]()
ISOLATION = pytest.StashKey["_Isolation"]()
LOST = pytest.StashKey[str]()


class GradcheckWarning(UserWarning):
    """An undecided check under ``--gradcheck-undecided warn``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the group gradcheck."""
    group = parser.getgroup("gradcheck", "gradient checks of recurrent networks")
    add = group.addoption
    add("--gradcheck-seed", metavar="N|fresh", help="Seed of directions, for all checks.")
    add("--gradcheck-budget", metavar="10s|N", help="Seconds or loss evaluations, a check.")
    add("--gradcheck-select", metavar="NAME", action="append", default=[],
        help="Check only this parameter of gradient cases; may be repeated.")  # fmt: skip
    add("--gradcheck-undecided", choices=("fail", "warn"),
        help="Whether what cannot be decided fails (the default) or warns.")  # fmt: skip
    add("--gradcheck-report", metavar="FILE",
        help="Write all verdicts to this file: .html, .pdf, or else JSON.")  # fmt: skip
    add("--gradcheck-github", action="store_true", default=None,
        help="Write annotations for GitHub; by default inside a workflow.")  # fmt: skip
    add("--gradcheck-timeout", metavar="SECONDS",
        help="A case or call of the fixture that takes longer fails; 0: no limit.")  # fmt: skip
    add("--gradcheck-memory", metavar="4GB", help="Private memory of each case in a process of its "
        "own.")  # fmt: skip
    add("--gradcheck-isolation", choices=("auto", "always", "never"), default="auto",
        help="Whether cases run in processes of their own; auto: unless a debugger, coverage, or a "
        "library whose threads do not survive a fork is loaded.")  # fmt: skip
    parser.addini("gradcheck_timeout", "seconds a gradient check may take", default="300")
    parser.addini("gradcheck_memory", "memory a gradient case may take, like 4GB", default="")
    parser.addini(
        "gradcheck_files", "files, beside test modules, to collect gradient cases from",
        type="args", default=["gradcheck_*.py"],
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and keep the verdicts of this run."""
    config.addinivalue_line(
        "markers",
        "gradcheck(seed, budget, select, undecided, mode, resolve): gradient checks; the options "
        "hold for the fixture of the same name",
    )
    _check_options(config)
    config.stash[ISOLATION] = _Isolation(config)
    config.pluginmanager.register(_Verdicts(config), "gradcheck-verdicts")


def _check_options(config: pytest.Config) -> None:
    """One line before the run, not one failure a test."""
    seed, budget = config.getoption("--gradcheck-seed"), config.getoption("--gradcheck-budget")
    isolation = _Isolation(config)
    usual = isolation.timeout == "300" and not isolation.memory
    if seed is None and budget is None and usual:
        return
    from gradcheck_rnn.errors import GradcheckError
    from gradcheck_rnn.verify.blackbox import parse_seed
    from gradcheck_rnn.verify.target import Budget

    try:
        if seed not in (None, "fresh"):
            parse_seed(seed)
        Budget(_budget(budget))
        _ = isolation.limits
    except GradcheckError as error:
        raise pytest.UsageError(str(error)) from None


# -- collection -----------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Any:
    """Files of gradient cases that are no test modules are collected like test modules."""
    if file_path.suffix != ".py" or parent.session.isinitpath(file_path):
        return None  # named on the command line: pytest takes it anyway
    ini = parent.config.getini
    if not any(_matches(file_path, p) for p in ini("gradcheck_files")):
        return None
    if any(_matches(file_path, p) for p in (*ini("python_files"), "__init__.py")):
        return None
    return parent.ihook.pytest_pycollect_makemodule(module_path=file_path, parent=parent)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    """A file of gradient cases that exits while it is loaded is an error, not the run's end."""
    path = getattr(collector, "path", None)
    if not isinstance(collector, pytest.Module) or not _has_cases(path, collector.config):
        yield
        return
    from gradcheck_rnn.loading import describe_exit, no_exit

    with no_exit():
        outcome = yield
    if isinstance(outcome.excinfo, tuple) and isinstance(outcome.excinfo[1], SystemExit):
        message = f"error: {path} {describe_exit(outcome.excinfo[1])}"
        outcome.force_result(pytest.CollectReport(collector.nodeid, "failed", message, []))


def _has_cases(path: Any, config: pytest.Config) -> bool:
    if any(_matches(path, p) for p in config.getini("gradcheck_files")):
        return True
    try:
        return b"gradient_case" in path.read_bytes()
    except OSError:
        return False


def _matches(path: Path, pattern: str) -> bool:
    return fnmatch(path.as_posix() if "/" in pattern else path.name, pattern)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Any:
    """All cases of a module at once, where the first of them is met."""
    module = sys.modules.get("gradcheck_rnn.verify.cases")
    if module is None or not isinstance(collector, pytest.Module):
        return None
    if name != REGISTER and not isinstance(obj, module.GradientCase):
        return None
    if collector.stash.get(TAKEN, False):
        return []
    collector.stash[TAKEN] = True
    from gradcheck_rnn.errors import GradcheckError

    try:
        cases = module.collect_cases(collector.obj, str(collector.path))
    except GradcheckError as error:
        raise collector.CollectError(str(error)) from error
    return [GradientItem.from_parent(collector, name=case.name, case=case) for case in cases]


def pytest_itemcollected(item: pytest.Item) -> None:
    """``-m gradcheck`` selects whatever checks a gradient."""
    if "gradcheck" in getattr(item, "fixturenames", ()):
        item.add_marker("gradcheck")


#: What tests say by raising.
OUTCOMES = (pytest.skip.Exception, pytest.fail.Exception, pytest.xfail.Exception)


@dataclass(frozen=True)
class _Told:
    """What came of a case: a report, an outcome of pytest, or how it was lost."""

    kind: str
    value: Any


class _Lost(Exception):
    """A case gave no report; ``shown`` is what is printed."""

    def __init__(self, shown: Any) -> None:
        super().__init__(str(shown))
        self.shown = shown


class _Isolation:
    """Whether cases run in processes of their own, and their limits.

    A fork has the locks of other threads without the threads: where libraries with threads of their
    own are loaded, a case runs in this process, as it does under a debugger or with coverage.
    """

    THREADED = ("torch", "jax", "tensorflow", "cupy")

    def __init__(self, config: pytest.Config) -> None:
        self.asked = config.getoption("--gradcheck-isolation")
        self.debugger = config.getoption("usepdb", False) or config.getoption("trace", False)
        self.timeout = config.getoption("--gradcheck-timeout") or config.getini("gradcheck_timeout")
        self.memory = config.getoption("--gradcheck-memory") or config.getini("gradcheck_memory")

    @property
    def limits(self) -> Limits:
        """Of a case."""
        from gradcheck_rnn.verify.limits import Limits

        timeout = None if str(self.timeout).strip() in ("0", "") else self.timeout
        return Limits.parse(timeout, self.memory or None)

    def possible(self) -> bool:
        """Whether the next case can be forked."""
        from gradcheck_rnn.verify.children import can_fork

        if self.asked != "auto":
            return self.asked == "always"
        coverage = getattr(sys.modules.get("coverage"), "Coverage", None)
        watched = sys.gettrace() or sys.getprofile() or (coverage and coverage.current())
        threaded = any(name in sys.modules for name in self.THREADED)
        return can_fork() and not (self.debugger or watched or threaded)

    @contextlib.contextmanager
    def in_time(self, what: str) -> Iterator[None]:
        """Fail what takes too long in this process; compiled code is not interrupted."""
        seconds = self.limits.timeout
        free = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGALRM")
        if seconds is None or not free or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
            yield
            return

        def stop(number: int, frame: Any) -> None:
            pytest.fail(f"{what}: did not end within {seconds:g} s", pytrace=False)

        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


class GradientItem(pytest.Item):
    """One gradient case as a test."""

    def __init__(self, *, case: GradientCase, **rest: Any) -> None:
        super().__init__(**rest)
        self.case = case
        self.add_marker("gradcheck")

    def runtest(self) -> None:
        isolation = self.config.stash[ISOLATION]
        if isolation.possible():
            from gradcheck_rnn.verify.children import Crash, forked

            told = forked(self._tell, isolation.limits)
            if isinstance(told, Crash):
                told = _Told(told.kind, f"error: case {self.name!r}: {told.how}")
        else:
            with isolation.in_time(f"error: case {self.name!r}"):
                told = self._tell()
        if told.kind == "report":
            _settle(
                self, told.value, self.config.getoption("--gradcheck-undecided") or "fail",
                _where(self.case),
            )  # fmt: skip
        elif told.kind == "outcome":
            kind, message = told.value
            raise OUTCOMES[kind](message)
        else:
            self.stash[LOST] = told.kind
            raise _Lost(told.value)

    def _tell(self) -> _Told:
        """Run the case, and tell what came of it in a form that can be sent."""
        from gradcheck_rnn.errors import GradcheckError
        from gradcheck_rnn.loading import describe_exit, no_exit

        option = self.config.getoption
        try:
            with no_exit():
                select = option("--gradcheck-select") or None
                if select is not None:
                    select = [n for n in self.case.parameter_names() if n in select]
                    if not select:
                        pytest.skip("has none of the parameters selected")
                report = self.case.check(
                    seed=option("--gradcheck-seed"), budget=_budget(option("--gradcheck-budget")),
                    select=select,
                )  # fmt: skip
            return _Told("report", report.to_send())
        except OUTCOMES as outcome:
            # Not the exception itself: pytest gives its class another module, it does not pickle.
            return _Told(
                "outcome", ([isinstance(outcome, k) for k in OUTCOMES].index(True), outcome.msg)
            )
        except GradcheckError as error:
            return _Told("error", f"error: {error}")
        except SystemExit as error:
            return _Told("exit", f"error: case {self.name!r}: {describe_exit(error)}")
        except MemoryError as error:
            return _Told("memory", self._shown(pytest.ExceptionInfo.from_exception(error)))
        except BaseException as error:
            return _Told("error", self._shown(pytest.ExceptionInfo.from_exception(error)))

    def _shown(self, excinfo: Any) -> Any:
        """The user's frames of an exception."""
        ours = Path(__file__).parent
        theirs = excinfo.traceback.filter(lambda entry: ours not in Path(entry.path).parents)
        excinfo.traceback = theirs or excinfo.traceback
        return super().repr_failure(excinfo, "short")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        from gradcheck_rnn.verify.outcome import GradientMismatch

        error = excinfo.value
        if isinstance(error, GradientMismatch):
            error.args = (f"{error}\nrepeat: {_replay(self, error.report)}",)
            return excinfo.getrepr(style="value")
        return error.shown if isinstance(error, _Lost) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        file, line = _where(self.case)
        return file, line - 1, f"gradient case {self.name}"


def _where(case: GradientCase) -> tuple[str, int]:
    return case.path, case.line


# -- the fixture ----------------------------------------------------------------------------------


class Gradcheck:
    """The fixture: each call checks, notes the verdict, and fails the test unless it passed.

    Options come from the call, or else from the marker; ``--gradcheck-seed``,
    ``--gradcheck-budget`` and ``--gradcheck-undecided`` win over both.
    """

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.defaults: dict[str, Any] = {}
        for mark in reversed(list(item.iter_markers("gradcheck"))):
            unknown = [k for k in mark.kwargs if k not in MARKER]
            if unknown or mark.args:
                raise _misuse(
                    f"{item.nodeid}: the marker gradcheck takes {', '.join(MARKER)} by name, not "
                    f"{', '.join(unknown) or 'positional arguments'}"
                )
            self.defaults.update(mark.kwargs)

    def __call__(self, loss: Any, gradient: Any, parameters: Any, **options: Any) -> Report:
        """As `check_gradient`, plus ``undecided``."""
        from gradcheck_rnn.verify import check_gradient

        __tracebackhide__ = True
        return self._run(check_gradient, (loss, gradient, parameters), options, MARKER)

    def vjp(self, forward: Any, backward: Any, inputs: Any, **options: Any) -> Report:
        """As `check_vjp`, plus ``undecided``."""
        from gradcheck_rnn.verify import check_vjp

        __tracebackhide__ = True
        return self._run(check_vjp, (forward, backward, inputs), options, VJP)

    def model(self, target: Any, **options: Any) -> Report:
        """As `check_model`, plus ``undecided``."""
        from gradcheck_rnn.verify.diagnosis.check import check_model

        __tracebackhide__ = True
        return self._run(check_model, (target,), options, ("seed", "select"))

    def torch(self, function: Any, inputs: Any, **options: Any) -> Report:
        """As `check_torch`, plus ``undecided``."""
        from gradcheck_rnn.verify.adapters import check_torch

        __tracebackhide__ = True
        return self._run(check_torch, (function, inputs), options, VJP)

    def jax(self, function: Any, inputs: Any, **options: Any) -> Report:
        """As `check_jax`, plus ``undecided``."""
        from gradcheck_rnn.verify.adapters import check_jax

        __tracebackhide__ = True
        return self._run(check_jax, (function, inputs), options, VJP)

    def _run(self, check: Any, args: Any, options: dict[str, Any], taken: tuple[str, ...]) -> Any:
        __tracebackhide__ = True
        option = self.item.config.getoption
        forced = {
            "seed": option("--gradcheck-seed"),
            "budget": _budget(option("--gradcheck-budget")),
            "undecided": option("--gradcheck-undecided"),
        }
        merged = {k: v for k, v in self.defaults.items() if k in (*taken, "undecided")}
        merged.update(options)
        known = (*taken, "undecided")
        merged.update((k, v) for k, v in forced.items() if v is not None and k in known)
        undecided = merged.pop("undecided", "fail")
        merged.setdefault("title", self.item.name)
        from gradcheck_rnn.loading import describe_exit, no_exit

        isolation = self.item.config.stash[ISOLATION]
        try:
            with no_exit(), isolation.in_time(f"error: gradcheck in {self.item.name}"):
                report = check(*args, **merged)
            file, line, _ = self.item.location
            _settle(self.item, report, undecided, (file, (line or 0) + 1))
        except SystemExit as error:
            said = f"gradcheck: the code under test {describe_exit(error)}"
            raise _misuse(said).with_traceback(_theirs(error.__traceback__)) from None
        except Exception as error:
            raise error.with_traceback(_theirs(error.__traceback__)) from error.__cause__
        return report


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without our own frames, as far as others are in it."""
    ours, frames = Path(__file__).parent, []
    while trace is not None:
        if ours not in Path(trace.tb_frame.f_code.co_filename).parents:
            frames.append(trace)
        trace = trace.tb_next
    kept = None
    for frame in reversed(frames):
        kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept


VJP = ("budget", "mode", "seed", "select")


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Gradcheck:
    """Check gradients in a test: ``gradcheck(loss, gradient, parameters)``; see `Gradcheck`."""
    return Gradcheck(request.node)


def _misuse(message: str) -> Exception:
    from gradcheck_rnn.errors import UsageError

    return UsageError(message)


def _budget(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.strip().isdigit() else text


def _settle(item: pytest.Item, report: Report, undecided: str, place: tuple[str, int]) -> None:
    """Note a verdict for the report of the run, then raise if it fails."""
    __tracebackhide__ = True
    if undecided not in ("fail", "warn"):
        raise _misuse(f"undecided={undecided!r} is unknown; use 'fail' or 'warn'")
    replay = _replay(item, report)
    plain = {
        **report.to_json(), "replay": replay, "test": item.nodeid,
        "file": place[0], "line": place[1], "undecided_is": undecided,
    }  # fmt: skip
    item.stash.setdefault(CHECKS, []).append(plain)
    item.user_properties.append((f"gradcheck {report.title}", str(report.verdict)))
    if not report.passed and not isinstance(item, GradientItem):
        item.add_report_section("call", "gradcheck", f"repeat: {replay}")
    if str(report.verdict) == "undecided" and undecided == "warn":
        reasons = "; ".join(f"{r.name}: {r.reason}" for r in report.rows if r.reason)
        warnings.warn(f"{report.title}: undecided ({reasons})", GradcheckWarning, stacklevel=2)
        return
    report.raise_for_failure()


def _replay(item: pytest.Item, report: Report) -> str:
    words = ["pytest", item.nodeid, "--gradcheck-seed", str(report.seed)]
    bad = [r.name for r in report.rows if str(r.verdict) != "pass"]
    if isinstance(item, GradientItem) and len(bad) < min(len(report.rows), 5):
        for name in bad:
            words += ["--gradcheck-select", name]
    return shlex.join(words)


# -- the verdicts of a run ------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, Any, None]:
    """Hang the verdicts on the test's report: it is what xdist carries to the controller."""
    outcome = yield
    if LOST in item.stash and call.when == "call":
        outcome.get_result().gradcheck_lost = item.stash[LOST]
    if call.when == "call" and CHECKS in item.stash:
        outcome.get_result().gradcheck = item.stash[CHECKS]
        _shorten(outcome.get_result(), item, call.excinfo)
        del item.stash[CHECKS]  # a test that is run again starts anew


def _shorten(report: Any, item: pytest.Item, excinfo: Any) -> None:
    """One line in pytest's short summary, which on CI repeats a failure's message in full."""
    from gradcheck_rnn.verify.outcome import GradientMismatch

    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(excinfo.value, GradientMismatch):
        crash.message = excinfo.value.report.summary().removeprefix(f"{item.name}: ")
        if isinstance(item, GradientItem):
            crash.path, crash.lineno = _where(item.case)


class _Verdicts:
    """All verdicts of a run by test; in an xdist run, those of all workers."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.by_test: dict[str, list[dict[str, Any]]] = {}
        self.broken: list[str] = []
        self.planned: dict[str, None] = {}
        self.lost: dict[str, str] = {}
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
        if report.skipped:
            self.planned.pop(report.nodeid, None)
        if hasattr(report, "gradcheck_lost"):
            self.lost[report.nodeid] = report.gradcheck_lost
        if hasattr(report, "gradcheck"):
            self.by_test[report.nodeid] = report.gradcheck  # the last run of a repeated test counts
        elif report.failed and "gradcheck" in report.keywords:
            self.broken.append(report.nodeid)

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
        if self.is_worker or not reports:
            return
        counts = {v: sum(r["verdict"] == v for r in reports) for v in ("pass", "fail", "undecided")}
        told = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
        terminalreporter.write_line(f"gradcheck: {told}")
        from gradcheck_rnn.verify.annotations import annotation, on_github

        if not on_github(self.config.getoption("--gradcheck-github")):
            return
        for r in reports:
            file = str(self.config.rootpath / r["file"])
            said = annotation(
                r, file=file, line=r["line"], warn=_is_warning(r), replay=r["replay"]
            )  # fmt: skip
            if said is not None:
                terminalreporter.write_line(said)


def _is_warning(report: Mapping[str, Any]) -> bool:
    return bool(report["verdict"] == "undecided" and report["undecided_is"] == "warn")
