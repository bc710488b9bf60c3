"""Vector-Jacobian products: the cotangent of every output alone."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify import Verdict, check_vjp


def lstm_step(x, h, c, W):
    z = np.concatenate([x, h], axis=1) @ W.T
    p = h.shape[1]
    i, f, o = (1 / (1 + np.exp(-z[:, k * p : (k + 1) * p])) for k in range(3))
    g = np.tanh(z[:, 3 * p :])
    new = f * c + i * g
    t = np.tanh(new)
    return (o * t, new), {"i": i, "f": f, "o": o, "g": g, "t": t, "x": x, "h": h, "c": c, "W": W}


def lstm_back(cotangents, cache, *, lose_c=False, scribble=False, eat=False):
    dh, dc = cotangents
    i, f, o, g, t = (cache[k] for k in "ifogt")
    dn = dh * o * (1 - t * t) + (0 if lose_c else dc)
    dz = np.concatenate(
        [dn * g * i * (1 - i), dn * cache["c"] * f * (1 - f), dh * t * o * (1 - o),
         dn * i * (1 - g * g)], axis=1,
    )  # fmt: skip
    d = cache["x"].shape[1]
    dxh = dz @ cache["W"]
    dW = dz.T @ np.concatenate([cache["x"], cache["h"]], axis=1)
    if scribble:
        cache["i"] *= 0
    if eat:
        dc *= f
    return dxh[:, :d], dxh[:, d:], dn * f, dW


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    B, d, p = 2, 3, 4
    return (rng.normal(size=(B, d)), rng.normal(size=(B, p)), rng.normal(size=(B, p)),
            rng.normal(size=(4 * p, d + p)) * 0.5)  # fmt: skip


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_correct_step_passes_with_a_row_for_each_output_and_input(inputs, mode):
    report = check_vjp(lstm_step, lstm_back, inputs, mode=mode)
    assert report.passed, str(report)
    assert len(report.rows) == 8
    outputs, given = zip(*(r.name.split(" -> ") for r in report.rows), strict=True)
    assert (len(set(outputs)), len(set(given))) == (2, 4)


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_lost_cell_cotangent_is_found_at_that_output_alone(inputs, mode):
    report = check_vjp(
        lstm_step, lambda ct, cache: lstm_back(ct, cache, lose_c=True), inputs, mode=mode
    )
    assert report.verdict is Verdict.FAIL
    failing = {r.name.split(" -> ")[0] for r in report.rows if r.verdict is Verdict.FAIL}
    fine = {r.name.split(" -> ")[0] for r in report.rows if r.verdict is Verdict.PASS}
    assert len(failing) == 1
    assert not failing & fine or len(fine) == 1


def test_backward_that_destroys_cache_or_cotangents(inputs):
    scribbled = check_vjp(lstm_step, lambda ct, cache: lstm_back(ct, cache, scribble=True), inputs)
    assert any(f.kind == "mutated-cache" for f in scribbled.findings)
    assert scribbled.passed
    eaten = check_vjp(lstm_step, lambda ct, cache: lstm_back(ct, cache, eat=True), inputs)
    assert any(f.kind == "mutated-cotangent" and f.fatal for f in eaten.findings)
    assert eaten.verdict is Verdict.FAIL


def test_dicts_single_outputs_and_no_cache():
    x = np.random.default_rng(1).normal(size=(3, 2))
    report = check_vjp(
        lambda x, a: np.tanh(a * x), lambda ct, given: {
            "x": ct * given["a"] * (1 - np.tanh(given["a"] * given["x"]) ** 2),
            "a": np.sum(ct * given["x"] * (1 - np.tanh(given["a"] * given["x"]) ** 2)),
        }, {"x": x, "a": np.array(0.7)}, cache=False,
    )  # fmt: skip
    assert report.passed, str(report)
    assert [r.name for r in report.rows] == ["outputs -> x", "outputs -> a"]
    named = check_vjp(
        lambda x: ({"y": x * x, "z": np.sin(x)}, x),
        lambda ct, x: 2 * x * ct["y"] + np.cos(x) * ct["z"],
        x,
    )
    assert named.passed, str(named)
    assert [r.name for r in named.rows] == ["y -> inputs", "z -> inputs"]
    only = check_vjp(
        lambda x: ({"y": x * x, "z": np.sin(x)}, x), lambda ct, x: 2 * x * ct["y"], x, outputs=["y"]
    )
    assert only.passed


def test_misuse(inputs):
    with pytest.raises(UsageError, match="cache"):
        check_vjp(lambda x: x, lambda ct, cache: ct, inputs[0])
    with pytest.raises(UsageError, match="no output 'q'"):
        check_vjp(lstm_step, lstm_back, inputs, outputs=["q"])
    with pytest.raises(UsageError, match="floating"):
        check_vjp(lambda x: (np.argmax(x), x), lambda ct, cache: ct, inputs[0])
