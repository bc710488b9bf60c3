"""Right code in the roundest corners passes; code that is noisier than its format does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.fault_study import correct, own
from gradcheck_rnn import api
from gradcheck_rnn.derivation.weight_products import WeightProducts
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify import check_gradient
from gradcheck_rnn.verify.diagnosis import check_model, rounding
from gradcheck_rnn.verify.harness.arrays import PRECISIONS
from gradcheck_rnn.verify.harness.layout import Layout
from gradcheck_rnn.verify.harness.modelpoint import ModelPoint
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject


@pytest.mark.parametrize(
    ("system", "form", "regime"),
    [
        # 1 − h ⊙ h is zero in the format, where the definition has 1e-9
        ("elman", "float32", "very saturated"),
        # … and where the function's value has no name, so that nothing saved holds it
        ("elman_leaky", "float32", "very saturated"),
        ("elman", "float16", "very saturated"),
        # products below the smallest number of the format
        ("elman", "tf32", "tiny weights"),
        ("elman", "bfloat16", "one unit"),
        # cotangents that cancel in the sum over time
        ("constant_error_carousel", "float32", "one sequence"),
        ("constant_error_carousel", "float32", "saturated"),
    ],
)
def test_right_code_is_not_accused(system: str, form: str, regime: str) -> None:
    (row,) = correct._model(system, form, 0, [regime])
    assert row["checks"] > 10
    assert row["alarms"] == 0, row


def test_cases_taken_one_at_a_time_are_those_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large arrays: only the cases in doubt are run, with moves of their own."""
    pulled: list[int] = []
    whole = rounding.pulled_back

    def spy(run: Any, point: Any, given: Any, count: int, **how: Any) -> Any:
        pulled.append(count)
        assert how == {"weights": WeightProducts}
        return whole(run, point, given, count, **how)

    monkeypatch.setattr(rounding, "pulled_back", spy)
    monkeypatch.setattr(rounding, "TOGETHER", 0)
    monkeypatch.setattr(rounding, "SIGNS", 4)
    (row,) = correct._model("elman_leaky", "float32", 0, ["very saturated"])
    assert row["alarms"] == 0, row
    assert set(pulled) == {1}


def test_all_draws_in_one_run_spread_as_they_do_in_runs_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, layout = as_network(api.load("lstm")), Layout.of(as_network(api.load("lstm")))
    form = PRECISIONS["float32"]
    subject = Subject(lambda **_: None, lambda *_: None, None, None, np.asarray, form)
    here = ModelPoint.build(next(iter(plan_points(network, 0))), layout, form, subject, 0)
    for model in (rounding.randomly_rounded, rounding.in_other_forms):
        sizes = []
        for most in (0, rounding.AT_ONCE):
            monkeypatch.setattr(rounding, "AT_ONCE", most)
            saved = rounding.SavedRounding(network, form.eps, 0, model)
            sizes.append([np.sqrt(np.mean(saved(here, case)[user] ** 2))
                          for case in here.cases for user in here.fitted.arguments])  # fmt: skip
        some = np.array(sizes)[:, np.min(sizes, axis=0) > 0]
        ratios = np.log2(some[0] / some[1])
        assert some.size > 100
        assert abs(np.mean(ratios)) < 0.25
        assert np.std(ratios) < 1


def test_smallest_numbers_are_those_of_the_format() -> None:
    for form in PRECISIONS.values():
        assert form.quantise(np.array(form.least)) == form.least
        if form.name != "float64":
            assert form.quantise(np.array(form.least / 4)) == 0


def test_a_matrix_of_one_column_is_a_matrix() -> None:
    network = api.load("elman")
    fitted = Layout.of(network).fit(network, {"p": 1, "d": 1, "q": 1}, 2, {"T": 3})
    assert fitted.shapes["W"] == (1, 1)
    assert fitted.shapes["b_i"] == (1,)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("da = da.astype(np.float32).astype(float); ", "lost-precision"),
        ("da = da * (1 + 1e-6 * np.random.randn(*da.shape)); ", "unsteady"),
    ],
)
def test_noise_that_is_no_rounding_fails(line: str, kind: str) -> None:
    code = own.load("lstm_caches", "dx = da @ Wx.T", line + "dx = da @ Wx.T")
    case = own.model_case("lstm_caches", code)
    assert case is not None
    report = check_model(**case, plan="point", diagnose=False)
    assert str(report.verdict) == "fail"
    assert kind in [f.kind for f in report.findings if f.fatal]
    if kind == "lost-precision":  # of float32 that is the rounding
        assert check_model(**case, plan="point", dtype="float32").passed


def test_a_vanished_gradient_in_single_precision_is_decided() -> None:
    """At 6e-15 it is hidden in the roundoff even of a float64 loss, not from the complex step."""
    loss, gradient, parameters = correct.scaled_problem("elman", "vanished", "float32", 0)
    assert float(np.abs(gradient(parameters)["h0"]).max()) < 1e-13
    assert check_gradient(loss, gradient, parameters, seed=0).passed

    def wrong(P: Any) -> Any:
        found = gradient(P)
        return {**found, "h0": found["h0"] * np.float32(1.5)}

    assert str(check_gradient(loss, wrong, parameters, seed=0).verdict) == "fail"


def test_random_numbers_in_a_backward_pass_fail_in_the_black_box() -> None:
    line = "da = da * (1 + 1e-6 * np.random.randn(*da.shape)); dx = da @ Wx.T"
    case = own.black_box_case("lstm_caches", own.load("lstm_caches", "dx = da @ Wx.T", line))
    report = check_gradient(*case)
    assert str(report.verdict) == "fail"
    assert "unsteady" in [f.kind for f in report.findings if f.fatal]
