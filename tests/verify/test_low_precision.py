"""Losses in half precision behind arrays that may hide it: no false alarm, and no free pass."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_torch
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
