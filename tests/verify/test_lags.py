"""A recurrence cut off, a step forgotten: the report of check_vjp says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_vjp
from gradcheck_rnn.verify import Report

Floats = NDArray[np.float64]
STEPS = 4


def check(carry: Callable[[int, int], float], own: Callable[[int], float]) -> Report:
    """``carry(t, k)``: factor on what comes from k steps ahead; ``own(t)``: on the local term."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(3, 3))

    def forward(x: Floats) -> Any:
        h, hs = np.zeros((2, 3)), []
        for x_t in x:
            h = np.tanh(x_t + h @ W)
            hs.append(h)
        return np.stack(hs), hs

    def backward(dh: Floats, hs: list[Floats]) -> tuple[Floats]:
        dx = np.zeros_like(dh)
        for start in range(STEPS):
            da = dh[start] * (1 - hs[start] ** 2)
            for t in range(start, -1, -1):
                dx[t] += own(t) * carry(t, start - t) * da
                if t:
                    da = (da @ W.T) * (1 - hs[t - 1] ** 2)
        return (dx,)

    return check_vjp(forward, backward, (rng.normal(size=(STEPS, 2, 3)),), time_axis=0)


def said(report: Report) -> list[str]:
    return [f.message.partition("' is ")[2] for f in report.findings if f.kind == "lags"]


@pytest.mark.parametrize(
    ("carry", "own", "sentence"),
    [
        (lambda t, k: k < 2, lambda t: 1, "wrong 2 steps back and more, right before"),
        (lambda t, k: k < 1, lambda t: 1, "wrong 1 step back and more, right before"),
        (lambda t, k: 2 if k == 1 else 1, lambda t: 1, "wrong 1 step back only"),
        (lambda t, k: 2 if k == 0 else 1, lambda t: 1, "wrong 0 steps back only"),
        (lambda t, k: 1, lambda t: t != 2, "wrong to step 3 only"),
        (lambda t, k: t + k != 2, lambda t: 1, "wrong from step 3 only"),
        (lambda t, k: not t < 2 <= t + k, lambda t: 1,
         "wrong wherever it goes back from step 3 to step 2"),
    ],
)  # fmt: skip
def test_what_wrong_steps_have_in_common_is_said(
    carry: Callable[[int, int], float], own: Callable[[int], float], sentence: str
) -> None:
    assert said(check(carry, own)) == [sentence]


def test_nothing_is_said_of_right_gradients_and_of_those_wrong_everywhere() -> None:
    assert said(check(lambda t, k: 1, lambda t: 1)) == []
    assert said(check(lambda t, k: 2, lambda t: 1)) == []
