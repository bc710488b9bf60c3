"""Verifications of many targets: a line each, then the whole story of what did not pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.cli.verdicts import STYLES, account, plain, show, wide_console

if TYPE_CHECKING:
    from gradcheck_rnn.verify.session import Verification

__all__ = ["plain_plan", "show_plan"]


def _verdict(found: Sequence[Verification]) -> str:
    if not found:
        return "undecided"
    verdicts = [str(v.verdict) for v in found]
    return next((v for v in ("fail", "undecided") if v in verdicts), "pass")


def plain_plan(found: Sequence[Verification]) -> dict[str, Any]:
    """As docs/json-schema/verify.json has it."""
    return {
        "kind": "plan",
        "verdict": _verdict(found),
        "passed": bool(found) and all(v.passed for v in found),
        "accounting": account(found),
        "verifications": [plain(v) for v in found],
    }


def show_plan(found: Sequence[Verification]) -> None:
    """Print a table of verifications, and those that did not pass in full."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = wide_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("target", "shape", "verdict", "gradients", "error÷bound", "not seen below"):
        table.add_column(column, justify="left" if column in ("target", "verdict") else "right",
                         no_wrap=True)  # fmt: skip
    for v in found:
        rows = [row for report in v for row in report.rows if report.mode != "forward"]
        blind = [row.resolution for row in rows]
        verdict = str(v.verdict)
        table.add_row(
            Text(v.target), v.options[-1] if "--shape" in v.options else "0",
            Text(verdict, style=STYLES[verdict]), str(len(rows)),
            _number(max((row.ratio for row in rows), default=math.nan)),
            _number(max(blind, default=math.nan)),
        )  # fmt: skip
    out.print(table)
    for v in found:
        if str(v.verdict) != "pass":
            show(out, v)
    passed = sum(v.passed for v in found)
    evaluations = sum(report.evaluations for v in found for report in v)
    verdict = _verdict(found)
    out.print(
        f"{verdict}: {passed} of {len(found)} passed ({evaluations} loss evaluations)",
        style=STYLES[verdict], markup=False, soft_wrap=True,
    )  # fmt: skip


def _number(x: float) -> str:
    return f"{x:.2g}" if math.isfinite(x) else "–"
