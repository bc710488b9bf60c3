"""One verification of several reports: how its budget is shared out and what its verdict is."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from typing import Literal

from ..errors import UsageError
from .outcome import Report
from .target import Budget
from .verdict import Verdict, combine

__all__ = ["Allowance", "Undecided", "Verification"]

Undecided = Literal["fail", "warn"]


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


class Verification(list[Report]):
    """The reports of one target, in order.

    Attributes
    ----------
    target : str
        What was verified, as the user names it; empty for objects.
    kind : {"kernel", "cases"}
        A kernel against its definition, or gradient cases.
    undecided : {"fail", "warn"}
        Whether an undecided report keeps the verification from passing.
    """

    def __init__(
        self,
        reports: Iterable[Report] = (),
        *,
        target: str = "",
        kind: Literal["kernel", "cases"] = "cases",
        undecided: Undecided = "fail",
    ) -> None:
        if undecided not in ("fail", "warn"):
            raise UsageError(f"undecided={undecided!r} is unknown; use 'fail' or 'warn'")
        super().__init__(reports)
        self.target, self.kind, self.undecided = target, kind, undecided

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

    def replay(self, report: Report) -> str:
        """The command that repeats a report: its target, its failing parameters, its seed."""
        target = self.target
        if self.kind == "cases" and target.endswith(".py"):
            target = f"{target}:{report.title}"
        words = ["gradcheck-rnn", "verify", target]
        if report.mode != "forward":
            bad = [r.name for r in report.rows if r.verdict is not Verdict.PASS]
            for name in bad if len(bad) < len(report.rows) else ():
                words += ["--select", name]
        return shlex.join([*words, "--seed", str(report.seed)])
