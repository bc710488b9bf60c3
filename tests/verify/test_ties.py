"""Parameters exactly on a kink, as zero initial values of a relu network are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_gradient, check_vjp
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


TIED = np.array([1.5, -0.5, 1.5, 1.5, 1.5])


def _tied(p: Floats, first: float, others: float) -> Floats:
    """Gradient of 2 max p + p·p with a convention at ties: of the first entry, and the others."""
    top = p == p.max()
    share = np.where(top, others, 0.0)
    share[np.argmax(top)] = first if top.sum() > 1 else 2.0
    return share + 2 * p


@pytest.mark.parametrize(("first", "others"), [(2, 0), (2, 2), (0.5, 0.5)])
def test_where_most_entries_are_tied_they_alone_are_undecided_by_name(
    first: float, others: float
) -> None:
    report = check_gradient(
        lambda p: 2 * p.max() + p @ p, lambda p: _tied(p, first, others), TIED, mode="entrywise"
    )
    (row,) = report.rows
    assert row.verdict is Verdict.UNDECIDED
    assert row.states is not None
    assert list(np.flatnonzero(row.states == EntryState.KINK)) == [0, 2, 3, 4]
    assert "4 of 5 entries ([0], [2], [3], …) sit on a kink or a tie" in row.reason


@pytest.mark.parametrize(("first", "others"), [(-2, -2), (5, 2)])
def test_what_is_no_slope_at_a_tie_is_undecided_where_it_is_right_beside_it(
    first: float, others: float
) -> None:
    report = check_gradient(
        lambda p: 2 * p.max() + p @ p, lambda p: _tied(p, first, others), TIED, mode="entrywise"
    )
    assert report.verdict is Verdict.UNDECIDED
    assert "is none of the slopes" in report.rows[0].reason
    assert "beside the point it is right" in report.rows[0].reason


def test_an_entry_beside_tied_ones_is_judged() -> None:
    def wrong(p: Floats) -> Floats:
        return _tied(p, 2, 2) + 1e-6 * (np.arange(5) == 1)

    report = check_gradient(lambda p: 2 * p.max() + p @ p, wrong, TIED, mode="entrywise")
    assert report.verdict is Verdict.FAIL
    assert report.rows[0].worst == "[1]"


def test_slopes_beside_a_kink_are_no_fault() -> None:
    """Beside the point the slope is 3 or -1 where the second parameter is less; at it -1 or 1."""

    def loss(p: Floats) -> float:
        return np.abs(p[0]) + 2 * np.maximum(np.minimum(p[0], p[1]), 0) + p[1]

    def gradient(p: Floats) -> Floats:
        least = (p[0] <= p[1]) & (min(p) >= 0)
        sign = 1.0 if p[0] >= 0 else -1.0
        return np.array([sign + 2 * least, 1 + 2 * ((p[1] < p[0]) & (p[1] > 0))])

    report = check_gradient(loss, gradient, np.zeros(2), mode="entrywise")
    assert report.verdict is Verdict.UNDECIDED
    assert "kink" in report.rows[0].reason


def _recurrence(act: Any, slope: Any, *, wrong: bool = False) -> Any:
    """A recurrence without biases; wrong: W stands where its transpose belongs."""

    def forward(x: Any, W: Any, U: Any) -> Any:
        zs, hs = [], [np.zeros((x.shape[1], len(W)))]
        for row in x:
            zs.append(row @ U + hs[-1] @ W)
            hs.append(act(zs[-1]))
        return np.stack(hs[1:]), (x, W, U, zs, hs)

    def backward(g: Any, cache: Any) -> Any:
        x, W, U, zs, hs = cache
        dx, dW, dU, carried = np.empty_like(x), 0 * W, 0 * U, np.zeros_like(hs[0])
        for t in reversed(range(len(x))):
            da = (g[t] + carried) * slope(zs[t])
            dx[t], carried = da @ U.T, da @ (W if wrong else W.T)
            dW, dU = dW + hs[t].T @ da, dU + x[t].T @ da
        return dx, dW, dU

    return forward, backward


def _inputs(zero: str) -> list[Floats]:
    rng = np.random.default_rng(1)
    x, W, U = rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 3)), rng.normal(size=(2, 3))
    x[: {"x": 3, "row": 1}.get(zero, 0)] = 0
    U[:, : 3 * (zero == "U")] = 0
    return [x, W, U]


@pytest.mark.parametrize("at_zero", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("zero", ["", "row", "U"])
def test_no_convention_of_slopes_at_zero_fails_in_a_recurrence(zero: str, at_zero: float) -> None:
    """The chain rule through several kinks gives values that are no slope of the loss."""
    low = 0.1 * (at_zero == 0.1)
    pair = _recurrence(
        lambda z: np.where(z > 0, z, low * z),
        lambda z: np.where(z > 0, 1.0, np.where(z < 0, low, at_zero)),
    )
    report = check_vjp(*pair, _inputs(zero))
    assert report.verdict is (Verdict.UNDECIDED if zero else Verdict.PASS), report


@pytest.mark.parametrize("zero", ["x", "row"])
def test_what_is_wrong_beside_a_kink_fails_at_it(zero: str) -> None:
    relu = (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0)
    assert check_vjp(*_recurrence(*relu, wrong=True), _inputs(zero)).verdict is Verdict.FAIL


def test_the_largest_over_time_may_be_tied_where_all_inputs_are_zero() -> None:
    forward, backward = _recurrence(np.tanh, lambda z: 1 - np.tanh(z) ** 2)

    def largest(*inputs: Any) -> Any:
        hs, cache = forward(*inputs)
        return hs.max(0), (hs, cache)

    def of_largest(g: Any, saved: Any) -> Any:
        hs, cache = saved
        d = np.zeros_like(hs)
        np.put_along_axis(d, hs.argmax(0)[None], g[None], 0)
        return backward(d, cache)

    report = check_vjp(largest, of_largest, _inputs(""))
    assert report.passed, report


@pytest.mark.parametrize("subgradient", [-1.0, 2.0])
def test_a_gradient_outside_of_both_slopes_is_wrong_if_it_is_wrong_beside_them(
    subgradient: float,
) -> None:
    assert check(subgradient, 3).verdict is Verdict.UNDECIDED  # right but at the kink itself
    report = check_gradient(
        lambda w: np.maximum(w, 0).sum(), lambda w: np.full(3, subgradient), np.zeros(3)
    )
    assert report.verdict is Verdict.FAIL
