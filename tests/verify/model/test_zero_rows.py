"""Rows of zeros, equal rows, starts of zeros: faults that only exact zeros show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, cell, check_model
from gradcheck_rnn.language import maximum, tanh
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify import Verdict
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.points import Point, Role
from tests.verify.model.elman_by_hand import backward, forward

Arrays = dict[str, Any]


def _padded(cotangents: Arrays, saved: Any) -> Arrays:
    g, x = backward(cotangents, saved), saved[0]
    return g | {"x": g["x"] * (x != 0).any(-1, keepdims=True)}


def _equal(cotangents: Arrays, saved: Any) -> Arrays:
    g, x = backward(cotangents, saved), saved[0]
    return g | {"x": np.where((x == x[..., :1]).all(-1, keepdims=True), 0.0, g["x"])}


def _not_given(cotangents: Arrays, saved: Any) -> Arrays:
    g, h0 = backward(cotangents, saved), saved[1][0]
    return g if h0.any() else g | {"h0": np.zeros_like(h0)}


def _no_bias(cotangents: Arrays, saved: Any) -> Arrays:
    b, rest = saved[-1], saved[:-1]
    g = backward(cotangents, rest)
    return g if b.any() else g | {"b_i": np.zeros_like(b)}


def _with_bias(b_i: Any, **others: Any) -> tuple[Arrays, Any]:
    outputs, saved = forward(b_i=b_i, **others)
    return outputs, (*saved, b_i)


@pytest.mark.parametrize(
    ("run", "pull", "name"),
    [
        (forward, _padded, "x"),
        (forward, _equal, "x"),
        (forward, _not_given, "h0"),
        (_with_bias, _no_bias, "b_i"),
    ],
)
def test_zeros_that_mean_something_else_are_found(run: Any, pull: Any, name: str) -> None:
    report = check_model(api.load("elman_hidden"), forward=run, backward=pull, diagnose=False)
    assert report.verdict is Verdict.FAIL
    assert [row.name for row in report.rows if row.verdict is Verdict.FAIL] == [name]
    assert "only where inputs have rows of zeros" in report.sentence()


def _no_number(cotangents: Arrays, saved: Any) -> Arrays:
    g, x = backward(cotangents, saved), saved[0]
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        return g | {"x": g["x"] * (norm / norm)}


def test_a_gradient_that_is_none_at_zeros_is_called_so() -> None:
    report = check_model(
        api.load("elman_hidden"), forward=forward, backward=_no_number, diagnose=False
    )
    assert report.verdict is Verdict.FAIL
    assert "where a row of x is all zero: the gradient is NaN there" in report.sentence()
    assert "padding" not in str(report)


def _zeros(network: Any, **options: Any) -> Point:
    return next(p for p in plan_points(network, 0, **options) if p.role is Role.ZEROS)


def test_a_kink_at_zero_keeps_its_numbers() -> None:
    """relu at 0 has no derivative, and any convention of the code is right."""

    @cell(inputs="x: d; u: p", states="h: p", params="W: p p; U: p d")
    def rectified(x: Any, u: Any, h: Any, W: Any, U: Any) -> Any:
        return tanh(W @ h + maximum(u, 0)) + U @ x

    point = _zeros(as_network(rectified))
    assert point.without_zeros == {"u": "no derivative there"}
    x = point.values["x"]
    assert not x[1, 0].any()
    assert not x[2].any()
    assert len(set(x[3, -1])) == 1
    assert not point.values["h0"].any()
    assert np.all(point.values["u"])


def test_where_zeros_are_outside_of_a_domain_the_report_says_so() -> None:
    assert _zeros(api.load("char_rnn")).without_zeros["x"] == "one-hot"
    assert _zeros(api.load("slstm")).without_zeros["n0"] == "≥ 1"


def test_of_few_steps_as_many_are_zero_as_there_are() -> None:
    network = api.load("elman_hidden")
    assert not _zeros(network, shapes={"T": 1}).values["x"][0, 0].any()
    point = _zeros(network, shapes={"T": 2, "B": 1})
    assert not point.values["x"][1, 0].any()
    assert point.values["x"][0].any()
