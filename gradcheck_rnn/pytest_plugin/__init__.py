"""The pytest door: gradient cases as tests, a fixture, a marker, and a report that CI can keep.

A run that does not use it pays for this folder only: everything else is imported when a check runs.
Cases marked with ``@gradient_case`` are collected from every test module and from files that match
the ini option ``gradcheck_files`` (``gradcheck_*.py`` by default)::

    def test_lstm(gradcheck):
        gradcheck(loss, gradient, {"W": W, "b": b})

A case runs in a fork of this process where that can be done (see `Isolation`): a crash, an exit or
a loop without end costs this case alone. Calls of the fixture run here, within the time limit; what
ends this process in one of them is at least named (see `sentinel`).
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from .items import ISOLATION, LOST, GradientItem, Isolation
from .sentinel import SENTINEL, Sentinel
from .settling import (
    CHECKS,
    GradcheckWarning,
    budget_of,
    calling_place,
    denied,
    misuse,
    place_of,
    settle,
    settle_raised,
    theirs_of,
)
from .summary import Verdicts

if TYPE_CHECKING:
    from gradcheck_rnn.verify.outcome import Report

__all__ = ["Gradcheck", "GradcheckWarning", "gradcheck"]

REGISTER = "__gradient_cases__"
#: What the marker may set; the fixture's calls take these and those of their own function.
MARKER = ("budget", "mode", "resolve", "seed", "select", "undecided")
#: Options of ``[tool.gradcheck-rnn]`` that pytest has, too.
TAKEN_FROM_PROJECT = ("seed", "budget", "undecided", "timeout", "memory", "github")
TAKEN = pytest.StashKey[bool]()


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


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """``pythonpath`` of ``[tool.gradcheck-rnn]`` in the root's pyproject.toml, as for `verify`."""
    if not _has_table(early_config.rootpath):
        return
    from gradcheck_rnn.errors import UsageError
    from gradcheck_rnn.project import add_pythonpath

    try:
        add_pythonpath(early_config.rootpath)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and keep the verdicts of this run."""
    config.addinivalue_line(
        "markers",
        "gradcheck(seed, budget, select, undecided, mode, resolve): gradient checks; the options "
        "hold for the fixture of the same name",
    )
    _take_project(config)
    _check_options(config)
    config.stash[ISOLATION] = Isolation(config)
    config.stash[SENTINEL] = Sentinel(config)
    config.pluginmanager.register(Verdicts(config), "gradcheck-verdicts")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what was started."""
    if SENTINEL in config.stash:
        config.stash[SENTINEL].close()


def _take_project(config: pytest.Config) -> None:
    """Options of the project's table, where the command line gives none."""
    if not _has_table(config.rootpath):
        return
    from gradcheck_rnn.errors import UsageError
    from gradcheck_rnn.verify.project_options import read_options

    try:
        said = read_options(config.rootpath)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    for name in TAKEN_FROM_PROJECT:
        option = f"gradcheck_{name}"
        if name in said and getattr(config.option, option) is None:
            setattr(config.option, option, said[name])


def _has_table(root: Path) -> bool:
    path = root / "pyproject.toml"
    return path.is_file() and b"[tool.gradcheck-rnn]" in path.read_bytes()


def _check_options(config: pytest.Config) -> None:
    """One line before the run, not one failure a test."""
    seed, budget = config.getoption("--gradcheck-seed"), config.getoption("--gradcheck-budget")
    isolation = Isolation(config)
    usual = isolation.timeout == "300" and not isolation.memory
    if seed is None and budget is None and usual:
        return
    from gradcheck_rnn.errors import GradcheckError
    from gradcheck_rnn.verify.options import parse_seed
    from gradcheck_rnn.verify.target import Budget

    try:
        if seed not in (None, "fresh"):
            parse_seed(seed)
        Budget(budget_of(budget))
        _ = isolation.limits
    except GradcheckError as error:
        raise pytest.UsageError(str(error)) from None


# -- collection -----------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Any:
    """Files of gradient cases that are no test modules are collected like test modules."""
    if file_path.suffix != ".py" or parent.session.isinitpath(file_path):
        return None  # named on the command line: pytest takes it anyway
    if not _is_for_cases(file_path, parent.config):
        return None
    tests = parent.config.getini("python_files")
    if any(_matches(file_path, p) for p in (*tests, "__init__.py")):
        return None
    return parent.ihook.pytest_pycollect_makemodule(module_path=file_path, parent=parent)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    """A file of gradient cases that exits while it is loaded is an error, not the run's end.

    A mistake in one (a case with arguments) is one line at its place, as at the command line.
    """
    if not isinstance(collector, pytest.Module) or not _has_cases(collector.path, collector.config):
        yield
        return
    path = collector.path
    from gradcheck_rnn.loading import describe_exit, no_exit

    with no_exit():
        outcome = yield
    if isinstance(outcome.excinfo, tuple) and isinstance(outcome.excinfo[1], SystemExit):
        message = f"error: {path} {describe_exit(outcome.excinfo[1])}"
        outcome.force_result(pytest.CollectReport(collector.nodeid, "failed", message, []))
    found = outcome.get_result()
    call = getattr(found, "call", None)
    if call is not None and call.excinfo is not None:
        from gradcheck_rnn.errors import GradcheckError

        error, theirs = call.excinfo.value, theirs_of(call.excinfo.tb)
        if isinstance(error, GradcheckError) and theirs is not None:
            at = traceback.extract_tb(theirs)[-1]
            file = collector.nodeid if Path(at.filename) == path else at.filename
            found.longrepr = f"error: {file}:{at.lineno}: {error}"
    if found.failed:
        found.gradcheck_file = str(path)
    elif found.passed and not found.result and _is_for_cases(path, collector.config):
        collector.warn(GradcheckWarning(f"{path.name} has no test: mark cases with @gradient_case"))


def _is_for_cases(path: Path, config: pytest.Config) -> bool:
    return any(_matches(path, p) for p in config.getini("gradcheck_files"))


def _has_cases(path: Any, config: pytest.Config) -> bool:
    if _is_for_cases(path, config):
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


# -- the fixture ----------------------------------------------------------------------------------


class Gradcheck:
    """The fixture: each call checks, notes the verdict, and fails the test unless it passed.

    Options come from the call, or else from the marker; ``--gradcheck-seed``,
    ``--gradcheck-budget`` and ``--gradcheck-undecided`` win over both. What a call in another
    thread raises ends that thread only; the test fails by it at its end.
    """

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.thread = threading.current_thread()
        self.elsewhere: list[Exception] = []
        self.defaults: dict[str, Any] = {}
        for mark in reversed(list(item.iter_markers("gradcheck"))):
            unknown = [k for k in mark.kwargs if k not in MARKER]
            if unknown or mark.args:
                raise misuse(
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

    def torch_double(self, function: Any, inputs: Any, **options: Any) -> Report:
        """As `check_torch_double`, plus ``undecided``."""
        from gradcheck_rnn.verify.adapters import check_torch_double

        __tracebackhide__ = True
        return self._run(check_torch_double, (function, inputs), options, VJP)

    def jax(self, function: Any, inputs: Any, **options: Any) -> Report:
        """As `check_jax`, plus ``undecided``."""
        from gradcheck_rnn.verify.adapters import check_jax

        __tracebackhide__ = True
        return self._run(check_jax, (function, inputs), options, VJP)

    def tensorflow(self, function: Any, inputs: Any, **options: Any) -> Report:
        """As `check_tensorflow`, plus ``undecided``."""
        from gradcheck_rnn.verify.adapters import check_tensorflow

        __tracebackhide__ = True
        return self._run(check_tensorflow, (function, inputs), options, VJP)

    def _run(self, check: Any, args: Any, options: dict[str, Any], taken: tuple[str, ...]) -> Any:
        __tracebackhide__ = True
        option = self.item.config.getoption
        forced = {
            "seed": option("--gradcheck-seed"),
            "budget": budget_of(option("--gradcheck-budget")),
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
        place = calling_place(self.item, traceback.walk_stack(None))
        watching = self.item.config.stash[SENTINEL].watching(self.item.nodeid, *place)
        try:
            with watching, no_exit(), isolation.in_time(f"error: gradcheck in {self.item.name}"):
                report = check(*args, **merged)
            settle(self.item, report, undecided, place)
        except SystemExit as error:
            said = f"gradcheck: the code under test {describe_exit(error)}"
            raise self._noted(misuse(said), error.__traceback__) from None
        except Exception as error:
            raise self._noted(error, error.__traceback__) from error.__cause__
        return report

    def _noted(self, error: Exception, trace: TracebackType | None) -> Exception:
        """The error without our frames; one in another thread is kept for the end of the test."""
        if threading.current_thread() is not self.thread:
            self.elsewhere.append(error)
        return error.with_traceback(theirs_of(trace))


VJP = ("budget", "mode", "seed", "select")


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Iterator[Gradcheck]:
    """Check gradients in a test: ``gradcheck(loss, gradient, parameters)``; see `Gradcheck`."""
    fixture = Gradcheck(request.node)
    yield fixture
    if fixture.elsewhere:
        raise fixture.elsewhere[0]


# -- the verdicts of a run ------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, Any, None]:
    """Hang the verdicts on the test's report: it is what xdist carries to the controller."""
    outcome = yield
    if LOST in item.stash and call.when == "call":
        outcome.get_result().gradcheck_lost = item.stash[LOST]
    if call.when == "call" and call.excinfo is not None and CHECKS not in item.stash:
        module, error = sys.modules.get("gradcheck_rnn.verify.outcome"), call.excinfo.value
        if module is not None and isinstance(error, AssertionError | module.GradientMismatch):
            report = getattr(error, "report", None) or denied(call.excinfo.tb)
            if report is not None:
                settle_raised(item, report, call.excinfo.tb)
    if call.when == "call" and CHECKS in item.stash:
        outcome.get_result().gradcheck = item.stash[CHECKS]
        _shorten(outcome.get_result(), item, call.excinfo)
        del item.stash[CHECKS]  # a test that is run again starts anew


def _shorten(report: Any, item: pytest.Item, excinfo: Any) -> None:
    """One line in pytest's short summary, which on CI repeats a failure's message in full."""
    from gradcheck_rnn.verify.outcome import GradientMismatch

    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(excinfo.value, GradientMismatch):
        crash.message = excinfo.value.report.summary(within=item.name)
        if isinstance(item, GradientItem):
            crash.path, crash.lineno = place_of(item.case)
