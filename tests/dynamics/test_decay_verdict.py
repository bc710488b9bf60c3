"""Bounds, causes, remedies and the words put to them, on models where the answer is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gradcheck_rnn.dynamics.analysis import analyse, as_plain
from gradcheck_rnn.dynamics.bounds import bounds
from gradcheck_rnn.dynamics.causes import causes, saturation
from gradcheck_rnn.dynamics.decay_verdict import judge, power_of_ten
from gradcheck_rnn.dynamics.initialisation import build, orthogonal
from gradcheck_rnn.dynamics.lyapunov import lyapunov
from gradcheck_rnn.dynamics.products import decay, lags_to_show
from gradcheck_rnn.dynamics.remedies import remedies
from gradcheck_rnn.dynamics.spectrum import (
    jacobian_spectra,
    matrix_spectrum,
    perturbation,
    recurrent_spectra,
)
from gradcheck_rnn.dynamics.system import System
from gradcheck_rnn.errors import UsageError
from tests.dynamics.models import linear, zoo


def verdict_of(model, steps: int = 200):  # type: ignore[no-untyped-def]
    (system,) = model.systems(steps=steps)
    exponents = lyapunov(system, steps)
    found = causes(system, steps, exponents.leading)
    return judge(exponents, decay(system, steps), found)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "elman_delayed", "elman_leaky"])
def test_measured_decay_lies_between_its_bounds(name: str) -> None:
    (system,) = zoo(name, seed=1).systems()
    found = decay(system, 60)
    limits = bounds(system, 60, found.lags)
    rounding = 1e-9
    assert (found.norm <= limits.per_step + rounding).all()
    assert (found.smallest >= limits.floor - rounding).all()
    for rate in limits.rates:
        if "radius" not in rate.name:
            assert (limits.per_step <= found.lags * rate.rate + rounding).all(), rate.name


def test_bounds_beyond_the_exact_steps_still_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcheck_rnn.dynamics.bounds.EXACT", 10)
    monkeypatch.setattr(System, "segment_length", property(lambda self: 10))
    (system,) = zoo("lstm", seed=1).systems()
    found = decay(system, 60)
    limits = bounds(system, 60, found.lags)
    assert (found.norm <= limits.per_step + 1e-9).all()
    assert np.isfinite(limits.floor[:11]).all()
    assert (limits.floor[11:] == -np.inf).all()


def test_closed_form_bounds() -> None:
    w = np.array([[0.5, 0.4], [0.0, 0.3]])
    rates = {b.name: b.rate for b in bounds(linear(w), 20, np.arange(21)).rates}
    norm, radius = np.linalg.norm(w, 2), 0.5
    assert rates["γ·σ_max(W), γ = 1 for any input"] == pytest.approx(math.log(norm))
    assert rates["spectral radius of W, no slope"] == pytest.approx(math.log(radius))
    model = zoo("elman_general", seed=1)
    names = [b.name for b in bounds(model.systems()[0], 20, np.arange(21)).rates]
    assert "γ·σ_max(W), γ = 0.25 for any input" in names  # f = σ


def test_spectra() -> None:
    normal = matrix_spectrum(orthogonal(5, np.random.default_rng(0)))
    assert normal.departure == pytest.approx(0.0, abs=1e-7)
    assert normal.radius == pytest.approx(normal.norm) == pytest.approx(1.0)
    shift = matrix_spectrum(np.diag(np.ones(3), 1))
    assert shift.departure == pytest.approx(1.0)
    assert shift.radius == 0.0
    with pytest.raises(UsageError, match="square"):
        matrix_spectrum(np.ones((2, 3)))
    model = zoo("lstm_packed", seed=1)
    (system,) = model.systems()
    assert [s.name for s in recurrent_spectra(model, system)] == [f"W[{k}]" for k in range(4)]
    along = jacobian_spectra(linear(np.diag([0.5, 0.25])), 100, samples=7)
    np.testing.assert_allclose(along.radii, 0.5)
    np.testing.assert_allclose(along.smallest, 0.25)
    assert along.times[0] == 1
    assert along.times[-1] == 100


def test_the_power_picture_holds_for_linear_and_fails_for_saturated_cells() -> None:
    w = np.array([[0.9, 0.3], [0.0, 0.2]])
    both = perturbation(linear(w), w, 30)
    np.testing.assert_allclose(both["measured"], both["claimed"], atol=1e-9)
    model = zoo("elman_hidden", seed=1, gain=2.0)
    both = perturbation(model.systems()[0], model.values["W"], 30)
    assert both["measured"][-1] < both["claimed"][-1] - 5


def test_vanishing_by_forget_gates() -> None:
    network = zoo("lstm", sizes={"p": 6, "d": 3}, seed=1, gain=0.5)
    closed = network.with_values(b_f=np.full((6, 1), -3.0))
    verdict = verdict_of(closed)
    assert verdict.kind == "vanishing"
    assert verdict.causes[0].name == "closed forget gates (c)"
    assert verdict.lag is not None
    assert verdict.lag < 10
    weak = zoo("lstm", sizes={"p": 6, "d": 3}, seed=1, gain=0.05)
    opened = weak.with_values(b_f=np.full((6, 1), 9.0))
    assert verdict_of(opened).kind == "near critical"


def test_vanishing_by_saturation_and_by_spectral_radius() -> None:
    wide = zoo("elman_hidden", sizes={"p": 12, "d": 4}, seed=1, gain=1.2, scale=20.0)
    assert verdict_of(wide).causes[0].name == "saturation"
    ((_, dead),) = saturation(wide.systems()[0], 100).values()
    assert dead > 0.3
    small = zoo("elman_hidden", sizes={"p": 12, "d": 4}, seed=1, gain=0.1, scale=0.1)
    assert verdict_of(small).causes[0].name == "spectral radius"


def test_exploding() -> None:
    system = linear(1.2 * np.eye(3))
    found = judge(lyapunov(system, 200), decay(system, 200), causes(system, 200, math.log(1.2)))
    assert found.kind == "exploding"
    assert found.lag == math.ceil(math.log(1e3) / math.log(1.2))
    assert found.causes[0].name == "spectral radius"
    assert found.causes[0].rate == pytest.approx(0.0, abs=1e-12)


def test_gone() -> None:
    model = build(
        zoo("elman_hidden").network, sizes={"p": 3, "d": 2}, parameters={"W": np.zeros((3, 3))}
    )
    verdict = verdict_of(model)
    assert verdict.kind == "gone"
    assert verdict.lag == 1


def test_growth_before_decay_is_said() -> None:
    w = np.diag([0.9, 0.9]) + np.diag([100.0], 1)
    system = linear(w)
    found = judge(lyapunov(system, 300), decay(system, 300), [])
    assert "Before it decays it grows" in str(found)


def test_remedies_are_computed() -> None:
    model = build(zoo("linear").network, sizes={"p": 4, "d": 2}, parameters={"W": 0.3 * np.eye(4)})
    found = {r.name: r for r in remedies(model, 0, 600, 20)}
    base = math.log(0.3)
    assert found["orthogonal start"].rate == pytest.approx(0.0, abs=1e-12)
    assert found["identity start"].rate == pytest.approx(0.0, abs=1e-12)
    assert found["λ slightly below 1"].rate == pytest.approx(math.log(0.99))
    assert found["residual"].rate == pytest.approx(math.log(1.3))
    assert found["leak"].rate == pytest.approx(math.log(0.9 + 0.1 * 0.3))
    # h = 0.15 (h_{t−1} + h_{t−5}): the largest root of z⁵ = 0.15 (z⁴ + 1).
    root = max(abs(np.roots([1, -0.15, 0, 0, 0, -0.15])))
    # A start that is not the slowest mode is still seen after T steps, as O(1/T).
    assert found["delays"].rate == pytest.approx(math.log(root), abs=2e-3)
    assert not found["forget-gate bias"].applies
    assert found["clipping"].rate == pytest.approx(base)
    assert "never active" in found["clipping"].note


def test_clipping_caps_an_explosion() -> None:
    model = build(zoo("linear").network, sizes={"p": 4, "d": 2}, parameters={"W": 1.1 * np.eye(4)})
    found = {r.name: r for r in remedies(model, 0, 120, 20)}
    assert found["clipping"].log_norm == pytest.approx(0.0)
    assert "clipped at 20 of 20" in found["clipping"].note


@pytest.mark.parametrize(("name", "sign"), [("lstm", "+"), ("gru", "−"), ("mgu", "−")])
def test_the_forget_bias_finds_gate_and_sign(name: str, sign: str) -> None:
    model = zoo(name, sizes={"p": 6, "d": 3}, seed=2)
    found = {r.name: r for r in remedies(model, 0, 100, 20)}["forget-gate bias"]
    gate = {"lstm": "b_f", "gru": "b_z", "mgu": "b_f"}[name]
    assert found.change == f"{gate} {sign} 2"
    assert found.rate > lyapunov(model.systems()[0], 100, leading=1).leading


def test_everything_together_is_plain_data() -> None:
    found = analyse(zoo("lstm", sizes={"p": 4, "d": 3}), 80)
    text = json.dumps(as_plain(found), allow_nan=False)
    held = json.loads(text)
    assert held["verdict"]["kind"] == found.verdict.kind
    assert held["expansions"][0]["terms_for_99_percent"] >= 1
    assert len(held["decay"]["lags"]) == len(lags_to_show(80))


def test_analysis_needs_steps() -> None:
    with pytest.raises(UsageError, match="at least 60"):
        analyse(zoo("elman"), 20)


def test_numbers_as_a_person_reads_them() -> None:
    assert power_of_ten(0.0) == "1"
    assert power_of_ten(-math.inf) == "0"
    assert power_of_ten(-100.0) == "10^-43"


def test_vectors_that_multiply_start_at_one() -> None:
    assert (zoo("indrnn").values["w"] == 1.0).all()
    assert (zoo("lstm_peephole").values["p_f"] == 1.0).all()
    assert not zoo("lstm").values["b_f"].any()
