"""Identities are decided by polynomials, whatever the fingerprints say."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from gradcheck_rnn.derivation.proof import Redraw
from gradcheck_rnn.derivation.proof.certificate import differ
from gradcheck_rnn.derivation.proof.graph import ExactGraph, ExactNode
from gradcheck_rnn.derivation.proof.identities import Identities


@pytest.fixture
def identities() -> Identities:
    return Identities()


@pytest.fixture
def graph(identities: Identities) -> ExactGraph:
    return ExactGraph(identities)


Pair = Callable[[ExactNode, ExactNode, ExactNode], tuple[ExactNode, ExactNode]]

TRUE: dict[str, Pair] = {
    "square": lambda a, b, c: ((a + b) ** 2, a * a + 2 * a * b + b * b),
    "order of sums": lambda a, b, c: ((a + b) + c, a + (c + b)),
    "fractions": lambda a, b, c: (1 / a + 1 / b, (a + b) / (a * b)),
    "nested fractions": lambda a, b, c: (1 / (1 + 1 / (a + b)), (a + b) / (1 + b + a)),
    "two denominators": lambda a, b, c: (
        1 / ((a + b) * (a + c)),
        (1 / (a + b) - 1 / (a + c)) / (c - b),
    ),
    "rationals": lambda a, b, c: (a / 3 + a / 6, a * Fraction(1, 2)),
    "negative powers": lambda a, b, c: (a**-2 * a**3, a),
    "slope of tanh": lambda a, b, c: (
        1 - a.tanh() ** 2,
        (1 - a.tanh()) * (1 + a.tanh()),
    ),
    "tanh is odd": lambda a, b, c: (b - (a - b).tanh(), b + (b - a).tanh()),
    "sin is odd": lambda a, b, c: (c * (-a).sin(), -(c * a.sin())),
    "cos is even": lambda a, b, c: (c + (-a).cos(), c + a.cos()),
    "sigmoid mirrored": lambda a, b, c: (c * (-a).sigmoid(), c - c * a.sigmoid()),
    "exp of a multiple": lambda a, b, c: ((a + b).exp() ** 3, (3 * b + 3 * a).exp()),
    "exp of the negative": lambda a, b, c: (a.exp() * (-a).exp() * b, b + 0 * a),
    "value at zero": lambda a, b, c: (((a + b) - a - b).exp() + c, 1 + c),
    "bit mirrored": lambda a, b, c: ((b - a).positive_bit() + c, 1 - (a - b).positive_bit() + c),
    "same argument, other order": lambda a, b, c: (((a + b) + c).tanh(), (a + (b + c)).tanh()),
    "roots": lambda a, b, c: (
        (a + b) ** Fraction(2, 3),
        (b + a) ** Fraction(1, 3) * 1 * (a + b) ** Fraction(1, 3),
    ),
}

FALSE: dict[str, Pair] = {
    "sign": lambda a, b, c: ((a - b) ** 2, a * a + 2 * a * b + b * b),
    "factor": lambda a, b, c: (1 / a + 1 / b, 2 * (a + b) / (a * b)),
    "argument": lambda a, b, c: (a.tanh(), (a + b).tanh()),
    "function": lambda a, b, c: (a.tanh(), a.sin()),
    "even and odd": lambda a, b, c: ((-a).tanh(), a.tanh()),
    "power": lambda a, b, c: (a.exp() ** 2, (3 * a).exp()),
}


@pytest.mark.parametrize("pair", TRUE.values(), ids=TRUE)
@pytest.mark.parametrize("comparing", [False, True])
def test_identities_hold(
    graph: ExactGraph, identities: Identities, pair: Pair, comparing: bool
) -> None:
    a, b, c = (graph.random() for _ in range(3))
    graph.comparing = comparing
    left, right = pair(a, b, c)
    assert identities(left, right)
    if comparing:
        assert left is right


@pytest.mark.parametrize("pair", FALSE.values(), ids=FALSE)
def test_what_is_different_is_not_equal(
    graph: ExactGraph, identities: Identities, pair: Pair
) -> None:
    left, right = pair(*(graph.random() for _ in range(3)))
    assert not identities(left, right)
    assert differ(left, right)


def test_equal_fingerprints_are_not_a_proof(graph: ExactGraph, identities: Identities) -> None:
    """Two indeterminates forced to look the same: only the polynomials tell them apart."""
    x, y, z = (graph.random() for _ in range(3))
    y.value = x.value
    assert not identities(x * z + 1, y * z + 1)
    y.free = x.free
    assert not identities(x * z + 2, y * z + 2)
    assert set(identities.reasons.values()) == {"the fingerprints agree by chance only"}
    assert identities.decided == 0


def test_a_zero_fingerprint_is_not_a_zero(graph: ExactGraph, identities: Identities) -> None:
    x, y = graph.random(), graph.random()
    y.value = x.value
    difference = x - y
    assert difference.value == 0
    assert not identities(difference, graph.zero)
    assert difference.exp().operation == "call"


def test_a_relation_that_is_not_known_is_not_used(
    graph: ExactGraph, identities: Identities
) -> None:
    z = graph.random()
    left, right = z.tanh(), 2 * (2 * z).sigmoid() - 1
    assert not identities(left, right)
    assert differ(left, right) is False


def test_limits_leave_undecided(graph: ExactGraph) -> None:
    a, b = graph.random(), graph.random()
    left, right = (a**2 - b**2) ** 6, (a + b) ** 6 * (a - b) ** 6
    for limited, why in (
        (Identities(terms=10), "blow-up: up to"),
        (Identities(deadline=0.0), "time limit"),
        (Identities(nodes=3), "blow-up: more than 3 nodes"),
    ):
        assert not limited(left, right)
        assert limited.reason(left, right).startswith(why)
    assert Identities()(left, right)


def test_a_common_denominator_has_a_limit(graph: ExactGraph) -> None:
    a, b, c = (graph.random() for _ in range(3))
    left = (1 / (a + b) - 1 / (a + c)) ** 4
    right = ((c - b) / ((a + b) * (a + c))) ** 4
    assert Identities()(left, right)
    few = Identities(terms=60)
    assert not few(left, right)
    assert "common denominator" in few.reason(left, right)


def test_a_division_by_zero_asks_for_another_point(graph: ExactGraph) -> None:
    a = graph.random()
    with pytest.raises(Redraw):
        1 / (a - a)


def test_real_points_where_roots_and_logarithms_are_defined(graph: ExactGraph) -> None:
    a = graph.random()
    assert differ(a.log(), a.sqrt())
    assert differ(a ** Fraction(1, 3), a ** Fraction(1, 2))
    assert differ((-(a**2)).log(), a) is None
