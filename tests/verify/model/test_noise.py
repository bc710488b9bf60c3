"""Noise beyond the number format fails wherever it is, and rounding in another order does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cell, check_model, load
from gradcheck_rnn.language import exp, softplus
from tests.verify.model.elman_by_hand import Arrays, backward, forward


def check(backward: Any, **options: Any) -> Any:
    return check_model(
        load("elman_hidden"), forward=forward, backward=backward, diagnose=False, **options
    )


@pytest.mark.parametrize(
    ("amount", "noisy", "dtype"),
    [
        (0.01, lambda x: len(x) != 3, "float64"),
        (2.0, lambda x: len(x) != 3, "float32"),
        (2.0, lambda x: x.shape[1] == 3, "float64"),
        (0.01, lambda x: len(x) == 24, "float32"),
    ],
)
def test_noise_at_some_shapes_is_unsteady(
    amount: float, noisy: Callable[[Any], bool], dtype: str
) -> None:
    draw = np.random.RandomState(0)

    def shaky(c: Any, s: Any) -> Any:
        g = backward(c, s)
        if not noisy(s[0]):
            return g
        return {
            n: v * (1 + amount * draw.standard_normal(np.shape(v)).astype(v.dtype))
            for n, v in g.items()
        }

    report = check(shaky, dtype=dtype)
    assert str(report.verdict) == "fail"
    assert "unsteady" in str(report).splitlines()[0]
    worst = max(r.resolution for r in report.rows)
    assert worst > amount, "the resolution is that of the worst probe"


@pytest.mark.parametrize("seed", range(3))
def test_calls_that_differ_by_more_than_sums_in_another_order_are_unsteady(seed: int) -> None:
    draw = np.random.default_rng(seed)

    def shaky(c: Any, s: Any) -> Any:
        g = backward(c, s)
        return {**g, "W": (g["W"] * (1 + 1e-5 * draw.standard_normal(g["W"].shape))).astype("f")}

    report = check(shaky, dtype="float32", seed=seed)
    assert str(report.verdict) == "fail", str(report)
    assert "unsteady" in str(report).splitlines()[0]


def test_sums_over_steps_in_another_order_at_every_call_pass_in_float32() -> None:
    draw = np.random.default_rng(5)

    def unordered(c: Any, s: Any) -> Any:
        g = backward(c, s)
        off = 1 + 2e-7 * draw.standard_normal(g["W"].shape)  # some units of the format
        return {**g, "W": (g["W"] * off).astype("f")}

    for seed in range(3):
        report = check(unordered, dtype="float32", seed=seed)
        assert report.passed, str(report)


@pytest.mark.parametrize(("every", "seed"), [(5, 0), (20, 1), (50, 2)])
def test_an_update_lost_now_and_then_is_unsteady(every: int, seed: int) -> None:
    count = [seed]

    def lossy(c: Any, s: Any) -> Any:
        g = backward(c, s)
        count[0] += 1
        return {**g, "W": 0.9 * g["W"]} if count[0] % every == 0 else g

    report = check(lossy, seed=seed)
    assert "unsteady" in [f.kind for f in report.findings if f.fatal]


def test_repeats_catch_what_is_rare() -> None:
    count = [0]

    def lossy(c: Any, s: Any) -> Any:
        g = backward(c, s)
        count[0] += 1
        return {**g, "W": 0.9 * g["W"]} if count[0] % 300 == 0 else g

    assert check(lossy, plan="point").passed
    count[0] = 0
    report = check(lossy, plan="point", repeats=300)
    assert "unsteady" in [f.kind for f in report.findings if f.fatal]


def test_a_gradient_that_turns_nan_is_no_pass() -> None:
    count = [0]

    def late(c: Any, s: Any) -> Any:
        count[0] += 1
        g = backward(c, s)
        return g if count[0] < 3 else {**g, "W": g["W"] * np.nan}

    assert str(check(late).verdict) == "fail"


@cell(inputs="x: p; a: ", states="h: p")
def decay(x: Any, a: Any, h: Any) -> Any:
    h = exp(-softplus(a)) * h + x
    return h  # noqa: RET504 - the name is the state


def chunked(x: Any, a: Any, h0: Any, C: int = 64) -> tuple[Arrays, Any]:
    """Each chunk at once, by prefix sums of the logarithms of the decays."""
    out, h, s = [], h0, np.logaddexp(0, a.reshape(len(x), -1))
    for k in range(0, len(x), C):
        G = np.cumsum(-s[k : k + C], 0)
        later = np.tril(np.ones((len(G), len(G)), bool))[..., None]
        D = np.exp(np.where(later, G[:, None] - G[None], -np.inf))
        y = np.einsum("tsb,sbp->tbp", D, x[k : k + C]) + np.exp(G)[..., None] * h
        out.append(y)
        h = y[-1]
    hs = np.concatenate(out)
    return {"h": hs, "h_final": hs[-1]}, (x, a, h0, hs, s)


def pulled(c: Any, saved: Any) -> Arrays:
    x, a, h0, h, s = saved
    dh, dx, da = c["h_final"].copy(), np.empty_like(x), np.empty(s.shape, s.dtype)
    for t in reversed(range(len(x))):
        dh = dh + c["h"][t]
        dx[t] = dh
        before = h[t - 1] if t else h0
        da[t] = -(dh * before).sum(-1) * np.exp(-s[t]) / (1 + np.exp(-a.reshape(s.shape)[t]))
        dh = np.exp(-s[t])[:, None] * dh
    return {"x": dx, "a": da.reshape(a.shape), "h0": dh}


@pytest.mark.parametrize(("dtype", "seed"), [("float64", 0), ("float64", 1), ("float32", 2)])
def test_sums_and_products_in_another_order_are_right(dtype: str, seed: int) -> None:
    options: Any = {"shapes": {"T": 128}, "dtype": dtype, "seed": seed, "diagnose": False}
    report = check_model(decay, forward=chunked, backward=pulled, **options)
    assert report.passed, str(report)


@pytest.mark.parametrize(("dtype", "size"), [("float64", 1e-9), ("float32", 1e-3)])
def test_an_error_of_a_chunk_is_no_order(dtype: str, size: float) -> None:
    options: Any = {"shapes": {"T": 128}, "dtype": dtype, "diagnose": False}

    def other(x: Any, a: Any, h0: Any) -> Any:
        _, saved = chunked(x, a, h0)
        h = saved[3].copy()
        h[64:] *= 1 + size
        return {"h": h, "h_final": h[-1]}, saved

    def wrong(c: Any, s: Any) -> Any:
        g = pulled(c, s)
        g["a"][64:] *= 1 + size
        return g

    report = check_model(decay, forward=other, backward=pulled, **options)
    assert [f.kind for f in report.findings if f.fatal] == ["other-function"]
    assert str(check_model(decay, forward=chunked, backward=wrong, **options).verdict) == "fail"


def test_near_a_bound_it_is_not_called_another_function() -> None:
    def near(**arrays: Any) -> Any:
        outputs, saved = forward(**arrays)
        return {n: h * (1 + 1.5e-14) for n, h in outputs.items()}, saved

    report = check_model(
        load("elman_hidden"), forward=near, backward=backward, plan="point", diagnose=False
    )
    assert str(report.verdict) == "undecided", str(report)
    assert "rounding" in str(report).splitlines()[0]
    assert "another function" not in str(report)
