"""A gradient case as a test, in a process of its own where that can be done."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .sentinel import SENTINEL
from .settling import OURS, budget_of, place_of, replay, settle

if TYPE_CHECKING:
    from gradcheck_rnn.verify.cases import GradientCase
    from gradcheck_rnn.verify.limits import Limits

__all__ = ["ISOLATION", "LOST", "GradientItem", "Isolation"]

ISOLATION = pytest.StashKey["Isolation"]()
LOST = pytest.StashKey[str]()
#: Marks of test functions that say nothing about a case, which has no arguments.
FOR_FUNCTIONS = ("parametrize", "usefixtures")
#: What tests say by raising.
OUTCOMES = (pytest.skip.Exception, pytest.fail.Exception, pytest.xfail.Exception)


@dataclass(frozen=True)
class Told:
    """What came of a case: a report, an outcome of pytest, or how it was lost."""

    kind: str
    value: Any


class Late(pytest.fail.Exception):  # type: ignore[name-defined]
    """A check took longer than it may."""


class NoResult(Exception):
    """A case gave no report; ``shown`` is what is printed."""

    def __init__(self, shown: Any) -> None:
        super().__init__(str(shown))
        self.shown = shown


class Isolation:
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
            raise Late(f"{what}: did not end within {seconds:g} s", pytrace=False)

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
        for mark in case.pytestmark:
            if mark.name in FOR_FUNCTIONS:
                raise self.parent.CollectError(  # type: ignore[union-attr]
                    f"error: {place_of(case)[0]}:{case.line}: case {self.name!r} has the mark "
                    f"{mark.name}, which gives arguments or fixtures; a case has none: make cases "
                    "in a loop with gradient_case(name=...), or write a test with the fixture "
                    "gradcheck"
                )
            self.own_markers.append(mark)
            self.keywords[mark.name] = mark
        self.add_marker("gradcheck")

    def runtest(self) -> None:
        isolation = self.config.stash[ISOLATION]
        if isolation.possible():
            from gradcheck_rnn.verify.children import Crash, forked

            told = forked(self._tell, isolation.limits)
            if isinstance(told, Crash):
                told = Told(told.kind, f"error: case {self.name!r}: {told.how}")
        else:
            watching = self.config.stash[SENTINEL].watching(self.nodeid, *place_of(self.case))
            with watching, isolation.in_time(f"error: case {self.name!r}"):
                told = self._tell()
        if told.kind == "report":
            settle(
                self, told.value, self.config.getoption("--gradcheck-undecided") or "fail",
                place_of(self.case),
            )  # fmt: skip
        elif told.kind == "outcome":
            kind, message = told.value
            raise OUTCOMES[kind](message)
        else:
            self.stash[LOST] = told.kind
            raise NoResult(told.value)

    def _tell(self) -> Told:
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
                    seed=option("--gradcheck-seed"), budget=budget_of(option("--gradcheck-budget")),
                    select=select,
                )  # fmt: skip
            return Told("report", report.to_send())
        except Late as late:
            return Told("timeout", late.msg)
        except OUTCOMES as outcome:
            # Not the exception itself: pytest gives its class another module, it does not pickle.
            return Told(
                "outcome", ([isinstance(outcome, k) for k in OUTCOMES].index(True), outcome.msg)
            )
        except GradcheckError as error:
            return Told("error", f"error: {error}")
        except SystemExit as error:
            return Told("exit", f"error: case {self.name!r}: {describe_exit(error)}")
        except MemoryError as error:
            return Told("memory", self._shown(pytest.ExceptionInfo.from_exception(error)))
        except BaseException as error:
            return Told("error", self._shown(pytest.ExceptionInfo.from_exception(error)))

    def _shown(self, excinfo: Any) -> Any:
        """The user's frames of an exception."""
        theirs = excinfo.traceback.filter(lambda entry: OURS not in Path(entry.path).parents)
        excinfo.traceback = theirs or excinfo.traceback
        return super().repr_failure(excinfo, "short")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        from gradcheck_rnn.verify.outcome import GradientMismatch

        error = excinfo.value
        if isinstance(error, GradientMismatch):
            error.args = (f"{error}\nrepeat: {replay(self, error.report)}",)
            return excinfo.getrepr(style="value")
        return error.shown if isinstance(error, NoResult) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        file, line = place_of(self.case)
        return file, line - 1, f"gradient case {self.name}"
