"""One evaluation an entry: what it costs, and what it must not let pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify.guard import remembers_arrays
from gradcheck_rnn.verify.verdict import EntryState, Verdict

Floats = NDArray[np.float64]
ROWS, COLUMNS = 12, 17
Pair = tuple[Callable[[Floats], float], Callable[[Floats], Floats], Floats]


def smooth(seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(30, ROWS * COLUMNS)) / 20
    W = rng.normal(size=(ROWS, COLUMNS))

    def loss(W: Floats) -> float:
        return float(np.sum(np.log(np.cosh(A @ W.ravel() + 0.3))))

    def gradient(W: Floats) -> Floats:
        return np.asarray((A.T @ np.tanh(A @ W.ravel() + 0.3)).reshape(W.shape))

    return loss, gradient, W


def test_a_right_gradient_costs_little_more_than_one_evaluation_an_entry() -> None:
    loss, gradient, W = smooth()
    report = check_gradient(loss, gradient, W, mode="entrywise")
    assert report.passed
    assert report.evaluations < 1.1 * W.size + 40
    assert "one side" in report.rows[0].method


def test_what_does_not_grow_with_entries_is_shared() -> None:
    """Noise and jumps: ten losses. Kinks and a sharp slope: six. At the end: two. Zeros: two."""
    W = np.random.default_rng(8).normal(size=(3, 4))
    report = check_gradient(
        lambda w: float(np.sum(np.exp(w))), lambda w: np.exp(w), W, mode="entrywise"
    )
    assert report.passed
    assert report.evaluations <= W.size + 1 + 10 + 6 + 3 + 2 + 2
    # six must agree, four of them at neighbours where it differs: it remembers no point
    assert report.gradients == 7 + 1 + 1  # and one in arrays that are written to afterwards


@pytest.mark.parametrize("factor", [2.0, 1.01, -1.0])
def test_a_wrong_gradient_costs_hardly_more_and_every_entry_is_named(factor: float) -> None:
    loss, gradient, W = smooth(1)
    report = check_gradient(loss, lambda W: factor * gradient(W), W, mode="entrywise")
    (row,) = report.rows
    assert row.verdict is Verdict.FAIL
    assert row.failing == W.size
    assert report.evaluations < 1.2 * W.size + 60


@pytest.mark.parametrize("relative", [1e-2, 1e-5, 1e-7, 1e-9])
def test_a_fault_smaller_than_the_error_of_one_side_is_seen(relative: float) -> None:
    loss, gradient, W = smooth(2)

    def one(W: Floats) -> Floats:
        g = gradient(W)
        g[3, 4] += relative * np.abs(g).max()
        return g

    report = check_gradient(loss, one, W, mode="entrywise")
    (row,) = report.rows
    assert row.states is not None
    assert row.verdict is Verdict.FAIL
    assert np.argwhere(row.states == EntryState.FAIL).tolist() == [[3, 4]]


def test_a_gradient_of_less_precision_than_it_claims_is_seen() -> None:
    loss, gradient, W = smooth(3)
    wave = 1 + 1e-8 * np.sin(1e3 * np.arange(W.size)).reshape(W.shape)
    assert check_gradient(loss, lambda W: wave * gradient(W), W, mode="entrywise").verdict is (
        Verdict.FAIL
    )


@pytest.mark.parametrize("claimed", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_kink_on_either_side_of_one_entry_is_seen(claimed: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, c = rng.normal(size=40), rng.normal(size=40)
    w[7] = 0.0

    report = check_gradient(
        lambda w: float(c @ (np.maximum(w, 0) + 0.1 * np.sin(w))),
        lambda w: c * ((w > 0) + claimed * (w == 0) + 0.1 * np.cos(w)),
        w, mode="entrywise",
    )  # fmt: skip
    (row,) = report.rows
    assert row.states is not None
    assert row.verdict is Verdict.UNDECIDED
    assert np.flatnonzero(row.states == EntryState.KINK).tolist() == [7]


@pytest.mark.parametrize("part", [3e-3, 3e-2])
@pytest.mark.parametrize("entry", range(6))
def test_a_small_kink_is_seen_in_the_sample_as_well(entry: int, part: float) -> None:
    w = np.linspace(0.3, 1.2, 6)

    def loss(p: Floats) -> float:
        return float(np.sum(np.sin(p)) + part * np.cos(w[entry]) * abs(p[entry] - w[entry]))

    (row,) = check_gradient(loss, np.cos, w, mode="entrywise").rows
    assert row.states is not None
    assert np.flatnonzero(row.states == EntryState.KINK).tolist() == [entry]


def test_an_entry_that_bends_ten_thousand_times_as_much_passes_and_fails_rightly() -> None:
    loss, gradient, W = smooth(4)

    def bent(W: Floats) -> float:
        return loss(W) + 1e-3 * float(np.sin(1e4 * W[2, 5]))

    for factor in (1.0, 1.01):

        def claim(W: Floats, factor: float = factor) -> Floats:
            g = gradient(W)
            g[2, 5] += factor * 10 * np.cos(1e4 * W[2, 5])
            return g

        (row,) = check_gradient(bent, claim, W, mode="entrywise").rows
        assert row.states is not None
        failing = np.argwhere(row.states == EntryState.FAIL).tolist()
        assert failing == ([] if factor == 1.0 else [[2, 5]])


@pytest.mark.parametrize("amount", [1e-2, 1e-6, 1e-9])
@pytest.mark.parametrize("period", [20, 33, 77])
def test_a_loss_that_is_wrong_in_some_calls_is_no_pass(amount: float, period: int) -> None:
    loss, gradient, W = smooth(5)
    calls = [0]

    def flawed(W: Floats) -> float:
        calls[0] += 1
        return loss(W) * (1 + amount * (calls[0] % period == 0))

    report = check_gradient(flawed, gradient, W, mode="entrywise")
    assert report.verdict is Verdict.FAIL
    assert "unsteady-loss" in {f.kind for f in report.findings}


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_a_loss_that_remembers_arrays_by_their_id_is_no_pass(mode: str) -> None:
    loss, gradient, W = smooth(6)
    memo: dict[int, tuple[Floats, float]] = {}

    def remembering(P: dict[str, Floats]) -> float:
        # what is remembered is kept alive, so that no id is given twice
        W = P["W"]
        if id(W) not in memo:
            memo[id(W)] = W, loss(W)
        return memo[id(W)][1] + float(np.sum(P["b"] ** 2))

    report = check_gradient(
        remembering, lambda P: {"W": gradient(P["W"]), "b": 2 * P["b"]},
        {"W": W, "b": np.linspace(1.0, 2.0, 5)}, mode=mode,
    )  # fmt: skip
    assert report.verdict is Verdict.FAIL
    assert remembers_arrays("the loss") in report.findings


@pytest.mark.parametrize("budget", [250, 400, 900])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_count_is_used_within_a_fifth_and_shared_by_blocks(budget: int, factor: float) -> None:
    rng = np.random.default_rng(7)
    P = {"a": rng.normal(size=400), "b": rng.normal(size=300), "c": rng.normal(size=700)}
    A = {name: rng.normal(size=(30, x.size)) / 20 for name, x in P.items()}
    report = check_gradient(
        lambda P: float(sum(np.sum(np.log(np.cosh(A[k] @ P[k]))) for k in P)),
        lambda P: {k: factor * (A[k].T @ np.tanh(A[k] @ P[k])) for k in P},
        P, mode="entrywise", budget=budget,
    )  # fmt: skip
    assert 0.8 * budget <= report.evaluations <= 1.2 * budget
    shares = [(row.entries - row.undecided) / row.entries for row in report.rows]
    # the first block that fails also pays for the smaller steps that bear it out
    assert min(shares) > (0.3 * max(shares) if factor == 1.0 else 0)
    assert report.verdict is (Verdict.UNDECIDED if factor == 1.0 else Verdict.FAIL)


def blocks(bent: float = 0.0) -> tuple[Callable[..., float], Callable[..., list[Floats]], list]:
    """Four smooth blocks of pairwise different shapes, one entry of which may bend more."""
    rng = np.random.default_rng(9)
    P = [rng.normal(size=s) + 2 for s in ((6, 5), (7, 4), (9,), (11,))]

    def loss(*P: Floats) -> float:
        return float(sum(np.sum(np.exp(p / 3)) for p in P) + bent * P[0][3, 2] ** 2)

    def gradient(*P: Floats) -> list[Floats]:
        found = [np.exp(p / 3) / 3 for p in P]
        found[0][3, 2] += 2 * bent * P[0][3, 2]
        return found

    return loss, gradient, P


def test_four_wrong_blocks_are_borne_out_on_two_lines() -> None:
    loss, gradient, P = blocks()
    right = check_gradient(loss, gradient, tuple(P), mode="entrywise")
    wrong = check_gradient(
        loss, lambda *P: [1.02 * g for g in gradient(*P)], tuple(P), mode="entrywise"
    )
    assert right.passed
    assert [row.failing for row in wrong.rows] == [p.size for p in P]
    # two lines of six, three for the digits of the entry shown; no gradient and loss at the end
    # and three entries at wider steps, lest they lie on one step of the loss
    assert wrong.evaluations <= right.evaluations + 2 * 6 + 3 + 3 * 16
    assert wrong.gradients < right.gradients


def test_one_block_is_not_called_wrong_for_another() -> None:
    loss, gradient, P = blocks()

    def claim(*P: Floats) -> list[Floats]:
        found = gradient(*P)
        found[1][2] *= 1.01
        found[3][4] = 0.0
        return found

    rows = check_gradient(loss, claim, tuple(P), mode="entrywise").rows
    assert [row.verdict for row in rows] == [
        Verdict.PASS, Verdict.FAIL, Verdict.PASS, Verdict.FAIL,
    ]  # fmt: skip
    for row, wrong in ((rows[1], [8, 9, 10, 11]), (rows[3], [4])):
        assert row.states is not None
        assert np.flatnonzero(row.states == EntryState.FAIL).tolist() == wrong


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_an_entry_that_bends_more_than_those_sampled_costs_one_loss_more(factor: float) -> None:
    loss, gradient, P = blocks()
    usual = check_gradient(loss, gradient, tuple(P), mode="entrywise").evaluations
    loss, gradient, P = blocks(bent=30.0)

    def claim(*P: Floats) -> list[Floats]:
        found = gradient(*P)
        found[0][3, 2] *= factor
        return found

    report = check_gradient(loss, claim, tuple(P), mode="entrywise")
    assert report.passed == (factor == 1.0)
    if report.passed:
        assert report.evaluations <= usual + 2
