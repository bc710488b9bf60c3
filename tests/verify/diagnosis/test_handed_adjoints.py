"""Backward passes that hand their adjoints over: the wrong lines by name, the others cleared."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from benchmarks.blind_faults import FAULTS as FAULTS_WRITTEN_BLIND
from benchmarks.blind_faults import check as blind_check
from benchmarks.line_study import one
from gradcheck_rnn import Layout, check_model, derive, load, record
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.verify.annotations import annotation
from gradcheck_rnn.verify.diagnosis.candidates import derived_candidates
from gradcheck_rnn.verify.diagnosis.combined import beside_lines
from gradcheck_rnn.verify.diagnosis.handed_adjoints import Line
from gradcheck_rnn.verify.outcome import Diagnosis
from gradcheck_rnn.verify.verdict import Finding
from gradcheck_rnn.verify.wording import line_verdict
from tests.verify.diagnosis.adjoints_by_hand import FAULTS, backward, forward


def check(*faults: str, **options: Any) -> Any:
    def pull(cotangents: Any, cache: Any) -> Any:
        return backward(cotangents, cache, frozenset(faults))

    return check_model(load("lstm"), forward=forward, backward=pull, plan="point", **options)


def wrong(report: Any) -> set[str]:
    return {line.name for line in report.lines if line_verdict(line) != "right"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_right_code_has_right_lines(dtype: str) -> None:
    report = check(dtype=dtype)
    assert report.passed
    assert len(report.lines) == 21
    assert not wrong(report)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_wrong_line_is_named_and_the_others_cleared(fault: str) -> None:
    report = check(fault)
    assert wrong(report) == FAULTS[fault]
    assert all(line.told("mistake") for line in report.lines if line_verdict(line) == "wrong")


def test_three_wrong_lines_are_all_named_with_their_slips() -> None:
    report = check("h twice", "tanh slope", "bias of i")
    assert wrong(report) == {"δh_t", "δa_{i,t}", "db_f"}
    said = {line.name: "".join(line.told("mistake")) for line in report.lines}
    assert said["δh_t"] == "δh with 2 times g_h"
    assert said["db_f"] == "∇b_f with δa_{i,t} instead of δa_{f,t}"


def test_the_first_wrong_line_heads_report_json_and_annotation() -> None:
    report = check("slope of c")
    assert report.sentence().startswith("δc_t: wrong (first at t = 6)")
    told = annotation(report.to_json())
    assert told is not None
    assert "::δc_t is wrong (first at t = 6): the line is" in told
    assert report.to_json()["lines"][1]["verdict"] == "wrong"


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm_layer_norm", "stacked_lstm"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_random_faults_of_any_kind_are_found_where_they_are(cell: str, count: int) -> None:
    wanted, named = one(cell, count, 1)
    assert named == wanted


def elman_forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any) -> Any:
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, np.stack(h), W, U)


def elman_backward(cotangents: Any, saved: Any, name: str = "di", before: bool = False) -> Any:
    x, h, W, U = saved
    carry, di = cotangents["h_final"], np.empty_like(h[1:])
    dh = np.empty_like(di)
    for t in reversed(range(len(x))):
        whole = cotangents["h"][t] + carry
        dh[t] = cotangents["h"][t] if before else whole
        di[t] = whole * (1 - h[t + 1] ** 2)
        carry = di[t] @ W
    return {
        "W": np.einsum("tbi,tbj->ij", di, h[:-1]), "U": np.einsum("tbi,tbj->ij", di, x),
        "b_i": di.sum((0, 1)), "x": di @ U, "h0": carry, name: di.swapaxes(0, 1), "dh": dh,
    }  # fmt: skip


def elman(layout: dict[str, str], **options: Any) -> Any:
    cell = load("elman_hidden")
    own = {n: n for n in ("W", "U", "b_i")}
    outputs = {"h": "h", "h_final": "h_final"}
    return check_model(
        cell, forward=elman_forward, backward=lambda c, s: elman_backward(c, s, **options),
        layout=Layout(own, {"x": "x", "h0": "h0"}, outputs, adjoints=layout), plan="point",
    )  # fmt: skip


def test_stacked_adjoints_are_returned_in_a_declared_order_of_axes() -> None:
    report = elman({"delta": "i: B T n"}, name="delta")
    assert report.passed
    assert [line.name for line in report.lines[:2]] == ["δh_t", "δi_t"]
    with pytest.raises(DimensionError, match="the adjoint 'di' has shape"):
        elman({}, name="di")


def test_an_adjoint_of_another_meaning_is_not_called_wrong() -> None:
    report = elman({"di": "i: B T n"}, before=True)
    assert report.passed
    assert {line.name: line_verdict(line) for line in report.lines}["δh_t"] == "another quantity"
    assert not [line for line in report.lines if line_verdict(line) == "wrong"]


def test_unknown_names_and_steps_are_refused() -> None:
    def pull(cotangents: Any, saved: Any) -> Any:
        record(dq=cotangents["h"][0], t=0)
        return {n: g for n, g in elman_backward(cotangents, saved).items() if n not in ("di", "dh")}

    with pytest.raises(UsageError, match="'dq' was recorded"):
        check_model(load("elman_hidden"), forward=elman_forward, backward=pull, plan="point")
    record(dq=1, t=0)  # outside of a check it does nothing


@pytest.mark.parametrize("fault", ["elman/last-step-only", "elman/cut-every-4"])
def test_a_line_of_which_no_term_is_the_slip_is_named_by_all_gradients(fault: str) -> None:
    names = (FAULTS_WRITTEN_BLIND[fault],)
    report = blind_check("elman", [row.edit for row in names], adjoints=True)
    assert {line.name for line in report.lines if line_verdict(line) == "wrong"} == names[0].lines
    alone = blind_check("elman", [row.edit for row in names])
    assert alone.diagnosis.found
    says = alone.diagnosis.matches[0].message
    assert report.sentence().startswith("δh_t: wrong (first at t = ")
    assert says in report.sentence()
    assert [m["says"] for m in report.to_json()["diagnosis"]["matches"]] == [says]


def test_a_mistake_that_a_right_line_refutes_is_not_told() -> None:
    derivation = derive(load("elman_hidden"))
    known = {c.id: c for c in derived_candidates(derivation)}
    one, other = known["sign:elman_hidden/h<-i:"], known["sign:elman_hidden/i<-U:"]
    made = [Line("i", label="δi_t", verdict="wrong", fitted="?"), Line("U", "U", label="dU")]
    lines = [line.row() for line in made]

    def diagnosis(*some: Any) -> Diagnosis:
        found = [Finding(c.kind, c.says, id=c.id, residual=0.0) for c in some]
        return Diagnosis(found, candidates=list(some))

    told = beside_lines(diagnosis(one, other), lines, derivation.network)
    assert [m.id for m in told.matches] == [one.id]
    assert lines[0].told("by-gradients") == [one.says]
    only = beside_lines(diagnosis(other), lines, derivation.network)
    assert [m.id for m in only.matches] == [other.id]  # a name is not lost


def test_where_nothing_fits_lines_and_the_smallest_failure_are_told() -> None:
    def pull(cotangents: Any, saved: Any) -> Any:
        got = elman_backward(cotangents, saved)
        di = np.cos(got.pop("di").swapaxes(0, 1) + 0.3)
        for t, adjoint in enumerate(di):
            record({"δi": adjoint}, t=t)
        got.pop("dh")
        x, U = saved[0], saved[3]
        return got | {"U": np.einsum("tbi,tbj->ij", di, x), "x": di @ U}

    report = check_model(load("elman_hidden"), forward=elman_forward, backward=pull)
    assert "nothing fits: " in report.sentence()
    text = str(report)
    assert "smallest failure: T = 1" in text
    assert "gradcheck_rnn.record(" not in text  # they are there already


def test_an_adjoint_left_out_is_wrong_where_unseen_lines_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Lines are judged at one point and without a search all the same.
    quick = functools.partial(check_model, plan="point", diagnose=False)
    monkeypatch.setattr("benchmarks.blind_faults.check_model", quick)
    fault = FAULTS_WRITTEN_BLIND["expgate/stabiliser-ignored"]
    report = blind_check("expgate", [fault.edit], adjoints=True)
    assert {line.name for line in report.lines if line_verdict(line) == "wrong"} == fault.lines
