"""The complex step where code chooses by the real part: allowed off a tie, refused otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.verify import Verdict, check_gradient

A = np.random.default_rng(3).normal(size=(4, 3))
POINT = {"w": np.random.default_rng(4).normal(size=3), "u": np.array([0.5, -0.7])}
TINY = 1e-20  # hidden in the roundoff of the rest: only the complex step sees it


def branches(x, positive):
    return np.where(positive, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


def masked(x):
    y, at = np.empty_like(x), x.real > 0
    y[at] = 1 / (1 + np.exp(-x[at]))
    y[~at] = np.exp(x[~at]) / (1 + np.exp(x[~at]))
    return y


SIGMOIDS = {
    "x.real": lambda x: branches(x, x.real >= 0),
    "np.real": lambda x: branches(x, np.real(x) > 0),
    "complex": lambda x: branches(x, x >= 0),
    "mask": masked,
}


def gradient(p, factor=1.0):
    s, t = (1 / (1 + np.exp(-x)) for x in (A @ p["w"], p["u"]))
    return {"w": A.T @ (s * (1 - s)), "u": factor * TINY * t * (1 - t)}


@pytest.mark.parametrize("kind", SIGMOIDS)
def test_a_choice_by_the_real_part_is_allowed_off_a_tie(kind):
    sigmoid = SIGMOIDS[kind]
    loss = lambda p: np.sum(sigmoid(A @ p["w"])) + TINY * np.sum(sigmoid(p["u"]))  # noqa: E731
    assert check_gradient(loss, gradient, POINT).passed
    wrong = check_gradient(loss, lambda p: gradient(p, 1.5), POINT)
    assert [row.verdict for row in wrong.rows] == [Verdict.PASS, Verdict.FAIL]


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (lambda x: 1 / (1 + np.exp(-x.real)), "real"),
        (lambda x: branches(x, (x - 0.5).real >= 0), "tie"),
        (lambda x: branches(x - 0.5, (x - 0.5) ** 2 > 0), "tie"),
        (lambda x: np.max(np.append(x, 0.5)), "tie"),
    ],
)
def test_a_value_computed_from_the_real_part_or_a_tie_is_refused(lost, words):
    loss = lambda p: np.sum(SIGMOIDS["x.real"](A @ p["w"])) + TINY * np.sum(lost(p["u"]))  # noqa: E731
    report = check_gradient(loss, gradient, POINT)
    assert report.rows[1].verdict is Verdict.UNDECIDED
    assert words in report.rows[1].reason


def decays(x):
    """exp of sums of logarithms between steps, the upper triangle cut, at most one."""
    G = np.cumsum(x)
    return np.exp(np.minimum(np.tril(G[:, None] - G[None]), 0))


def decays_gradient(x, factor=1.0):
    G = np.cumsum(x)
    D = G[:, None] - G[None]
    dD = np.exp(np.minimum(D, 0)) * np.tril(D < 0, -1)
    return factor * np.cumsum((dD.sum(1) - dD.sum(0))[::-1])[::-1]


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (decays, decays_gradient),
        (lambda x: np.where((x - x[0]).real >= 0, x, 2 * x), lambda x: np.where(x >= x[0], 1, 2)),
        (lambda x: np.maximum(x - x, 0) + x, np.ones_like),
        (lambda x: np.maximum(x * np.array([1, 0]), 0), lambda x: np.array([1, 0]) * (x > 0)),
        (lambda x: np.max(np.stack([0 * x, 0 * x, x]), axis=0), lambda x: x > 0),
    ],
)
def test_a_tie_that_lasts_is_no_kink(function, slope):
    """The diagonal of a mask, a constant beside a constant: no derivative depends on the choice."""
    point = {"w": POINT["w"], "u": np.array([0.5, -0.7])}
    loss = lambda p: np.sum(np.sin(A @ p["w"])) + TINY * np.sum(function(p["u"]))  # noqa: E731

    def pulled(p, factor=1.0):
        return {"w": A.T @ np.cos(A @ p["w"]), "u": factor * TINY * slope(p["u"])}

    assert check_gradient(loss, pulled, point).passed
    wrong = check_gradient(loss, lambda p: pulled(p, 1.1), point)
    assert [row.verdict for row in wrong.rows] == [Verdict.PASS, Verdict.FAIL]
