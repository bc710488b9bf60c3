"""Right code that adds up in another order is right line by line; what is wrong in it is named."""

from __future__ import annotations

from typing import Any

from benchmarks import blind_faults
from gradcheck_rnn import check_model
from gradcheck_rnn.verify.wording import line_verdict

HANDING = ("dstep += dla * -np.exp(A_log)", "dstep += dla * -np.exp(A_log); record(dstep=dstep)")


def wrong_lines(*edits: tuple[str, str]) -> tuple[Any, list[str]]:
    space = blind_faults.edited("ssd", [HANDING, *edits])
    model = blind_faults.definition("ssd")
    passes = {n: space[n] for n in ("forward", "backward")}
    report = check_model(model, **passes, diagnose=False)
    return report, [line.name for line in report.lines if line_verdict(line) == "wrong"]


def test_sums_in_chunks_are_no_wrong_lines() -> None:
    """δa is a difference of sums over a chunk: its rounding is not that of its own terms."""
    report, wrong = wrong_lines()
    assert report.passed
    assert {line.name for line in report.lines} >= {"δstep_t", "dA_log"}
    assert not wrong


def test_a_small_factor_is_a_wrong_line_all_the_same() -> None:
    """What the neighbours move by is rounding: a difference that stays is not in it."""
    slope = "ddt = dstep * sigmoid(raw)"
    report, wrong = wrong_lines((slope, f"{slope} * (1 + 1e-12)"))
    assert not report.passed
    assert wrong == ["ddt_bias", "ddt"]


def test_what_is_left_is_told_of_arrays_that_are_not_all_rounding() -> None:
    edit = blind_faults.FAULTS["ssd/step-of-decay-lost"].edit
    report = blind_faults.check("ssd", [edit])
    assert max(m.residual for m in report.diagnosis.matches) < 1e-10
