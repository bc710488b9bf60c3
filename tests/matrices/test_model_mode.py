"""A hand-written delta rule, in the layout of the packages, beside its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, check_model
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


def test_right_code_passes() -> None:
    report = check_model(definitions.delta_rule, forward=forward, backward=backward, layout=LAYOUT)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("fault", "names"), [("no recall in dk", {"k"}), ("no decay in dS", {"state"})]
)
def test_wrong_code_fails_where_it_is_wrong(fault: str, names: set[str]) -> None:
    def wrong(cotangents: Any, cache: Any) -> dict[str, Array]:
        return backward(cotangents, cache, fault)

    report = check_model(definitions.delta_rule, forward=forward, backward=wrong, layout=LAYOUT)
    assert not report.passed
    failed = {row.name for row in report.rows if row.verdict == "fail"}
    assert names <= failed
    if fault == "no recall in dk":
        assert failed == names
