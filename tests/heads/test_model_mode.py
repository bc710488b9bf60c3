"""A hand-written multi-head layer, in the layout of the packages, beside its definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, check_model
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.errors import DimensionError, UsageError
from tests.codegen.support import load
from tests.heads import definitions

Array = Any
LAYOUT = Layout(
    parameters={},
    inputs={
        "q": "q: B T H n", "k": "k: B T H*n", "v": "v: B H T n", "g": "g: B T H",
        "state": "S0: B H n m",
    },
    outputs={"o": "o: B T H n", "last": "S_final: B H n m"},
)  # fmt: skip


def forward(q: Array, k: Array, v: Array, g: Array, state: Array) -> tuple[Any, Any]:
    """Keys come with the heads side by side, values with time behind the heads."""
    B, T, H, n = q.shape
    k = k.reshape(B, T, H, n)
    states, outputs = [state], []
    for t in range(T):
        S = g[:, t, :, None, None] * states[-1] + k[:, t, :, :, None] * v[:, :, t, None]
        states.append(S)
        outputs.append(np.einsum("bhn,bhnm->bhm", q[:, t], S))
    return {"o": np.stack(outputs, 1), "last": states[-1]}, (q, k, v, g, states)


def backward(cotangents: Any, cache: Any, fault: str = "") -> dict[str, Array]:
    q, k, v, g, states = cache
    do = cotangents["o"]
    dq, dk, dv, dg = map(np.zeros_like, (q, k, v, g))
    dS = cotangents["last"].copy()
    for t in reversed(range(q.shape[1])):
        dS = dS + q[:, t, :, :, None] * do[:, t, :, None]
        dq[:, t] = np.einsum("bhnm,bhm->bhn", states[t + 1], do[:, t])
        dk[:, t] = np.einsum("bhnm,bhm->bhn", dS, v[:, :, t])
        dv[:, :, t] = np.einsum("bhnm,bhn->bhm", dS, k[:, t])
        dg[:, t] = np.einsum("bhnm,bhnm->bh", dS, states[t])
        if fault == "heads exchanged in dg":
            dg[:, t] = dg[:, t, ::-1]
        if fault != "no decay in dS":
            dS = g[:, t, :, None, None] * dS
    B, T = k.shape[:2]
    return {"q": dq, "k": dk.reshape(B, T, -1), "v": dv, "g": dg, "state": dS}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_right_code_passes(dtype: str) -> None:
    report = check_model(
        definitions.gated, forward=forward, backward=backward, layout=LAYOUT, dtype=dtype
    )
    assert report.passed, str(report)


FAULTS = {"heads exchanged in dg": {"g"}, "no decay in dS": {"k", "v", "g", "state"}}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_line_is_found(fault: str) -> None:
    def wrong(cotangents: Any, cache: Any) -> dict[str, Array]:
        return backward(cotangents, cache, fault)

    report = check_model(definitions.gated, forward=forward, backward=wrong, layout=LAYOUT)
    assert {row.name for row in report.rows if row.verdict.value == "fail"} == FAULTS[fault]
    assert "broke off" not in str(report)
    if fault == "no decay in dS":
        said = "δS⁽ʰ⁾_{t−1} without the factor g⁽ʰ⁾_t in g⁽ʰ⁾_t · δS⁽ʰ⁾_t"
        assert said in str(report.diagnosis)


def test_a_layout_names_the_axis_of_heads() -> None:
    wrong = replace(LAYOUT, inputs={**LAYOUT.inputs, "q": "q: B T G n"})
    with pytest.raises(UsageError, match="write an order of T B H n"):
        check_model(definitions.gated, forward=forward, backward=backward, layout=wrong)


def test_an_array_in_another_order_is_told_what_to_write() -> None:
    def other(q: Array, **arrays: Array) -> Any:
        outputs, cache = forward(q, **arrays)
        return {**outputs, "o": outputs["o"].swapaxes(1, 2)}, cache

    with pytest.raises(DimensionError, match="write 'o: B H T n'"):
        check_model(definitions.gated, forward=other, backward=backward, layout=LAYOUT)


def test_layers_with_a_block_of_weights_a_head_are_judged() -> None:
    """A generated kernel, its weights side by side as a projection holds them."""
    module = load(generate(derive(definitions.retention)), "retention_model")
    blocks = {"W_q": "n", "W_k": "n", "W_v": "m"}
    names = (*blocks, "a", "W_o")

    def run(**arrays: Array) -> tuple[Any, Any]:
        H = arrays["S0"].shape[1]
        parameters = {n: arrays.pop(n) for n in names}
        for n in blocks:
            parameters[n] = parameters[n].reshape(H, -1, parameters[n].shape[-1])
        outputs, saved = module.forward(parameters, arrays)
        return outputs, (parameters, arrays, saved)

    def pull(cotangents: Any, cache: Any) -> Any:
        made = module.backward(*cache, cotangents)
        return {**made, **{n: made[n].reshape(-1, made[n].shape[-1]) for n in blocks}}

    layout = Layout(
        parameters={
            **{n: f"{n}: H*{rows} d" for n, rows in blocks.items()}, "a": "a", "W_o": "W_o: H d m"
        },
        inputs={"x": "x", "S0": "S0"},
        outputs={"y": "y", "S_final": "S_final"},
    )  # fmt: skip
    report = check_model(definitions.retention, forward=run, backward=pull, layout=layout)
    assert report.passed, str(report)
    mixed = load(generate(derive(definitions.mixed)), "mixed_model")

    def run_mixed(**arrays: Array) -> tuple[Any, Any]:
        parameters = {n: arrays.pop(n) for n in ("w", "b", "u", "P")}
        outputs, saved = mixed.forward(parameters, arrays)
        return outputs, (parameters, arrays, saved)

    report = check_model(
        definitions.mixed, forward=run_mixed, backward=lambda g, c: mixed.backward(*c, g)
    )
    assert report.passed, str(report)
