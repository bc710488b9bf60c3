"""Calls that the comparison with a definition does not make: what autograd does, other sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, check_model, load
from gradcheck_rnn.verify import Verdict

SHAPES = {"T": [3], "B": [2]}
LAYOUT = Layout(
    {n: n for n in ("W", "U", "b_i")},
    inputs={"x": "x", "h0": "h0"},
    outputs={"h": "h", "last": "h_final"},
)


def pulled(x: Any, H: Any, W: Any, U: Any, dh: Any, last: Any) -> dict[str, Any]:
    """The backward pass of an Elman network, for arrays and tensors."""
    dx, total = [], {"W": 0.0, "U": 0.0, "b_i": 0.0}
    for t in reversed(range(len(x))):
        da = (dh[t] + last) * (1 - H[t + 1] ** 2)
        total["W"] = total["W"] + da.T @ H[t]
        total["U"] = total["U"] + da.T @ x[t]
        total["b_i"] = total["b_i"] + da.sum(0)
        dx.insert(0, da @ U)
        last = da @ W
    return {**total, "x": dx, "h0": last}


def arrays(fault: str) -> dict[str, Any]:
    def forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any) -> tuple[Any, Any]:
        H = [h0]
        for x_t in x:
            H.append(np.tanh(H[-1] @ W.T + x_t @ U.T + b_i))
        return {"h": np.stack(H[1:]), "last": H[-1]}, (x, H, W, U)

    def backward(bars: Any, saved: Any) -> dict[str, Any]:
        if fault == "clipped":
            bars = {n: np.clip(g, -1e5, 1e5) for n, g in bars.items()}
        if fault == "flushed":
            bars = {n: np.where(np.abs(g) < 1e-7, 0, g) for n, g in bars.items()}
        found = pulled(*saved, bars["h"], bars["last"])
        return found | {"x": np.stack(found["x"])}

    return {"forward": forward, "backward": backward}


@pytest.mark.parametrize(
    ("fault", "words"), [("clipped", "1048576 times as much"), ("flushed", "2⁻³⁰ times as much")]
)
def test_cotangents_of_other_sizes(fault: str, words: str) -> None:
    for dtype in ("float64", "float32"):
        right = check_model(
            load("elman_hidden"), **arrays(""), layout=LAYOUT, shapes=SHAPES, dtype=dtype
        )
        assert right.passed, str(right)
    report = check_model(load("elman_hidden"), **arrays(fault), layout=LAYOUT, shapes=SHAPES)
    assert report.verdict is Verdict.FAIL
    assert words in report.sentence()


def function(fault: str) -> Any:
    torch = pytest.importorskip("torch")

    class Elman(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any, b_i: Any) -> Any:
            H = [h0]
            for x_t in x:
                H.append(torch.tanh(H[-1] @ W.T + x_t @ U.T + b_i))
            ctx.save_for_backward(x, torch.stack(H), W, U)
            ctx.set_materialize_grads(False)
            return torch.stack(H[1:]), H[-1].clone()

        @staticmethod
        def backward(ctx: Any, dh: Any, last: Any) -> Any:
            x, H, W, U = ctx.saved_tensors
            dh = torch.zeros_like(H[1:]) if dh is None else dh
            if last is None:
                last = (torch.ones_like if fault == "none" else torch.zeros_like)(H[0])
            if fault == "strided" and 0 in dh.stride():
                dh = 2 * dh
            g = pulled(x, H, W, U, dh, last)
            if fault == "used up":
                H.zero_()
            if fault == "frozen" and not ctx.needs_input_grad[0]:
                g["h0"] = 0 * g["h0"]
            return torch.stack(g["x"]), g["h0"], g["W"], g["U"], g["b_i"]

    return Elman


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("", ""),
        ("none", "only the output 'h' is used and the gradients of the others are None"),
        ("strided", "for cotangents that are not contiguous"),
        ("used up", "backward changes the cache"),
        ("frozen", "another gradient of 'h0' where 'x' needs no gradient"),
    ],
)
def test_what_autograd_does_to_a_function(fault: str, words: str) -> None:
    report = check_model(load("elman_hidden"), module=function(fault), layout=LAYOUT, shapes=SHAPES)
    assert str(report.verdict) == ("fail" if fault else "pass"), str(report)
    assert words in report.sentence()


def test_a_module_in_another_format_is_looked_at_as_well() -> None:
    torch = pytest.importorskip("torch")
    rnn = torch.nn.LSTM(3, 5)
    how = {"layout": "pytorch lstm", "dtype": "float64", "shapes": SHAPES}
    assert check_model(load("lstm"), module=rnn, **how).passed
    assert rnn.weight_ih_l0.dtype == torch.float32
