"""The slopes the oracle uses are the derivatives of the definitions, and wrong ones are refused."""

from __future__ import annotations

import pytest

from gradcheck_rnn.derivation.proof.scalars import certify
from gradcheck_rnn.errors import MissingRule
from gradcheck_rnn.language.ops.elementwise import ELEMENTWISE


@pytest.mark.parametrize("function", sorted(ELEMENTWISE))
def test_slope_is_certified(function: str) -> None:
    assert certify(function)


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        ("tanh", "1 - y"),
        ("sigmoid", "y*(1 + y)"),
        ("softplus", "sigmoid(-x)"),
        ("exp", "y + 1"),
        ("log", "-1/x"),
        ("sqrt", "1/y"),
        ("sin", "-cos(x)"),
        ("cos", "sin(x)"),
        ("relu", "1 - positive_bit(x)"),
        ("elu", "exp(x)"),
        ("elu", "1"),
    ],
)
def test_a_wrong_slope_is_refused(function: str, wrong: str) -> None:
    assert not certify(function, wrong)


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(MissingRule, match="'swish'"):
        certify("swish")
