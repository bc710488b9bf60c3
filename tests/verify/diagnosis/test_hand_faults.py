"""Faults in backward passes written by hand are named, two at once too, and else what is known."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from benchmarks.hand_faults import CELLS, patched
from gradcheck_rnn import check_model, derive, load, record
from gradcheck_rnn.verify.diagnosis.candidates import Bench, derived_candidates
from gradcheck_rnn.verify.diagnosis.effects import Effects
from gradcheck_rnn.verify.diagnosis.equivalence import Alike, one_name_each

from .study import DerivedCode

SCHEMA = Path(__file__).parents[3] / "docs" / "json-schema" / "verify.json"
BRACKET = ("da = dh * (1 - hs[t + 1] ** 2)", "da = dh - bars['h'][t] * hs[t + 1] ** 2", "")


@pytest.mark.parametrize(
    ("cell", "changes", "words"),
    [
        ("elman", [BRACKET], ["a lost bracket: the share of the cotangent of the final state h"]),
        ("elman", [("dx[t] = da @ U", "dx[t] = dh @ U", "")], ["δx_t with δh_t instead of δi_t"]),
        ("elman", [("dU += da.T @ x[t]", "dU += da.T @ x[0]", "")],
         ["x_t of the first step at every step"]),
        ("elman", [("reversed(range(T))", "reversed(range(1, T))", "")],
         ["leaves out the first step"]),
        ("elman", [("(1 - hs[t + 1] ** 2)", "hs[t + 1]", ""), ("dU += da.T", "dU -= da.T", "")],
         ["h_t instead of φ′", "∇U with the sign"]),
        ("elman", [("da.T @ hs[t]", "da.T @ (hs[t] if t else hs[T])", "")],
         ["the last h is read in place of its initial state"]),
        ("elman", [("dh = dh + bars", "dhn = dh + bars"), ("da = dh *", "da = dhn *"),
                   ("        dh = da @ W\n", "        dlast = da @ W\n"),
                   ('"h0": dh', '"h0": dlast')],
         ["nothing is carried through the state h"]),
        ("lstm", [("dW[k] += dz[k].T @ h", "dW[k] += dz[k].T @ (o * tc)"),
                  ("dzi = di * i * (1 - i)", "dzi = di")],
         ["for all 4 terms alike: ∇W_i with h_t instead of h_{t−1}", "δa_{i,t} without φ′"]),
    ],
)  # fmt: skip
def test_is_named(cell: str, changes: list[tuple[str, ...]], words: list[str]) -> None:
    forward, backward = patched(cell, *((old, new, "") for old, new, *_ in changes))
    report = check_model(load(CELLS[cell]), forward=forward, backward=backward, plan="few")
    assert report.diagnosis is not None
    assert report.diagnosis.found, str(report)
    said = "; ".join(m.message for m in report.diagnosis.matches)
    for text in words:
        assert text in said


@pytest.mark.parametrize(("cell", "every"), [("elman_hidden", 1), ("gru", 17), ("delta_net", 5)])
@pytest.mark.parametrize("place", [0, 1])
def test_changes_are_those_of_the_whole_program(cell: str, every: int, place: int) -> None:
    code = DerivedCode(load(cell))
    report = check_model(code.network, forward=code.forward, backward=code.backward, diagnose=False)
    comparison, bench = report.comparisons[place], Bench(code.derivation)
    effects = Effects(bench, comparison)
    candidates = derived_candidates(code.derivation)[::every]
    assert len({c.kind for c in candidates}) > 12
    top = np.abs(effects.want).max()
    for c in candidates:
        with np.errstate(all="ignore"):
            whole = effects.flat([bench.gradients(c, comparison, k) for k in effects.cases])
        np.testing.assert_allclose(
            effects.change(c), whole - effects.want, rtol=1e-8, atol=1e-12 * top, err_msg=c.id
        )


def test_what_lies_behind_another_mistake_is_that_of_both_in_the_program() -> None:
    code = DerivedCode(load("elman_hidden"))
    report = check_model(code.network, forward=code.forward, backward=code.backward, diagnose=False)
    bench = Bench(code.derivation)
    effects = Effects(bench, report.comparisons[0])
    known = {c.id: c for c in derived_candidates(code.derivation)}
    first, second = known["sign:elman_hidden/h<-i:"], known["scale:elman_hidden/i<-U:2"]
    size = effects.responses.size
    totals = np.stack([effects.total(first)[0], 2 * effects.total(first)[0]])
    made, place, _ = effects.responses.change(second.edits, None, totals[..., :size])
    assert place > effects.total(first)[2]
    both = (totals + made)[0, :, size:].ravel()
    np.testing.assert_allclose(both, effects.change(first & second), rtol=1e-12)
    assert not np.allclose(made[0], made[1])


def test_the_same_edit_has_one_name_and_others_keep_theirs() -> None:
    derivation = derive(load("gru"))
    known = {c.id: c for c in derived_candidates(derivation)}
    same = [known["value:gru/h<-z#1:h_tilde0>h1"], known["dropped:gru/z<-a_z:"]]
    other = known["sign:gru/z<-a_z:"]
    found = one_name_each(Alike(derivation), [same[0], other, same[1]])
    assert [(c.id, also) for c, also in found] == [(same[1].id, (same[0].id,)), (other.id, ())]


def test_a_place_too_large_for_the_map_is_searched_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gradcheck_rnn.verify.diagnosis.effects.MOST_NUMBERS", 0)
    forward, backward = patched("elman", ("dU += da.T", "dU -= da.T", ""))
    report = check_model(load("elman_hidden"), forward=forward, backward=backward)
    assert "∇U with the sign of δi_t x_tᵀ reversed" in str(report.diagnosis)


def test_where_nothing_fits_the_report_says_what_to_do_next() -> None:
    fault = ("da = dh * (1 - hs[t + 1] ** 2)", "da = dh * np.cos(zs[t] + 0.3)", "")
    forward, backward = patched("elman", fault)
    report = check_model(load("elman_hidden"), forward=forward, backward=backward)
    assert report.diagnosis is not None
    assert not report.diagnosis.found
    text = str(report.diagnosis)
    assert text.index("already wrong at one step: dW, dU, db_i") < text.index("dW (")
    assert "smallest failure: T = 1, B = 2" in text
    assert "gradcheck_rnn.record(" in text
    assert "·(δi_t h_{t−1}ᵀ" in text


def test_a_wrong_line_is_a_diagnosis_in_json() -> None:
    handed = ("dh = da @ W", "record({'δi': da}, t=t); dh = da @ W", "")
    fault = ("da = dh * (1 - hs[t + 1] ** 2)", "da = dh", "")
    forward, backward = patched("elman", handed, fault)
    backward.__globals__["record"] = record
    report = check_model(load("elman_hidden"), forward=forward, backward=backward)
    made = json.loads(json.dumps(report.to_json()))
    assert any(line["verdict"] == "wrong" for line in made["lines"])
    assert made["diagnosis"]["wrong"]
    assert made["diagnosis"]["where"]
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(
        made["diagnosis"], {**schema["$defs"]["diagnosis"], "$defs": schema["$defs"]}
    )
    for line in made["lines"]:
        jsonschema.validate(line, {**schema["$defs"]["line"], "$defs": schema["$defs"]})
