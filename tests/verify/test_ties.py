"""Parameters exactly on a kink, as zero initial values of a relu network are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify import Report
from gradcheck_rnn.verify.oracle.complex_step import operations_not_analytic
from gradcheck_rnn.verify.verdict import EntryState, Verdict

Floats = NDArray[np.float64]


def check(subgradient: float, entries: int) -> Report:
    def loss(w: Floats) -> float:
        return np.maximum(w, 0).sum()

    def gradient(w: Floats) -> Floats:
        return np.where(w > 0, 1.0, np.where(w < 0, 0.0, subgradient))

    return check_gradient(loss, gradient, np.zeros(entries), mode="entrywise")


@pytest.mark.parametrize("subgradient", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("entries", [1, 6, 40])
def test_kinks_are_reported_and_no_verdict_is_made_of_them(
    subgradient: float, entries: int
) -> None:
    report = check(subgradient, entries)
    (row,) = report.rows
    assert row.verdict is Verdict.UNDECIDED
    assert row.states is not None
    assert np.all(row.states == EntryState.KINK)
    assert "sit on a kink" in row.reason


@pytest.mark.parametrize(
    ("at", "found"), [(0.0, {"maximum at a tie"}), (1.0, set()), (-1.0, set())]
)
def test_ties_are_not_analytic(at: float, found: set[str]) -> None:
    assert operations_not_analytic(lambda w: np.maximum(w[0], 0).sum(), [np.full(3, at)]) == found


def test_entries_without_influence_do_not_choose_the_step_of_the_others() -> None:
    w = np.linspace(-1, 1, 24)

    def loss(w: Floats) -> float:
        return np.tanh(3 * w[:6]).sum()

    def gradient(w: Floats) -> Floats:
        return np.where(np.arange(24) < 6, 3 * (1 - np.tanh(3 * w) ** 2), 0.0)

    report = check_gradient(loss, gradient, w, mode="entrywise")
    assert report.passed
    assert report.rows[0].resolution < 1e-8


@pytest.mark.parametrize(
    ("loss", "gradient", "w"),
    [
        (lambda p: np.abs(p - 2).sum(), lambda p: np.sign(p - 2), [1.0, 2.0, 3.0]),
        (lambda p: np.clip(p, -1, 1).sum(), lambda p: (np.abs(p) <= 1) * 1.0, [0.2, 1.0, -0.4]),
        (lambda p: 3 * p.max() + p.sum(), lambda p: 3.0 * (p == p.max()) + 1, [2.0, 1, 0, -1, 2]),
    ],
)
def test_a_gradient_that_jumps_at_one_entry_hides_no_other(
    loss: Any, gradient: Any, w: Any
) -> None:
    """The roundoff of a gradient is not what an entry on a kink changes by between neighbours."""
    right = check_gradient(loss, gradient, np.array(w))
    assert right.verdict is Verdict.UNDECIDED
    assert "kink" in right.sentence()
    assert "roundoff" not in right.sentence()
    for factor in (-1, 2):
        wrong = check_gradient(loss, lambda p, f=factor: f * gradient(p), np.array(w))
        assert wrong.verdict is Verdict.FAIL
