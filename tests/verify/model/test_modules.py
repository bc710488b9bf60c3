"""PyTorch modules and functions beside a cell, in one call."""

from __future__ import annotations

from typing import Any

import pytest

from gradcheck_rnn import Layout, check_model, load
from gradcheck_rnn.errors import DimensionError, GradcheckError, UsageError
from gradcheck_rnn.verify.cases import gradient_case
from gradcheck_rnn.verify.harness.measured import sizes_from
from gradcheck_rnn.verify.harness.ready import ready

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'gradcheck-rnn[torch]'")


@pytest.mark.parametrize(
    ("kind", "cell", "module"),
    [("lstm", "lstm", torch.nn.LSTM), ("gru", "gru_reset_after", torch.nn.GRU),
     ("rnn", "elman_hidden", torch.nn.RNN)],
)  # fmt: skip
def test_layers_of_torch_pass(kind: str, cell: str, module: Any) -> None:
    report = check_model(load(cell), module=module(3, 5), layout=f"pytorch {kind}", plan="point")
    assert report.passed, str(report)
    assert next(r for r in report.rows if r.name == "weight_ih_l0").shape[1] == 3


def test_a_function_of_sizes_makes_modules() -> None:
    made = []

    def make(d: int, p: int) -> Any:
        made.append((d, p))
        return torch.nn.RNN(d, p)

    report = check_model(
        load("elman_hidden"), module=make, layout="pytorch rnn", shapes={"p": [2, 5]}
    )
    assert report.passed, str(report)
    assert sorted(made) == [(2, 2), (2, 5)]


class Elman(torch.autograd.Function):
    """h_t = tanh(W h_{t−1} + U x_t + b), for column weights and (T, B, n); `lost` is left out."""

    lost = ""

    @staticmethod
    def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any, b: Any) -> Any:
        h = [h0]
        for x_t in x:
            h.append(torch.tanh(h[-1] @ W.T + x_t @ U.T + b))
        ctx.save_for_backward(x, torch.stack(h), W, U)
        return torch.stack(h[1:]), h[-1]

    @classmethod
    def backward(cls, ctx: Any, dhs: Any, dh: Any) -> Any:
        x, h, W, U = ctx.saved_tensors
        dx, dW, dU, db = torch.zeros_like(x), 0 * W, 0 * U, 0 * W[0]
        for t in reversed(range(len(x))):
            slope = 1.0 if cls.lost == "slope" and t == 0 else 1 - h[t + 1] ** 2
            a = (dh + dhs[t]) * slope
            dx[t], dW, dU, db = a @ U, dW + a.T @ h[t], dU + a.T @ x[t], db + a.sum(0)
            dh = torch.zeros_like(dh) if cls.lost == "carry" else a @ W
        return dx, dh, dW, dU, db


LAYOUT = Layout(
    {"W": "W", "U": "U", "b": "b_i"}, {"x": "x: T B n", "h0": "h0: B n"},
    {"h": "h: T B n", "h_T": "h_final: B n"},
)  # fmt: skip


def test_a_wrong_term_of_a_function_is_named() -> None:
    cell = load("elman_hidden")
    assert check_model(cell, module=Elman, layout=LAYOUT, plan="point").passed
    wrong = type("Wrong", (Elman,), {"lost": "carry"})
    report = check_model(cell, module=wrong, layout=LAYOUT)
    assert "δh_{t−1} without the term Wᵀ" in report.sentence()


def test_a_module_of_ones_own_and_a_function_of_tensors() -> None:
    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W, self.U = (torch.nn.Parameter(torch.randn(4, n)) for n in (4, 3))
            self.b = torch.nn.Parameter(torch.randn(4))
            self.register_buffer("one", torch.ones(()))

        def forward(self, h0: Any, x: Any) -> Any:  # another order: given by name
            h, last = Elman.apply(self.one * x, h0, self.W, self.U, self.b)
            return {"h_T": last, "h": h, "more": 0}

    cell = load("elman_hidden")
    assert check_model(cell, module=Mine(), layout=LAYOUT, plan="point").passed

    def function(W: Any, U: Any, b: Any, x: Any, h0: Any) -> Any:
        h, last = Elman.apply(x, h0, W, U.detach(), b)  # autograd gives None, which is a zero
        return h, last

    report = check_model(cell, module=function, layout=LAYOUT, plan="point")
    assert [r.name for r in report.rows if str(r.verdict) == "fail"] == ["U"]


def test_a_case_returns_a_module() -> None:
    @gradient_case(model=load("lstm"), layout="pytorch lstm")
    def case() -> Any:
        return torch.nn.LSTM(3, 2)

    assert case.check(budget=10).passed


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (torch.nn.LSTM, "is the class LSTM; give a module, or a function of the sizes"),
        (3, "module is 3"),
        (torch.nn.LSTM(3, 5, bias=False), "no parameters; it has weight_ih_l0, weight_hh_l0"),
        (torch.nn.LSTM(3, 5, proj_size=2), "'weight_hr_l0', which the layout does not place"),
        (torch.nn.GRU(3, 5), "which no sizes of d, p give by the layout"),
        (lambda d: torch.nn.Linear(d, d), "the layout places 'weight_ih_l0', of which Linear"),
        (lambda d: d, "makes a torch.nn.Module, not a int"),
        (lambda x, y, input: x, "takes 'x', which the layout does not place"),  # noqa: A006
        (lambda input: input, "which <lambda> does not take"),  # noqa: A006
    ],
)
def test_misuse_is_said(module: Any, said: str) -> None:
    with pytest.raises(GradcheckError, match=said):
        check_model(load("lstm"), module=module, layout="pytorch lstm", plan="point")


def test_more_misuse_is_said() -> None:
    lstm = torch.nn.LSTM(3, 5)
    with pytest.raises(UsageError, match="module has fixed at 5"):
        check_model(load("lstm"), module=lstm, layout="pytorch lstm", shapes={"p": 4})
    with pytest.raises(UsageError, match="takes the place of forward"):
        check_model(load("lstm"), module=lstm, forward=print, backward=print)
    few = Layout(ready("pytorch lstm").parameters, ready("pytorch lstm").inputs, {"output": "h"})
    with pytest.raises(UsageError, match="3 arrays are returned"):
        check_model(load("lstm"), module=lstm, layout=few)


def test_sizes_are_told_from_shapes() -> None:
    network = load("lstm")
    shapes = {"weight_ih_l0": (20, 7), "weight_hh_l0": (20, 5)}
    assert sizes_from(network, ready("pytorch lstm"), shapes) == {"d": 7, "p": 5}
    with pytest.raises(DimensionError, match="2 axes"):
        sizes_from(network, ready("pytorch lstm"), {"weight_ih_l0": (20,)})
