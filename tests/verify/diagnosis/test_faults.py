"""Faults in a hand-written LSTM of the lecture kind: each is found, and said in the right words."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.diagnosis import check_model
from gradcheck_rnn.verify.outcome import Report

SOURCE = (Path(__file__).parents[3] / "examples" / "lstm_caches.py").read_text(encoding="utf-8")
Gradients = dict[str, Any]
Change = Callable[[Gradients, int, int], Gradients]


def hand_written(*changes: tuple[str, str]) -> Any:
    """The example's functions, with lines of its source exchanged."""
    text = SOURCE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(text, "example", "exec"), names)
    return types.SimpleNamespace(**names)


def check(
    *changes: tuple[str, str], after: Change | None = None, lose_c: bool = False, **options: Any
) -> Report:
    code = hand_written(*changes)

    def forward(x: Any, h0: Any, c0: Any, Wx: Any, Wh: Any, b: Any) -> Any:
        h, c, caches = code.lstm_forward(x, h0, c0, Wx, Wh, b)
        return {"h": h, "h_T": h[:, -1], "c_T": c}, caches

    def backward(cotangents: Gradients, caches: Any) -> Gradients:
        dh = cotangents["h"].copy()
        dh[:, -1] += cotangents["h_T"]
        dc = cotangents["c_T"] * (0 if lose_c else 1)
        names = ("x", "h0", "c0", "Wx", "Wh", "b")
        found = dict(zip(names, code.lstm_backward(dh, dc, caches), strict=True))
        return after(found, dh.shape[1], dh.shape[0]) if after else found

    return check_model(
        api.load("lstm"), forward=forward, backward=backward, layout="lecture lstm", **options
    )


def swapped(g: Gradients, T: int, B: int) -> Gradients:
    for n in ("Wx", "Wh", "b"):
        i, f, o, c = np.split(g[n], 4, axis=-1)
        g[n] = np.concatenate([f, i, o, c], axis=-1)
    return g


def row_lost(g: Gradients, T: int, B: int) -> Gradients:
    g["Wh"][1] = 0
    return g


def one_entry(g: Gradients, T: int, B: int) -> Gradients:
    g["Wx"][1, 4] *= 1.01
    return g


def means(g: Gradients, T: int, B: int) -> Gradients:
    return {n: a / T if n in ("Wx", "Wh", "b") else a for n, a in g.items()}


def clipped(g: Gradients, T: int, B: int) -> Gradients:
    return {n: np.clip(a, -5, 5) for n, a in g.items()}


def noisy(g: Gradients, T: int, B: int) -> Gradients:
    g["Wx"] = g["Wx"] + 1e-3 * np.random.default_rng(0).standard_normal(g["Wx"].shape)
    return g


@pytest.mark.parametrize(
    ("changes", "after", "words"),
    [
        ([("df * f * (1 - f)", "df")], None, "without φ′ of σ(a_{f,t})"),
        ([("df * f * (1 - f)", "df * (1 - f**2)")], None, "δa_{f,t} with tanh′ instead of φ′"),
        ([("df * f * (1 - f)", "df / (1 + np.exp(-f))")], None,
         "δa_{f,t} with σ(f_t) instead of φ′"),
        ([("dc = dnext_c + dnext_h * o", "dc = dnext_h * o")], None, "carried through the state c"),
        ([("dprev_h = da @ Wh.T", "dprev_h = da[:, :-H] @ Wh[:, :-H].T"),
          ("    x, prev_h, prev_c, Wx", "    H = dnext_h.shape[1]\n    x, prev_h, prev_c, Wx")],
         None, "δh_{t−1} without the term W_cᵀ δa_{c,t}"),
        ([("dWh += step[4]", "dWh = step[4]")], None, "only the first step"),
        ([("db = da.sum(axis=0)", "db = da.mean(axis=0)")], None, "db has a factor 1/B"),
        ([("dprev_h = da @ Wh.T", "dprev_h = np.clip(da @ Wh.T, -5, 5)")], None,
         "δh clipped to ±5 between steps"),
        ([], swapped, "the blocks of dWx lie in the order U_f U_i U_o U_c"),
        ([], row_lost, "row 1 of dWh is zero"),
        ([], one_entry, "the entry [1, 4] of dWx has a factor 1.01"),
        ([], means, "the gradient of every parameter has a factor 1/T"),
        ([], clipped, "every gradient clipped to ±5"),
    ],
)  # fmt: skip
def test_is_named(changes: list[tuple[str, str]], after: Change | None, words: str) -> None:
    report = check(*changes, after=after, plan="few")
    assert str(report.verdict) == "fail"
    assert report.diagnosis is not None
    assert report.diagnosis.found, str(report)
    assert words in str(report.diagnosis)
    assert max(m.residual for m in report.diagnosis.matches) < 1e-11


def test_a_lost_cotangent_of_the_last_memory_is_named() -> None:
    report = check(lose_c=True, plan="few")
    assert "the cotangent of the final state c is lost" in str(report.diagnosis)


def test_two_mistakes_are_both_named() -> None:
    changes = ("df * f * (1 - f)", "df"), ("dprev_c = dc * f", "dprev_c = dc * i")
    report = check(*changes, plan="few")
    text = str(report.diagnosis)
    assert "without φ′ of σ(a_{f,t})" in text
    assert "δc_{t−1} with i_t instead of f_t" in text


@pytest.mark.parametrize(
    ("changes", "after", "where"),
    [
        ([], noisy, "dU_i, dU_f, dU_o, dU_c are wrong"),
        ([("df * f * (1 - f)", "df * (1 - f**2)"),
          ("do = dnext_h * tanh_c", "do = dnext_h * np.sin(tanh_c)")], None, "dU_f"),
        ([("(1 - tanh_c**2)", "(1 - tanh_c**2) ** 0.5")], None, "for the cotangents: c_final"),
    ],
)  # fmt: skip
def test_a_fault_that_is_no_known_mistake_is_not_guessed_at(
    changes: list[tuple[str, str]], after: Change | None, where: str
) -> None:
    report = check(*changes, after=after, plan="few")
    assert report.diagnosis is not None
    assert not report.diagnosis.found, str(report.diagnosis)
    assert "none of" in str(report.diagnosis)
    assert where in str(report.diagnosis)


def test_another_forward_pass_is_said_first() -> None:
    report = check(("next_h = o * tanh_c", "next_h = o * next_c"))
    assert report.diagnosis is None
    assert [f.kind for f in report.findings] == ["other-function"]
    assert {r.name for r in report.rows} == {"h", "h_T", "c_T"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_right_code_passes_in_every_precision(dtype: str) -> None:
    report = check(dtype=dtype)
    assert report.passed, str(report)


def test_single_precision_hides_no_mistake() -> None:
    report = check(("df * f * (1 - f)", "df"), dtype="float32")
    assert "without φ′ of σ(a_{f,t})" in str(report.diagnosis)


def test_declared_shapes_are_kept_and_said() -> None:
    report = check(shapes={"p": range(4, 17, 4), "d": 5, "T": range(1, 9), "B": 2})
    assert report.passed
    text = str(report)
    assert "p in [4, 8, 12, 16]" in text
    assert "d = 5" in text
    assert "B in [2]" in text


def test_code_that_spoils_its_arguments_is_caught() -> None:
    report = check(("a = x @ Wx", "x *= 1.0000001; a = x @ Wx"))
    assert "changes its argument 'x' in place" in str(report)


def test_missing_functions_are_misuse() -> None:
    with pytest.raises(UsageError, match="give forward and backward"):
        check_model(api.load("lstm"), forward=lambda **_: None)
    with pytest.raises(UsageError, match="has no loss"):
        check_model(api.load("lstm"), gradient=lambda a: a)
    for loss in ("softmax_cross_entropy", "squared_error"):
        with pytest.raises(UsageError, match="no outputs besides its loss: give gradient="):
            check_model(api.load(loss), forward=lambda **_: ({}, 0), backward=lambda c, s: {})
