"""What tests of names share."""

from __future__ import annotations

import functools

import pytest

from gradcheck_rnn import check_model


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults of the corpus are named at the three points that a name needs: half the time."""
    few = functools.partial(check_model, plan="few")
    monkeypatch.setattr("benchmarks.blind_faults.check_model", few)
