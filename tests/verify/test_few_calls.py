"""Along directions in eight losses and four gradients: the right passes, the wrong does not.

Every fault here is found by the calls that a right gradient takes, or sends the check to others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify import Report, Verdict
from gradcheck_rnn.verify.oracle.seven_points import OFFSETS, seven_points
from tests.verify.handwritten import lstm_problem

Function = Callable[[dict[str, Any]], Any]
LOSS, GRADIENT, P = lstm_problem(np.random.default_rng(2), T=3, B=2, p=6, d=5)
EPS = 2.0**-52


def check(loss: Function = LOSS, gradient: Function = GRADIENT, **options: Any) -> Report:
    return check_gradient(loss, gradient, P, **{"mode": "directional", "seed": 1, **options})


def kinds(report: Report) -> set[str]:
    return {f.kind for f in report.findings if f.fatal}


def in_call(function: Function, at: int, change: Callable[[Any], Any]) -> Function:
    """A function that gives something else in one call, counted from 0."""
    calls = itertools.count()
    return lambda p: change(function(p)) if next(calls) == at else function(p)


def beside(gradient: dict[str, Any]) -> dict[str, Any]:
    return {n: 1.001 * g for n, g in gradient.items()}


def test_a_right_gradient_takes_eight_losses_and_four_gradients() -> None:
    report = check()
    assert report.passed
    assert (report.evaluations, report.gradients) == (8, 4)
    assert all(row.resolution < 1e-6 for row in report.rows)
    assert all("more than 4 calls of the gradient" in row.missed for row in report.rows)
    more = check(repeats=9)
    assert (more.evaluations, more.gradients) == (8, 10)
    assert all("more than 9 calls of the gradient" in row.missed for row in more.rows)


@pytest.mark.parametrize("name", P)
@pytest.mark.parametrize("factor", [1.01, 1 + 1e-6])
def test_one_block_is_wrong(name: str, factor: float) -> None:
    report = check(gradient=lambda p: GRADIENT(p) | {name: factor * GRADIENT(p)[name]})
    assert [r.name for r in report.rows if r.verdict is Verdict.FAIL] == [name]


@pytest.mark.parametrize("call", range(1, 4))
def test_one_call_of_the_gradient_is_wrong(call: int) -> None:
    report = check(gradient=in_call(GRADIENT, call, beside))
    assert "unsteady" in kinds(report), str(report)


@pytest.mark.parametrize("call", range(1, 4))
def test_one_call_of_the_gradient_is_not_finite(call: int) -> None:
    wrong = in_call(GRADIENT, call, lambda g: {n: np.nan * x for n, x in g.items()})
    assert kinds(check(gradient=wrong)) & {"unsteady", "not-finite"}


@pytest.mark.parametrize("call", range(8))
def test_one_call_of_the_loss_is_wrong(call: int) -> None:
    report = check(in_call(LOSS, call, lambda value: value * (1 + 1e-6)))
    found = {f.kind for f in report.findings}
    assert "unsteady-loss" in kinds(report) or (call == 0 and "nondeterministic" in found)


def test_a_gradient_that_is_that_of_its_last_point() -> None:
    last: list[Any] = []

    def late(p: dict[str, Any]) -> Any:
        last.append({n: x.copy() for n, x in p.items()})
        return GRADIENT(last[max(len(last) - 2, 0)])

    assert check(gradient=late).verdict is Verdict.FAIL


def test_a_gradient_that_is_that_of_its_first_point() -> None:
    first: list[Any] = []

    def kept(p: dict[str, Any]) -> Any:
        first.append(GRADIENT(p))
        return {n: g.copy() for n, g in first[0].items()}

    assert "gradient-ignores-argument" in kinds(check(gradient=kept))


def test_a_gradient_that_knows_its_arrays_again() -> None:
    known: dict[Any, Any] = {}
    report = check(gradient=lambda p: known.setdefault(tuple(map(id, p.values())), GRADIENT(p)))
    assert "state" in kinds(report)
    assert "changed in place" in str(report)


def test_a_loss_that_knows_its_arrays_again() -> None:
    known: dict[Any, Any] = {}
    # what is known is kept, so that no other array has its id
    report = check(lambda p: known.setdefault(id(p["W"]), (LOSS(p), p))[0])
    assert report.verdict is Verdict.FAIL


def test_a_gradient_that_adds_to_what_it_gave() -> None:
    sums = {n: np.zeros_like(x) for n, x in P.items()}

    def added(p: dict[str, Any]) -> Any:
        for n, g in GRADIENT(p).items():
            sums[n] += g
        return sums

    assert "state" in kinds(check(gradient=added))


def test_a_gradient_that_reads_what_the_loss_left() -> None:
    left: list[Any] = [P]

    def leaving(p: dict[str, Any]) -> float:
        left[0] = {n: x.copy() for n, x in p.items()}
        return LOSS(p)

    report = check(leaving, lambda p: GRADIENT(left[0]))
    assert "state" in kinds(report)


def test_a_gradient_of_random_numbers_that_is_kept_by_content() -> None:
    known: dict[Any, Any] = {}
    rng = np.random.default_rng(0)

    def drawn(p: dict[str, Any]) -> Any:
        at = b"".join(x.tobytes() for x in p.values())
        if at not in known:
            noise = 1 + 0.1 * rng.normal() * bool(known)  # right at its first point
            known[at] = {n: noise * g for n, g in GRADIENT(p).items()}
        return known[at]

    report = check(gradient=drawn)
    assert report.gradients > 4 or not report.passed


@pytest.mark.parametrize("who", ["loss", "gradient"])
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_function_that_writes_to_its_arguments(who: str, everywhere: bool) -> None:
    def writing(function: Function) -> Function:
        def run(p: dict[str, Any]) -> Any:
            found = function(p)
            if everywhere or not np.array_equal(p["W"], P["W"]):
                p["W"] *= 1.5
            return found

        return run

    given = {who: writing(LOSS if who == "loss" else GRADIENT)}
    report = check(**given)
    assert "mutated-input" in kinds(report), str(report)
    words = {"loss": "the loss changes", "gradient": "the gradient function changes"}[who]
    assert words in str(report)


def test_a_loss_with_a_counter_is_not_taken_for_smooth() -> None:
    calls = itertools.count()
    report = check(lambda p: LOSS(p) + 1e-9 * next(calls))
    assert not report.passed
    assert report.evaluations > 8


@pytest.mark.parametrize("level", [1e-9, 1e-12])
def test_noise_is_measured_by_itself(level: float) -> None:
    def rough(p: dict[str, Any]) -> float:
        return LOSS(p) + level * np.sin(1e15 * LOSS(p))

    report = check(rough)
    assert report.passed
    assert report.evaluations > 8
    assert 0.1 * level < report.noise < 10 * level


@pytest.mark.parametrize("size", [1e-2, 1e-6, 1e-10])
def test_a_jump_at_the_point_is_undecided(size: float) -> None:
    report = check(lambda p: LOSS(p) + size * bool(np.any(p["W"] != P["W"])))
    assert report.verdict is Verdict.UNDECIDED
    assert "jump" in {f.kind for f in report.findings}


@pytest.mark.parametrize("size", [1.0, 1e-4])
def test_a_kink_at_the_point_is_seen(size: float) -> None:
    report = check(lambda p: LOSS(p) + size * abs(float(np.sum(p["W"] - P["W"]))))
    assert report.evaluations > 8
    assert not report.passed or size < 1


def test_random_numbers_are_seen_from_the_first_call_on() -> None:
    drawing = lambda p: LOSS(p) + 0.0 * np.random.random()  # noqa: E731, NPY002
    report = check(drawing)
    assert report.evaluations > 8


def test_digits_of_single_precision_are_for_other_calls() -> None:
    coarse = lambda p: {n: np.float64(np.float32(g)) for n, g in GRADIENT(p).items()}  # noqa: E731
    assert check(gradient=coarse).evaluations > 8
    assert check(lambda p: float(np.float32(LOSS(p)))).evaluations > 8


@pytest.mark.parametrize("degree", range(7))
def test_seven_values_are_exact_for_polynomials(degree: int) -> None:
    h = 2.0**-4
    slope, after = seven_points((1 + h * OFFSETS) ** degree, h, EPS)
    assert slope.value == pytest.approx(degree, abs=1e-11)
    assert after.value == pytest.approx(degree * (1 + h) ** (degree - 1), abs=1e-11)


@pytest.mark.parametrize("exponent", range(-30, 2))
def test_the_error_of_seven_values_holds(exponent: int) -> None:
    """Whatever the step: where it is large, what is left of the function widens the error."""
    h, off = 2.0**exponent, 0
    for at in np.random.default_rng(0).uniform(-3, 3, 200):
        slope, after = seven_points(np.sin(at + h * OFFSETS), h, EPS)
        off += not abs(slope.value - np.cos(at)) <= slope.error
        off += not abs(after.value - np.cos(at + h)) <= after.error
    assert off <= 4


def test_kinks_and_jumps_within_seven_values_are_errors() -> None:
    h = 2.0**-17
    for shift in np.linspace(-2.9, 2.9, 30) * h:
        smooth = np.sin(1 + h * OFFSETS)
        kinked = smooth + 1e-3 * np.abs(h * OFFSETS - shift)
        jumping = smooth + 1e-9 * (h * OFFSETS > shift)
        for values in (kinked, jumping):
            slope, _ = seven_points(values, h, EPS)
            assert slope.error > 5e-5


#: A block beside others that a line through all cannot settle: of two entries, of no slope, and of
#: one that is little.
OTHERS = {"two": np.array([0.3, -0.7]), "flat": np.ones((3, 3)), "little": np.linspace(0, 1, 30)}


def beside_another(name: str) -> tuple[Function, Function, dict[str, Any]]:
    """A loss of two blocks, the second of `OTHERS`, its gradient and its parameters."""
    size = {"two": 1.0, "flat": 0.0, "little": 1e-9}[name]
    A = np.random.default_rng(3).normal(size=(30, 40))

    def loss(p: dict[str, Any]) -> Any:
        return np.log(np.cosh(A @ p["w"])).sum() + size * np.sin(p[name]).sum()

    def gradient(p: dict[str, Any]) -> Any:
        return {"w": A.T @ np.tanh(A @ p["w"]), name: size * np.cos(p[name])}

    return loss, gradient, {"w": np.linspace(-1, 1, 40), name: OTHERS[name]}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("change", [lambda x: x * np.nan, lambda x: 1.5 * x + 1e-12])
def test_one_call_is_wrong_in_a_block_that_others_outweigh(
    name: str, change: Callable[[Any], Any]
) -> None:
    loss, gradient, p = beside_another(name)
    assert check_gradient(loss, gradient, p, mode="directional", seed=1).passed
    wrong = in_call(gradient, 2, lambda g: g | {name: change(g[name])})
    report = check_gradient(loss, wrong, p, mode="directional", seed=1)
    assert kinds(report) & {"unsteady", "not-finite"}, str(report)


def test_a_gradient_that_knows_an_array_of_two_entries_again() -> None:
    loss, gradient, p = beside_another("two")
    known: dict[int, Any] = {}

    def kept(q: dict[str, Any]) -> Any:
        # what is known is kept, so that no other array has its id
        return gradient(q) | {"two": known.setdefault(id(q["two"]), (np.cos(q["two"]), q))[0]}

    report = check_gradient(loss, kept, p, mode="directional", seed=1)
    assert "changed in place" in str(report)


def test_a_gradient_that_is_not_defined_everywhere() -> None:
    p = {"w": np.append(np.linspace(0.5, 1, 40), 1e-9)}

    def right(q: dict[str, Any]) -> Any:
        return {"w": np.where(q["w"] > 0, np.cos(q["w"]), np.nan)}

    for seed in range(4):
        report = check_gradient(
            lambda q: np.sin(q["w"]).sum(), right, p, mode="directional", seed=seed
        )
        assert report.passed, str(report)


def test_an_error_in_one_call_of_the_gradient_is_the_users() -> None:
    def fails(_: Any) -> Any:
        raise RuntimeError("the third time")

    with pytest.raises(RuntimeError, match="the third time"):
        check(gradient=in_call(GRADIENT, 2, fails))


@pytest.mark.parametrize("share", [1e-2, 1e-3, 1e-5, 1e-8])
def test_a_loss_that_keeps_a_share_of_its_last_value(share: float) -> None:
    last: list[float] = []

    def leaks(p: dict[str, Any]) -> float:
        value = float(LOSS(p))
        last.append(value if not last else (1 - share) * value + share * last[-1])
        return last[-1]

    assert not check(leaks).passed
