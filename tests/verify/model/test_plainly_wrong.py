"""Plainly wrong arrays take one call a case, and nothing else about the report changes."""

from __future__ import annotations

from typing import Any

import pytest

from gradcheck_rnn import check_model, load
from gradcheck_rnn.verify.harness.plainly_wrong import PlainlyWrong
from tests.verify.model.elman_by_hand import backward, forward


def check(fault: Any, **options: Any) -> Any:
    def faulty(cotangents: Any, saved: Any) -> Any:
        return fault(backward(cotangents, saved), saved)

    return check_model(
        load("elman_hidden"), forward=forward, backward=faulty, diagnose=False, **options
    )


def wrong(report: Any) -> set[tuple[str, str, str, int]]:
    """What is wrong where, and in how many entries."""
    return {
        (r.user, c.point.label, r.case.label, int((r.ratio > 1).sum()))
        for c in report.comparisons for r in c.wrong
    }  # fmt: skip


def scaled(g: Any, saved: Any) -> Any:
    return {**g, "W": 1.1 * g["W"]}


def two_faults(g: Any, saved: Any) -> Any:
    """W is wrong throughout, b_i by little and for one sequence only."""
    little = 1e-9 if g["W"].dtype == "float64" else 1e-3
    one = len(saved[0][0]) == 1
    return {**g, "W": 1.1 * g["W"], "b_i": g["b_i"] * (1 + little * one)}


def slightly(g: Any, saved: Any) -> Any:
    return {**g, "W": g["W"] * (1 + 1e-11)}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("fault", "share"), [(scaled, 0.6), (two_faults, 0.8)])
def test_the_same_is_wrong_with_fewer_calls(
    fault: Any, share: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = check(fault, dtype=dtype)
    monkeypatch.setattr(PlainlyWrong, "learn", lambda self, found: None)
    full = check(fault, dtype=dtype)
    assert str(short.verdict) == "fail"
    assert wrong(short) == wrong(full)
    assert short.where == full.where
    assert [r.verdict for r in short.rows] == [r.verdict for r in full.rows]
    assert short.gradients < share * full.gradients


@pytest.mark.parametrize("fault", [slightly, lambda g, saved: g])
def test_nothing_is_spared_where_the_margin_is_small(
    fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = check(fault)
    monkeypatch.setattr(PlainlyWrong, "learn", lambda self, found: None)
    full = check(fault)
    assert short.gradients == full.gradients
    assert wrong(short) == wrong(full)
