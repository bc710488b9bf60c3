"""Sequences of no steps and batches of no sequences: outputs are the starts, gradients zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_model, check_vjp, load
from gradcheck_rnn.errors import DimensionError, UsageError

Arrays = dict[str, Any]


def forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any) -> Any:
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h)[1:], "h_final": h[-1]}, (x, np.stack(h), W, U)


def backward(cotangents: Arrays, saved: Any, fault: str = "") -> Arrays:
    """Right but for what a fault does where there is nothing."""
    x, h, W, U = saved
    d = {"W": 0 * W, "U": 0 * U, "b_i": np.zeros(len(W)), "x": 0 * x}
    dh = cotangents["h_final"]
    for t in reversed(range(len(x))):
        dh = dh + cotangents["h"][t]
        da = dh * (1 - h[t + 1] ** 2)
        d["W"] += da.T @ h[t]
        d["U"] += da.T @ x[t]
        d["b_i"] += da.sum(axis=0)
        d["x"][t], dh = da @ U, da @ W
    if not x.size:
        d["W"] = d["W"] + (h[0].sum() if fault == "garbage" else 0)
        d["b_i"] = d["b_i"] + (np.nan if fault == "mean" else 0)
        d["x"] = np.zeros((1, *x.shape[1:])) if fault == "shape" else d["x"]
        dh = 0 * dh if fault == "lost" else dh
        if fault == "None":
            d["x"] = None
    return d | {"h0": dh}


def with_fault(fault: str) -> Arrays:
    return {"forward": forward, "backward": lambda c, s: backward(c, s, fault)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        ({"T": [0, 1, 5]}, {}),
        ({"T": range(20), "B": [0, 2]}, {"dtype": "float32"}),
        ({"T": [0, 4], "B": [0, 3]}, {"dtype": "bfloat16", "array": lambda a: a.astype(float)}),
    ],
)
def test_right_code_passes(shapes: Any, options: Arrays) -> None:
    """So it does where the gradient of what is empty is None."""
    for fault in ("", "None"):
        report = check_model(load("elman_hidden"), **with_fault(fault), shapes=shapes, **options)
        assert report.passed, str(report)
        assert not any(f.kind == "no-gradient" for f in report.findings)


@pytest.mark.parametrize(
    ("fault", "shapes", "said"),
    [
        ("lost", {"T": [0, 1, 5]}, "h0 is wrong: 0 for"),
        ("garbage", {"T": [0, 1, 5]}, "wrong for T = 0 (right from T = 1 on)"),
        ("mean", {"B": [0, 2]}, "wrong for B = 0 (right from B = 2 on)"),
    ],
)
def test_wrong_code_fails(fault: str, shapes: Any, said: str) -> None:
    report = check_model(load("elman_hidden"), **with_fault(fault), shapes=shapes)
    assert str(report.verdict) == "fail"
    assert said in report.sentence()


def test_shapes_without_anything() -> None:
    with pytest.raises(DimensionError, match=r"'x' has shape \(1, 2, 2\), by the layout \(0, 2, 2"):
        check_model(load("elman_hidden"), **with_fault("shape"), shapes={"T": [0, 3]})
    with pytest.raises(UsageError, match="shapes of 'p': size 0 is not positive"):
        check_model(load("elman_hidden"), **with_fault(""), shapes={"p": [0, 3]})
    for shapes in ({"T": 0}, {"B": 0}):
        report = check_model(load("elman_hidden"), **with_fault(""), shapes=shapes)
        assert str(report.verdict) == "undecided"
        assert "is the longest" in str(report) or "B = 0 is all that was run" in str(report)


def inputs(T: int, B: int) -> Arrays:
    rng = np.random.default_rng([T, B])
    shapes = {"x": (T, B, 2), "h0": (B, 3), "W": (3, 3), "U": (3, 2), "b_i": (3,)}
    return {n: rng.normal(size=s) for n, s in shapes.items()}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("fault", "at"), [("", ""), ("None", ""), ("lost", "T = 0, B = 2"), ("garbage", "T = 0, B = 2")]
)
def test_pairs(fault: str, at: str) -> None:
    report = check_vjp(
        **with_fault(fault), inputs=inputs, shapes={"T": [0, 3], "B": [0, 2]}, time_axis=0
    )
    assert report.passed is not bool(at), str(report)
    assert at in str(report)


def test_gradients_where_no_output_has_an_entry() -> None:
    report = check_vjp(**with_fault("mean"), inputs=inputs(3, 0), time_axis=0)
    assert "db_i" in str(report) or "outputs -> b_i" in str(report)
    assert [r.source for r in report.rows if str(r.verdict) == "fail"] == ["b_i"]
    with pytest.raises(DimensionError, match=r"'x' has shape \(1, 2, 2\)"):
        check_vjp(**with_fault("shape"), inputs=inputs(0, 2))


def test_a_sequence_of_no_steps_is_the_one_along_time() -> None:
    """Else the batch of the last state would be taken for its steps."""
    report = check_vjp(**with_fault(""), inputs=inputs(0, 2), time_axis=0)
    assert not any(row.step for row in report.rows)


def test_losses_of_no_steps() -> None:
    def loss(p: Arrays) -> Any:
        return (np.tanh(p["x"] @ p["w"]) ** 2).sum()

    def gradient(p: Arrays) -> Arrays:
        y = np.tanh(p["x"] @ p["w"])
        slope = 2 * y * (1 - y**2)
        return {"x": slope[:, None] * p["w"], "w": p["x"].T @ slope}

    def made(T: int) -> Arrays:
        rng = np.random.default_rng(T)
        return {"x": rng.normal(size=(T, 3)), "w": rng.normal(size=3)}

    assert check_gradient(loss, gradient, made, shapes={"T": range(3)}).passed
    with pytest.raises(UsageError, match="empty arrays only"):
        check_gradient(loss, gradient, {"x": np.zeros((0, 3))})


@pytest.mark.parametrize("name", ["elmo", "encoder_decoder", "lstm", "char_rnn"])
def test_definitions_of_no_steps(name: str) -> None:
    """Every output of no step has its shape, final states are the starts."""
    from gradcheck_rnn.language.network import as_network
    from gradcheck_rnn.language.running import array_shape, to_columns, to_rows
    from gradcheck_rnn.verify.harness.plan import plan_points
    from gradcheck_rnn.verify.harness.sweep import ModelOracle

    network = as_network(load(name))
    (place,) = plan_points(network, 0, dict.fromkeys(network.axes, 0), full=False)
    refs = {**network.parameters, **network.inputs}
    values = {n: to_columns(refs[n], a) for n, a in place.values.items()}
    oracle = ModelOracle(network, values, place.sizes, place.lengths)
    found = {n: to_rows(r, oracle.outputs[n]) for n, r in network.outputs.items()}
    assert found or oracle.loss == 0
    for n, r in network.outputs.items():
        shape = array_shape(r, place.sizes, batch=place.batch, lengths=place.lengths)
        assert found[n].shape == shape
    if name == "lstm":
        np.testing.assert_array_equal(found["h_final"], place.values["h0"])
