"""What pages print is what was derived: tidied terms and Kronecker forms have the same values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.calculus.terms import Diag, Eye, Scale, Sym, Times
from gradcheck_rnn.derivation import Derivation, evaluate
from gradcheck_rnn.derivation.batches import vec
from gradcheck_rnn.derivation.simplification import tidy
from gradcheck_rnn.language.running import to_columns
from gradcheck_rnn.verify.harness.plan import draw_values
from gradcheck_rnn.verify.points import draw_point
from tests.property.blocks import Seeded, make
from tests.property.pipeline import load_text


def check(derivation: Derivation, seed: int) -> int:
    """Compare every edge's Jacobian and pullback with what a page makes of them, at one step."""
    network, rng = derivation.network, np.random.default_rng(seed)
    sizes = draw_point(network, seed).sizes
    lengths = dict.fromkeys(network.axes, 4)
    values = draw_values(network, sizes, 1, lengths, "ordinary", rng)
    refs = {**network.parameters, **network.inputs}
    columns = {n: to_columns(refs[n], a) for n, a in values.items()}
    run = evaluate.forward(derivation, columns, sizes, lengths)
    edges = list(derivation.edges)

    def at(t: int, also: Mapping[Sym, Any] | None = None) -> Callable[[Sym], Any]:
        values = run.lookup(t, also)
        return lambda s: run.batches.single(values(s))

    for edge in edges:
        t = 0 if edge.equation.lag is None else 2
        like = run.batches.single(run.series[edge.equation.name][t])
        bar = rng.standard_normal(like.shape)
        also = {edge.adjoint: bar}
        jacobian = run.terms(edge.jacobian, at(t))
        np.testing.assert_allclose(
            run.terms(tidy(edge.jacobian), at(t)), jacobian, rtol=1e-12, atol=1e-12
        )
        expected = vec(run.terms(edge.pullback, at(t, also)))
        for term in (edge.vec_pullback, tidy(edge.vec_pullback)):
            found = run.terms(term, at(t, also))
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=edge.id)
    return len(edges)


@pytest.mark.parametrize("name", api.names())
def test_systems(name: str) -> None:
    assert check(api.derive(name), 3) > 0


@pytest.mark.parametrize("seed", [500002, *range(610000, 610012)])
def test_random_definitions(seed: int) -> None:
    text, name = make(Seeded(seed), 5, 60)
    check(api.derive(load_text(text, name)), seed)


def test_products_of_diagonal_matrices_of_one_entry_lose_no_factor() -> None:
    s, r, x = Sym("s", 1), Sym("r", 1), Sym("x", 1, "p")
    assert tidy(Times(Diag(s), Diag(r))).has(s, r)
    assert tidy(Times(Eye(1), Diag(s))) == Diag(s)
    assert tidy(Times(Diag(s), x)) == Scale(s, x)
