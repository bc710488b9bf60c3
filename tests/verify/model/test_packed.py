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
            if start < stop or fault != "empty":
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
    assert segments(7, 3) == [0, 3, 7]
    assert segments(7, 3, empty=False) == [5, 3, 7]
    assert segments(1, 2) == [0, 1]
    assert segments(5, 1) == [5]
    for steps in (2, 3, 7, 24):
        found = segments(steps, 2)
        assert found[1] == steps
        assert 0 < found[0] < steps


def test_right_code_passes() -> None:
    assert wrong("") == set()


@pytest.mark.parametrize(
    ("fault", "arrays"),
    [
        ("border", {"x", "h0", "W", "U"}),
        ("last", {"x", "h0", "W", "U"}),
        ("before", {"W"}),
        ("empty", {"h0"}),
    ],
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


def test_code_that_takes_no_empty_sequence_says_so() -> None:
    forward, backward = code()

    def full(**arrays: Any) -> Any:
        assert (np.diff(arrays["cu"]) > 0).all()
        return forward(**arrays)

    inputs = {**LEAKY.inputs, "cu": "cumulative lengths as int32, none empty"}
    layout = Layout(LEAKY.parameters, inputs, LEAKY.outputs)
    shapes = {"T": [1, 3, 6]}
    assert check_model(leaky, forward=full, backward=backward, layout=layout, shapes=shapes).passed
    with pytest.raises(AssertionError):
        check_model(leaky, forward=full, backward=backward, layout=LEAKY, shapes=shapes)


def turned(kind: str) -> tuple[Any, Any]:
    """`leaky` from the last step of every sequence; ``kind`` is right or what starts wrongly."""
    forward, backward = code()

    def around(cu: Any) -> Any:
        """Places of the steps, every sequence turned round."""
        parts = [np.arange(a, b)[::-1] for a, b in itertools.pairwise(cu)]
        return np.concatenate([*parts, np.arange(0)])

    def ahead(x: Any, h0: Any, cu: Any, **rest: Any) -> Any:
        at = around(cu) if kind == "right" else np.arange(len(x))[::-1]
        outputs, saved = forward(x=x[at], h0=h0, cu=cu, **rest)
        return {n: a if n == "last" else a[np.argsort(at)] for n, a in outputs.items()}, (saved, at)

    def back(c: Any, saved: Any) -> Any:
        inner, at = saved
        found = backward({n: a if n == "last" else a[at] for n, a in c.items()}, inner)
        return {**found, "x": found["x"][np.argsort(at)]}

    return ahead, back


@pytest.mark.parametrize("kind", ["right", "turned as a whole"])
def test_sequences_run_from_their_last_steps(kind: str) -> None:
    forward, backward = turned(kind)
    report = check_model(
        as_network(leaky, reverse=True), forward=forward, backward=backward, layout=LEAKY,
        shapes={"T": [1, 3, 6]}, plan="few", diagnose=False,
    )  # fmt: skip
    assert report.passed == (kind == "right"), str(report)


def test_states_from_the_last_step_need_their_starts() -> None:
    forward, backward = turned("right")
    layout = Layout(LEAKY.parameters, {**LEAKY.inputs, "h0": "h0: n B"}, LEAKY.outputs)
    with pytest.raises(UsageError, match="need their starts, h0, in an array with the same order"):
        check_model(
            as_network(leaky, reverse=True), forward=forward, backward=backward, layout=layout
        )


@cell(inputs="x: d", states="h: p", params="W V: p p; U: p d", lags={"h": (1, 3)}, outputs="h y")
def lagged(x: Any, h: Any, W: Any, V: Any, U: Any) -> Any:
    h = tanh(W @ h[1] + V @ h[3] + U @ x)
    return {"h": h, "y": h * h}


@pytest.mark.parametrize("fault", ["", "before"])
def test_sequences_with_several_lags(fault: str) -> None:
    """With ``fault`` the states before the first step are those of the sequence before."""

    def lines(b: int, start: int, s: Any, hs: Any) -> list[Any]:
        line = [s[2][b], s[1][b], s[0][b]]
        return list(hs[start - 3 : start]) if fault and start > 2 else line

    def forward(x: Any, h1: Any, h2: Any, h3: Any, cu: Any, W: Any, V: Any, U: Any) -> Any:
        hs, last = np.zeros((len(x), len(W))), np.zeros_like(h1)
        for b, (start, stop) in enumerate(itertools.pairwise(cu)):
            line = lines(b, start, (h1, h2, h3), hs)
            for t in range(start, stop):
                line.append(np.tanh(W @ line[-1] + V @ line[-3] + U @ x[t]))
                hs[t] = line[-1]
            last[b] = line[-1]
        return {"y": hs * hs, "hs": hs, "last": last}, (x, (h1, h2, h3), cu, W, V, U, hs)

    def backward(c: Any, saved: Any) -> Any:
        x, s, cu, W, V, U, hs = saved
        g = {n: np.zeros_like(a) for n, a in (("x", x), ("W", W), ("V", V), ("U", U))}
        g |= {f"h{k}": np.zeros_like(s[0]) for k in (1, 2, 3)}
        for b, (start, stop) in enumerate(itertools.pairwise(cu)):
            line = np.concatenate([lines(b, start, s, hs), hs[start:stop]])
            bars = np.zeros_like(line)
            bars[-1] += c["last"][b]
            bars[3:] += c["hs"][start:stop] + 2 * hs[start:stop] * c["y"][start:stop]
            for i in reversed(range(3, len(line))):
                da = bars[i] * (1 - line[i] ** 2)
                g["W"] += np.outer(da, line[i - 1])
                g["V"] += np.outer(da, line[i - 3])
                g["U"] += np.outer(da, x[start + i - 3])
                g["x"][start + i - 3] = U.T @ da
                bars[i - 1] += W.T @ da
                bars[i - 3] += V.T @ da
            for k in (1, 2, 3):
                g[f"h{k}"][b] = bars[3 - k]
        return g

    layout = Layout(
        {"W": "W", "V": "V", "U": "U"},
        {"x": "x: P n", **{f"h{k}": f"h0_{k}: B n" for k in (1, 2, 3)},
         "cu": "cumulative lengths"},
        LEAKY.outputs,
    )  # fmt: skip
    report = check_model(
        lagged, forward=forward, backward=backward, layout=layout, plan="few", diagnose=False,
        shapes={"T": [1, 3, 6]},
    )  # fmt: skip
    assert report.passed == (not fault), str(report)
