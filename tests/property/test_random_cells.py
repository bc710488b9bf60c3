"""Random definitions through every stage: traced, derived, proved, differenced, generated.

The number of definitions and the time of each stage are printed at the end of the run; profile
``thorough`` runs more of them (``python -m tests.property.thorough`` also prints the pairs of
rules that occurred together).
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from .blocks import run_block

BLOCK = 20
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
#: In CI twice as many as `test_generator` needs to find a fault in any rule.
CELLS = 10_000 if THOROUGH else 120


@pytest.mark.parametrize("start", range(0, CELLS, BLOCK))
def test_block(start: int, gradcheck_summary: Any) -> None:
    # Compiling is most of the time, so CI runs CuPy modules of one block in three.
    device = THOROUGH or start // BLOCK % 3 == 0
    report = run_block(range(start, start + BLOCK), device=device)
    for stage, spent in report.seconds.items():
        for seconds in spent:
            gradcheck_summary.sample(f"random cells: {stage}", seconds)
    first = report.failures[0] if report.failures else None
    assert first is None, (
        f"{len(report.failures)} of {BLOCK} definitions fail; seed {first.seed}: {first.what}\n"
        f"{first.source}"
    )
    assert report.cells == BLOCK
