"""Large blocks: one or two evaluations an entry, and what no sample can know is looked at again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify.verdict import EntryState, Verdict

Floats = NDArray[np.float64]
SIZE = 600


def problem(seed: int) -> tuple[Callable[[Any], Any], Callable[[Any], Floats], Floats]:
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=SIZE), rng.normal(size=SIZE)

    def loss(w: Floats) -> float:
        return float(weights @ np.tanh(w) + np.sin(w.sum()))

    def gradient(w: Floats) -> Floats:
        return np.asarray(weights * (1 - np.tanh(w) ** 2) + np.cos(w.sum()))

    return loss, gradient, x


@pytest.mark.parametrize("seed", range(3))
def test_a_right_gradient_costs_little_more_than_one_evaluation_an_entry(seed: int) -> None:
    loss, gradient, x = problem(seed)
    report = check_gradient(loss, gradient, x, mode="entrywise", seed=seed)
    assert report.passed
    assert report.evaluations < 1.2 * SIZE
    # one side leaves the root of the noise (1e-8), times the margins of both errors: 12 times; two
    # sides resolve 1e-10 for twice the losses. The line through all resolves more than either
    (row,) = report.rows
    assert row.resolution < 3e-6
    shows = re.search(r"one entry alone above (\S+) shows", row.missed)
    assert shows is not None
    assert float(shows[1]) < 1e-8 * np.abs(gradient(x)).max()


@pytest.mark.parametrize("relative", [1.0, 1e-3, 1e-6, 1e-7])
@pytest.mark.parametrize("entry", [0, 311, SIZE - 1])
def test_one_wrong_entry_is_found(entry: int, relative: float) -> None:
    loss, gradient, x = problem(entry)

    def wrong(w: Floats) -> Floats:
        g = gradient(w)
        g[entry] += relative * np.abs(g).max()
        return g

    report = check_gradient(loss, wrong, x, mode="entrywise")
    (row,) = report.rows
    assert row.verdict is Verdict.FAIL
    assert row.failing == 1
    assert row.states is not None
    assert row.states.ravel()[entry] == EntryState.FAIL


def test_kinks_that_no_sample_shows_are_reported_not_averaged_over() -> None:
    rng = np.random.default_rng(4)
    x, weights = rng.normal(size=SIZE), rng.normal(size=SIZE)
    x[[100, 500]] = 0.0

    def loss(w: Floats) -> float:
        return float(weights @ (np.maximum(w, 0) + 0.1 * np.sin(w)))

    def gradient(w: Floats) -> Floats:
        # half of the jump: exactly what central differences average to
        return np.asarray(weights * (0.5 * (np.sign(w) + 1) + 0.1 * np.cos(w)))

    report = check_gradient(loss, gradient, x, mode="entrywise")
    (row,) = report.rows
    assert row.states is not None
    assert set(np.flatnonzero(row.states.ravel() == EntryState.KINK)) == {100, 500}


def test_an_entry_that_bends_more_than_all_others_passes_and_fails_as_it_should() -> None:
    rng = np.random.default_rng(5)
    x, weights = rng.normal(size=SIZE), rng.normal(size=SIZE)
    rate = np.ones(SIZE)
    rate[77] = 300.0

    def loss(w: Floats) -> float:
        return float(weights @ np.sin(rate * w))

    def gradient(w: Floats) -> Floats:
        return np.asarray(weights * rate * np.cos(rate * w))

    assert check_gradient(loss, gradient, x, mode="entrywise").passed
    report = check_gradient(
        loss, lambda w: gradient(w) * np.where(rate > 1, 1 + 1e-4, 1), x, mode="entrywise"
    )
    assert report.verdict is Verdict.FAIL
    assert report.rows[0].failing == 1


def test_directions_cost_four_evaluations_a_block_where_nothing_is_wrong() -> None:
    rng = np.random.default_rng(6)
    point = {name: rng.normal(size=(20, 30)) for name in "abcdef"}

    def loss(p: dict[str, Floats]) -> float:
        return float(sum(np.sin(k + v).sum() for k, v in enumerate(p.values())))

    def gradient(p: dict[str, Floats]) -> dict[str, Floats]:
        return {n: np.cos(k + v) for k, (n, v) in enumerate(p.items())}

    report = check_gradient(loss, gradient, point, mode="directional")
    assert report.passed
    assert report.evaluations <= 40

    def wrong(p: dict[str, Floats]) -> dict[str, Floats]:
        return gradient(p) | {"d": gradient(p)["d"].T.reshape(20, 30)}

    failing = [r.name for r in check_gradient(loss, wrong, point, mode="directional").rows
               if r.verdict is Verdict.FAIL]  # fmt: skip
    assert failing == ["d"]
