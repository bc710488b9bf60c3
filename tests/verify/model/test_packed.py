"""Sequences of different lengths in one array, with cumulative lengths: right and wrong code."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, api, cell, check_model
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.language import tanh
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify.harness.packed import segments
from gradcheck_rnn.verify.harness.ready import ready
from gradcheck_rnn.verify.verdict import Verdict

Given = dict[str, Any]


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d", outputs="h y")
def leaky(x: Any, h: Any, W: Any, U: Any) -> Any:
    h = tanh(W @ h + U @ x)
    return {"h": h, "y": h * h}


LEAKY = Layout(
    {"W": "W", "U": "U"},
    {"x": "x: P n", "h0": "h0: B n", "cu": "cumulative lengths as int32"},
    {"y": "y: P n", "hs": "h: P n", "last": "h_final: B n"},
)


def code(fault: str = "") -> tuple[Any, Any]:
    """Forward and backward of `leaky`; a fault by name."""

    def spans(cu: Any) -> list[tuple[int, int]]:
        assert cu.dtype == np.int32
        return list(itertools.pairwise(cu))

    def forward(x: Any, h0: Any, cu: Any, W: Any, U: Any) -> Any:
        hs, last = np.zeros((len(x), len(W))), np.zeros_like(h0)
        for b, (start, stop) in enumerate(spans(cu)):
            h = h0[b]
            for t in range(start, stop):
                h = hs[t] = np.tanh(W @ h + U @ x[t])
            last[b] = h
        return {"y": hs * hs, "hs": hs, "last": last}, (x, h0, cu, W, U, hs)

    def backward(c: Any, saved: Any) -> Any:
        x, h0, cu, W, U, hs = saved
        g = {n: np.zeros_like(a) for n, a in (("x", x), ("h0", h0), ("W", W), ("U", U))}
        carried = np.zeros(len(W))
        for b, (start, stop) in reversed(list(enumerate(spans(cu)))):
            dh = c["last"][b] if fault != "last" or b == len(h0) - 1 else 0 * carried
            dh = dh + (carried if fault == "border" else 0)
            for t in reversed(range(start, stop)):
                dh = dh + c["hs"][t] + 2 * hs[t] * c["y"][t]
                da = dh * (1 - hs[t] ** 2)
                before = h0[b] if t == start else hs[t - 1]
                if fault == "before" and t == start and start:
                    before = hs[t - 1]
                g["W"] += np.outer(da, before)
                g["U"] += np.outer(da, x[t])
                g["x"][t] = U.T @ da
                dh = W.T @ da
            g["h0"][b] = carried = dh
        return g

    return forward, backward


def wrong(fault: str) -> set[str]:
    forward, backward = code(fault)
    report = check_model(
        leaky, forward=forward, backward=backward, layout=LEAKY, plan="few" if fault else "full",
        shapes={"T": [0, 1, 3, 6, 24]}, diagnose=not fault,
    )  # fmt: skip
    return (
        {r.name for r in report.rows if r.verdict is Verdict.FAIL} if not report.passed else set()
    )


def test_lengths_differ_and_the_last_is_the_longest() -> None:
    assert segments(6, 3) == [4, 2, 6]
    assert segments(1, 2) == [1, 1]
    assert segments(5, 1) == [5]
    for steps in (2, 3, 7, 24):
        found = segments(steps, 2)
        assert found[1] == steps
        assert 0 < found[0] < steps


def test_right_code_passes() -> None:
    assert wrong("") == set()


@pytest.mark.parametrize(
    ("fault", "arrays"),
    [("border", {"x", "h0", "W", "U"}), ("last", {"x", "h0", "W", "U"}), ("before", {"W"})],
)
def test_faults_at_the_borders_are_found(fault: str, arrays: set[str]) -> None:
    assert wrong(fault) == arrays


def test_kernels_of_packages_take_cumulative_lengths() -> None:
    torch = pytest.importorskip("torch")

    def kernel(
        q: Any, k: Any, v: Any, g: Any, beta: Any, cu_seqlens: Any, initial_state: Any
    ) -> Given:
        outputs, states = [], []
        for S, start, stop in zip(initial_state, cu_seqlens[:-1], cu_seqlens[1:], strict=True):
            for t in range(int(start), int(stop)):
                S = S * torch.exp(g[0, t])[:, None, None]
                error = beta[0, t][:, None] * (v[0, t] - torch.einsum("hnm,hn->hm", S, k[0, t]))
                S = S + k[0, t][:, :, None] * error[:, None]
                outputs.append(torch.einsum("hnm,hn->hm", S, q[0, t]) * q.shape[-1] ** -0.5)
            states.append(S)
        return {"o": torch.stack(outputs)[None], "final_state": torch.stack(states)}

    name = "linear-attention gated_delta_rule cu_seqlens"
    for dtype in ("float64", "bfloat16"):
        report = check_model(
            api.load("kernel_gated_delta_rule"), module=kernel, layout=name, array="torch",
            plan="point", dtype=dtype,
        )  # fmt: skip
        assert report.passed, str(report)


def test_what_cannot_be_packed_is_refused() -> None:
    forward, backward = code()
    given = {"forward": forward, "backward": backward}
    lone = Layout(LEAKY.parameters, {"x": "x: P n", "h0": "h0: B n"}, LEAKY.outputs)
    with pytest.raises(UsageError, match="no input is 'cumulative lengths'"):
        check_model(leaky, **given, layout=lone)
    with pytest.raises(UsageError, match="those of one cell"):
        check_model(api.load("bidirectional_elman"), **given, layout=LEAKY)
    with pytest.raises(UsageError, match="exclude each other"):
        ready("linear-attention gla cu_seqlens head_first")


def test_layouts_of_one_length_do_not_pack() -> None:
    with pytest.raises(UsageError, match="packed sequences are for check_model"):
        LEAKY.fit(api.load(leaky), {"d": 2, "p": 3}, 2, {"T": 4})


def test_an_output_of_another_length_is_refused() -> None:
    forward, backward = code()

    def short(**arrays: Any) -> Any:
        outputs, saved = forward(**arrays)
        return {**outputs, "y": outputs["y"][1:]}, saved

    with pytest.raises(
        DimensionError, match=r"'y' has shape \(\d+, \d+\), by the layout \(\d+, \d+\)"
    ):
        check_model(leaky, forward=short, backward=backward, layout=LEAKY)


def test_a_scan_from_the_last_step_is_refused() -> None:
    turned = as_network(leaky, reverse=True)
    forward, backward = code()
    with pytest.raises(UsageError, match="runs from the last"):
        check_model(turned, forward=forward, backward=backward, layout=LEAKY)
    with pytest.raises(UsageError, match="cu_seqlens and reverse exclude each other"):
        ready("linear-attention gla cu_seqlens reverse")
