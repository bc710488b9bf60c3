"""Mistakes of time and of parts of adjoints: as the program makes them, and in code by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.blind_faults import outcome, outcome_of
from benchmarks.slips import SLIPS
from benchmarks.time_to_name import Code
from gradcheck_rnn import Network, api
from gradcheck_rnn.calculus.terms import Times, Transpose, symbols_in
from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.evaluate import bptt
from gradcheck_rnn.language import Cell, cell, ones, repeat, tanh
from gradcheck_rnn.verify.diagnosis.candidates import Bench, Candidate, derived_candidates
from gradcheck_rnn.verify.diagnosis.check import check_model
from gradcheck_rnn.verify.diagnosis.effects import Effects

from ...derivation.test_mutants import running
from .study import DerivedCode

pytestmark = pytest.mark.usefixtures("few_points")

KINDS = (
    "inner", "argument", "inner-sign", "square", "for-adjoint", "beside", "start-of", "first-step",
    "adjoint-at", "final-at-first", "cut", "doubled", "remainder", "part-of-adjoint", "units",
    "sequence", "slope-where-none", "none-beyond", "wrapped", "held", "substep", "axis", "block",
    "one-reader", "cotangent", "received", "value", "operation", "rows", "final-at-every",
)  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("proj/projection-of-outputs-only", "δh_t with nothing but the cotangents of outputs"),
        ("minlstm/decay-not-shifted", "f_{t−1}, total_{t−1} instead of f_t, total_t"),
        ("minlstm/not-turned-back", "δh_t is read in reversed order of time"),
        ("wkv/bonus-overwritten", "the first step of the last sequence alone"),
        ("quasi/last-for-first", "the start of x_last is given what the last step gives"),
        ("cudnn/first-state", "h_{t−1} at the first step alone in δa_{r,t} h_{t−1}ᵀ, where there"),
        ("luong/query-before", "s_{t−1} instead of s_t in Hᵀ"),
        ("resdrop/mask-of-the-other", "δh_{1,t} with m_{2,t} instead of m_{1,t}"),
        ("mirnn/other-beta", "δwx_t with beta1 instead of beta2"),
        ("mirnn/sum-for-product mirnn/not-transposed", "wx_t + uh_t instead of wx_t ⊙ uh_t"),
        ("clru/state-after", "in all of scan clru that reads a state, for all 4 terms alike"),
        ("pooled/only-the-last", "for the last step alone, of those of h"),
        ("pooled/relu-of-gradient pooled/nothing-carried", "δr instead of a_r in δr ⊙ [a_r > 0]"),
        ("pooled/only-the-last pooled/last-for-mean", "∇V1 with h_final instead of m"),
        ("gdn/value-for-error", "δβ_t with v_t instead of error_t"),
        ("delta/no-beta", "δα_t, δS_{t−1}, δk_t, δv_t without the factor β_t in vec(S_{t−1} (I_n"),
        ("ltc/gradient-doubled", "and not the cotangent of h"),
        ("luong/wrong-axis", "δe_t with α_tᵀ δα_t summed over the sequences, not over the units"),
        ("retain/first-head-for-all", "of S_final for the first head is taken for every head"),
        ("bipool/plain-mean", "the plain mean of δα instead of αᵀ δα in"),
        ("bipool/bias-copied", "∇b_g is ∇b_f, the gradient of another array"),
        ("bipool/read-in-wrong-order", "in reversed order of time what comes from outside scan"),
        (
            "torch_gru/order",
            "and of biases, of arrays that hold the same values in dbias_ih_l0 alone",
        ),
    ],
)
def test_is_named(fault: str, words: str) -> None:
    said = outcome(fault.split()).said
    assert "what you get with: " in said  # what there is and no other
    assert words in said


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        ("wkv/04", "δS_{t−1} with d_t instead of w_t"),
        ("lnlstm/10", "∇b with δa_{f,t} in the place of every block of δa_t"),
        ("peephole/09", "φ′ of tanh(c_t) applied to what comes back through time as well"),
    ],
)
def test_a_slip_is_named(slip: str, words: str) -> None:
    one = outcome_of([SLIPS[slip]])
    assert one.named == "right"
    assert words in one.said


@cell(inputs="x: d", states="h: p", params="U: p d; b: p")
def substeps(x, h, U, b):  # type: ignore[no-untyped-def]
    """Three substeps a step, which read the input of the step."""

    def step(h):
        return h + (tanh(U @ x + b * h) - h) / 3

    return repeat(3, step, h)


@cell(inputs="H: k p", params="A: p p; b: p", outputs="y")
def pool(H, A, b):  # type: ignore[no-untyped-def]
    m = tanh(A @ (H.T @ ones("k")) + b)
    return {"y": m * m}


def pooled() -> Network:
    """All states of a scan in one reading, without steps of its own."""
    made = Network("pooled")
    run = made.scan(api.load("elman_hidden"), x=made.input("x", "d"))
    made.output(made.scan(pool, axis=None, H=run.h.whole("H")).y, run.final("h"))
    return made


@pytest.mark.parametrize(
    "name",
    ["qrnn", "min_lstm", "bidirectional_elman", substeps, "lstm_layer_norm", "kernel_simple_gla",
     pooled()],
)  # fmt: skip
def test_changes_are_those_of_the_whole_program(name: str | Cell | Network) -> None:
    code = DerivedCode(api.load(name))
    report = check_model(code.network, forward=code.forward, backward=code.backward, diagnose=False)
    bench, place = Bench(code.derivation), report.comparisons[2]
    effects = Effects(bench, place)
    by_kind: dict[str, list[Candidate]] = {}
    for c in derived_candidates(code.derivation):
        by_kind.setdefault(c.kind, []).append(c)
    for kind in KINDS:
        some = by_kind.get(kind, [])
        for c in some[:: max(len(some) // 4, 1)]:
            whole = effects.flat([bench.gradients(c, place, k) for k in effects.cases])
            want = np.nan_to_num(whole - effects.want)
            if np.max(np.abs(want)) > 1e100:
                continue  # an adjoint taken for a value is squared at every step
            np.testing.assert_allclose(effects.change(c), want, 1e-8, 1e-11, err_msg=c.says)


def test_a_cotangent_a_step_beside_is_that_of_the_next_step() -> None:
    _, run, cotangents = running("elman")
    label = next(n for n, r in run.derivation.network.outputs.items() if r.axis is not None)
    moved = dict(cotangents)
    moved[label] = np.concatenate([cotangents[label][1:], 0 * cotangents[label][:1]])
    want = bptt(run, moved)
    got = bptt(run, cotangents, edits=Edits(shifted_outputs={label: 1}))
    for n in want:
        np.testing.assert_allclose(got[n], want[n], rtol=1e-12, err_msg=n)


def test_blocks_that_are_not_joined_hand_on_what_was_asked_within_them() -> None:
    """Cotangents of outputs come over one border and no more, those of last states over none."""
    _, run, cotangents = running("linear_attention")
    last = {n: g for n, g in cotangents.items() if n.endswith("_final")}
    edits = Edits(unjoined={run.derivation.scans[0].scan.name: 2})
    one, whole = bptt(run, last, edits=edits), bptt(run, last)
    end = (len(whole["v"]) - 1) // 2 * 2  # where the last block begins
    np.testing.assert_allclose(one["v"][end:], whole["v"][end:], rtol=1e-10)
    assert not one["v"][:end].any()
    assert whole["v"][:end].any()
    asked = {n: np.where(np.arange(len(g))[:, None, None] >= end, g, 0) for n, g in
             cotangents.items() if n not in last}  # fmt: skip
    two, whole = bptt(run, asked, edits=edits), bptt(run, asked)
    np.testing.assert_allclose(two["v"][end - 2 :], whole["v"][end - 2 :], rtol=1e-10)
    assert not two["v"][: end - 2].any()
    assert whole["v"][: end - 2].any()


@pytest.mark.parametrize("cut", [True, False])
def test_blocks_of_any_length_are_named(cut: bool) -> None:
    """11 steps: a length that is not tried unless what is wrong ends at a border that it fits."""
    code = Code("elman_hidden")
    scan = code.derivation.scans[0].scan.name
    reads = [e.id for e in code.derivation.edges if e.kind == "state"]
    code.edits = Edits(unjoined={scan: 11})
    if cut:
        code.edits = Edits(skip_steps=dict.fromkeys(reads, (12, 23)))
    report = check_model(code.network, forward=code.forward, backward=code.backward)
    assert report.diagnosis is not None
    (found,) = report.diagnosis.matches
    words = "in blocks of 11 steps" if cut else f"block of 11 steps of scan {scan} hands on nothing"
    assert words in found.message


@cell(
    inputs="x: k n",
    states="h: k n",
    params="W_f1 W_f2 W_g1 W_g2: k k; b: k",
    fixed={"L": ("n n", partial(np.eye, k=-1))},
)
def convolved(x, h, W_f1, W_f2, W_g1, W_g2, b, L):  # type: ignore[no-untyped-def]
    """Two gates, each of two taps."""
    f = tanh(W_f1 @ h @ L.T + W_f2 @ h @ L + b)
    return {"h": f * tanh(x + W_g1 @ h @ L.T + W_g2 @ h @ L)}


@pytest.mark.parametrize("words", ["L and Lᵀ exchanged", "one L too many", "W_g1 instead of W_f1"])
def test_all_taps_and_gates_alike(words: str) -> None:
    """One line of code makes all products that go back to a state."""
    code, instead = Code(convolved), {}
    for edge in (e for e in code.derivation.edges if e.operand.name == "h"):
        found = {s.name: s for s in symbols_in(edge.pullback)}
        left, mid, right = edge.pullback.operands
        if words.startswith("L and"):
            right = right.operands[0] if isinstance(right, Transpose) else Transpose(right)
        elif words.startswith("W_g1"):
            (own,) = (s for n, s in found.items() if n.startswith("W"))
            left = left.xreplace({own: own.with_(name=own.name.replace("f", "g"))})
        kept = isinstance(right, Transpose) and words.startswith("one L")
        factors = [left, mid, right, *([found["L"]] if words.startswith("one L") else [])]
        instead[edge.id] = Times(*(factors[:2] if kept else factors))
    code.edits = Edits(terms=instead)
    report = check_model(code.network, forward=code.forward, backward=code.backward)
    assert report.diagnosis is not None
    (found,) = report.diagnosis.matches
    assert f"for all {2 if words.startswith('W') else 4} terms alike" in found.message
    assert words in found.message


def test_gradients_that_have_one_shape_at_some_sizes_are_exchanged_there() -> None:
    """dW (p, p) and dh0 (B, p): the search goes on where B is not p."""
    code = Code("elman_hidden")

    def backward(cotangents: dict[str, Any], run: Any) -> dict[str, Any]:
        made = code.backward(cotangents, run)
        if made["W"].shape == made["h0"].shape:
            made["W"], made["h0"] = made["h0"], made["W"]
        return made

    report = check_model(code.network, forward=code.forward, backward=backward)
    assert report.diagnosis is not None
    assert [m.message for m in report.diagnosis.matches] == ["dW and dh0 exchanged"]


def test_a_gradient_of_one_sequence_is_that_of_the_others_left_out() -> None:
    _, run, cotangents = running("elman")
    edge = next(e for e in run.derivation.edges if e.operand.name == "W")
    alone = {"first": ("sequence", "first", True), "without": ("sequence", "first", False)}
    parts = [bptt(run, cotangents, edits=Edits(masked={edge.id: m}))["W"] for m in alone.values()]
    np.testing.assert_allclose(parts[0] + parts[1], bptt(run, cotangents)["W"], rtol=1e-12)
    assert not np.allclose(parts[0], parts[1])


@cell(
    inputs="x: d",
    states="h: p",
    params="V_1 V_2 W_1 W_2 W_3: p p; U: p d",
    lags={"h": (1, 2)},
)
def two_lags(x, h, V_1, V_2, W_1, W_2, W_3, U):  # type: ignore[no-untyped-def]
    """A state that is read twice at one lag and three times at another."""
    gate = tanh(W_1 @ h[1] + V_1 @ h[2])
    return {"h": gate * tanh(W_2 @ h[1] + V_2 @ h[2]) + tanh(W_3 @ h[1] + U @ x)}


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (lambda e: e.lag == 1, "nothing is carried over other lags than δh_{t−1}"),
        (lambda e: e.lag == 2, "nothing is carried over other lags than δh_{t−2}"),
        (
            lambda e: e.lag == 2 or "W_2" in str(e.pullback),
            "δh_{t−1} with nothing but W_2ᵀ δa_{h,t} of its 3 terms: overwritten, not accumulated",
        ),
    ],
)
def test_the_share_of_one_reader_or_one_lag(kept: Any, words: str) -> None:
    code = Code(two_lags)
    reads = [e for e in code.derivation.edges if e.kind == "state"]
    code.edits = Edits(terms={e.id: None for e in reads if not kept(e)})
    report = check_model(code.network, forward=code.forward, backward=code.backward)
    assert report.diagnosis is not None
    (found,) = report.diagnosis.matches
    assert found.message == words
