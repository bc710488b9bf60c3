"""PyTorch code in bfloat16 and float16 beside float64: right passes, two percent do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_torch
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.torch_coarse import coarsest, rounding

torch = pytest.importorskip("torch")


def given(seed: int, *shapes: tuple[int, ...], dtype: Any = torch.bfloat16) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*s, generator=generator).to(dtype) for s in shapes]


def step(x: Any, W: Any) -> Any:
    return torch.tanh(x @ W)


def scaled(factor: float, where: Any) -> Any:
    """tanh(x W), whose backward is wrong by a factor for tensors of one dtype."""

    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, W: Any) -> Any:
            y = torch.tanh(x @ W)
            ctx.save_for_backward(x, W, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, W, y = ctx.saved_tensors
            dz = g * (1 - y * y)
            return dz @ W.T, x.T @ dz * (factor if x.dtype == where else 1.0)

    return Step


def recurrent(x: Any, h: Any, W: Any, U: Any) -> Any:
    hs = []
    for x_t in x:
        h = torch.tanh(x_t @ U + h @ W)
        hs.append(h)
    return torch.stack(hs), h


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_right_code_passes(dtype: Any) -> None:
    arrays = given(1, (3, 2, 3), (2, 4), (4, 4), (3, 4), dtype=dtype)
    report = check_torch(recurrent, arrays)
    assert report.passed, str(report)
    assert "the same function in float64 was checked by differences" in str(report)
    for seed in range(6):
        report = check_torch(scaled(1.0, dtype), given(seed, (5, 3), (3, 2), dtype=dtype))
        assert report.passed, str(report)
        assert all(0 < row.rms < 0.1 for row in report.rows)


@pytest.mark.parametrize("where", [torch.float64, torch.bfloat16])
def test_two_percent_fail(where: Any) -> None:
    """In the formula, seen in float64, and in the kernel of the coarse format alone."""
    for seed in range(4):
        report = check_torch(scaled(1.02, where), given(seed, (9, 5), (5, 4)))
        assert [r.verdict.value for r in report.rows] == ["pass", "fail"], str(report)
    said = report.rows[1].reason
    assert said.startswith("seen in the same function in float64; ") is (where == torch.float64)


@pytest.mark.parametrize("wide", [False, True])
def test_autocast_is_seen_whatever_it_returns(wide: bool) -> None:
    def forward(x: Any, W: Any, b: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = torch.tanh(torch.nn.functional.linear(x, W, b))
        return torch.sin(y.float() if wide else y)

    for seed in range(3):
        report = check_torch(forward, given(seed, (4, 3), (2, 3), (2,), dtype=torch.float32))
        assert report.passed, str(report)
        assert "computed in bfloat16" in str(report)


def casting(x: Any, W: Any) -> Any:
    return step(x.bfloat16(), W.bfloat16()).float()


def test_a_reference_of_its_own() -> None:
    arrays = given(2, (5, 3), (3, 2), dtype=torch.float32)
    alone = check_torch(casting, arrays)
    assert str(alone.verdict) == "undecided"
    assert "give reference=" in str(alone)
    assert "check_model" in str(alone)
    assert check_torch(casting, arrays, reference=step).passed
    other = check_torch(casting, arrays, reference=lambda x, W: step(x, W + 0.2))
    assert str(other.verdict) == "fail"
    assert "another function" in str(other)
    with pytest.raises(UsageError, match="the reference computes in bfloat16"):
        check_torch(casting, arrays, reference=casting)
    with pytest.raises(UsageError, match="the reference has other outputs"):
        check_torch(casting, arrays, reference=lambda x, W: step(x, W)[0])


def test_modules_are_copied_to_float64() -> None:
    torch.manual_seed(0)
    layer = torch.nn.GRU(3, 4).bfloat16()
    report = check_torch(layer, given(3, (3, 2, 3)), select=["weight_hh_l0", "input"])
    assert report.passed, str(report)
    assert layer.weight_hh_l0.dtype == torch.bfloat16


def test_rounding_is_unbiased_and_leaves_views() -> None:
    x = torch.linspace(-1.7, 3.1, 8, dtype=torch.float64)
    with rounding(torch, 7, 2.0**-133, torch.Generator().manual_seed(0)):
        many = torch.stack([x * 1.0 for _ in range(2000)])
        view = x[2:].reshape(3, 2)
    assert np.array_equal(view.numpy().ravel(), x[2:].numpy())
    assert torch.equal(many, many.bfloat16().double())
    np.testing.assert_allclose(many.numpy().mean(axis=0), x.numpy(), atol=4e-4)
    with coarsest(torch) as found:
        casting(*given(4, (5, 3), (3, 2), dtype=torch.float32))
    assert torch.bfloat16 in found
