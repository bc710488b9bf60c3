"""The pattern of wrong entries in a black-box check, by gradients that are wrong in one way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify.patterns import pattern

RNG = np.random.default_rng(3)
#: Four gates of three units, five inputs; sequences of four steps, two a batch.
W, X, SQUARES = RNG.normal(size=(12, 5)), RNG.normal(size=(4, 2, 3)), RNG.normal(size=(6, 3))
B = RNG.normal(size=12)


def check(at: Any, spoil: Any) -> str:
    weight = np.linspace(0.5, 1.7, at.size).reshape(at.shape)

    def gradient(a: Any) -> Any:
        return spoil(weight * np.cos(a))

    report = check_gradient(lambda a: (weight * np.sin(a)).sum(), gradient, at)
    assert str(report.verdict) == "fail"
    return report.sentence()


def put(index: Any, value: Any) -> Any:
    def spoil(g: Any) -> Any:
        g = g.copy()
        g[index] = value(g[index])
        return g

    return spoil


@pytest.mark.parametrize(
    ("at", "spoil", "said"),
    [
        (W, put(np.s_[3:6], lambda g: 0 * g),
         ("exactly indices 3 to 5 of 12 along axis 0 (rows): block 2 of 4, a gate if gates are "
         "stacked there; there it is zero")),
        (W, put(np.s_[:, 2], lambda g: -g),
         "exactly index 2 of 5 along axis 1 (columns); there it has the opposite sign"),
        (B, put(np.s_[9:], lambda g: 2 * g),
         ("indices 9 to 11 of 12 along the only axis: block 4 of 4, a gate if gates are stacked "
         "there; there it is 2 times the difference quotients")),
        (W, put(np.s_[[0, 4, 7]], lambda g: g + 0.1), "exactly indices 0, 4, 7 of 12 along axis 0"),
        (X, put(np.s_[:3], lambda g: g * g), "exactly indices 0 to 2 of 4 along axis 0"),
        (X, put(np.s_[[0, 1, 3]], lambda g: g * g), "right along axis 0 are index 2 of 4 alone"),
        (X, lambda g: g[::-1].copy(), "in the reverse order along axis 0"),
        (X, lambda g: np.roll(g, 1, 0), "what belongs to the entry before it, around the end"),
        (W, lambda g: np.concatenate([g[3:6], g[:3], g[6:]]),
         ("the 4 blocks of 3 along axis 0 (rows) are in another order: where 1 to 4 belong stand "
         "2, 1, 3, 4")),
        (W, lambda g: g.T.reshape(g.shape), "those of the transpose, read in the order of this"),
        (SQUARES, lambda g: np.concatenate([g[:3].T, g[3:].T]),
         "each of the 2 blocks of 3 along axis 0 (rows) is transposed"),
    ],
)  # fmt: skip
def test_the_pattern_is_in_the_first_sentence(at: Any, spoil: Any, said: str) -> None:
    assert said in check(at, spoil)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda g: g + 0.1 * np.sin(np.arange(g.size)).reshape(g.shape),  # everywhere
        put(([0, 5], [1, 3]), lambda g: g + 1),  # two entries in rows that are right otherwise
    ],
)
def test_no_pattern_where_there_is_none(spoil: Any) -> None:
    sentence = check(W, spoil)
    assert "along" not in sentence
    assert "transpose" not in sentence


def test_entries_that_are_zero_anyway_do_not_hide_a_row() -> None:
    numeric = np.ones((4, 3))
    numeric[2, 1] = 0.0
    analytic, bound = numeric.copy(), np.full((4, 3), 1e-9)
    analytic[2] = 0.0
    wrong = np.abs(analytic - numeric) > bound
    known = np.ones_like(wrong)
    told = pattern(analytic, numeric, bound, wrong, known)
    assert told.startswith("wrong are exactly index 2 of 4 along axis 0")


def test_wide_bounds_tell_no_order() -> None:
    numeric = 1 + 1e-3 * RNG.normal(size=(6, 2))
    analytic, bound = numeric[::-1], np.full((6, 2), 1e-2)
    assert pattern(analytic, numeric, bound, np.zeros((6, 2), bool), np.ones((6, 2), bool)) == ""
