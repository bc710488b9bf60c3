"""The operators LSTM, GRU and RNN of ONNX in onnxruntime: forward passes, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from gradcheck_rnn import Layout, Network, load
from gradcheck_rnn.verify.diagnosis.rounding import SavedRounding
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.harness.modelpoint import ModelPoint
from gradcheck_rnn.verify.harness.outputs import compare_forward
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.ready import definition, ready
from gradcheck_rnn.verify.harness.subject import Subject

OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
ORDER = {"lstm": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")}
CASES = [
    ("lstm", ""), ("lstm", "bias=False"), ("lstm", "peepholes"), ("gru", ""), ("gru", "bias=False"),
    ("gru", "linear_before_reset"), ("rnn", ""), ("rnn", "bias=False"),
]  # fmt: skip


def run(kind: str, given: dict[str, Any], options: str) -> list[Any]:
    """The operator with the arrays it is given."""
    feeds = {n: (a[None] if n in "WRBP" else a) for n, a in given.items()}
    order = ORDER.get(kind, ORDER["lstm"][:6])
    outputs = ["Y", "Y_h", "Y_c"] if kind == "lstm" else ["Y", "Y_h"]
    attributes: dict[str, Any] = {"hidden_size": given["R"].shape[1]}
    if "linear_before_reset" in options:
        attributes["linear_before_reset"] = 1
    node = helper.make_node(
        OPERATORS[kind], [n if n in feeds else "" for n in order], outputs, **attributes
    )
    kinds = {"i": TensorProto.INT32, "f": TensorProto.FLOAT}
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info(n, kinds[a.dtype.kind], a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(outputs, feeds))


def compare(network: Any, layout: Layout, forward: Any) -> None:
    form = precision("float32")
    subject = Subject(forward, lambda *_: {}, None, None, make_arrays("numpy", form), form)
    rounding = SavedRounding(network, form.eps, 3)
    for place in list(plan_points(network, 3))[:3]:
        point = ModelPoint.build(place, layout, form, subject, 3)
        for record in compare_forward(point, subject, 3, rounding):
            assert np.all(record.ratio <= 1), (layout.name, record.user, record.ratio.max())


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_operators(kind: str, options: str) -> None:
    name = f"onnx {kind} {options}".strip()

    def forward(**given: Any) -> Any:
        return tuple(run(kind, given, options)), None

    compare(load(definition(name)), ready(name), forward)


@pytest.mark.parametrize("kind", list(OPERATORS))
def test_sequence_lens(kind: str) -> None:
    """States are held where a sequence has ended."""
    name = f"onnx {kind}"
    network = Network(f"lengths_{kind}", "a layer over sequences of several lengths", "")
    x, mask = network.input("x", "d"), network.input("m", "1", data=True, domain="0/1")
    made = network.scan(load(definition(name)).scans[0].cell, x=x, mask=mask)
    network.output(*(made.final(s) for s in (["h", "c"] if kind == "lstm" else ["h"])))
    plain = ready(name)
    outputs = {n: t for n, t in plain.outputs.items() if n != "Y"}
    layout = Layout(plain.parameters, {**plain.inputs, "mask": "m: T B"}, outputs)

    def forward(mask: Any, **given: Any) -> Any:
        order = np.argsort(1 - mask, axis=0, kind="stable")
        given["X"] = np.take_along_axis(given["X"], order[..., None], 0)
        given["sequence_lens"] = mask.sum(0).astype(np.int32)
        _, *ends = run(kind, given, "")
        empty = given["sequence_lens"] == 0  # onnxruntime makes zeros of the states of these
        for end, start in zip(ends, ("initial_h", "initial_c"), strict=False):
            end[:, empty] = given[start][:, empty]
        return tuple(ends), None

    compare(network, layout, forward)
