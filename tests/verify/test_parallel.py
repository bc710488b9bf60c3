"""Losses spread over processes: the same report, whatever happens in a fork."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_gradient, check_vjp
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify import Verdict, parallel
from gradcheck_rnn.verify.children import can_fork

Floats = NDArray[np.float64]
A = np.random.default_rng(0).normal(size=(5, 60)) / 8
W = np.random.default_rng(1).normal(size=60)

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes are not forked here")


def loss(w: Floats) -> float:
    return float(np.sum(np.log(np.cosh(A @ w + 0.3))))


def gradient(w: Floats) -> Floats:
    return np.asarray(A.T @ np.tanh(A @ w + 0.3))


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spread losses that cost next to nothing, too."""
    monkeypatch.setattr(parallel, "WORTH", 0.0)


@pytest.mark.parametrize("factor", [1.0, 1.01])
@pytest.mark.parametrize("workers", [2, 3])
def test_the_report_is_that_of_one_process(workers: int, factor: float) -> None:
    def claim(w: Floats) -> Floats:
        g = gradient(w)
        g[[3, 50]] *= factor
        return g

    one, many = (check_gradient(loss, claim, W, mode="entrywise", workers=n) for n in (1, workers))
    (a,), (b,) = one.rows, many.rows
    assert (a.verdict, a.failing, one.evaluations) == (b.verdict, b.failing, many.evaluations)
    assert a.states is not None
    assert b.states is not None
    assert np.array_equal(a.states, b.states)
    assert a.failing == (0 if factor == 1.0 else 2)


def test_losses_are_run_elsewhere() -> None:
    here: list[int] = []

    def counted(w: Floats) -> float:
        here.append(os.getpid())
        return loss(w)

    report = check_gradient(counted, gradient, W, mode="entrywise", workers=2)
    assert report.passed
    assert len(here) < report.evaluations


@pytest.mark.parametrize("how", ["raises", "exits", "dies"])
def test_what_a_fork_cannot_do_is_done_here(how: str) -> None:
    parent = os.getpid()

    def picky(w: Floats) -> float:
        if os.getpid() != parent:
            if how == "raises":
                raise RuntimeError("not in a fork")
            if how == "exits":
                raise SystemExit(3)
            os._exit(1)
        return loss(w)

    report = check_gradient(picky, gradient, W, mode="entrywise", workers=2)
    assert report.passed
    assert report.evaluations < 100


def test_what_a_loss_does_in_a_fork_is_noticed() -> None:
    parent = os.getpid()

    def changing(p: dict[str, Floats]) -> Any:
        if os.getpid() != parent:
            p["b"] += 1e-3
        return loss(p["w"]) + float(np.sum(np.sin(p["b"])))

    report = check_gradient(
        changing, lambda p: {"w": gradient(p["w"]), "b": np.cos(p["b"])},
        {"w": W, "b": np.linspace(0.1, 0.4, 3)}, mode="entrywise", workers=2,
    )  # fmt: skip
    assert report.verdict is Verdict.FAIL
    assert "mutated-input" in {f.kind for f in report.findings}


@pytest.mark.parametrize("workers", [0, 1.5, "two"])
def test_no_number_of_workers_is_refused(workers: Any) -> None:
    with pytest.raises(UsageError, match="workers"):
        check_gradient(loss, gradient, W, workers=workers)


def test_a_backward_function_is_checked_by_several_processes_too() -> None:
    def forward(w: Floats, b: Floats) -> tuple[Floats, Floats]:
        h = np.tanh(A @ w + b)
        return h, h

    def backward(bar: Floats, h: Floats) -> tuple[Floats, Floats]:
        bar = bar * (1 - h * h)
        g = A.T @ bar
        g[7] *= factor
        return g, bar

    b = np.full(5, 0.2)
    for factor in (1.0, 1.01):
        one, many = (
            check_vjp(forward, backward, (W, b), mode="entrywise", workers=n) for n in (1, 2)
        )
        assert [r.verdict for r in one.rows] == [r.verdict for r in many.rows]
        assert [(r.numeric, r.bound) for r in one.rows] == [(r.numeric, r.bound) for r in many.rows]
        assert many.passed == (factor == 1.0)


def test_a_number_of_workers_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="workers"):
        check_vjp(lambda w: (w, None), lambda bar, _: bar, W, workers=0)
