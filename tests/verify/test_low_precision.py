"""Losses in half precision behind arrays that may hide it: no false alarm, and no free pass."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_torch, check_vjp
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.verdict import Verdict


def problem(
    dtype: Any, seed: int, power: int
) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    rng = np.random.default_rng(seed)
    point = {"W": rng.normal(size=(3, 4)).astype(dtype), "b": rng.normal(size=3).astype(dtype)}
    x = rng.normal(size=4).astype(dtype)

    def loss(p: Any) -> Any:
        return np.tanh(p["W"] @ x + p["b"]).sum()

    def gradient(p: Any) -> Any:
        delta = 1 - np.tanh(p["W"] @ x + p["b"]) ** power
        return {"W": np.outer(delta, x).astype(dtype), "b": delta.astype(dtype)}

    return loss, gradient, point


def dtype_of(name: str) -> Any:
    return pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name)


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_right_gradients_do_not_fail_and_wrong_ones_do_not_pass(name: str, mode: str) -> None:
    dtype, failed = dtype_of(name), 0
    for seed in range(12):
        right = check_gradient(*problem(dtype, seed, 2), mode=mode)
        assert right.verdict is not Verdict.FAIL, (seed, str(right))
        wrong = check_gradient(*problem(dtype, seed, 1), mode=mode)
        assert wrong.verdict is not Verdict.PASS, (seed, str(wrong))
        failed += wrong.verdict is Verdict.FAIL
    assert failed >= (3 if name == "bfloat16" else 9)


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_right_functions_of_torch_do_not_fail(name: str) -> None:
    torch = pytest.importorskip("torch")
    for seed in range(12):
        torch.manual_seed(seed)
        inputs = [torch.randn(*s).to(getattr(torch, name)) for s in ((4, 3), (3, 2))]
        report = check_torch(lambda x, w: torch.tanh(x @ w), inputs)
        assert report.verdict is not Verdict.FAIL, (seed, str(report))


def test_bfloat16_of_numpy_needs_ml_dtypes() -> None:
    if importlib.util.find_spec("ml_dtypes") is None:
        with pytest.raises(UsageError, match="install ml_dtypes"):
            make_arrays("numpy", precision("bfloat16"))
    else:
        made = make_arrays("numpy", precision("bfloat16"))(np.ones(2))
        assert made.dtype.name == "bfloat16"


def narrowed(name: str, where: Callable[..., Any]) -> Any:
    """A check of gradients that are cast to a format and back on their way."""
    rng = np.random.default_rng(0)
    W, x = rng.normal(size=(4, 3)), rng.normal(size=3)

    def pulled(g: Any, W: Any) -> Any:
        exact = np.outer(g * (1 - np.tanh(W @ x) ** 2), x)
        with np.errstate(over="ignore"):
            return exact.astype(dtype_of(name)).astype(float)

    if where is check_vjp:
        return check_vjp(lambda W: (np.tanh(W @ x), W), pulled, W)
    if where is check_gradient:
        return check_gradient(lambda W: np.tanh(W @ x).sum(), lambda W: pulled(1.0, W), W)
    torch = pytest.importorskip("torch")

    class Cast(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, W: Any) -> Any:
            return W * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.to(getattr(torch, name)).to(g.dtype)

    with_W = torch.from_numpy(W)
    return check_torch(lambda W: torch.tanh(Cast.apply(W) @ torch.from_numpy(x)), [with_W])


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
@pytest.mark.parametrize("where", [check_gradient, check_vjp, check_torch])
def test_digits_of_a_coarser_format_are_said(name: str, where: Callable[..., Any]) -> None:
    notes = [f for f in narrowed(name, where).findings if f.kind == "digits"]
    assert [f.fatal or f.undecided for f in notes] == [False] * (name != "float64")
    assert all(f"returned in float64 and holds {name} digits only" in f.message for f in notes)


def test_counts_and_parameters_in_float32_are_no_lost_digits() -> None:
    counts, x = np.arange(101.0, 125.0), np.random.default_rng(0).normal(size=24)
    for scale, point in ((counts, x), (x.astype("f").astype(float), x.astype("f").astype(float))):
        report = check_gradient(lambda w, a=scale: a @ w, lambda w, a=scale: a.copy(), point)
        assert report.passed
        assert not any(f.kind == "digits" for f in report.findings)
