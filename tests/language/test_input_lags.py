"""Inputs of earlier steps: x_{t−1} beside x_t."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.errors import DefinitionError
from gradcheck_rnn.language import cell, outer, tanh
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import run, to_columns
from tests.language.rooms import rooms


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U V R: p d",
    lags={"x": (0, 1, 3), "h": (1, 2)},
)
def convolved(x, h, W, U, V, R):
    return tanh(W @ h[2] + U @ x[0] + V @ x[1] * h[1] + R @ x[3])


@cell(
    inputs="k: n; v: m",
    data="z:",
    states="S: n m",
    params="a: n",
    lags={"k": (0, 1), "z": (1,)},
    domains={"z": "0/1"},
)
def shifted(k, v, z, S, a):
    mixed = a * k[0] + (1 - a) * k[1]
    return (1 - 0.5 * z[1]) * S + outer(mixed, v)


@pytest.mark.parametrize("definition", [convolved, shifted])
def test_lagged_inputs_go_through_every_room(definition: Any, tmp_path: Path) -> None:
    rooms(definition, tmp_path)


def test_the_input_of_the_step_before_is_that() -> None:
    rng = np.random.default_rng(1)
    x, x0 = rng.normal(size=(4, 2, 3)), rng.normal(size=(2, 3))

    @cell(inputs="x: d", outputs="y", lags={"x": (0, 1)})
    def difference(x, **_):
        return {"y": x[0] - x[1]}

    network = Network("differences")
    network.output(network.scan(difference).y)
    made = run(network, {"x": x, "x_last0": x0})["y"]
    np.testing.assert_array_equal(made, x - np.concatenate([x0[None], x[:-1]]))
    zero = Network("from_zero")
    zero.output(zero.scan(difference, initial={"x": None}).y)
    assert set(zero.inputs) == {"x"}
    np.testing.assert_array_equal(run(zero, {"x": x})["y"][0], x[0])
    page = api.render(derive(difference))
    assert "= x_t − x_{last,t−1}" in page
    assert "δx_t        = δy_t + δx_{last,t}" in page


def test_a_mask_holds_the_line_and_the_past_of_data_is_data() -> None:
    network = Network("held")
    mask = network.input("mask", "", data=True, domain="0/1")
    made = network.scan(shifted, mask=mask)
    network.output(made.S)
    assert network.inputs["z_last0"].kind == "static_data"
    assert network.inputs["k_last0"].kind == "static"
    rng = np.random.default_rng(2)
    k, v, z = rng.normal(size=(3, 1, 2)), rng.normal(size=(3, 1, 3)), np.ones((3, 1))
    values = {
        "k": k, "v": v, "z": z, "a": np.zeros(2), "mask": np.array([[1.0], [0], [1]]),
        "S0": np.zeros((1, 2, 3)), "k_last0": np.ones((1, 2)), "z_last0": np.zeros(1),
    }  # fmt: skip
    refs = network.parameters | network.inputs
    S = run(network, {n: to_columns(refs[n], a) for n, a in values.items()})["S"]
    first = np.outer(np.ones(2), v[0, 0])
    np.testing.assert_allclose(S[1, ..., 0], first)
    np.testing.assert_allclose(S[2, ..., 0], 0.5 * first + np.outer(k[0, 0], v[2, 0]))


def test_what_cannot_be_lagged_is_said() -> None:
    with pytest.raises(DefinitionError, match="not a state, an input or data"):
        cell(inputs="x: d", params="w: d", outputs="y", lags={"w": (1,)})(lambda x, w: {"y": x * w})
    with pytest.raises(DefinitionError, match="one of them positive"):
        cell(inputs="x: d", outputs="y", lags={"x": (0,)})(lambda x: {"y": x[0]})
    with pytest.raises(DefinitionError, match="rename that one"):
        cell(inputs="x x_last: d", outputs="y", lags={"x": (0, 1)})(
            lambda x, x_last: {"y": x[1] * x_last}
        )
    with pytest.raises(DefinitionError, match=r"declared with lags \(0, 1\), not 2"):
        derive(cell(inputs="x: d", outputs="y", lags={"x": (0, 1)})(lambda x: {"y": x[2] * x[1]}))
