"""Second derivatives of PyTorch functions: right ones pass, silent zeros and wrong ones fail."""

from __future__ import annotations

from typing import Any

import pytest

from gradcheck_rnn import check_torch_double
from gradcheck_rnn.errors import UsageError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'gradcheck-rnn[torch]'")


def draw(*shape: int) -> Any:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


INPUTS = {"x": draw(2, 3), "W": draw(3, 4)}


def tanh(backward: Any, keep: bool = False) -> Any:
    """h = tanh(x W) with a backward of (ctx, g, x, W, h)."""

    def forward(ctx: Any, x: Any, W: Any) -> Any:
        h = torch.tanh(x @ W)
        ctx.save_for_backward(x, W, h)
        return h

    def pulled(ctx: Any, g: Any) -> Any:
        return backward(g, *ctx.saved_tensors)

    if keep:
        pulled = torch.autograd.function.once_differentiable(pulled)
    return type("Tanh", (torch.autograd.Function,), {
        "forward": staticmethod(forward), "backward": staticmethod(pulled),
    })  # fmt: skip


def plain(g: Any, x: Any, W: Any, h: Any) -> Any:
    a = g * (1 - h**2)
    return a @ W.T, x.T @ a


def detached(g: Any, x: Any, W: Any, h: Any) -> Any:
    a = g * (1 - h**2).detach()
    return a @ W.T, x.T @ a


def lost(g: Any, x: Any, W: Any, h: Any) -> Any:
    with torch.no_grad():
        return plain(g, x, W, h)


def half_lost(g: Any, x: Any, W: Any, h: Any) -> Any:
    dx, dW = plain(g, x, W, h)
    return dx, dW.detach()


class ByHand(torch.autograd.Function):
    """The first backward with a backward of its own, in which `factor` should be −2."""

    factor = -2.0

    @staticmethod
    def forward(ctx: Any, g: Any, x: Any, W: Any, h: Any) -> Any:
        ctx.save_for_backward(g, x, W, h)
        return plain(g, x, W, h)

    @classmethod
    def backward(cls, ctx: Any, gx: Any, gW: Any) -> Any:
        g, x, W, h = ctx.saved_tensors
        a, s = g * (1 - h**2), 1 - h**2
        da = gx @ W + x @ gW
        return da * s, a @ gW.T, gx.T @ a, cls.factor * h * g * da


def failing(report: Any) -> set[str]:
    return {row.name for row in report.rows if str(row.verdict) == "fail"}


SECOND = {"dx -> x", "dx -> W", "dW -> x", "dW -> W"}


def test_a_right_one_passes() -> None:
    report = check_torch_double(tanh(plain), INPUTS)
    assert report.passed, str(report)
    assert {row.name for row in report.rows} == SECOND | {"dx -> d[0]", "dW -> d[0]"}
    by_hand = tanh(lambda *given: ByHand.apply(*given))
    assert check_torch_double(by_hand, INPUTS).passed


def test_what_has_lost_its_graph_fails() -> None:
    assert failing(check_torch_double(tanh(detached), INPUTS)) == SECOND
    report = check_torch_double(tanh(lost), INPUTS)
    assert failing(report) == SECOND | {"dx -> d[0]", "dW -> d[0]"}
    assert "lost" in report.sentence()
    assert failing(check_torch_double(tanh(half_lost), INPUTS)) == {
        "dW -> x", "dW -> W", "dW -> d[0]",
    }  # fmt: skip


def test_a_wrong_one_written_by_hand_fails() -> None:
    wrong = type("Wrong", (ByHand,), {"factor": -2.0002})
    assert failing(check_torch_double(tanh(lambda *given: wrong.apply(*given)), INPUTS)) == SECOND


def test_a_mark_that_forbids_it_is_said() -> None:
    with pytest.raises(UsageError, match="Tanh is marked once_differentiable"):
        check_torch_double(tanh(plain, keep=True), INPUTS)


def test_linear_functions_and_pieces_have_second_derivatives_of_zero() -> None:
    def linear(x: Any, W: Any) -> Any:
        return 2 * x @ W, W.sum()

    assert check_torch_double(linear, INPUTS).passed

    def pieces(x: Any, W: Any) -> Any:
        return torch.relu(x @ W).sum(0)

    report = check_torch_double(pieces, INPUTS)
    assert report.passed, str(report)


def test_modules_and_functions_without_a_gradient() -> None:
    report = check_torch_double(torch.nn.RNN(3, 2, bias=False).double(), draw(3, 2, 3),
                                outputs="dinput")  # fmt: skip
    assert report.passed, str(report)
    with pytest.raises(UsageError, match="no gradient flows"):
        check_torch_double(lambda x: x.detach(), draw(2, 3))


def pulled(factor: float, detached: bool) -> Any:
    def backward(g: Any, x: Any, W: Any, h: Any) -> Any:
        if detached:
            x, W, h = x.detach(), W.detach(), h.detach()
        dz = g * (1 - factor * h * h)
        return dz @ W.T, x.T @ dz

    return tanh(backward)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_coarse_formats_have_a_reference(dtype: Any) -> None:
    coarse = {n: x.to(dtype) for n, x in INPUTS.items()}

    def reference(x: Any, W: Any) -> Any:
        return torch.tanh(x @ W)

    args = (list(coarse.values()),)
    assert check_torch_double(pulled(1.0, False), *args, reference=reference).passed
    assert check_torch_double(pulled(1.0, False), *args).passed
    lost = check_torch_double(pulled(1.0, True), *args, reference=reference)
    assert not lost.passed
    assert "dx -> x" in str(lost)
    assert not check_torch_double(pulled(1.3, False), *args, reference=reference).passed


def test_a_reference_of_other_arguments_is_refused() -> None:
    with pytest.raises(UsageError, match="reference"):
        check_torch_double(pulled(1.0, False), list(INPUTS.values()), reference=lambda a, b: (a, b))
