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
