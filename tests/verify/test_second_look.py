"""What differences cannot resolve is looked at again, by entries and along directions alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify.outcome import Report
from gradcheck_rnn.verify.verdict import Verdict
from tests.verify.test_blackbox import _hard

MODES = ["entrywise", "directional"]
SMALL = 1e-18


def two_parts(
    size: float, *, gain: float = 1.0, factor: float = 1.0, dtype: type = np.float64
) -> tuple[Callable[..., Any], Callable[..., Any], dict[str, Any]]:
    """A loss whose second part, `size` times the first, is lost in the roundoff of the sum."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(4).astype(dtype)
    small, wrong = dtype(size), dtype(factor)
    point = {n: (gain * rng.standard_normal((5, 4))).astype(dtype) for n in ("W", "u")}

    def loss(p: dict[str, Any]) -> Any:
        return np.sum(np.tanh(p["W"] @ x)) + small * np.sum(np.tanh(p["u"] @ x))

    def gradient(p: dict[str, Any]) -> dict[str, Any]:
        d = {n: np.outer(1 - np.tanh(p[n] @ x) ** 2, x) for n in p}
        return {"W": d["W"], "u": small * wrong * d["u"]}

    return loss, gradient, point


def verdicts(report: Report) -> dict[str, Verdict]:
    return {row.name: row.verdict for row in report.rows}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("factor", [1.0, 1.01, -1.0])
def test_what_drowns_in_the_roundoff_of_the_loss_is_decided(mode, dtype, factor) -> None:
    report = check_gradient(*two_parts(SMALL, gain=0.3, factor=factor, dtype=dtype), mode=mode)
    expected = Verdict.PASS if factor == 1.0 else Verdict.FAIL
    assert verdicts(report) == {"W": Verdict.PASS, "u": expected}
    seen = report.rows[1]
    assert "complex step" in seen.method
    assert seen.resolution < (1e-12 if dtype is np.float64 else 1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_without_complex_numbers_it_stays_undecided_and_says_why(mode) -> None:
    loss, gradient, point = two_parts(SMALL, gain=0.3)

    def real(p: dict[str, Any]) -> float:
        return float(np.real(loss(p)))

    report = check_gradient(real, gradient, point, mode=mode)
    assert verdicts(report) == {"W": Verdict.PASS, "u": Verdict.UNDECIDED}
    assert "no complex step: its value is not complex" in report.rows[1].reason


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_rounding_of_saturated_units_is_not_accused_by_sharper_eyes(mode, seed) -> None:
    """1 - tanh² loses its digits where the complex step keeps them."""
    right = check_gradient(*two_parts(SMALL, gain=5.0), mode=mode, seed=seed)
    assert verdicts(right)["u"] is not Verdict.FAIL
    wrong = check_gradient(*two_parts(SMALL, gain=5.0, factor=2.0), mode=mode, seed=seed)
    assert verdicts(wrong)["u"] is not Verdict.PASS


@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("mode", MODES)
def test_zeros_of_saturation_are_named_and_excuse_no_fault(mode, factor) -> None:
    """1 - tanh² is exactly zero, whatever its factor: scaled down, it shows which it is."""
    loss, gradient, point = two_parts(SMALL, gain=0.3, factor=factor)
    x = np.random.default_rng(3).standard_normal(4)
    point["u"] = np.outer(np.linspace(19.5, 21, 5), x) / (x @ x)
    assert not np.any(gradient(point)["u"])
    row = check_gradient(loss, gradient, point, mode=mode).rows[1]
    if factor == 1.0:
        assert row.verdict is Verdict.UNDECIDED
        assert "(saturation)" in row.reason
    else:
        assert row.verdict is Verdict.FAIL


def test_a_complex_step_that_lies_is_not_believed() -> None:
    """A loss with another derivative for complex numbers is held by the differences."""
    loss, gradient, point = two_parts(SMALL, gain=0.3)

    def lying(p: dict[str, Any]) -> Any:
        value = loss(p)
        return value.real + 2j * value.imag if np.iscomplexobj(value) else value

    for mode in MODES:
        report = check_gradient(lying, gradient, point, mode=mode)
        assert verdicts(report)["u"] is Verdict.UNDECIDED
        assert "no complex step" in report.rows[1].reason


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_that_is_exactly_zero_is_decided(mode) -> None:
    loss, gradient, point = two_parts(1.0, gain=0.3)
    none: dict[str, Any] = {**point, "v": np.ones((3, 2))}
    silent = lambda p: loss({"W": p["W"], "u": p["u"]}) + np.sum(0.0 * p["v"])  # noqa: E731

    def zeros(p: dict[str, Any], fault: float = 0.0) -> dict[str, Any]:
        return {**gradient({"W": p["W"], "u": p["u"]}), "v": np.full((3, 2), fault)}

    assert check_gradient(silent, zeros, none, mode=mode).passed
    wrong = check_gradient(silent, lambda p: zeros(p, 1e-30), none, mode=mode)
    # a loss that drops the imaginary part of v would answer just as little
    assert verdicts(wrong)["v"] is Verdict.UNDECIDED
    assert "answers no complex step" in next(r for r in wrong.rows if r.name == "v").reason


def _quarter(factor: float) -> tuple[Callable[..., Any], Callable[..., Any], dict[str, Any]]:
    """An Elman step in bfloat16 throughout."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4)

    def forward(p: dict[str, Any]) -> Any:
        return np.tanh(p["W"] @ x.astype(p["W"].dtype) + p["b"])

    def gradient(p: dict[str, Any]) -> dict[str, Any]:
        h, form = forward(p), p["b"].dtype
        d = (2 * h * (1 - h * h) * form.type(factor)).astype(form)
        return {"W": np.outer(d, x.astype(form)).astype(form), "b": d}

    point = {n: rng.standard_normal(s).astype(bfloat16) for n, s in (("W", (3, 4)), ("b", (3,)))}
    return lambda p: np.sum(forward(p) ** 2), gradient, point


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_bfloat16_is_judged_by_the_loss_in_float64(factor: float) -> None:
    """Differences of numbers of eight bits resolve nothing; the code runs in float64, too."""
    report = check_gradient(*_quarter(factor), mode="entrywise")
    assert report.verdict is (Verdict.PASS if factor == 1.0 else Verdict.FAIL), str(report)
    assert all("loss in float64" in row.method for row in report.rows)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [1.0, 0.9])
def test_single_precision_behind_a_large_offset_is_decided(mode, factor) -> None:
    loss, gradient, point = two_parts(1.0, gain=0.3, factor=factor, dtype=np.float32)
    behind = lambda p: loss(p) + np.float32(1e6)  # noqa: E731
    report = check_gradient(behind, gradient, point, mode=mode)
    expected = Verdict.PASS if factor == 1.0 else Verdict.FAIL
    assert verdicts(report) == {"W": Verdict.PASS, "u": expected}


def test_more_directions_are_probed_where_more_make_a_fault_visible() -> None:
    """Three directions see too little through the noise, half a dozen see enough."""
    loss, gradient, point = two_parts(1.0, gain=0.3)
    for noise, more in ((1e-4, False), (1e-3, True)):
        rng = np.random.default_rng(5)
        noisy = lambda p, r=rng, s=noise: float(loss(p)) + s * r.standard_normal()  # noqa: E731
        report = check_gradient(noisy, gradient, point, mode="directional")
        assert report.passed, str(report)
        assert all((len(row.probes) > 3) == more for row in report.rows)


def test_a_kink_met_by_every_direction_is_sent_to_the_entries() -> None:
    loss = lambda w: np.sum(np.maximum(w, 0.0))  # noqa: E731
    w = np.array([0.5, 0.0, -0.5])
    right = lambda w: (w > 0).astype(float)  # noqa: E731
    row = check_gradient(loss, right, w, mode="directional").rows[0]
    assert row.verdict is Verdict.UNDECIDED
    assert "the loss has a kink there" in row.reason
    assert "mode='entrywise' tells at which entries" in row.reason
    assert "[1]" in check_gradient(loss, right, w, mode="entrywise").rows[0].reason


def test_what_fails_by_little_in_single_precision_is_asked_in_double() -> None:
    """-570.6 for -620 with a bound of 36, where the gradient is right to seven digits."""
    loss, gradient, point, mode = _hard(141)
    assert check_gradient(loss, gradient, point, mode=mode).passed
    wrong = check_gradient(loss, lambda q: {n: 1.1 * a for n, a in gradient(q).items()}, point)
    assert wrong.verdict is Verdict.FAIL
