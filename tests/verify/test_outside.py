"""A loss that raises where a step leaves its domain has no value there: the other steps decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify.verdict import Verdict


def _floating(x: Any) -> float:
    with np.errstate(invalid="raise"):
        return float(np.sum(np.sqrt(x) ** 3))


def _divided(x: Any) -> float:
    return float(sum((v - 0.001) / (v > 1e-6) for v in x.tolist()))


def _of_cholesky(A: Any) -> float:
    return float(2 * np.sum(np.log(np.diag(np.linalg.cholesky(A)))))


#: A loss, its gradient, and a point of which the check's first steps leave the domain.
NARROW: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any]] = {
    "math domain error": (
        lambda x: sum(math.log(v) for v in x), lambda x: 1 / x, np.array([0.001, 1.0, 2.0]),
    ),
    "FloatingPointError": (_floating, lambda x: 1.5 * np.sqrt(x), np.array([1e-3, 1.0, 2.0])),
    "ZeroDivisionError": (_divided, np.ones_like, np.array([1e-5, 1.0, 2.0])),
    "LinAlgError": (_of_cholesky, lambda A: np.linalg.inv(A).T, np.diag([1e-3, 1.0])),
}  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", NARROW)
def test_other_steps_decide(name: str, workers: int) -> None:
    loss, gradient, x = NARROW[name]
    right = check_gradient(loss, gradient, x, workers=workers)
    assert right.passed
    told = [f.message for f in right.findings if f.kind == "outside"]
    assert len(told) == 1
    assert "some of the check's steps" in told[0]
    assert name in told[0]
    wrong = check_gradient(loss, lambda x: 1.1 * gradient(x), x, workers=workers)
    assert wrong.verdict is Verdict.FAIL


def test_along_directions() -> None:
    loss, gradient, _ = NARROW["math domain error"]
    x = np.linspace(0.001, 2.0, 50)
    assert check_gradient(loss, gradient, x, mode="directional").passed
    wrong = check_gradient(loss, lambda x: 1.1 * gradient(x), x, mode="directional")
    assert wrong.verdict is Verdict.FAIL


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_an_edge_on_the_point_stops_the_check(mode: str) -> None:
    def loss(x: Any) -> float:
        return math.sqrt(x[0]) ** 3 + float(x[1]) ** 2

    with pytest.raises(ValueError, match="domain error") as edge:
        check_gradient(loss, lambda x: np.array([0.0, 2 * x[1]]), np.array([0.0, 0.3]), mode=mode)
    assert "the check moved 'parameters' by" in edge.value.__notes__[0]


def test_what_fails_elsewhere_is_told_all_the_same() -> None:
    report = check_gradient(
        lambda p: math.sqrt(p["a"]) ** 3 + float(np.sum(p["b"] ** 3)),
        lambda p: {"a": np.zeros(()), "b": p["b"] ** 2},
        {"a": np.zeros(()), "b": np.array([0.3, 0.4])},
    )
    assert report.verdict is Verdict.FAIL
    assert [row.name for row in report.rows if row.verdict is Verdict.FAIL] == ["b"]


@pytest.mark.parametrize("kind", [TypeError, KeyError, AttributeError])
def test_other_errors_end_the_check_at_once(kind: type[Exception]) -> None:
    x, raised = np.array([1.0, 2.0]), []

    def loss(given: Any) -> float:
        if not np.array_equal(given, x):
            raised.append(1)
            raise kind("a mistake")
        return float(given @ given)

    with pytest.raises(kind, match="a mistake"):
        check_gradient(loss, lambda x: 2 * x, x)
    assert len(raised) == 1


TIED = np.array([1.5, -0.5, 1.5, 1.5, 1.5])


def _tied(share: float) -> Callable[[Any], Any]:
    """The gradient of 2 max p + p·p; each of several largest entries gets a share."""

    def gradient(p: Any) -> Any:
        top = p == p.max()
        return np.where(top, share if top.sum() > 1 else 2.0, 0.0) + 2 * p

    return gradient


def _at_ties(share: float, refuses: Callable[[Any], bool], kind: Any = ValueError) -> Any:
    """The row of that gradient at four tied entries, of a loss that refuses what is beside them."""

    def loss(p: Any) -> float:
        if refuses(p - TIED):
            raise kind("too far")
        return float(2 * p.max() + p @ p)

    (row,) = check_gradient(loss, _tied(share), TIED, mode="entrywise").rows
    return row


def _far(move: Any) -> bool:
    return bool(np.max(np.abs(move)) > 1e-4)


def test_far_outside_of_a_kink_fails_though_there_is_no_value_beside_it() -> None:
    assert _at_ties(0.5, _far).verdict is Verdict.UNDECIDED
    assert _at_ties(5.0, _far).verdict is Verdict.UNDECIDED  # slopes of 0 and 2: several choices?
    far = _at_ties(1e4, _far)
    assert far.verdict is Verdict.FAIL
    assert "outside of the slopes by 5.0e+03 times what they differ by" in far.reason
    assert "(ValueError: too far)" in far.reason


def test_an_error_beside_a_kink_that_is_none_of_a_domain_is_told() -> None:
    def refuses(move: Any) -> bool:
        return bool(np.min(np.abs(move)) > 1e-3)  # all entries, as beside the point alone

    with pytest.raises(TypeError, match="too far"):
        _at_ties(5.0, refuses, TypeError)
    row = _at_ties(5.0, refuses)
    assert row.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("side", [1, -1])
def test_a_point_beside_a_kink_may_lie_on_one_side_only(side: int) -> None:
    row = _at_ties(5.0, lambda move: bool(np.min(side * move) < -1e-3 and np.all(move)))
    assert "beside the point it is right" in row.reason
