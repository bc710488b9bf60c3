"""The first line says what is wrong and where; long tables are folded; unseen is not right."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_model, load
from gradcheck_rnn.verify.diagnosis import nextstep
from gradcheck_rnn.verify.outcome import Report
from gradcheck_rnn.verify.points import Role
from gradcheck_rnn.verify.verdict import Finding, Row, Verdict
from gradcheck_rnn.verify.wording import MOST_ROWS, SHOWN_ROWS
from tests.verify.model.elman_by_hand import backward, forward


def row(name: str, verdict: Verdict, ratio: float) -> Row:
    return Row(name, (2,), verdict, ratio, "[0]", 1.0, 2.0, 0.1, 0.05, failing=1, entries=2)


def test_a_long_table_shows_what_is_wrong_and_the_worst() -> None:
    rows = [row(f"w{k}", Verdict.PASS, k / 1000) for k in range(120)]
    rows[57] = row("w57", Verdict.FAIL, 30.0)
    text = str(Report("mine", rows))
    lines = text.splitlines()
    assert lines[0].startswith("mine: the gradient of w57 is wrong: 1 for 2 at [0]")
    assert any(line.lstrip().startswith("w57 ") for line in lines)
    assert any(line.lstrip().startswith("w119 ") for line in lines)
    assert not any(line.lstrip().startswith("w3 ") for line in lines)
    assert f"and {120 - SHOWN_ROWS} more: {120 - SHOWN_ROWS} pass" in text
    assert len(lines) < 20
    assert "more:" not in str(Report("mine", rows[:MOST_ROWS]))


def test_of_many_steps_the_first_wrong_one_is_shown() -> None:
    rows = [
        replace(row(f"h at step {t} -> {x}", Verdict.PASS, 0.1), output="h", step=t, source=x)
        for x in "xW"
        for t in range(1, 31)
    ]
    for k in range(4, 30):
        rows[k] = replace(rows[k], verdict=Verdict.FAIL, ratio=10.0 + k)
    rows[44] = replace(rows[44], verdict=Verdict.FAIL, ratio=2.0)
    lines = str(Report("mine", rows)).splitlines()
    assert lines[0].startswith("mine: the gradient of h at step 5 -> x and 26 more is wrong")
    shown = [line.strip().split("  ")[0] for line in lines if " at step " in line]
    assert {"h at step 5 -> x", "h at step 15 -> W", "h at step 30 -> x"} <= set(shown)


def test_an_undecided_finding_is_a_verdict_and_comes_first() -> None:
    report = Report("mine", [row("w", Verdict.PASS, 0.1)], [Finding("x", "why", undecided=True)])
    assert report.verdict is Verdict.UNDECIDED
    assert str(report).splitlines()[0] == "mine: why"
    assert str(report).count("why") == 1


def test_the_lag_of_a_fault_is_in_the_first_line() -> None:
    report = check_model(
        load("elman_hidden"), forward=forward, backward=lambda c, s: backward(c, s, 5),
        shapes={"T": [3, 8]},
    )  # fmt: skip
    first = str(report).splitlines()[0]
    assert "from T = 8 on (right up to T = 3)" in first
    assert "at steps 1–5 of 8" in first, first


def doubled(c: Any, s: Any, where: Any) -> Any:
    """The right gradients, twice as much of W's where a condition on x and h holds."""
    x, h = s[0], np.asarray(s[1])
    g = backward(c, s)
    return g | {"W": g["W"] * (1 + where(x, h))}


def test_one_sequence_is_not_taken_for_four_steps() -> None:
    report = check_model(
        load("elman_hidden"), forward=forward, diagnose=False,
        backward=lambda c, s: doubled(c, s, lambda x, h: x.shape[1] == 1),
    )  # fmt: skip
    assert "wrong for B = 1 (right from B = 2 on)" in report.sentence()


def test_a_fault_of_saturated_units_is_not_one_of_five_steps() -> None:
    report = check_model(
        load("elman_hidden"), forward=forward, diagnose=False,
        backward=lambda c, s: doubled(c, s, lambda x, h: len(x) < 9 and abs(h[1:]).max() > 0.9999),
    )  # fmt: skip
    assert "wrong at 1 of 8 points (saturated: T = 5, right for T = 1" in report.sentence()


def test_odd_sizes_that_were_asked_for_are_named() -> None:
    report = check_model(
        load("elman_hidden"), forward=forward, diagnose=False, shapes={"p": [4, 5, 6, 7], "T": 3},
        backward=lambda c, s: doubled(c, s, lambda x, h: h.shape[-1] % 2),
    )  # fmt: skip
    assert "wrong for p = 5, 7, right for p = 4, 6" in report.sentence()


def test_what_is_not_returned_is_not_called_right() -> None:
    def silent(c: Any, s: Any) -> Any:
        g = backward(c, s)
        return {"W": g["W"] * 1.5, "U": g["U"], "b_i": np.zeros(3)}

    report = check_model(load("elman_hidden"), forward=forward, backward=silent, plan="point")
    right = [line for line in str(report).splitlines() if line.strip().startswith("right (")]
    assert right
    assert all("dx" not in line and "dh0" not in line for line in right)
    assert "no gradient of 'x' is returned" in str(report)
    silent_right = check_model(
        load("elman_hidden"),
        forward=forward,
        backward=lambda c, s: {n: g for n, g in backward(c, s).items() if n != "h0"},
        plan="point",
    )
    assert silent_right.passed
    first = str(silent_right).splitlines()[0]
    assert first.endswith("no gradient of 'h0' is returned; it was not checked")


def seen_at(role: Role, batch: int, steps: int, kind: str, wrong: bool) -> Any:
    """What a comparison at a point shows of a mask or a parameter, for `first_wrong`."""
    point = SimpleNamespace(
        role=role, batch=batch, steps=steps, lengths={"T": steps}, values={"m": None},
        ref=lambda _: SimpleNamespace(kind=kind),
    )  # fmt: skip
    return SimpleNamespace(point=point, records=[0], wrong=[0] if wrong else [])


@pytest.mark.parametrize(("kind", "doubt"), [("data", True), ("param", False)])
def test_a_clue_of_one_draw_of_data_says_so(monkeypatch, kind: str, doubt: bool) -> None:
    monkeypatch.setattr(nextstep, "_first_steps", lambda *_: [])
    first_wrong, said = nextstep.first_wrong, "its values may be the reason instead"
    several = seen_at(Role.ORDINARY, 3, 4, kind, True)
    lone = seen_at(Role.ONE_SEQUENCE, 1, 4, kind, False)
    (line,) = first_wrong(None, [several, lone])  # type: ignore[arg-type]
    assert line.startswith("right for one sequence (B = 1)")
    assert (said in line) is doubt
    (line,) = first_wrong(None, [several, lone, lone])  # type: ignore[arg-type]
    assert said not in line
    # fewer steps than the fault needs show nothing of it
    assert not first_wrong(None, [seen_at(Role.LONG, 2, 9, kind, True), lone])  # type: ignore[arg-type]
    (line,) = first_wrong(None, [seen_at(Role.SATURATED, 2, 5, kind, True), lone])  # type: ignore[arg-type]
    assert line.startswith("right at every point without saturated units")
    assert (said in line) is doubt
