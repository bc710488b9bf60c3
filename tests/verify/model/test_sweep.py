"""The oracle of model mode: right for the whole zoo, confirmed by differences, and able to fail."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation import evaluate
from gradcheck_rnn.language import cell, relu, tanh
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.running import run, to_rows
from gradcheck_rnn.verify.diagnosis.cross_check import cross_check
from gradcheck_rnn.verify.harness import stepwise
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.harness.layout import Layout
from gradcheck_rnn.verify.harness.modelpoint import ModelPoint
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject
from gradcheck_rnn.verify.harness.sweep import ModelOracle
from gradcheck_rnn.verify.harness.through import Through
from gradcheck_rnn.verify.points import draw_point


def oracle_of(network: Network, seed: int = 1) -> tuple[ModelOracle, Any, dict[str, Any]]:
    point = draw_point(network, seed)
    columns = point.columns(point.values)
    return ModelOracle(network, columns, point.sizes, point.lengths), point, columns


@pytest.mark.parametrize("name", api.names())
def test_equals_the_proved_program_for_every_system(name: str) -> None:
    network = api.load(name)
    oracle, point, columns = oracle_of(network)
    rng = np.random.default_rng(0)
    cotangents = {n: rng.standard_normal((2, *a.shape)) for n, a in oracle.outputs.items()}
    loss = np.ones(2) if network.loss_terms else None
    found = oracle.gradients(cotangents, loss=loss)
    program = evaluate.forward(api.derive(name), columns, point.sizes, point.lengths)
    right = evaluate.bptt(program, {n: g[1] for n, g in cotangents.items()})
    for n, g in right.items():
        expected = to_rows(point.ref(n), g)
        gap = np.abs(found.of[n][1] - expected)
        assert np.max(gap) <= 128 * 2.0**-52 * np.max(found.size[n][1]), n


@pytest.mark.parametrize("name", api.names())
def test_factors_give_what_matrices_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps pulled back through their products, beside the Jacobians of all units by all units."""
    found = []
    for least in (1, 10**9):
        monkeypatch.setattr(stepwise, "FACTORED", least)
        oracle, _, _ = oracle_of(api.load(name))
        rng = np.random.default_rng(0)
        given = {n: rng.standard_normal((2, *a.shape)) for n, a in oracle.outputs.items()}
        loss = np.ones(2) if oracle.network.loss_terms else None
        found.append(oracle.gradients(given, loss=loss))
    for n, g in found[1].of.items():
        assert np.max(np.abs(found[0].of[n] - g)) <= 64 * 2.0**-53 * np.max(found[1].size[n]), n


@pytest.mark.parametrize("name", ["lstm", "gru_reset_after", "elmo", "linear_attention"])
def test_one_evaluation_gives_what_many_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a step reads perturbed on rows of its own, beside one after another."""
    found, evaluations = [], []
    for most in (0, 10**9):
        monkeypatch.setattr(stepwise, "AT_ONCE", most)
        oracle, _, _ = oracle_of(api.load(name))
        found.append([oracle.jacobians(scan).blocks for scan in oracle.network.scans])
        evaluations.append(oracle.evaluations)
    assert evaluations[1] < evaluations[0]
    for one, many in zip(*found, strict=True):
        for a, b in zip(one, many, strict=True):
            assert (a.source, a.of.keys()) == (b.source, b.of.keys())
            for n, j in a.of.items():
                np.testing.assert_allclose(b.of[n], j, rtol=1e-13, atol=1e-15, err_msg=n)


@pytest.mark.parametrize("name", ["elman_hidden", "lstm", "gru", "gru_reset_after"])
def test_cells_of_gates_have_factors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepwise, "FACTORED", 1)
    oracle, _, _ = oracle_of(api.load(name))
    scan = oracle.network.scans[0]
    state = scan.states[0].name
    of = [b.of for b in oracle.jacobians(scan).blocks if b.source == ("value", state, 1)]
    assert len(of) == 1
    assert any(isinstance(j, Through) for j in of[0].values())


def test_agrees_with_forty_digits() -> None:
    """One entry of each parameter of an LSTM, by differences of the definition in mpmath."""
    network = api.load("lstm")
    oracle, point, columns = oracle_of(network)
    weights = {n: np.ones((1, *a.shape)) for n, a in oracle.outputs.items()}
    found = oracle.gradients(weights)
    exact = {n: np.vectorize(mpmath.mpf, otypes=[object])(a) for n, a in columns.items()}
    with mpmath.workdps(40):
        for name in ("W_f", "U_o", "b_c", "h0", "c0", "x"):
            h, values = mpmath.mpf(10) ** -15, []
            for sign in (1, -1):
                moved = exact[name].copy()
                moved.flat[1] += sign * h
                made = run(network, {**exact, name: moved}, point.lengths)
                values.append(sum(np.sum(a) for a in made.values()))
            derivative = (values[0] - values[1]) / (2 * h)
            position = np.arange(exact[name].size).reshape(exact[name].shape)
            at = np.argwhere(to_rows(point.ref(name), position) == 1)[0]
            assert float(derivative) == pytest.approx(found.of[name][0][tuple(at)], rel=1e-13)


def test_extended_precision_is_nearer() -> None:
    network = api.load("lstm_layer_norm")
    double, point, columns = oracle_of(network)
    wide = ModelOracle(
        network, {n: a.astype(np.longdouble) for n, a in columns.items()},
        point.sizes, point.lengths,
    )  # fmt: skip
    ones = {n: np.ones((1, *a.shape)) for n, a in double.outputs.items()}
    a, b = double.gradients(ones), wide.gradients(ones)
    for n in a.of:
        assert b.of[n].dtype == np.longdouble
        assert np.max(np.abs(a.of[n] - b.of[n])) <= 64 * 2.0**-52 * np.max(a.size[n])


def here(network: Network) -> ModelPoint:
    form = precision("float64")
    subject = Subject(
        lambda **_: None, lambda *_: None, None, None, make_arrays("numpy", form), form
    )
    place = next(p for p in plan_points(network, 0) if p.label == "ordinary")
    return ModelPoint.build(place, Layout.of(network), form, subject, 0)


@pytest.mark.parametrize("name", ["lstm", "gru", "elman_delayed", "bidirectional_lstm"])
def test_differences_of_the_whole_confirm_it(name: str) -> None:
    assert cross_check(here(api.load(name)), 0) == []


def test_a_wrong_jacobian_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcheck_rnn.verify.harness import stepwise, sweep

    def spoiled(*args: Any, **options: Any) -> Any:
        found = stepwise.scan_jacobians(*args, **options)
        for a in found.blocks[1].of.values():
            a *= 1 + 1e-6
        return found

    monkeypatch.setattr(sweep, "scan_jacobians", spoiled)
    assert [f.kind for f in cross_check(here(api.load("lstm")), 0)] == ["oracle"]


def test_weights_that_are_no_plain_products() -> None:
    """Tied and transposed weights, and a weight inside a function, are perturbed by entries."""

    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
    def odd(x: Any, h: Any, W: Any, U: Any) -> Any:
        return relu(W @ h + 2 * U @ x) + tanh(W).T @ (0.3 * h)

    network = as_network(odd)
    assert cross_check(here(network), 0) == []


def test_frozen_values_are_held() -> None:
    oracle, _, _ = oracle_of(api.load("lstm_1997_truncated"))
    assert oracle.frozen
    plain, _, _ = oracle_of(api.load("lstm_1997"))
    assert not plain.frozen
    cotangents = {n: np.ones((1, *a.shape)) for n, a in oracle.outputs.items()}
    a, b = oracle.gradients(cotangents), plain.gradients(cotangents)
    assert not np.allclose(a.of["W_i"], b.of["W_i"])
