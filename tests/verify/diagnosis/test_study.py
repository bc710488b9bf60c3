"""Mutants in the place of right gradients are seen and named (all: `benchmarks.fault_study`)."""

from __future__ import annotations

import pytest

from .study import Study, study


def complete(found: Study) -> None:
    assert found.missed == []
    assert found.wrong == []
    assert found.named == found.mutants > 0


@pytest.mark.parametrize(("cell", "every"), [("elman", 29), ("gru", 151), ("lstm", 293)])
def test_a_sample_of_mutants_is_named(cell: str, every: int) -> None:
    complete(study(cell, every))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "every"), [("elman", 11), ("gru", 71), ("lstm", 131), ("lstm_peephole", 223)]
)
def test_more_mutants_are_named(cell: str, every: int) -> None:
    complete(study(cell, every))
