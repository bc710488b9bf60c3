"""One verification of several reports: how its budget is shared out and what its verdict is."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..errors import UsageError
from .cases import GradientCase, check_cases
from .kernel_check import check_kernel, parts_of
from .options import parse_seed
from .oracle.directions import content_seed, fresh_seed
from .outcome import Report
from .target import Budget
from .verdict import Finding, Verdict, combine

if TYPE_CHECKING:
    from ..language.network import Network

__all__ = ["Allowance", "Undecided", "Verification", "lost", "verify_cases", "verify_kernel"]

Undecided = Literal["fail", "warn"]
#: A command that names more parameters than this is no help.
MOST_SELECTED = 4


class Allowance:
    """A budget for several checks: whoever is next gets an equal part of what is left.

    Parameters
    ----------
    budget : int, str or None
        Loss evaluations, or seconds as ``"10s"``, for all checks together; None is no limit.

    Raises
    ------
    UsageError
        It is neither, or not positive.
    """

    def __init__(self, budget: int | str | None) -> None:
        Budget(budget)  # raises for what is no budget
        self.timed = isinstance(budget, str)
        self.limit: float | None = None
        if budget is not None:
            self.limit = float(str(budget).strip().removesuffix("s"))
        self.start = time.perf_counter()
        self.given = 0

    def __call__(self, left: int) -> int | str | None:
        """The budget of the next check when `left` are still to be done, this one counted."""
        if self.limit is None:
            return None
        if self.timed:
            # Never nothing: a check that has begun is finished, however late it is.
            rest = max(self.limit - (time.perf_counter() - self.start), 1e-3)
            return f"{rest / max(left, 1):.6f}s"
        part = max(int(self.limit - self.given) // max(left, 1), 1)
        self.given += part
        return part


#: Why a planned case has no report of a check.
LostKind = Literal["crash", "timeout", "memory", "exit", "error"]
LOST = get_args(LostKind)


def lost(title: str, kind: LostKind, message: str, traceback: str = "") -> Report:
    """The report of a planned case that gave none: it fails, without rows.

    Parameters
    ----------
    title : str
        The case; the target, for a kernel.
    kind : {"crash", "timeout", "memory", "exit", "error"}
        Its process ended, it ran too long, it needed too much memory, it left by `SystemExit`, or
        it raised. It is the mode of the report.
    message : str
        What happened, in one line.
    traceback : str
        Of the user's frames, where it raised.
    """
    found = [Finding(kind, message, fatal=True)]
    return Report(title, [], found, mode=kind, traceback=traceback)


class Verification(list[Report]):
    """The reports of one target, in order; of what gave none a failing one, which is in `lost` too.

    Attributes
    ----------
    target : str
        What was verified, as the user names it; empty for objects.
    kind : {"kernel", "cases", "vectors"}
        A kernel against its definition, gradient cases, or results against test vectors.
    undecided : {"fail", "warn"}
        Whether an undecided report keeps the verification from passing.
    options : tuple of str
        Further words of the command that repeats it (``--definition``, …).
    planned : int
        Cases that were to be checked; a kernel is one.
    """

    def __init__(
        self,
        reports: Iterable[Report] = (),
        *,
        target: str = "",
        kind: Literal["kernel", "cases", "vectors"] = "cases",
        undecided: Undecided = "fail",
        options: Sequence[str] = (),
    ) -> None:
        if undecided not in ("fail", "warn"):
            raise UsageError(f"undecided={undecided!r} is unknown; use 'fail' or 'warn'")
        super().__init__(reports)
        self.target, self.kind, self.undecided = target, kind, undecided
        self.options = tuple(options)
        self.planned = 0

    def _repr_html_(self) -> str:
        """For notebooks: the reports, one after the other."""
        return "".join(report._repr_html_() for report in self)

    @property
    def reported(self) -> int:
        """Planned cases that were checked to the end."""
        return self.planned - len(self.lost)

    @property
    def lost(self) -> list[Report]:
        """The reports of planned cases that gave none of their own."""
        return [report for report in self if report.mode in LOST]

    @property
    def verdict(self) -> Verdict:
        """Fail if any report fails, undecided if any is; without a report nothing has passed."""
        return combine([r.verdict for r in self]) if self else Verdict.UNDECIDED

    @property
    def passed(self) -> bool:
        """Whether all passed; undecided reports do where `undecided` is "warn"."""
        verdict = self.verdict
        return verdict is Verdict.PASS or (
            verdict is Verdict.UNDECIDED and self.undecided == "warn" and bool(self)
        )

    def collect(
        self, reports: Iterable[Report], expected: int, tell: Callable[[Report, int], None]
    ) -> Verification:
        """Take reports as they come and tell of each, with the number of those to come."""
        for report in reports:
            self.append(report)
            tell(report, max(expected - len(self), 0))
        self.planned = len(self) if self.kind == "cases" else 1
        return self

    def replay(self, report: Report) -> str:
        """The command that repeats a report: target, seed and, where few fail, the parameters."""
        target = self.target
        if self.kind == "cases" and target.endswith((".py", ".ipynb")):
            target = f"{target}:{report.title}"
        words = ["gradcheck-rnn", "verify", target, *self.options]
        bad = [r.name for r in report.rows if r.verdict is not Verdict.PASS]
        if report.mode != "forward" and len(bad) < min(len(report.rows), MOST_SELECTED + 1):
            for name in bad:
                words += ["--select", name]
        if self.kind != "vectors" and report.mode not in LOST:
            words += ["--seed", str(report.seed)]
        return shlex.join(words)


def verify_cases(
    cases: Sequence[GradientCase],
    *,
    target: str = "",
    seed: int | str | None = None,
    select: str | Iterable[str] | None = None,
    budget: int | str | None = None,
    undecided: Undecided = "fail",
    options: Sequence[str] = (),
    on_report: Callable[[Report, int], None] = lambda report, left: None,
) -> Verification:
    """Verify gradient cases; see `api.verify`."""
    done = Verification(target=target, kind="cases", undecided=undecided, options=options)
    found = check_cases(cases, seed=_settled(seed), budget=Allowance(budget), select=select)
    return done.collect(found, len(cases), on_report)


def verify_kernel(
    network: Network,
    kernel: Any,
    text: str,
    *,
    target: str = "",
    seed: int | str | None = None,
    select: str | Iterable[str] | None = None,
    budget: int | str | None = None,
    undecided: Undecided = "fail",
    shape: int = 0,
    options: Sequence[str] = (),
    on_report: Callable[[Report, int], None] = lambda report, left: None,
) -> Verification:
    """Verify a kernel against its definition; see `api.verify`.

    Parameters
    ----------
    text : str
        The kernel's source: the default seed is made from it, so that a changed kernel is checked
        at another point.
    shape : int
        Which sizes; see `points.draw_point`.
    options : sequence of str
        Words of the command line that a replay needs.
    """
    words = [*options, *(["--shape", str(shape)] if shape else [])]
    done = Verification(target=target, kind="kernel", undecided=undecided, options=words)
    settled = _settled(seed)
    if settled is None:
        settled = content_seed([np.frombuffer(text.encode(), dtype=np.uint8)])
    found = check_kernel(
        network, kernel, seed=settled, budget=Allowance(budget), select=select, shape=shape
    )
    return done.collect(found, len(parts_of(network)), on_report)


def _settled(seed: int | str | None) -> int | None:
    """One number for all checks, so that the one command replays them all; None stays."""
    if seed is None:
        return None
    return fresh_seed() if isinstance(seed, str) and seed == "fresh" else parse_seed(seed)
