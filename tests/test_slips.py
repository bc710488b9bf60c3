"""The table of ordinary slips: every slip is an edit of right code, and the marks are counted."""

from __future__ import annotations

import pytest

pytest.importorskip("benchmarks.slips")

from benchmarks.blind_faults import Outcome, edited
from benchmarks.slips import CELLS, SLIPS, mark, table


@pytest.mark.parametrize("cell", CELLS)
def test_every_slip_is_an_edit_of_the_code(cell: str) -> None:
    mine = [slip for name, slip in SLIPS.items() if name.split("/")[0] == cell]
    assert len(mine) >= 12
    for slip in mine:
        assert edited(cell, [slip.edit])


def test_a_slip_has_one_name_in_all_cells() -> None:
    titles = {(name.split("/")[1], slip.truth) for name, slip in SLIPS.items()}
    assert len(titles) == len({number for number, _ in titles})
    assert {name.split("/")[0] for name in SLIPS} == set(CELLS)


def test_marks_and_the_table() -> None:
    def one(named: str, found: bool = True, located: bool = True) -> Outcome:
        return Outcome("x", found, located, named, 0.1, "")

    assert mark(one("right", found=False)) == "missed"
    assert [mark(one(name)) for name in ("right", "half", "wrong", "none")] == [
        "named", "half", "?", "located",
    ]  # fmt: skip
    assert mark(one("none", located=False)) == "found"
    outcomes = {"elman/02": one("right"), "elman/03": one("none"), "elman/04": one("none", False)}
    lines = table(outcomes, ["elman"]).splitlines()
    assert lines[0] == "| slip | Elman |"
    assert "| σ′ for tanh′ | named |" in lines
    assert lines[-1] == "| **named / located / found** | 1 / 2 / 2 of 3 |"
