"""Ready layouts against the libraries themselves, or against their equations written out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.diagnosis import check_model
from gradcheck_rnn.verify.diagnosis.rounding import SavedRounding
from gradcheck_rnn.verify.harness import ready
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision, to_numpy
from gradcheck_rnn.verify.harness.modelpoint import ModelPoint
from gradcheck_rnn.verify.harness.outputs import compare_forward
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject

CELLS = {"lstm": "lstm", "gru": "gru_reset_after", "rnn": "elman_hidden"}


def pytorch(kind: str, torch: Any) -> tuple[Any, Any]:
    """forward and backward of torch.nn, which stand for a hand-written kernel here."""
    module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[kind]

    def forward(input: Any, h_0: Any, c_0: Any = None, **weights: Any) -> Any:  # noqa: A002
        p, d = weights["weight_hh_l0"].shape[1], weights["weight_ih_l0"].shape[1]
        layer = module(d, p).to(input.dtype)
        leaves = {n: w.requires_grad_() for n, w in weights.items()}
        leaves |= {"input": input.requires_grad_(), "h_0": h_0.requires_grad_()}
        if c_0 is not None:
            leaves["c_0"] = c_0.requires_grad_()
        states = (h_0, c_0) if c_0 is not None else h_0
        out, last = torch.func.functional_call(layer, weights, (input, states))
        ends = dict(zip(("h_n", "c_n"), last, strict=True)) if c_0 is not None else {"h_n": last}
        return {"output": out, **ends}, (leaves, {"output": out, **ends})

    def backward(cotangents: dict[str, Any], cache: Any) -> dict[str, Any]:
        leaves, outs = cache
        found = torch.autograd.grad(
            list(outs.values()), list(leaves.values()), [cotangents[n] for n in outs]
        )
        return dict(zip(leaves, found, strict=True))

    return forward, backward


@pytest.mark.parametrize("kind", list(CELLS))
def test_pytorch_layers_pass(kind: str) -> None:
    torch = pytest.importorskip("torch")
    forward, backward = pytorch(kind, torch)
    report = check_model(
        api.load(CELLS[kind]), forward=forward, backward=backward, layout=f"pytorch {kind}",
        array="torch", plan="point",
    )  # fmt: skip
    assert report.passed, str(report)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pytorch_in_low_precision(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    forward, backward = pytorch("lstm", torch)
    report = check_model(
        api.load("lstm"), forward=forward, backward=backward, layout="pytorch lstm",
        array="torch", plan="point", dtype=dtype,
    )  # fmt: skip
    assert report.passed, str(report)


def test_a_lost_bias_gradient_of_two_is_seen() -> None:
    torch = pytest.importorskip("torch")
    forward, backward = pytorch("gru", torch)

    def wrong(cotangents: Any, cache: Any) -> Any:
        found = backward(cotangents, cache)
        found["bias_hh_l0"] = found["bias_ih_l0"]  # not the same for the candidate's gate
        return found

    report = check_model(
        api.load("gru_reset_after"), forward=forward, backward=wrong, layout="pytorch gru",
        array="torch", plan="point",
    )  # fmt: skip
    assert [r.name for r in report.rows if str(r.verdict) == "fail"] == ["bias_hh_l0"]
    assert "d_c" in str(report.diagnosis)


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def keras_gru(inputs: Any, h0: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    """Keras, reset_after: z, r, h; h_t = z h + (1 − z) hh."""
    h, hs = h0, []
    for t in range(inputs.shape[1]):
        x = np.split(inputs[:, t] @ kernel + bias[0], 3, axis=1)
        inner = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
        z, r = sigmoid(x[0] + inner[0]), sigmoid(x[1] + inner[1])
        h = z * h + (1 - z) * np.tanh(x[2] + r * inner[2])
        hs.append(h)
    return {"sequence": np.stack(hs, 1), "h": h}, None


def keras_lstm(inputs: Any, h0: Any, c0: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    """Keras: i, f, c, o."""
    h, c, hs = h0, c0, []
    for t in range(inputs.shape[1]):
        i, f, g, o = np.split(inputs[:, t] @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        hs.append(h)
    return {"sequence": np.stack(hs, 1), "h": h, "c": c}, None


def cudnn_lstm(x: Any, hx: Any, cx: Any, weights: Any) -> Any:
    """cuDNN: linear layers 0–3 on x, 4–7 on h (i, f, new memory, o), then both kinds of biases."""
    d, p = x.shape[2], hx.shape[2]
    parts = np.split(weights, np.cumsum([p * d] * 4 + [p * p] * 4 + [p] * 7))
    inner = [w.reshape(p, d) for w in parts[:4]], [w.reshape(p, p) for w in parts[4:8]]
    h, c, ys = hx[0], cx[0], []
    for t in range(len(x)):
        a = [
            x[t] @ inner[0][k].T + h @ inner[1][k].T + parts[8 + k] + parts[12 + k]
            for k in range(4)
        ]
        c = sigmoid(a[1]) * c + sigmoid(a[0]) * np.tanh(a[2])
        h = sigmoid(a[3]) * np.tanh(c)
        ys.append(h)
    return {"y": np.stack(ys), "hy": h[None], "cy": c[None]}, None


def stacked_lstm(x: Any, h0: Any, c0: Any, W: Any, b: Any) -> Any:
    """A lecture's [h; x] with the batch as columns: f, i, o, c."""
    h, c, hs = h0, c0, []
    for t in range(len(x)):
        f, i, o, g = np.split(W @ np.concatenate([h, x[t]]) + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        hs.append(h)
    return {"hs": np.stack(hs), "h_T": h, "c_T": c}, None


@pytest.mark.parametrize(
    ("layout", "cell", "forward"),
    [
        ("keras gru", "gru_reset_after", keras_gru),
        ("keras lstm", "lstm", keras_lstm),
        ("cudnn lstm", "lstm", cudnn_lstm),
        ("stacked lstm", "lstm", stacked_lstm),
    ],
)
def test_the_equations_of_a_convention_are_its_layout(layout: str, cell: str, forward: Any) -> None:
    network, form = api.load(cell), precision("float64")
    subject = Subject(forward, lambda *_: {}, None, None, make_arrays("numpy", form), form)
    rounding = SavedRounding(network, form.eps, 3)
    for place in list(plan_points(network, 3))[:3]:
        point = ModelPoint.build(place, ready(layout), form, subject, 3)
        for record in compare_forward(point, subject, 3, rounding):
            assert np.all(record.ratio <= 1), (layout, record.user)


def test_a_wrong_gate_order_is_seen_in_the_forward_pass() -> None:
    network, form = api.load("lstm"), precision("float64")
    subject = Subject(keras_lstm, lambda *_: {}, None, None, make_arrays("numpy", form), form)
    layout = ready("keras lstm")
    wrong = type(layout)(
        {**layout.parameters, "kernel": "[U_f; U_i; U_c; U_o].T"}, layout.inputs, layout.outputs
    )
    point = ModelPoint.build(next(plan_points(network, 3)), wrong, form, subject, 3)
    rounding = SavedRounding(network, form.eps, 3)
    assert any(np.any(r.ratio > 1) for r in compare_forward(point, subject, 3, rounding))


def test_arrays_of_other_libraries_come_back_by_dlpack() -> None:
    class Foreign:
        def __init__(self, a: np.ndarray) -> None:
            self.a = a

        def __dlpack__(self, **options: Any) -> Any:
            return self.a.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.a.__dlpack_device__()

    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(to_numpy(Foreign(x)), x)


@pytest.mark.parametrize(
    ("name", "value", "rounded"),
    [
        ("float32", 1 + 2.0**-30, 1.0),
        ("float16", 1 + 2.0**-12, 1.0),
        ("bfloat16", 1 + 2.0**-8, 1.0),  # a tie goes to even
        ("bfloat16", 1 + 3 * 2.0**-8, 1 + 2.0**-6),
        ("tf32", 1 + 2.0**-11 + 2.0**-20, 1 + 2.0**-10),
    ],
)
def test_numbers_are_quantised_to_the_nearest(name: str, value: float, rounded: float) -> None:
    assert precision(name).quantise(np.array([value]))[0] == rounded


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(UsageError, match="NumPy has no bfloat16"):
        make_arrays("numpy", precision("bfloat16"))
    with pytest.raises(UsageError, match="is unknown"):
        make_arrays("mxnet", precision("float64"))
