"""Mistakes in code whose own roundoff is large, sums over all axes, and no dead end."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.blind_faults import FAULTS, check
from benchmarks.slips import SLIPS


def said(name: str) -> Any:
    table = FAULTS if name in FAULTS else SLIPS
    return check(name.split("/")[0], [table[name].edit]).diagnosis


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        ("elman/23", "δh_{t−1} with W instead of Wᵀ in Wᵀ δi_t"),
        ("elman/04", "δi_t with φ′ taken at i_t instead of h_t"),
    ],
)
def test_what_the_code_itself_rounds_hides_no_mistake(slip: str, words: str) -> None:
    """A gradient from an update, and a value from the inverse of a function that saturates."""
    found = said(slip)
    assert [m.message for m in found.matches] == [words]


def test_a_bias_summed_over_all_axes_is_named() -> None:
    found = said("elman/21")
    assert [m.kind for m in found.matches] == ["summed"]
    assert "every entry of db_i is the sum of all its entries" in str(found)


def test_biases_of_several_gates_are_named_together() -> None:
    found = said("peephole/21")
    assert "every entry of db_i, db_f, db_o, db_c is the sum of all" in str(found)


def test_a_read_beyond_a_sequence_in_reversed_order_does_not_end_the_search() -> None:
    """Values in reversed order of time, of a name that has none before its first step."""
    found = said("wkv/bonus-overwritten")
    assert found is not None
    assert "already wrong at one step: du" in found.where


def test_noise_that_a_named_mistake_makes_is_not_told_beside_it() -> None:
    """Without its slope δh_0 becomes so large that its rounding is above the definition's."""
    report = check("zoneout", [("(1 - acts[t] ** 2)\n", "1\n")])
    assert report.diagnosis is not None
    assert report.diagnosis.found
    assert "unstable" not in str(report)


def test_noise_of_the_code_beside_a_mistake_is_told() -> None:
    back = 'return {"W": (W - (W - 1e-4 * dW)) / 1e-4,'
    report = check("zoneout", [("(1 - acts[t] ** 2)\n", "1\n"), ('return {"W": dW,', back)])
    assert report.diagnosis is not None
    assert report.diagnosis.found
    assert "dW is unstable" in str(report)
