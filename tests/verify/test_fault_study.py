"""A small fault study: what the full one (``python -m benchmarks.fault_study``) measures.

Each part can fail: a checker that accepted everything would miss the mutants, one that accused
everything would fail the right code, one that always named something would name our own faults.
"""

from __future__ import annotations

import pytest

from benchmarks.fault_study import correct, model_mode, own
from benchmarks.fault_study.own_faults import FAULTS
from gradcheck_rnn.verify import check_gradient
from gradcheck_rnn.verify.diagnosis import check_model


@pytest.mark.parametrize(
    ("system", "every", "loss"),
    [
        ("linear", 4, False),
        ("squared_error", 1, True),
        ("elman", 13, False),
        ("gru", 91, False),
        ("lstm", 293, False),
    ],
)
def test_mutants_are_seen_and_named(system: str, every: int, loss: bool) -> None:
    found = model_mode.study(system, 1, every, loss=loss)
    assert found["mutants"] - found["equal"] > 5
    assert found["right_wrong"] == 0
    assert found["alone"] + found["equals"] == found["mutants"] - found["equal"], found["notes"]


def test_a_start_taken_from_another_scan_is_named() -> None:
    lab = model_mode.Laboratory("encoder_decoder", 0, loss=True)
    lost = next(c for c in lab.candidates if c.id == "lost_start:h")
    assert model_mode._judge(lab, lost)[0] in ("alone", "equals")


@pytest.mark.parametrize("source", ["elman rows", "lstm rows"])
def test_own_faults_are_seen_in_the_black_box(source: str) -> None:
    assert check_gradient(*own.black_box_case(source, own.load(source)), seed=1).passed
    for old, new in FAULTS[source][:5]:
        case = own.black_box_case(source, own.load(source, old, new))
        assert str(check_gradient(*case, seed=1).verdict) == "fail", f"{old} -> {new}"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, ["δf_t with h̃_t instead of h_{t−1}"]),
        (1, ["δf_t with δh_t instead of δa_{c,t}", "δh_{t−1} with δh_t instead of δa_{c,t}"]),
        (5, []),
    ],
)
def test_own_faults_are_seen_and_named_only_if_known(number: int, words: list[str]) -> None:
    old_new = FAULTS["mgu by hand"][number]
    case = own.model_case("mgu by hand", own.load("mgu by hand", *old_new))
    assert case is not None
    report = check_model(**case, seed=1)
    assert str(report.verdict) == "fail"
    assert report.diagnosis is not None
    said = "; ".join(m.message for m in report.diagnosis.matches)
    assert bool(said) == bool(words), said
    for text in words:
        assert text in said


def test_there_are_enough_own_faults_and_all_of_them_apply() -> None:
    assert sum(map(len, FAULTS.values())) >= 60
    for source, faults in FAULTS.items():
        for old, new in faults:
            own.load(source, old, new)


@pytest.mark.parametrize("form", ["float64", "float32"])
def test_right_gradients_are_not_accused(form: str) -> None:
    found = correct.study("model", "elman_hidden", form, 1)
    assert found["checks"] > 400
    assert found["alarms"] == found["undecided"] == 0, found["rows"]


def test_right_gradients_are_not_accused_in_the_black_box() -> None:
    for form in ("float64", "float32"):
        for regime in ("offset", "small", "one unit"):
            report = check_gradient(*correct.scaled_problem("elman", regime, form, 1), seed=1)
            assert report.passed, str(report)
