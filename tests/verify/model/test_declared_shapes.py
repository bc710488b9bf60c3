"""Every declared size is run, and what is not run leaves the verdict undecided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_model, gradient_case, load
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify import Verdict
from tests.verify.model.elman_by_hand import backward, forward


def check(cut: int | None = None, backward: Any = backward, **options: Any) -> Any:
    return check_model(
        load("elman_hidden"),
        forward=forward,
        backward=(lambda c, s: backward(c, s, cut)) if cut else backward,
        diagnose=False,
        **options,
    )


@pytest.mark.parametrize(
    ("cut", "options"),
    [
        (1, {"shapes": {"T": [1, 50]}}),
        (1, {"shapes": {"T": {1, 100}}}),
        (64, {"shapes": {"T": [1, 65, 130]}}),
        (64, {"shapes": {"T": range(1, 67)}}),
        (64, {"chunk": 64}),
        (64, {"chunk": {"T": 64}, "shapes": {"T": range(1, 100)}}),
    ],
)
def test_a_carry_that_is_cut_is_found_at_the_declared_lengths(cut: int, options: Any) -> None:
    report = check(cut, **options)
    assert str(report.verdict) == "fail"
    assert "from T = " in str(report).splitlines()[0]
    assert str(check(**options).verdict) == "pass"


def test_a_fault_in_a_wide_hidden_layer_or_batch_is_found() -> None:
    def narrow(c: Any, s: Any) -> Any:
        g = backward(c, s)
        g["W"][16:] = 0
        return g

    def few(c: Any, s: Any) -> Any:
        g = backward(c, s)
        return {**g, "b_i": g["b_i"] * (1.0 if s[0].shape[1] < 5 else 0.9)}

    assert str(check(backward=narrow).verdict) == "pass", "nothing so wide was declared"
    assert str(check(backward=narrow, tile=16).verdict) == "fail"
    assert str(check(backward=narrow, shapes={"p": [3, 17]}).verdict) == "fail"
    report = check(backward=few, shapes={"B": [2, 5]})
    assert str(report.verdict) == "fail"
    assert "from B = 5 on" in report.sentence()


def test_a_fault_of_the_tail_is_called_so() -> None:
    def tail(c: Any, s: Any) -> Any:
        g, T = backward(c, s), len(s[0])
        return g if T % 4 == 0 else {**g, "x": g["x"] * 0.5}

    report = check(backward=tail, chunk=4, shapes={"T": [4, 7, 8, 9]})
    assert "the last chunk of 4 steps is not full" in report.sentence()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shapes": {"T": 1}}, "no recurrent step"),
        ({"shapes": {"T": [1, 50]}, "plan": "point"}, "declared and not run"),
        ({"shapes": {"T": [1, 8]}, "chunk": 8}, "no T above the chunk of 8"),
        ({"chunk": 8, "plan": "point"}, "declared and not run"),
    ],
)
def test_what_was_not_run_is_undecided(options: Any, words: str) -> None:
    report = check(**options)
    assert str(report.verdict) == "undecided"
    assert words in str(report).splitlines()[0]
    assert any(f.undecided and words in f.message for f in report.findings)
    assert any(f["undecided"] for f in report.to_json()["findings"])


def test_one_sequence_by_declaration_passes_and_is_said() -> None:
    report = check(shapes={"B": 1, "T": [2, 5]})
    assert report.passed
    assert "only B = 1 was run" in str(report)


def test_the_default_plan_says_how_long_it_was() -> None:
    assert "nothing longer than 24 steps was run" in str(check())


@pytest.mark.parametrize(
    "options",
    [{"chunk": 0}, {"chunk": {"p": 4}}, {"tile": {"T": 4}}, {"repeats": -1}, {"shapes": {"T": []}}],
)
def test_hints_that_make_no_sense_are_misuse(options: Any) -> None:
    with pytest.raises(UsageError):
        check(**options)


def test_a_case_may_give_the_hints() -> None:
    @gradient_case(model=load("elman_hidden"), chunk=4, tile=2, repeats=1)
    def cut() -> Any:
        return forward, lambda c, s: backward(c, s, 4)

    assert str(cut.check(seed=0).verdict) == "fail"
    assert str(cut.check(seed=0, budget=1).verdict) == "fail"


def test_zero_cotangents_must_give_zeros() -> None:
    def offset(c: Any, s: Any) -> Any:
        g = backward(c, s)
        silent = not any(np.any(a) for a in c.values())
        return {**g, "W": g["W"] + 1e-3} if silent else g

    report = check(backward=offset)
    assert str(report.verdict) == "fail"
    assert "no cotangent" in str(report)


def test_more_inputs_than_units_are_run_by_default() -> None:
    """A kernel that takes p for d where d is less: right until there are more inputs than units."""

    def short(cotangents: Any, saved: Any) -> Any:
        g = backward(cotangents, saved)
        U = g["U"].copy()
        U[:, len(U) :] = 0
        return g | {"U": U}

    report = check_model(load("elman_hidden"), forward=forward, backward=short, diagnose=False)
    assert report.verdict is Verdict.FAIL
    assert "from d = 3 on (right up to d = 2)" in report.sentence()


def fixed_sizes(cotangents: Any, saved: Any) -> Any:
    g = backward(cotangents, saved)
    return g | {"W": g["W"] + np.zeros((3, 3))}


def test_a_backward_pass_that_raises_where_forward_runs_fails() -> None:
    report = check_model(load("elman_hidden"), forward=forward, backward=fixed_sizes)
    assert report.verdict is Verdict.FAIL
    assert "the gradient raises at d = 3, p = 2: ValueError" in report.sentence()
    declared = {"d": 2, "p": 3}
    report = check_model(
        load("elman_hidden"), forward=forward, backward=fixed_sizes, shapes=declared
    )
    assert report.passed, str(report)


def test_sizes_written_in_both_passes_are_said_and_fail_nothing() -> None:
    def short(x: Any, **others: Any) -> Any:
        return forward(x @ np.eye(2), **others)

    report = check_model(load("elman_hidden"), forward=short, backward=backward)
    assert report.passed, str(report)
    (said,) = [f.message for f in report.findings if "sizes tried" in f.message]
    assert said.startswith("sizes tried: d < p only; at d = 3, p = 2 the code raises ValueError")
    assert "shapes={'d': 2, 'p': 3}" in said


def test_sizes_written_in_the_code_excuse_no_wrong_gradient_and_no_declared_size() -> None:
    def wrong(cotangents: Any, saved: Any) -> Any:
        g = fixed_sizes(cotangents, saved)
        return g | {"b_i": 1.5 * g["b_i"]}

    report = check_model(load("elman_hidden"), forward=forward, backward=wrong)
    assert report.verdict is Verdict.FAIL
    with pytest.raises(ValueError, match="broadcast"):
        check_model(
            load("elman_hidden"), forward=forward, backward=fixed_sizes, shapes={"p": [3, 4]}
        )


def test_a_fault_of_one_row_is_looked_for_where_there_is_no_such_row() -> None:
    def last_row(cotangents: Any, saved: Any) -> Any:
        g = backward(cotangents, saved)
        W = g["W"].copy()
        W[2:] *= 0.5
        return g | {"W": W}

    report = check_model(load("elman_hidden"), forward=forward, backward=last_row)
    assert report.verdict is Verdict.FAIL
    assert "broke off" not in str(report)
    assert report.diagnosis is not None
    assert "row 2 of dW" in str(report.diagnosis)
