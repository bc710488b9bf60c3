"""Mutants in the place of right gradients: all seen, all named. Every one with ``-m slow``."""

from __future__ import annotations

import pytest

from .study import Study, study


def complete(found: Study) -> None:
    assert found.missed == []
    assert found.wrong == []
    assert found.named == found.mutants > 0


@pytest.mark.parametrize(("cell", "every"), [("elman", 13), ("gru", 71), ("lstm", 131)])
def test_a_sample_of_mutants_is_named(cell: str, every: int) -> None:
    complete(study(cell, every))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "lstm_peephole"])
def test_every_mutant_is_named(cell: str) -> None:
    complete(study(cell))
