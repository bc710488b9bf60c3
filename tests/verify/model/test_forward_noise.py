"""Noise of a forward pass is no excuse for what it computes, and rounding is not blamed for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, check_model, load
from tests.verify.model import elman_by_hand as right
from tests.verify.model.test_domains import check, elman, textbook

Arrays = dict[str, Any]
Change = Callable[[Any, Arrays], Any]


def verdict_of(change: Change, dtype: str, saved: bool = False) -> Any:
    """Model mode on the right Elman kernel, ``change(output, arguments)`` made to its outputs."""

    def forward(**arrays: Any) -> Any:
        outputs, kept = right.forward(**arrays)
        changed = {n: change(a, arrays).astype(a.dtype) for n, a in outputs.items()}
        if saved:
            h = np.concatenate([arrays["h0"][None], changed["h"]])
            kept = (kept[0], h, *kept[2:])
        return changed, kept

    return check_model(
        load("elman_hidden"), forward=forward, backward=right.backward, dtype=dtype, diagnose=False
    )


@pytest.mark.parametrize(
    ("amount", "dtype"),
    [(1e-12, "float64"), (2.0, "float64"), (1e-3, "float32"), (2.0, "float32"), (0.1, "bfloat16")],
)
@pytest.mark.parametrize("where", ["everywhere", "T = 24", "B = 3", "one call of 20"])
def test_outputs_that_differ_between_calls_are_unsteady(
    amount: float, dtype: str, where: str
) -> None:
    draw, calls = np.random.default_rng(0), [0]

    def noisy(a: Any, given: Arrays) -> Any:
        calls[0] += 1
        steps, batch = given["x"].shape[:2]
        hit = {"T = 24": steps == 24, "B = 3": batch == 3, "everywhere": True}
        if not hit.get(where, calls[0] % 20 == 0):
            return a
        return a * (1 + amount * draw.standard_normal(a.shape))

    report = verdict_of(noisy, dtype)
    assert str(report.verdict) == "fail"
    assert "the forward pass is unsteady" in str(report).splitlines()[0]


@pytest.mark.parametrize(
    ("amount", "dtype"),
    [(1e-12, "float64"), (1e-3, "float64"), (2.0, "float64"), (1e-3, "float32"), (0.5, "bfloat16")],
)
def test_noise_that_is_the_same_in_every_call_is_no_pass(amount: float, dtype: str) -> None:
    def noisy(a: Any, given: Arrays) -> Any:
        scatter = np.sin(1e10 * np.arcsin(np.clip(a, -1, 1).astype(np.float64)))
        return a * (1 + amount * scatter) if len(given["x"]) == 24 else a

    report = verdict_of(noisy, dtype, saved=True)
    assert str(report.verdict) in ("fail", "undecided")
    assert "T = 24" in str(report) or "long" in str(report)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_last_digit_that_differs_between_calls_is_rounding(dtype: str) -> None:
    """As sums of atomic additions do."""
    draw = np.random.default_rng(0)
    unit = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-9}[dtype]

    def summed(a: Any, _: Arrays) -> Any:
        return a * (1 + unit * draw.choice([-1.0, 0.0, 1.0], size=a.shape))

    report = verdict_of(summed, dtype)
    assert report.passed, str(report)


@pytest.mark.parametrize(("amount", "fails"), [(0.0, False), (1e-6, True), (0.5, True)])
def test_a_loss_that_differs_between_calls(amount: float, fails: bool) -> None:
    draw = np.random.default_rng(0)

    def run(a: Arrays) -> Any:
        loss, gradients = elman(a, a["target"], textbook)
        return loss * (1 + amount * draw.standard_normal()), gradients

    report = check(api.load("char_rnn"), run, diagnose=False)
    assert report.passed is not fails
    assert fails is ("the loss is unsteady" in str(report).splitlines()[0])


def test_another_function_is_said_of_the_forward_pass() -> None:
    report = verdict_of(lambda a, _: 1.1 * a, "float32")
    first = str(report).splitlines()[0]
    assert "the forward pass differs from the definition" in first
    assert "the gradient of" not in first


@pytest.mark.parametrize("beyond", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_outputs_that_are_no_numbers_are_wrong_where_the_gradient_is_right(
    beyond: float, dtype: str
) -> None:
    """That the neighbours' outputs are none either excuses nothing."""
    report = verdict_of(lambda a, _: a + np.where(np.arange(len(a)) == 20, beyond, 0).reshape(
        -1, *(1,) * (a.ndim - 1)), dtype, saved=False)  # fmt: skip
    assert str(report.verdict) == "fail"
    assert "the forward pass differs from the definition" in str(report).splitlines()[0]


@pytest.mark.parametrize("beyond", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_wrong(beyond: float) -> None:
    def run(a: Arrays) -> Any:
        loss, gradients = elman(a, a["target"], textbook)
        return loss + (beyond if len(a["x"]) == 24 else 0.0), gradients

    report = check(api.load("char_rnn"), run, diagnose=False)
    assert str(report.verdict) == "fail"
