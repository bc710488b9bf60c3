"""A hand-written delta rule, in the layout of the packages, beside its definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, check_model
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.errors import UsageError
from tests.codegen.support import load
from tests.matrices import definitions

Array = Any
LAYOUT = Layout(
    parameters={},
    inputs={
        "q": "q: B T n", "k": "k: B T n", "v": "v: B T n", "beta": "beta: B T",
        "state": "S0: B n m",
    },
    outputs={"o": "o: B T n", "last": "S_final: B n m"},
)  # fmt: skip


def forward(q: Array, k: Array, v: Array, beta: Array, state: Array) -> tuple[Any, Any]:
    """States are held transposed, (B, n, m)."""
    states, outputs = [state], []
    for t in range(q.shape[1]):
        P = states[-1]
        error = v[:, t] - np.einsum("bn,bnm->bm", k[:, t], P)
        P = P + beta[:, t, None, None] * k[:, t, :, None] * error[:, None]
        states.append(P)
        outputs.append(np.einsum("bn,bnm->bm", q[:, t], P))
    return {"o": np.stack(outputs, 1), "last": states[-1]}, (q, k, v, beta, states)


def backward(cotangents: Any, cache: Any, fault: str = "") -> dict[str, Array]:
    q, k, v, beta, states = cache
    do = cotangents["o"]
    dq, dk, dv, dbeta = map(np.zeros_like, (q, k, v, beta))
    dP = cotangents["last"].copy()
    for t in reversed(range(q.shape[1])):
        before, after = states[t], states[t + 1]
        dP = dP + q[:, t, :, None] * do[:, t, None]
        dq[:, t] = np.einsum("bnm,bm->bn", after, do[:, t])
        error = v[:, t] - np.einsum("bn,bnm->bm", k[:, t], before)
        derror = beta[:, t, None] * np.einsum("bn,bnm->bm", k[:, t], dP)
        dv[:, t] = derror
        dbeta[:, t] = np.einsum("bn,bnm,bm->b", k[:, t], dP, error)
        dk[:, t] = beta[:, t, None] * np.einsum("bnm,bm->bn", dP, error)
        if fault != "no recall in dk":
            dk[:, t] -= np.einsum("bnm,bm->bn", before, derror)
        if fault != "no decay in dS":
            dP = dP - k[:, t, :, None] * derror[:, None]
    return {"q": dq, "k": dk, "v": dv, "beta": dbeta, "state": dP}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_right_code_passes(dtype: str) -> None:
    report = check_model(
        definitions.delta_rule, forward=forward, backward=backward, layout=LAYOUT, dtype=dtype
    )
    assert report.passed, str(report)


FAULTS = {
    "no recall in dk": ({"k"}, "δk_t without the term (β_t · (−S_{t−1}ᵀ δS_t)) k_t"),
    "no decay in dS": (
        {"k", "v", "beta", "state"},
        "δS_{t−1} without the factor (I_n − β_t · k_t k_tᵀ)ᵀ in δS_t",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_line_is_found_and_named(fault: str) -> None:
    def wrong(cotangents: Any, cache: Any) -> dict[str, Array]:
        return backward(cotangents, cache, fault)

    report = check_model(definitions.delta_rule, forward=forward, backward=wrong, layout=LAYOUT)
    names, said = FAULTS[fault]
    assert {row.name for row in report.rows if row.verdict.value == "fail"} == names
    assert said in str(report.diagnosis)
    assert "broke off" not in str(report)


def test_a_layout_names_the_dims_of_a_matrix() -> None:
    wrong = replace(LAYOUT, inputs={**LAYOUT.inputs, "state": "S0: B n p"})
    with pytest.raises(UsageError, match="write an order of B m n"):
        check_model(definitions.delta_rule, forward=forward, backward=backward, layout=wrong)


def test_layers_with_weights_are_judged() -> None:
    """A generated kernel of a layer, weights and all, beside its definition."""
    module = load(generate(derive(definitions.projected)), "projected_model")
    names = ("W_q", "W_k", "W_v", "w", "P")

    def run(**arrays: Array) -> tuple[Any, Any]:
        parameters = {n: arrays.pop(n) for n in names}
        outputs, saved = module.forward(parameters, arrays)
        return outputs, (parameters, arrays, saved)

    def pull(cotangents: Any, cache: Any) -> Any:
        return module.backward(*cache, cotangents)

    report = check_model(definitions.projected, forward=run, backward=pull)
    assert report.passed, str(report)
