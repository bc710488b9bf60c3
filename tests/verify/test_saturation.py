"""Saturated units lose the digits of 1 - h*h: not a wrong formula, and no excuse for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_gradient, check_vjp
from gradcheck_rnn.verify.verdict import Verdict

Floats = NDArray[np.float64]
X = np.array([-0.87294091, -2.13968546])
COTANGENT = np.array([-2.30018802, -0.4952845, 1.47700973])
POINT = {
    "W": np.array([[-0.97, -1.43, 0.12], [-1.42, 2.69, -2.3], [1.78, -1.48, 0.39]]),
    "U": np.array(
        [[14.41211612, 10.17809344], [6.99196617, -14.81036974], [-3.34305125, 14.46687145]]
    ),
    "b": np.array([-0.97207071, -0.73507688, 1.79234789]),
}


def loss(p: dict[str, Floats]) -> float:
    return 1e-8 * (COTANGENT * np.tanh(p["W"] @ np.zeros(3) + p["U"] @ X + p["b"])).sum()


def gradient(p: dict[str, Floats]) -> dict[str, Floats]:
    delta = 1e-8 * COTANGENT * (1 - np.tanh(p["U"] @ X + p["b"]) ** 2)
    return {"W": np.zeros((3, 3)), "U": np.outer(delta, X), "b": delta}


@pytest.mark.parametrize("seed", range(4))
def test_zeros_of_deep_saturation_are_no_fault(seed: int) -> None:
    assert check_gradient(loss, gradient, POINT, seed=seed).verdict is not Verdict.FAIL


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_a_factor_is_a_fault_wherever_it_can_be_seen(factor: float) -> None:
    point = {n: factor * v for n, v in POINT.items()}

    def wrong(p: dict[str, Floats]) -> dict[str, Floats]:
        return {n: 2 * g for n, g in gradient(p).items()}

    verdict = check_gradient(loss, wrong, point).verdict
    assert verdict is not Verdict.PASS
    assert factor == 1.0 or verdict is Verdict.FAIL


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_a_slope_of_zero_far_off_is_that_of_a_saturated_loss(factor: float) -> None:
    """exp(−softplus) over saturated steps: changes of 10⁻¹⁶ within the size of a, none beyond."""

    def forward(x: Any, a: Any, h0: Any) -> Any:
        decays, h = np.exp(-np.log1p(np.exp(a))), [h0]
        for t in range(len(x)):
            h.append(decays[t] * h[-1] + x[t])
        return (np.stack(h[1:]), h[-1]), (decays, np.stack(h), a)

    def backward(g: Any, cache: Any) -> Any:
        decays, h, a = cache
        dx, da, dh = np.zeros_like(a), np.zeros_like(a), g[1]
        for t in reversed(range(len(a))):
            dx[t] = dh = dh + g[0][t]
            da[t] = -factor * dh * h[t] * decays[t] / (1 + np.exp(-a[t]))
            dh = dh * decays[t]
        return dx, da, dh

    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(5, 2, 3)), 8 * rng.normal(size=(5, 2, 3))
    report = check_vjp(forward, backward, (x, a, rng.normal(size=(2, 3))))
    assert report.passed is (factor > 0), str(report)


def _sigmoid(a: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-a)))


def _gated(x: Floats, w: Floats, u: Floats, slope: float) -> tuple[Any, Any]:
    """h = i tanh(u x + h w) over the steps, i of the same sum; and the pass backwards."""
    steps, h = [], np.zeros((x.shape[1], w.shape[0]))
    for t in range(len(x)):
        a = x[t] @ u + h @ w
        i, g = _sigmoid(a), np.tanh(a)
        steps.append((h, i, g))
        h = i * g

    def backward(dh: Floats) -> Any:
        dx, dw, du = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u)
        for t in reversed(range(len(x))):
            before, i, g = steps[t]
            da = dh * (slope * g * i * (1 - i) + i * (1 - g**2))
            dx[t], dw, du = da @ u.T, dw + before.T @ da, du + x[t].T @ da
            dh = da @ w.T
        return dx, dw, du

    return h, backward


def _check_saturated(x: float, weights: float, slope: float = 1.0) -> Any:
    rng = np.random.default_rng(3)
    arrays = (
        x * rng.normal(size=(4, 2, 2)),
        weights * rng.normal(size=(3, 3)),
        weights * rng.normal(size=(2, 3)),
    )
    return check_vjp(lambda *p: _gated(*p, slope), lambda d, cache: cache(d), arrays, seed=0)


@pytest.mark.parametrize(("x", "weights"), [(1e6, 1.0), (1.0, 1e3)])
def test_saturated_units_cost_few_losses_and_are_called_so(x: float, weights: float) -> None:
    right = _check_saturated(x, weights)
    assert right.verdict is not Verdict.FAIL
    assert right.evaluations < 2500
    assert "rounded" not in right.sentence()
    wrong = _check_saturated(x, weights, 2.0)
    assert wrong.verdict is not Verdict.PASS
    assert wrong.evaluations < 1000


@pytest.mark.parametrize("size", [1e2, 1e6, 1e8])
def test_entries_that_are_zero_beside_huge_ones_are_no_fault(size: float) -> None:
    """The slope along a line through all is that of the scale of the small ones."""
    w = np.array([0.0, size, 2 * size, 0.0])

    def loss(w: Floats) -> float:
        return float(np.tanh(w.real).sum() + 0.1 * np.sin(3 * w.real[0]))

    def gradient(w: Floats) -> Floats:
        return 1 - np.tanh(w) ** 2 + np.array([0.3 * np.cos(3 * w[0]), 0, 0, 0])

    assert check_gradient(loss, gradient, w).passed
    wrong = check_gradient(loss, lambda w: gradient(w) * [1.0, 1, 1, 2], w)
    assert wrong.verdict is Verdict.FAIL
    assert wrong.rows[0].worst == "[3]"


@pytest.mark.parametrize("seed", [2, 4])
def test_a_block_that_an_output_does_not_read_passes_in_float32(seed: int) -> None:
    """Small moves bound single entries by little; larger ones of all show that nothing is read."""
    rng = np.random.default_rng(seed)
    W, h, c = (rng.normal(size=n).astype(np.float32) for n in ((3, 3), (3,), (3,)))

    def forward(W: Any, h: Any, c: Any) -> Any:
        if W.dtype != np.float32:
            raise TypeError("float32 only")
        y = np.tanh(W @ h) * np.float32(2)
        return (y, c * y), (W, h, c, y)

    def backward(cotangents: Any, cache: Any) -> Any:
        W, h, c, y = cache
        da = (cotangents[0] + cotangents[1] * c) * (2 - y * y / 2)
        return np.outer(da, h), W.T @ da, cotangents[1] * y

    report = check_vjp(forward, backward, (W, h, c))
    assert report.passed, str(report)
