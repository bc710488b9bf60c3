"""Shortcuts that are taken where arrays are large give what the long way gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.evaluate import Run
from gradcheck_rnn.derivation.weight_products import SampledProducts, WeightProducts, products_only
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify.diagnosis import check_model, cross_check, typical
from gradcheck_rnn.verify.diagnosis.coverage import first_above
from gradcheck_rnn.verify.diagnosis.cross_check import MovedWeight, moved_weights
from gradcheck_rnn.verify.diagnosis.stacked_cotangents import pulled_back, stacked_columns
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.harness.layout import Layout
from gradcheck_rnn.verify.harness.modelpoint import ModelPoint
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject
from gradcheck_rnn.verify.harness.through import Pullback, Summand, Through, pull_step
from tests.verify.model import elman_by_hand


def point_of(name: str) -> ModelPoint:
    """The plan's first point, for code that is never run."""
    network, form = as_network(api.load(name)), precision("float64")

    def unused(*_: Any, **__: Any) -> Any:
        raise NotImplementedError

    subject = Subject(unused, unused, None, None, make_arrays("numpy", form), form)
    place = next(iter(plan_points(network, 0, None, batch=None, full=False)))
    return ModelPoint.build(place, Layout.of(network), form, subject, 0)


@pytest.mark.parametrize("name", ["lstm_layer_norm", "gru", "encoder_decoder", "linear_attention"])
def test_a_product_over_all_steps_is_the_sum_of_those_of_steps(name: str) -> None:
    point = point_of(name)
    run = Run(derive(point.network), point.columns(point.values), point.sizes, point.lengths)
    given = stacked_columns(point, point.cases)
    step, whole = (
        pulled_back(run, point, given, len(point.cases), weights=w) for w in (None, WeightProducts)
    )
    assert step.keys() == whole.keys()
    for n, a in step.items():
        assert a.shape == whole[n].shape
        np.testing.assert_allclose(whole[n], a, rtol=1e-11, atol=1e-12 * np.abs(a).max(initial=1))


@pytest.mark.parametrize("name", ["lstm_layer_norm", "encoder_decoder"])
def test_chosen_rows_and_columns_are_those_of_the_whole_gradient(name: str) -> None:
    point, rng = point_of(name), np.random.default_rng(1)
    derivation = derive(point.network)
    run = Run(derivation, point.columns(point.values), point.sizes, point.lengths)
    given, count = stacked_columns(point, point.cases), len(point.cases)
    weights = {n for n in products_only(derivation) if point.values[n].ndim == 2}
    assert weights
    chosen = {n: tuple(rng.permutation(k)[:2] for k in point.values[n].shape) for n in weights}
    whole = pulled_back(run, point, given, count)
    part = pulled_back(run, point, given, count, weights=partial(SampledProducts, chosen=chosen))
    for n, a in whole.items():
        want = a[..., chosen[n][0][:, None], chosen[n][1]] if n in chosen else a
        np.testing.assert_allclose(part[n], want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("sampled", [False, True])
def test_errors_of_a_coarse_format_are_the_same_in_some_rows_and_columns(
    sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right code in bfloat16 passes; a recurrence that is 5 % off in its adjoint does not."""

    def held(a: Any) -> Any:
        return precision("bfloat16").quantise(np.asarray(a))

    def forward(**given: Any) -> Any:
        out, saved = elman_by_hand.forward(**given)
        return {n: held(a) for n, a in out.items()}, tuple(map(held, saved))

    def backward(cotangents: Any, saved: Any, factor: float = 1.0) -> Any:
        x, h, W, U = saved
        found = elman_by_hand.backward(cotangents, (x, h, W * factor, U))
        return {n: held(a) for n, a in found.items()}

    if sampled:
        monkeypatch.setattr(typical, "MOST_ENTRIES", 4)
        monkeypatch.setattr(typical, "SAMPLED", 3)
    seen: list[Any] = []
    whole = typical.typical_errors
    monkeypatch.setattr(
        typical, "typical_errors", lambda *given: seen.append(whole(*given)) or seen[-1]
    )
    shapes = {"T": 6, "p": 7, "d": 5, "B": 3}
    check = partial(
        check_model, api.load("elman_hidden"), forward=forward, dtype="bfloat16", plan="point",
        shapes=shapes, diagnose=False,
    )  # fmt: skip
    assert check(backward=backward).passed
    (found,) = seen
    assert {t.user for t in found} >= {"W", "U"}
    assert all(0.1 < t.times < 1.5 for t in found)
    assert not check(backward=partial(backward, factor=1.05)).passed


def test_weights_used_otherwise_are_not_sampled() -> None:
    assert "W" not in products_only(derive(as_network(api.load("linear_attention"))))
    assert not {"g_h", "b"} & products_only(derive(as_network(api.load("lstm_layer_norm"))))


def test_outputs_share_the_product_that_they_read_by() -> None:
    rng = np.random.default_rng(4)
    steps, batch, count, rows, units = 3, 2, 4, 5, 6
    weights = [rng.standard_normal((rows, units)) for _ in range(2)]
    inners = [rng.standard_normal((steps, batch, units)) for _ in range(2)]

    def outer(full: bool) -> Any:
        return rng.standard_normal((steps, batch, units, rows) if full else (steps, batch, rows))

    def terms(full: bool) -> list[Summand]:
        pairs = zip(weights, inners, strict=True)
        return [Summand(outer(full), w, i) for w, i in pairs]

    parts: Any = [
        ("wide", Through(rng.standard_normal((steps, batch, units)), terms(True))),
        ("narrow", Through(None, terms(False)[:1])),
        ("dense", rng.standard_normal((steps, batch, 7, units))),
    ]
    sizes = {"wide": units, "narrow": rows, "dense": 7}
    bars = {n: rng.standard_normal((steps, batch, count, k)) for n, k in sizes.items()}
    found = Pullback(parts)
    assert len(found.products) == 2
    for at in range(steps):
        want = sum(pull_step(bars[n][at], j[at]) for n, j in parts)
        np.testing.assert_allclose(found.at(at, bars), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_moved_weight_multiplies_as_the_matrices_of_all_lines(lines: int, stacked: bool) -> None:
    rng = np.random.default_rng(3)
    weight, along = rng.standard_normal((3, 4)), rng.standard_normal((2, 3, 4))
    eps = rng.standard_normal((5, lines))
    vector = rng.standard_normal((5 * lines, 4, 2) if stacked else (4, 2))
    found = np.matmul(MovedWeight.of(weight, along, eps), vector)
    line = np.tile(np.arange(lines), 5)
    dense = weight + eps.reshape(-1, 1, 1) * along[line]
    np.testing.assert_allclose(found, dense @ vector, rtol=1e-13)


def test_a_moved_weight_does_nothing_else() -> None:
    weight = MovedWeight.of(np.eye(3), np.ones((2, 3, 3)), np.ones((4, 2)))
    with pytest.raises(TypeError):
        np.add(weight, 1.0)


@pytest.mark.parametrize("name", ["lstm", "elman_tied", "encoder_decoder", "lstm_layer_norm"])
def test_lines_with_moved_weights_have_the_values_of_dense_ones(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle is confirmed by the same differences either way."""
    point = point_of(name)
    assert moved_weights(point.network) <= set(point.network.parameters)
    seen: list[list[float]] = []
    whole = type(point.oracle).value

    def spy(self: Any, *given: Any) -> Any:
        made = whole(self, *given)
        seen[-1] += list(np.ravel(made))
        return made

    monkeypatch.setattr(type(point.oracle), "value", spy)
    for dense in (False, True):
        if dense:
            monkeypatch.setattr(cross_check, "moved_weights", lambda network: set())
        seen.append([])
        assert cross_check.cross_check(point, 0) == []
    few = min(map(len, seen))
    np.testing.assert_allclose(seen[0][:few], seen[1][:few], rtol=1e-9)


def test_a_parameter_read_otherwise_is_moved_entry_by_entry() -> None:
    assert not moved_weights(api.load("elman_tied")) & {"b_i", "b_y"}
    assert moved_weights(as_network(api.load("linear_attention"))) == set()
    assert {"W_i", "U_c"} <= moved_weights(as_network(api.load("lstm")))


@pytest.mark.parametrize("end", [0, 3, 6])
@pytest.mark.parametrize("bound", [0.0, 1.0, 4.0, 1e3])
def test_the_first_step_above_a_bound(end: int, bound: float) -> None:
    rng = np.random.default_rng(5)
    delta, operand = rng.standard_normal((6, 2, 3)), rng.standard_normal((6, 2, 4))
    delta[0] = 0.0
    parts = np.einsum("tbn,tbm->tnm", delta, operand)
    long = [t for t in range(end) if np.abs(parts[t]).max() > bound]
    assert first_above(delta, operand, bound, end) == (long[0] if long else None)
