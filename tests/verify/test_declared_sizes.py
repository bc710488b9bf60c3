"""Which sizes are run, and checks at all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify import Verdict, check_gradient, check_vjp
from gradcheck_rnn.verify.declared_sizes import around, listed_sizes, size_combinations
from gradcheck_rnn.verify.problems import sort_problem


def test_everything_listed_is_run() -> None:
    assert listed_sizes([64, 1, 128]) == [1, 64, 128]
    assert listed_sizes({1, 100}) == [1, 100]
    assert listed_sizes(7) == [7]
    assert listed_sizes(np.int64(7)) == [7]


def test_ranges_have_their_ends_and_powers_of_two() -> None:
    sizes = listed_sizes(range(1, 131))
    assert {1, 2, 3, 63, 64, 65, 127, 128, 129, 130} <= set(sizes)
    assert len(sizes) < 25
    assert listed_sizes(range(8, 65, 8)) == list(range(8, 65, 8))
    assert listed_sizes(range(8, 161, 8)) == [8, 16, 32, 64, 128, 160]
    assert listed_sizes(range(1, 131), cap=40)[-1] == 33
    assert listed_sizes([100, 200], cap=40) == [100]


def test_there_may_be_nothing_of_what_is_counted() -> None:
    assert listed_sizes([3, 0]) == [0, 3]
    assert listed_sizes(range(40)) == [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 39]
    with pytest.raises(UsageError, match="size 0 is not positive"):
        listed_sizes([3, 0], least=1)


@pytest.mark.parametrize("spec", [[], -3, [1, -1], 2.5, True, "five", ["a"], None, range(5, 5)])
def test_sizes_that_are_none(spec: Any) -> None:
    with pytest.raises(UsageError, match="size"):
        listed_sizes(spec)


def test_every_size_occurs_in_some_combination() -> None:
    assert len(size_combinations({"T": [1, 2, 3], "B": [1, 2]})) == 6
    sizes = {"T": list(range(1, 31)), "B": [1, 2, 5], "n": [4, 7]}
    chosen = size_combinations(sizes)
    assert len(chosen) <= 32
    for name, options in sizes.items():
        assert {at[name] for at in chosen} == set(options)
    assert {"T": 30, "B": 5, "n": 7} in chosen
    assert size_combinations({}) == [{}]


def leaky(x: Any, a: Any) -> tuple[Any, Any]:
    h, hs = np.zeros(x.shape[1:]), []
    for row in x:
        h = a * h + row
        hs.append(h)
    return np.stack(hs), (x, a, hs)


def chunked(dh: Any, cache: Any, chunk: int = 4) -> Any:
    """Loses the state's gradient at the borders of chunks."""
    x, a, hs = cache
    dx, da, carry = np.empty_like(x), np.zeros_like(a), np.zeros(x.shape[1:])
    for t in reversed(range(len(x))):
        carry = carry + dh[t]
        dx[t] = carry
        if t:
            da += np.sum(carry * hs[t - 1], axis=0)
        carry = 0 * carry if t % chunk == 0 else a * carry
    return {"x": dx, "a": da}


def make(T: int, B: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng([T, B])
    return {"x": rng.normal(size=(T, B, 3)), "a": rng.normal(size=3)}


def test_the_shape_at_which_it_fails_is_named() -> None:
    report = check_vjp(leaky, chunked, make, shapes={"T": [1, 3, 4, 6], "B": [1, 2]})
    (row,) = (r for r in report.rows if r.name == "outputs -> x")
    assert row.verdict is Verdict.FAIL
    assert row.reason.startswith("wrong at 2 of 8 shapes (T = 6, B = 1; T = 6, B = 2)")
    assert row.worst.endswith("(T = 6, B = 1)") or row.worst.endswith("(T = 6, B = 2)")
    report = check_vjp(leaky, chunked, make, shapes={"T": [1, 3, 4]})
    assert report.passed, str(report)
    assert "T in [1, 3, 4]" in report.findings[-1].message


def test_parameters_of_a_gradient_too() -> None:
    def gradient(p: Any) -> Any:
        return 2 * p * (1.1 if len(p) > 5 else 1.0)

    report = check_gradient(
        lambda p: float(np.sum(p**2)), gradient, lambda n: np.arange(1.0, n + 1),
        shapes={"n": range(2, 9)},
    )  # fmt: skip
    assert report.verdict is Verdict.FAIL
    assert "wrong at 3 of 7 shapes (n = 6; n = 7; n = 8)" in report.rows[0].reason


def test_findings_name_their_shape() -> None:
    def eats(dh: Any, cache: Any) -> Any:
        found = chunked(dh, cache, chunk=100)
        if len(dh) == 3:
            dh *= 2
        return found

    report = check_vjp(leaky, eats, make, shapes={"T": [2, 3]})
    said = [f.message for f in report.findings if f.kind == "mutated-cotangent"]
    assert said == ["at T = 3: backward changes its cotangents in place; it should work on a copy"]


def test_one_shape_is_said_to_be_one() -> None:
    for report in (
        check_vjp(leaky, chunked, make(3)),
        check_gradient(lambda p: np.sum(p**2), lambda p: 2 * p, np.ones(3)),
    ):
        said = [f.message for f in report.findings if f.kind == "could-have-missed"]
        assert len(said) == 1
        assert "one point of one shape" in said[0]


@pytest.mark.parametrize(
    ("inputs", "shapes", "words"),
    [
        (make, {"B": 2}, "takes 'T'; say in shapes"),
        (make, None, "takes 'T'; say in shapes"),
        (make, {"T": 2, "q": 3}, "shapes name 'q'"),
        (make, {"T": []}, "shapes of 'T'"),
        (make(2), {"T": 2}, "shapes need inputs that can be made"),
    ],
)
def test_misuse(inputs: Any, shapes: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_vjp(leaky, chunked, inputs, shapes=shapes)


def test_cases_have_shapes() -> None:
    problem = sort_problem("case", {
        "loss": lambda p: float(np.sum(p**2)), "gradient": lambda p: 2 * p,
        "parameters": lambda n: np.arange(1.0, n + 1), "shapes": {"n": [2, 5]},
    })  # fmt: skip
    assert problem.entries() == {"parameters": 5}
    report = problem.check("case", None, None, None)
    assert report.passed, str(report)
    assert "n in [2, 5]" in report.findings[-1].message


def test_sizes_around_a_block() -> None:
    assert around(64) == [1, 63, 64, 65, 129]
    assert around(1) == [1, 2, 3]


@pytest.mark.parametrize("bad", [0, -3, 1.5, True])
def test_what_is_no_block_is_misuse(bad: Any) -> None:
    with pytest.raises(UsageError):
        around(bad)


def leaky_inputs(T: int, B: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng([T, B, seed])
    return {"x": rng.normal(size=(T, B, 3)), "a": rng.uniform(size=(3,))}


def right(d: Any, cache: Any) -> Any:
    x, a, hs = cache
    dx, da, carried = np.empty_like(x), np.zeros_like(a), 0.0
    for t in reversed(range(len(x))):
        dx[t] = d[t] + carried
        da += (dx[t] * hs[t]).sum(axis=0)
        carried = dx[t] * a
    return {"x": dx, "a": da}


def decaying(x: Any, a: Any) -> tuple[Any, Any]:
    hs = [np.zeros_like(x[0] * a)]
    for x_t in x:
        hs.append(x_t + a * hs[-1])
    return np.stack(hs[1:]), (x, a, hs)


@pytest.mark.parametrize(
    ("made", "shapes", "verdict", "words"),
    [
        (lambda T, B: leaky_inputs(3, B), {"T": [1, 2, 5], "B": [2, 3]}, "undecided", "not use T"),
        (lambda T, n: leaky_inputs(T, 2), {"T": [1, 3], "n": [2, 4]}, "undecided", "not use n"),
        (leaky_inputs, {"T": [1], "B": [2]}, "undecided", "no recurrent step"),
        (leaky_inputs, {"T": [3], "B": [1]}, "pass", "only B = 1 was run"),
        (leaky_inputs, {"T": [1, 3], "B": [2], "seed": [0, 1]}, "pass", "shapes run: T in [1, 3]"),
    ],
)
def test_sizes_that_the_inputs_do_not_have(
    made: Any, shapes: Any, verdict: str, words: str
) -> None:
    report = check_vjp(decaying, right, made, shapes=shapes)
    assert str(report.verdict) == verdict, str(report)
    assert any(words in f.message for f in report.findings), str(report)


def test_an_error_says_at_which_sizes() -> None:
    def breaks(x: Any, a: Any) -> Any:
        if len(x) > 2:
            raise ValueError("no workspace")
        return decaying(x, a)

    with pytest.raises(ValueError, match="no workspace") as caught:
        check_vjp(breaks, right, leaky_inputs, shapes={"T": [1, 2, 4], "B": [2]})
    assert caught.value.__notes__ == ["at T = 4, B = 2"]
    with pytest.raises(UsageError, match="give sizes by name"):
        check_vjp(decaying, right, leaky_inputs, shapes="T=3")  # type: ignore[arg-type]
