"""Functions in forms that round numbers of the size of their range: σ through tanh."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cell, check_model
from gradcheck_rnn.language import sigmoid
from gradcheck_rnn.verify.harness.arrays import precision


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; V: p d")
def forgetful(x: Any, h: Any, W: Any, U: Any, V: Any) -> Any:
    f = sigmoid(W @ h + U @ x)
    h = f * h + V @ x
    return h  # noqa: RET504 - the name is the state


def code(form: str, through: str, lost: bool = False) -> dict[str, Any]:
    """Every result rounded; with `lost`, dU loses what comes from the first of two sequences."""
    q = precision(form).quantise

    def gate(a: Any) -> Any:
        if through == "tanh":
            return q(0.5 * q(1 + q(np.tanh(q(a / 2)))))
        return q(1 / q(1 + q(np.exp(-a))))

    def forward(x: Any, h0: Any, W: Any, U: Any, V: Any) -> Any:
        h, f = [np.asarray(h0, float)], []
        for x_t in np.asarray(x, float):
            f.append(gate(q(q(h[-1] @ W.T) + q(x_t @ U.T))))
            h.append(q(q(f[-1] * h[-1]) + q(x_t @ V.T)))
        return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, W, U, V, h, f)

    def backward(c: Any, saved: Any) -> Any:
        x, W, U, V, h, f = saved
        d = {"W": 0 * W, "U": 0 * U, "V": 0 * V, "x": 0 * x}
        dh = c["h_final"]
        for t in reversed(range(len(x))):
            dh = q(dh + c["h"][t])
            da = q(q(dh * h[t]) * q(f[t] * q(1 - f[t])))
            d["W"] = q(d["W"] + q(da.T @ h[t]))
            first = int(lost and len(da) > 1)
            d["U"] = q(d["U"] + q(da[first:].T @ x[t][first:]))
            d["V"] = q(d["V"] + q(dh.T @ x[t]))
            d["x"][t] = q(q(da @ U) + q(dh @ V))
            dh = q(q(dh * f[t]) + q(da @ W))
        return d | {"h0": dh}

    return {"forward": forward, "backward": backward, "array": lambda a: a.astype(float)}


@pytest.mark.parametrize("seed", [32, 37])
def test_digits_lost_in_the_form_of_a_function_are_no_fault(seed: int) -> None:
    """Saturated, σ through tanh is zero where the definition's own is 10⁻³: a note, no fault."""
    options: dict[str, Any] = {"dtype": "bfloat16", "seed": seed, "diagnose": False}
    report = check_model(forgetful, **code("bfloat16", "tanh"), **options)
    assert report.passed, str(report)
    assert "such as σ through tanh" in str(report)
    report = check_model(forgetful, **code("bfloat16", "exp"), **options)
    assert report.passed, str(report)
    assert "such as σ through tanh" not in str(report)
    report = check_model(forgetful, **code("bfloat16", "tanh", lost=True), **options)
    assert str(report.verdict) == "fail"
    assert [r.name for r in report.rows if str(r.verdict) == "fail"] == ["U"]
