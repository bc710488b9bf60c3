"""Fixed parameters with given values, and domains with one end."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, api, check_model
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.dynamics.initialisation import build
from gradcheck_rnn.errors import DefinitionError, DimensionError
from gradcheck_rnn.language import cell, maximum, tanh
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify.points import draw_point
from tests.language.rooms import rooms

HAAR = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, -1, 0, 0]]) / 2


def hilbert(rows: int, columns: int) -> Any:
    return 1 / (1 + np.add.outer(np.arange(rows), np.arange(columns)))


@cell(
    inputs="x: 4",
    states="h: n",
    params="U: n 3; b: n",
    fixed={"F": HAAR, "P": ("n n", hilbert), "s": 0.5, "w": ("n", lambda n: np.arange(n) % 2)},
    at_most={"b": 1.0},
)
def filtered(x, h, U, b, F, P, s, w):
    return tanh(s * (P @ (w * h)) + U @ maximum(F @ x, 0.1) + b)


def test_given_values_go_through_every_room(tmp_path: Path) -> None:
    made = rooms(filtered, tmp_path)
    np.testing.assert_array_equal(made.arrays["F"], HAAR)
    assert "F: 3 × 4 (fixed parameter; given)" in api.render(made.derivation)
    api.report(filtered, tmp_path / "page.typ")


def test_points_and_decay_have_them() -> None:
    network = as_network(filtered)
    for shape in (0, 1, 2):
        point = draw_point(network, 3, shape=shape)
        n = point.sizes["n"]
        np.testing.assert_array_equal(point.values["F"], HAAR)
        np.testing.assert_array_equal(point.values["P"], hilbert(n, n))
        assert point.values["s"] == 0.5
        assert (point.values["b"] <= 1).all()
    values = build(network, sizes={"n": 5}).values
    np.testing.assert_array_equal(values["P"], hilbert(5, 5))
    np.testing.assert_array_equal(values["w"], [[0], [1], [0], [1], [0]])


def test_code_that_has_the_values_in_it_is_judged() -> None:
    """The layout need not place them; code with other values is wrong."""

    @cell(inputs="x: 4", params="v: 3", fixed={"F": HAAR}, outputs="y")
    def mixed(x, v, F):
        return {"y": v * (F @ x)}

    layout = Layout({"v": "v"}, {"x": "x: T B n"}, {"y": "y: T B n"})

    def judged(used: Any) -> Any:
        def forward(v: Any, x: Any) -> Any:
            return {"y": (x @ used.T) * v}, (v, x)

        def backward(cotangents: Any, saved: Any) -> Any:
            (v, x), dy = saved, cotangents["y"]
            return {"v": (dy * (x @ used.T)).sum((0, 1)), "x": (dy * v) @ used}

        return check_model(mixed, forward=forward, backward=backward, layout=layout)

    assert judged(HAAR).passed
    assert not judged(HAAR * [[1], [1], [-1]]).passed


def test_what_cannot_be_given_is_said() -> None:
    def declared(**options: Any) -> Any:
        return cell(inputs="x: n", outputs="y", **options)(lambda x, P: {"y": P @ x})

    with pytest.raises(DefinitionError, match="say of which dims"):
        declared(fixed={"P": hilbert})
    with pytest.raises(DefinitionError, match="give an array of finite numbers"):
        declared(fixed={"P": [[np.nan]]})
    with pytest.raises(DefinitionError, match="has given values and a domain"):
        declared(fixed={"P": ("n n", hilbert)}, domains={"P": "0/1"})
    with pytest.raises(DefinitionError, match="say it once, in domains"):
        declared(fixed="P: n n", at_least={"P": 0.0}, at_most={"P": 1.0})
    wrong = declared(fixed={"P": ("n n", HAAR)})
    derive(wrong)
    with pytest.raises(DimensionError, match=r"have shape \(3, 4\); \(3, 3\) is needed"):
        draw_point(as_network(wrong), 1, sizes={"n": 3})
