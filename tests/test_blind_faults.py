"""The blind corpus: every edit is one of code that is right, and names are judged by clause."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("benchmarks.blind_faults")

from benchmarks.blind_faults import (
    FAULTS,
    HANDS,
    MODELS,
    PAIRS,
    THIRD,
    check,
    corpus_of,
    edited,
    judge,
    judge_lines,
    outcome,
    part,
)

LEAST = {"first": (60, 30, 0), "second": (60, 30, 0), "third": (90, 40, 15)}  # singles, pairs, …


@pytest.mark.parametrize("cell", sorted(MODELS))
def test_every_edit_is_of_the_code(cell: str) -> None:
    mine = [fault for name, fault in FAULTS.items() if name.startswith(cell + "/")]
    assert mine
    for fault in mine:
        assert callable(edited(cell, [fault.edit])[part(cell, "back")])
    for pair in PAIRS:
        if pair[0].startswith(cell + "/"):
            space = edited(cell, [FAULTS[name].edit for name in pair])
            assert callable(space[part(cell, "back")])


def test_size_and_sources() -> None:
    for which, least in LEAST.items():
        lengths = [1 for name in FAULTS if corpus_of(name.split("/")[0]) == which]
        lengths += [len(names) for names in PAIRS if corpus_of(names[0].split("/")[0]) == which]
        assert all(lengths.count(n) >= count for n, count in enumerate(least, 1))
    assert all(f.source == "own" or f.source.startswith("https://") for f in FAULTS.values())


@pytest.mark.parametrize("cell", ["normed", "gla", "char", "book", "rule", *THIRD])
def test_code_is_right_before_it_is_edited(cell: str) -> None:
    check(cell, []).raise_for_failure()


def test_a_name_is_judged_clause_by_clause() -> None:
    one, other = "δh: without~the~term W_zᵀ", "∇W_c: without r_t"
    start = "dW is what you get with: "
    first = "δh_{t−1} without the term W_zᵀ δa_{z,t}"
    second = "∇W_c without the factor r_t in δa_{c,t} (r_t ⊙ h_{t−1})ᵀ"
    assert judge([one], f"{start}{first}: residual 1e-15") == "right"
    assert judge([one, other], f"{start}{first}, and {second}: residual 1e-15") == "right"
    assert judge([one, other], f"{start}{first}: residual 1e-15") == "half"
    assert judge([one], f"{start}{first}, and {second}: residual 1e-15") == "half"
    assert judge([other], f"{start}{first}: residual 1e-15") == "wrong"
    assert judge(["δz¦δh: term¦factor"], f"{start}{first}: residual 1e-15") == "right"
    assert judge(["δz¦δh: sign¦factor"], f"{start}{first}: residual 1e-15") == "wrong"
    assert judge([one], "dW is wrong; none of 9 known mistakes reproduces the gradient") == "none"
    either = "dW is what you get with any of 2 mistakes, which nothing tried tells apart: "
    assert judge([one], f"{either}{second}; or {first}: residual 1e-15") == "right"


def test_lines_that_are_wrong_are_told_of_code_that_hands_adjoints_over() -> None:
    assert set(HANDS) == {name.split("/")[0] for name, fault in FAULTS.items() if fault.lines}
    check("gru", [], adjoints=True).raise_for_failure()
    assert outcome(["min_gru/state-after", "min_gru/gate-not-in-dx"], True).named == "right"
    lines = [
        SimpleNamespace(name="δz_t", verdict="fail"),
        SimpleNamespace(name="dx", verdict="pass"),
    ]
    assert judge_lines([frozenset({"δz_t"})], lines) == "right"
    assert judge_lines([frozenset({"δz_t", "dx"})], lines) == "half"
    assert judge_lines([frozenset({"dx"})], lines) == "wrong"
    assert judge_lines([frozenset({"dx"})], lines[1:]) == "none"


def test_an_outcome() -> None:
    found = outcome(["min_gru/gate-not-in-dx"])
    assert (found.found, found.located, found.named) == (True, True, "right")


@pytest.mark.parametrize(
    "names",
    [
        ["retain/value-from-query"],  # heads, one value for all sequences
        ["wkv/lost-bracket"],
        ["ssd/skip-lost", "ssd/logarithm-of-rate", "ssd/softplus-slope-lost"],
    ],
)
def test_faults_of_matrix_states_have_names(names: list[str]) -> None:
    found = outcome(names)
    assert (found.found, found.located, found.named) == (True, True, "right")
