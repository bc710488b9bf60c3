"""Random definitions through every stage: traced, derived, proved, differenced, generated.

The number of definitions and the time of each stage are printed at the end of the run; profile
``thorough`` runs more of them (``python -m tests.property.thorough`` also prints the pairs of
rules that occurred together).
"""

from __future__ import annotations

import os

import pytest

from .blocks import Report, run_block

BLOCK = 10
CELLS = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 300


@pytest.mark.parametrize("start", range(0, CELLS, BLOCK))
def test_block(start: int, gradcheck_summary) -> None:  # type: ignore[no-untyped-def]
    report: Report = run_block(range(start, start + BLOCK))
    for stage, spent in report.seconds.items():
        for seconds in spent:
            gradcheck_summary.sample(f"random cells: {stage}", seconds)
    first = report.failures[0] if report.failures else None
    assert first is None, (
        f"{len(report.failures)} of {BLOCK} definitions fail; seed {first.seed}: {first.what}\n"
        f"{first.source}"
    )
    assert report.cells == BLOCK
