"""Rows of zeros beside the point: masks by ``x != 0`` fail, kinks and masked losses do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_vjp
from gradcheck_rnn.verify import Verdict, zero_rows

T, B, D, P = 4, 2, 3, 5


def inputs() -> tuple[Any, ...]:
    rng = np.random.default_rng(1)
    h0 = rng.standard_normal((B, P))
    return rng.standard_normal((T, B, D)), rng.standard_normal((P, P)) / 2, h0


def code(forth: Any = None, back: Any = None, act: Any = np.tanh, slope: Any = None) -> Any:
    """A recurrence with masks of its steps, ones by default, and its backward pass."""
    slope = slope or (lambda a: 1 - np.tanh(a) ** 2)

    def masks(x: Any, by: Any) -> Any:
        return np.ones(x.shape[:2])[..., None] if by is None else by(x)

    def forward(x: Any, W: Any, h: Any) -> Any:
        mask, saved = masks(x, forth), []
        for t in range(len(x)):
            a = h @ W.T + x[t] @ np.ones((D, P))
            saved.append((h, a))
            h = mask[t] * act(a) + (1 - mask[t]) * h
        return h, (x, W, saved)

    def backward(dh: Any, cache: Any) -> Any:
        x, W, saved = cache
        mask, dx, dW = masks(x, back), np.zeros_like(x), np.zeros_like(W)
        for t in reversed(range(len(x))):
            h, a = saved[t]
            da = dh * mask[t] * slope(a)
            dx[t], dW = da @ np.ones((P, D)), dW + da.T @ h
            dh = da @ W + dh * (1 - mask[t])
        return dx, dW, dh

    return forward, backward


def padded(x: Any) -> Any:
    return (x != 0).any(-1, keepdims=True) * 1.0


@pytest.mark.parametrize("given", [inputs(), lambda T, B: inputs()])
def test_a_mask_of_backward_alone_fails(given: Any) -> None:
    shapes = {"T": T, "B": B} if callable(given) else None
    report = check_vjp(*code(back=padded), given, shapes=shapes)
    assert report.verdict is Verdict.FAIL
    assert "rows of zeros" in report.sentence()


def test_a_start_of_zeros_taken_for_none_fails() -> None:
    forward, backward = code()

    def lost(dh: Any, cache: Any) -> Any:
        dx, dW, dh0 = backward(dh, cache)
        return dx, dW, dh0 if cache[2][0][0].any() else np.zeros_like(dh0)

    report = check_vjp(forward, lost, inputs())
    assert report.verdict is Verdict.FAIL
    assert "all of '[2]' zero" in report.sentence()


@pytest.mark.parametrize(
    "pair",
    [
        code(),
        code(forth=padded, back=padded),  # the loss jumps where a row becomes zero
        code(act=lambda a: np.maximum(a, 0), slope=lambda a: (a > 0) * 1.0),
        code(act=lambda a: np.maximum(a, 0), slope=lambda a: (a >= 0) * 1.0),
        code(act=np.abs, slope=np.sign),
    ],
)
def test_right_code_passes_whatever_zeros_are_to_it(pair: Any) -> None:
    assert check_vjp(*pair, inputs()).passed


@pytest.mark.parametrize(
    ("loss", "gradient"),
    [
        (lambda w: np.sum(np.sqrt(np.abs(w))), lambda w: 0.5 * np.sign(w) / np.sqrt(np.abs(w))),
        (lambda w: np.sqrt(np.sum(w**2, 1)).sum(), lambda w: w / np.linalg.norm(w, 2, 1, True)),
        (lambda w: np.sum(w * np.log(np.abs(w))), lambda w: np.log(np.abs(w)) + 1),
    ],
)  # fmt: skip
def test_singular_points_are_not_failures(loss: Any, gradient: Any) -> None:
    w = 1 + np.random.default_rng(0).random((4, 3))
    report = check_gradient(loss, gradient, w)
    assert report.passed
    assert "points not looked at: with rows of zeros" in str(report)


def test_values_held_at_the_point_are_no_padding() -> None:
    held = 1 + np.random.default_rng(1).random((4, 3))
    report = check_gradient(lambda w: np.sum(w * held), lambda w: w.copy(), held)
    assert report.passed
    assert "right at the point given alone" in str(report)


def test_a_budget_is_for_the_point_that_is_given() -> None:
    report = check_vjp(*code(back=padded), inputs(), budget=5000)
    assert report.passed


class _Layer:
    """A layer that reads one of its arrays where it should read its argument, or holds it."""

    def __init__(self, W: Any) -> None:
        self.W = W

    def forward(self, x: Any, W: Any) -> Any:
        return np.tanh(x @ W), (x, W)

    def backward(self, d: Any, cache: Any) -> Any:
        x, W = cache
        da = d * (1 - np.tanh(x @ W) ** 2)
        return da @ self.W.T, x.T @ da


def test_values_of_the_point_in_backward_are_a_fault() -> None:
    rng = np.random.default_rng(2)
    x, W = rng.normal(size=(4, 3)), rng.normal(size=(3, 5))
    layer, kept = _Layer(W.copy()), W.copy()

    def captured(d: Any, cache: Any) -> Any:
        x, W = cache
        da = d * (1 - np.tanh(x @ W) ** 2)
        return da @ kept.T, x.T @ da

    forward = lambda x, W: (np.tanh(x @ W), (x, W))  # noqa: E731
    report = check_vjp(forward, captured, (x, W))
    assert report.verdict is Verdict.FAIL
    assert "right at the point given alone" in report.sentence()
    assert "It reads 'kept', which forward does not" in report.sentence()
    both = check_vjp(layer.forward, layer.backward, (x, W))  # which of the two reads it?
    assert both.verdict is Verdict.UNDECIDED
    assert "hold values of the point on purpose" in both.sentence()


def test_a_fault_of_the_check_itself_comes_out(
    monkeypatch: Any,
) -> None:
    def broken(*_: Any) -> bool:
        raise RuntimeError("ours")

    monkeypatch.setattr(zero_rows, "_agrees", broken)
    with pytest.raises(RuntimeError, match="ours"):
        check_vjp(*code(), inputs())


def test_functions_that_take_no_zeros_are_said_not_to_run_there() -> None:
    forward, backward = code()

    def refuses(x: Any, W: Any, h: Any) -> Any:
        if not x.all():
            raise RuntimeError("no zeros")
        return forward(x, W, h)

    report = check_vjp(refuses, backward, inputs())
    assert report.passed
    assert "the functions do not run there" in str(report)
