"""TensorFlow functions under GradientTape: right ones pass, wrong ones fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_tensorflow
from gradcheck_rnn.errors import UsageError


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UsageError, match="check_tensorflow: the library tensorflow is not"):
        check_tensorflow(lambda x: x, [np.ones(2)])


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="needs TensorFlow (make test-peers)")


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def scan(tf: Any, lost: str = "") -> Any:
    """h_t = tanh(h_{t−1} W + x_t U), x (T, B, n), with a backward pass by hand."""

    @tf.custom_gradient
    def rnn(x: Any, h0: Any, W: Any, U: Any) -> Any:
        h = [h0]
        for x_t in tf.unstack(x):
            h.append(tf.tanh(h[-1] @ W + x_t @ U))

        def backward(dhs: Any, dh: Any) -> Any:
            dx, dW, dU = [], 0 * W, 0 * U
            for t in reversed(range(len(h) - 1)):
                a = (dh + dhs[t]) * (1 - h[t + 1] ** (1 if lost == "square" else 2))
                dx.insert(0, a @ tf.transpose(U))
                dW, dU = dW + tf.transpose(h[t]) @ a, dU + tf.transpose(x[t]) @ a
                dh = 0 * dh if lost == "carry" else a @ tf.transpose(W)
            return tf.stack(dx), dh, dW, dU

        return (tf.stack(h[1:]), h[-1]), backward

    return rnn


INPUTS = {"x": draw(3, 2, 4), "h0": draw(2, 5), "W": draw(5, 5), "U": draw(4, 5)}


def test_custom_gradients(tf: Any) -> None:
    given = {n: tf.constant(x) for n, x in INPUTS.items()}
    report = check_tensorflow(scan(tf), list(given.values()))
    assert report.passed, str(report)
    assert {r.name for r in report.rows} >= {"[0] -> x", "[1] -> W"}
    for lost in ("square", "carry"):
        report = check_tensorflow(scan(tf, lost), list(given.values()))
        assert str(report.verdict) == "fail"


def test_variables_are_checked_and_have_their_values_again(tf: Any) -> None:
    class Layer(tf.Module):
        def __init__(self, detached: bool) -> None:
            super().__init__()
            self.W = tf.Variable(draw(4, 3), name="W")
            self.b = tf.Variable(draw(3), name="b")
            self.detached = detached

        def __call__(self, inputs: Any, scale: float) -> Any:
            b = tf.stop_gradient(self.b) if self.detached else self.b
            return {"y": tf.tanh(inputs["x"] @ self.W + b) * scale}

    layer = Layer(False)
    before = layer.W.numpy().copy()
    inputs = {"inputs": {"x": draw(2, 4), "k": tf.constant([1, 2])}, "scale": 2.0}
    report = check_tensorflow(layer, inputs)
    assert report.passed, str(report)
    assert {r.name for r in report.rows} == {"y -> inputs.x", "y -> W", "y -> b"}
    np.testing.assert_array_equal(layer.W.numpy(), before)
    report = check_tensorflow(Layer(True), inputs)
    assert [r.name for r in report.rows if str(r.verdict) == "fail"] == ["y -> b"]
    assert report.rows[-1].reason == "backward returns None for it, which counts as zeros"


def test_misuse_is_said(tf: Any) -> None:
    with pytest.raises(UsageError, match="no input is a floating-point tensor"):
        check_tensorflow(lambda x: x, [tf.constant([1, 2])])
    with pytest.raises(UsageError, match="returns no tensor"):
        check_tensorflow(lambda x: 3, [tf.constant([1.0, 2.0])])
    with pytest.raises(UsageError, match="is complex"):
        check_tensorflow(lambda x: tf.cast(x, tf.complex128), [tf.constant([1.0, 2.0])])
