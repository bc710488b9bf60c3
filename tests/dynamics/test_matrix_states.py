"""Decay of matrix states and of heads: vec of the state, head after head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.cli import main
from gradcheck_rnn.dynamics.analysis import analyse
from gradcheck_rnn.dynamics.expansion import expansion
from gradcheck_rnn.dynamics.factors import Factor
from gradcheck_rnn.dynamics.initial_conditions import read_start, started
from gradcheck_rnn.dynamics.initialisation import build
from gradcheck_rnn.dynamics.inputs import Given
from gradcheck_rnn.dynamics.model_source import follow
from gradcheck_rnn.dynamics.products import decay
from gradcheck_rnn.dynamics.system import Model, System
from gradcheck_rnn.dynamics.trajectory import forward
from gradcheck_rnn.errors import DimensionError
from gradcheck_rnn.language import cell, outer, sum_heads, tanh
from gradcheck_rnn.language.network import as_network
from tests.dynamics.test_jacobian import by_differences, jacobians, product
from tests.property.pipeline import load_text
from tests.strategies.choices import Seeded
from tests.strategies.random_stacks import random_stack_cell

STEPS = 5


@cell(
    states="S: H n m; z: d",
    inputs="x: d; v: H m; g: H",
    params="U: d d; W_k: H n d; W_o: H d n; a: H n",
    heads="H",
)
def joined_heads(S: Any, z: Any, x: Any, v: Any, g: Any, U: Any, W_k: Any, W_o: Any, a: Any) -> Any:
    """Heads that read each other through a state that they share."""
    k = tanh(W_k @ z) + a
    S = g * S + outer(k, v)
    z = tanh(U @ z + sum_heads(W_o @ (S @ v)) + x)
    return S, z


def joined() -> Model:
    return build(as_network(joined_heads), sizes={"H": 2, "n": 3, "m": 4, "d": 5}, seed=4, gain=0.6)


def agrees(system: System) -> bool:
    expected, error = by_differences(system, STEPS)
    return bool((abs(product(jacobians(system, STEPS)) - expected) <= error).all())


def test_heads_that_read_each_other() -> None:
    (system,) = joined().systems()
    assert system.n == 2 * 3 * 4 + 5
    assert agrees(system)


@pytest.mark.parametrize(
    "fault",
    [
        lambda f, rows, cols: f.dense()[..., ::-1, :, :],
        lambda f, rows, cols: f.dense() * np.arange(1, f.dense().shape[-3] + 1)[:, None, None],
    ],
    ids=["heads in another order", "heads of another size"],
)
def test_wrong_heads_are_seen(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Factor.over_heads

    def wrong(self: Factor, rows: int, cols: int) -> Factor:
        if self.matrix is None or self.matrix.ndim < 4 or self.matrix.shape[-3] == 1:
            return right(self, rows, cols)
        return right(Factor(self.rows, self.cols, None, fault(self, rows, cols)), rows, cols)

    monkeypatch.setattr(Factor, "over_heads", wrong)
    (system,) = joined().systems()
    assert not agrees(system)


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_random_cells(seed: int, heads: bool) -> None:
    network = load_text(random_stack_cell(Seeded(seed), heads), "stacked")
    sizes = {"n": 3, "m": 2} | ({"H": 2} if heads else {})
    (system,) = build(network, sizes=sizes, seed=seed).systems()
    assert agrees(system)


def test_within_heads_that_read_each_other() -> None:
    (system,) = joined().systems()
    found = decay(system, STEPS, paths=False, gates=False)
    whole = product(jacobians(system, STEPS))
    blocks = [np.linalg.norm(whole[p, p], 2) for p in system.parts("S")]
    np.testing.assert_allclose(found.heads["S"][-1], np.log(blocks))
    assert "z" not in found.heads


def test_the_delta_rule_written_out() -> None:
    network = cells.get("delta_net")
    sizes = {"n": 3, "m": 2}
    rng = np.random.default_rng(5)
    given = {
        name: rng.normal(size=(STEPS, *(d.size(sizes) for d in ref.shape.axes or ())))
        for name, ref in network.inputs.items()
        if ref.axis is not None
    }
    sources = {n: Given(a.reshape(STEPS, -1)) for n, a in given.items()}
    (system,) = build(network, sizes=sizes, inputs=sources).systems()
    (segment,) = forward(system, STEPS)
    for t, found in enumerate(segment.jacobian()):
        k, beta, alpha = given["k"][t], float(given["beta"][t]), float(given["alpha"][t])
        # S k kᵀ column by column: every entry of S moved on its own.
        want = np.zeros((6, 6))
        for j in range(6):
            moved = np.zeros(6)
            moved[j] = 1.0
            change = moved.reshape(3, 2).T
            want[:, j] = (alpha * (change - beta * np.outer(change @ k, k))).T.ravel()
        np.testing.assert_allclose(found, want, atol=1e-13)


def test_a_head_decays_by_its_own_factor() -> None:
    network = cells.get("multihead_retention")
    sizes = {"H": 2, "n": 3, "m": 4, "d": 5}
    model = build(network, sizes=sizes, parameters={"gamma": [0.5, 0.9]})
    found = analyse(model, 60, with_remedies=False)
    rates = np.repeat(np.log([0.9, 0.5]), 12)
    np.testing.assert_allclose(found.exponents.exponents, rates, atol=1e-3)
    assert found.exponents.exponents.sum() == pytest.approx(rates.sum())
    np.testing.assert_allclose(found.decay.norm, found.decay.lags * np.log(0.9), atol=1e-9)
    lags = found.decay.lags[:, None]
    np.testing.assert_allclose(found.decay.heads["S"], lags * np.log([0.5, 0.9]), atol=1e-9)
    assert any("head 2 keeps most and head 1 least" in s for s in found.verdict.sentences)
    (path,) = found.carousels
    assert path.log_products.shape == (len(path.lags), 24)


@pytest.mark.parametrize("parameter", ["W_k", "a", "U"])
def test_expansion_of_what_heads_read(parameter: str) -> None:
    model = joined()
    (system,) = model.systems()
    found = expansion(system, parameter, STEPS)
    value, step, columns = model.values[parameter], 1e-5, []
    for k in range(value.size):
        ends = []
        for sign in (1, -1):
            moved = value.copy()
            moved.flat[k] += sign * step
            (other,) = model.with_values(**{parameter: moved}).systems()
            last = list(forward(other, STEPS))[-1].line
            ends.append(np.concatenate([last[n][:, -1] for n in other.states]))
        columns.append((ends[0] - ends[1]) / (2 * step))
    norm = np.linalg.norm(np.stack(columns))
    np.testing.assert_allclose(np.exp(found.log_norm), norm, rtol=1e-7)


def test_starts_and_inputs_have_the_shapes_of_the_doors() -> None:
    model = joined()
    first = np.random.default_rng(0).normal(size=(2, 3, 4))
    by_array = started(model, read_start({"S0": first}), 0)
    (system,) = by_array.systems()
    np.testing.assert_array_equal(
        system.start()["S"][:, 0], np.concatenate([s.ravel(order="F") for s in first])
    )
    by_value = build(model.network, sizes=model.sizes, parameters={"S0": first}, seed=4, gain=0.6)
    np.testing.assert_array_equal(by_value.systems()[0].start()["S"], system.start()["S"])
    with pytest.raises(DimensionError, match=r"'S0' has shape \(3, 4\), expected \(2, 3, 4\)"):
        started(model, read_start({"S0": first[0]}), 0)
    values = np.random.default_rng(1).normal(size=(STEPS, 2, 4))
    fed = build(model.network, sizes=model.sizes, inputs={"v": Given(values)}, seed=4)
    (segment,) = forward(fed.systems()[0], STEPS)
    np.testing.assert_array_equal(segment.moving["v"].T, values.reshape(STEPS, 8))
    gates = {"g": Given(np.full((STEPS, 2), 0.5))}
    assert build(model.network, inputs=gates).sizes["H"] == 2
    with pytest.raises(DimensionError, match="'v' has 6 numbers a step, expected 8"):
        build(model.network, sizes=model.sizes, inputs={"v": Given(values[:, :, :3])})


def test_weights_of_heads_from_a_file(tmp_path: Path) -> None:
    network = cells.get("multihead_retention")
    sizes = {"H": 2, "n": 3, "m": 4, "d": 5}
    arrays = build(network, sizes=sizes, seed=2).values
    held = {n: arrays[n].reshape([d.size(sizes) for d in r.shape.axes])
            for n, r in network.parameters.items()}  # fmt: skip
    np.savez(tmp_path / "weights.npz", **held)
    (found,) = follow(
        network, tmp_path / "weights.npz", {}, cells.get("elman").scans[0].cell, steps=60
    )
    assert found.decay.norm[-1] == pytest.approx(60 * np.log(held["gamma"].max()))


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    size = ["--size", "n=2", "--size", "m=3", "--size", "H=2", "--size", "d=4"]
    assert main(["decay", "multihead_retention", "--steps", "60", *size, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "S" in str(found)
    page = tmp_path / "decay.html"
    assert main(["decay", "delta_net", "--steps", "60", "--no-remedies", *size[:4],
                 "-o", str(page)]) == 0  # fmt: skip
    assert "delta_net" in page.read_text()
