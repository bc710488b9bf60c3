"""Backward functions that are right for one output at a time, and wrong otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify import Verdict, check_vjp

RNG = np.random.default_rng(0)
INPUTS = {"x": RNG.normal(size=(4, 3)), "W": RNG.normal(size=(3, 5))}


def forward(x: Any, W: Any) -> tuple[Any, Any]:
    return {"h": np.tanh(x @ W), "c": np.sin(x), "s": np.sum(W**2)}, (x, W)


def backward(cotangents: Any, cache: Any) -> dict[str, Any]:
    x, W = cache
    da = cotangents["h"] * (1 - np.tanh(x @ W) ** 2)
    dx = da @ W.T + cotangents["c"] * np.cos(x)
    return {"x": dx, "W": x.T @ da + 2 * cotangents["s"] * W}


def loses_c(cotangents: Any, cache: Any) -> Any:
    if cotangents["h"].any():
        cotangents = cotangents | {"c": 0 * cotangents["c"]}
    return backward(cotangents, cache)


def loses_a_pair(cotangents: Any, cache: Any) -> Any:
    """All three at once are right, two of them are not."""
    if cotangents["h"].any() and cotangents["c"].any() and not cotangents["s"].any():
        cotangents = cotangents | {"c": 0 * cotangents["c"]}
    return backward(cotangents, cache)


def cross(cotangents: Any, cache: Any) -> Any:
    found = backward(cotangents, cache)
    return found | {"x": found["x"] + 1e-6 * cotangents["c"] * np.sum(cotangents["h"])}


def normed(cotangents: Any, cache: Any) -> Any:
    size = np.sqrt(sum(np.sum(c**2) for c in cotangents.values())) or 1.0
    return {n: g / size for n, g in backward(cotangents, cache).items()}


def clipped(cotangents: Any, cache: Any) -> Any:
    found = backward(cotangents, cache)
    return found | {"W": np.clip(found["W"], -50, 50)}


def flushed(cotangents: Any, cache: Any) -> Any:
    """What is small is taken for nothing, as after a loss that is a mean over many steps."""
    return backward({n: np.where(np.abs(c) < 1e-7, 0, c) for n, c in cotangents.items()}, cache)


def decayed(cotangents: Any, cache: Any) -> Any:
    found = backward(cotangents, cache)
    return found | {"W": found["W"] + 1e-9 * cache[1]}


def ignores(cotangents: Any, cache: Any) -> Any:
    return backward(cotangents | {"s": 1.0}, cache)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (loses_c, "outputs-together", "all outputs at once"),
        (loses_a_pair, "outputs-together", "all outputs but 's'"),
        (cross, "outputs-together", "gradient of 'x'"),
        (normed, "not-linear", "2 times as much does not give 2 times"),
        (clipped, "not-linear", "1048576 times as much"),
        (flushed, "not-linear", "2⁻³⁰ times as much"),
        (decayed, "not-linear", "all of them are zeros"),
        (ignores, "ignores-cotangent", "ignores the cotangent of 's' (grad_output)"),
    ],
)
def test_what_is_wrong_between_outputs(wrong: Any, kind: str, words: str) -> None:
    report = check_vjp(forward, wrong, INPUTS)
    assert report.verdict is Verdict.FAIL
    said = [f.message for f in report.findings if f.kind == kind and f.fatal]
    assert any(words in text for text in said), str(report)


def test_a_right_one_is_linear_in_every_precision() -> None:
    for dtype in (np.float64, np.float32):
        report = check_vjp(forward, backward, {n: a.astype(dtype) for n, a in INPUTS.items()})
        assert not [f for f in report.findings if f.fatal], str(report)
    assert check_vjp(forward, backward, INPUTS).passed


def test_an_ignored_cotangent_is_no_opposite_sign() -> None:
    """The random cotangent may be negative; a factor of the difference quotients says nothing."""
    report = check_vjp(lambda x: (np.sum(x**2), x), lambda _, x: 2 * x, INPUTS["x"])
    (row,) = report.rows
    assert row.verdict is Verdict.FAIL
    assert row.reason == "it does not depend on the cotangent (grad_output ignored)"


def test_no_outputs_are_refused() -> None:
    with pytest.raises(UsageError, match="outputs is empty"):
        check_vjp(forward, backward, INPUTS, outputs=[])


def test_surrogate_gradients() -> None:
    x = RNG.normal(size=(3, 4))

    def step(x: Any) -> tuple[Any, Any]:
        return (x > 0).astype(float), x

    def slope(dy: Any, x: Any) -> Any:
        s = 1 / (1 + np.exp(-3 * x))
        return dy * 3 * s * (1 - s)

    undeclared = check_vjp(step, slope, x)
    assert undeclared.verdict is not Verdict.PASS
    assert "surrogate=" in undeclared.rows[0].reason
    report = check_vjp(step, slope, x, surrogate=lambda x: 1 / (1 + np.exp(-3 * x)))
    assert report.passed, str(report)
    assert any(f.kind == "surrogate" for f in report.findings)
    wrong = check_vjp(step, slope, x, surrogate=lambda x: 1 / (1 + np.exp(-2 * x)))
    assert wrong.verdict is Verdict.FAIL
    with pytest.raises(UsageError, match="surrogate's outputs have the shapes"):
        check_vjp(step, slope, x, surrogate=np.sum)


def test_a_buffer_that_backward_fills_anew_may_be_returned() -> None:
    buffers = {"x": np.empty((4, 3)), "W": np.empty((3, 5))}

    def filled(cotangents: Any, cache: Any) -> dict[str, Any]:
        for n, g in backward(cotangents, cache).items():
            buffers[n][...] = g
        return buffers

    assert check_vjp(forward, filled, INPUTS).passed
