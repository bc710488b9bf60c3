"""The oracle's errors are honest: true error within the stated one, and the statement is sharp."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from gradcheck_rnn.verify.oracle import (
    Ladder,
    Lines,
    complex_step,
    differentiate,
    draw_direction,
    ecnoise,
    find_kink,
    measure_noise,
    miss_probability,
    three_points,
)
from gradcheck_rnn.verify.oracle.complex_step import operations_not_analytic
from gradcheck_rnn.verify.oracle.differences import start_exponent
from gradcheck_rnn.verify.oracle.directions import MANY, beta_regularised
from gradcheck_rnn.verify.roundoff import noisy_level

EPS = float(np.finfo(np.float64).eps)

SMOOTH = [
    ("exp", math.exp, 0.3, 1.0, math.exp(0.3), 1e-12),
    ("far sine", math.sin, 1e3, 1.0, math.cos(1e3), 1e-11),
    ("offset", lambda x: 1e6 + math.tanh(x), 0.5, 1.0, 1 / math.cosh(0.5) ** 2, 1e-6),
    ("steep", lambda x: math.tanh(1e8 * x), 2e-9, 1e-9, 1e8 / math.cosh(0.2) ** 2, 1e-11),
    ("steep, scale unknown", lambda x: math.tanh(1e6 * x), 0.0, 1.0, 1e6, 1e-11),
    ("flat", lambda x: math.sin(1e-8 * x), 0.5, 1.0, 1e-8, 1e-11),
    ("linear", lambda x: 3 * x + 1, 0.0, 1.0, 3.0, 1e-12),
    ("log", np.log, 1e-3, 1e-3, 1e3, 1e-10),
    ("single", lambda x: np.float32(np.tanh(np.float32(x))), 0.5, 1.0, 0.78644773, 5e-5),
    ("beside a kink", lambda x: 2 * max(x, 0.0), 1e-3, 1.0, 2.0, 1e-12),
]  # fmt: skip


@pytest.mark.parametrize(("name", "f", "x", "scale", "truth", "sharp"), SMOOTH)
def test_error_is_honest_and_sharp(name, f, x, scale, truth, sharp):
    estimate = differentiate(Lines.scalar(f, x), scale=scale)[0]
    assert estimate.trusted
    assert abs(estimate.value - truth) <= estimate.error
    assert estimate.error <= sharp * abs(truth)


def test_error_is_honest_on_random_functions():
    rng = np.random.default_rng(20)
    ratios = []
    for _ in range(300):
        a, b, c = rng.normal(size=3) * 10.0 ** rng.uniform(-2, 2, size=3)
        offset = rng.choice([0.0, 1.0, 1e6])
        x = float(rng.normal())

        def phi(eps, a=a, b=b, c=c, offset=offset, x=x):
            return offset + c * np.tanh(a * (x + eps) + b)

        # the rounding of x + eps is part of the function here, as nothing else moves
        slope = 1 - np.tanh(a * x + b) ** 2
        estimate = differentiate(phi)
        own = 8 * EPS * abs(c * a) * (1 + abs(b) + abs(a * x))
        ratios.append(abs(estimate.value - c * a * slope) / (estimate.error + own))
    assert max(ratios) < 1
    assert np.median(ratios) > 1e-4  # a bound that covers everything would prove nothing


def test_three_points_know_their_error_on_smooth_functions():
    rng = np.random.default_rng(21)
    ratios = []
    for _ in range(3000):
        a, b, c = rng.normal(size=3) * 10.0 ** rng.uniform(-1, 1, size=3)
        offset = rng.choice([0.0, 1.0, 1e6])

        def phi(eps, a=a, b=b, c=c, offset=offset):
            return offset + c * np.tanh(a * eps + b)

        size = min(1.0, 1 / abs(a))
        noise = measure_noise(phi, size, EPS)
        # The steps it is for, where truncation is about as large as roundoff: not much larger.
        best = size * np.cbrt(noise.sigma / abs(c * a * size / np.cosh(b) ** 2))
        exponent = int(np.floor(np.log2(best))) - int(rng.integers(-1, 3))
        if exponent > np.log2(0.1 * size):
            continue  # the slope is lost in the noise
        estimate = three_points(Lines(phi), float(phi(0.0)), noise, exponent)
        assert estimate.trusted
        truth = c * a / np.cosh(b) ** 2
        own = 8 * EPS * abs(c * a) * (1 + abs(b))
        ratios.append(abs(estimate.value - truth) / (estimate.error + own))
    assert max(ratios) < 1
    assert len(ratios) > 2000
    assert np.median(ratios) > 1e-3


@pytest.mark.parametrize("at", [0.0, 0.3, 0.5, 0.7, 1.2])
def test_a_kink_between_three_points_makes_a_right_derivative_disagree(at):
    """The error does not cover it: the probe then climbs the ladder, which tells kinks."""
    h = 2.0**-10
    phi = lambda eps: np.maximum(eps - at * h, 0.0)  # noqa: E731
    noise = measure_noise(phi, 1.0, EPS)
    estimate = three_points(Lines(phi), float(phi(0.0)), noise, -10)
    assert abs(estimate.value) > estimate.error or estimate.error > 0.05


def test_three_points_that_are_not_finite_are_not_trusted():
    noise = measure_noise(lambda e: 1.0 + e, 1.0, EPS)
    phi = lambda eps: np.where(eps > 0.1, np.nan, 1.0 + eps)  # noqa: E731
    estimate = three_points(Lines(phi), 1.0, noise, -3)
    assert not estimate.trusted
    assert not np.isfinite(estimate.error)


def test_lines_are_differentiated_together():
    slopes = np.array([1.0, -2.0, 1e-6])
    calls = []

    def evaluate(eps):
        calls.append(eps.shape)
        return np.sin(eps * slopes)

    found = differentiate(Lines(evaluate, 3))
    assert all(abs(e.value - s) <= e.error for e, s in zip(found, slopes, strict=True))
    assert all(shape[1] == 3 for shape in calls)


def test_planted_truncation_error_breaks_the_bound():
    """The bound can fail: a table fed with values of another function is not within its error."""
    lines = Lines(lambda eps: np.exp(eps) + 1e-6 * eps)
    wrong = differentiate(lines)[0]
    assert abs(wrong.value - 1.0) > wrong.error


@pytest.mark.parametrize("sigma", [1e-4, 1e-8, 1e-12])
def test_noise_level_is_measured(sigma):
    rng = np.random.default_rng(1)
    noise = measure_noise(lambda e: np.cos(e) + sigma * rng.normal(size=e.shape), 1.0, EPS)
    assert sigma / 4 < noise.sigma < 8 * sigma
    assert not noise.deterministic


def test_a_bend_along_a_line_is_no_noise_and_noise_on_it_is():
    at = np.arange(-5, 5)[:, None]
    # entries of a gradient a wide step apart: their differences fall no faster than those of noise
    bends = np.exp(np.linspace(0.5, 1.5, 200) * at) * np.linspace(-1, 1, 201)[1:]
    assert not noisy_level(bends).any()
    waves = np.cos(1.4 * at + np.linspace(0, 2 * np.pi, 200))
    assert not noisy_level(waves).any()
    sigma = 1e-3
    noise = sigma * np.random.default_rng(0).normal(size=(10, 2000))
    seen = noisy_level(noise + 0.1 * at)
    assert np.mean(seen > sigma / 4) > 0.9
    assert np.all(seen < 4 * sigma)


def test_noise_of_a_deterministic_sum():
    x = np.random.default_rng(0).normal(size=2000)
    noise = measure_noise(lambda e: np.array([np.sum(np.tanh(x * (1 + t))) for t in e]), 1.0, EPS)
    assert noise.deterministic
    assert 1e-17 < noise.sigma < 1e-12


def test_ecnoise_says_why_it_cannot():
    assert ecnoise(np.ones(8)) == (None, "step too small")
    assert ecnoise(np.arange(1.0, 9.0)) == (None, "step too large")


def _ladder(f, scale=1.0):
    lines = Lines.scalar(f)
    noise = measure_noise(lambda e: np.array([f(t) for t in e]), scale, EPS)
    ladder = Ladder(lines, f(0.0), noise, start_exponent(scale))
    ladder.settle()
    ladder.exhaust()
    return ladder


def test_kink_at_the_point_is_reported_not_averaged():
    ladder = _ladder(lambda t: abs(t) + 0.5 * t + math.sin(t))
    kink = find_kink(ladder)
    assert kink is not None
    assert kink.left == pytest.approx(0.5, abs=1e-6)
    assert kink.right == pytest.approx(2.5, abs=1e-6)
    assert kink.between(1.5, 0)
    assert not kink.between(3.0, 0)
    assert ladder.estimates()[0].error >= 0.99


@pytest.mark.parametrize("f", [math.sin, math.exp, lambda t: max(t + 1e-3, 0.0), lambda t: t**2])
def test_no_kink_where_the_function_is_smooth(f):
    assert find_kink(_ladder(f)) is None


@pytest.mark.parametrize("distance", [0.3, 1e-1, 1e-3, 1e-6])
def test_error_covers_a_kink_at_any_distance(distance):
    """With few steps, all larger than the distance, the kink is in the error."""
    lines = Lines.scalar(lambda t: max(t - distance, 0.0) + t)
    noise = measure_noise(np.sin, 1.0, EPS)
    for exponent in range(-12, 1):
        ladder = Ladder(lines, 0.0, noise, exponent)
        ladder.extend(down=2)
        table = ladder.table()
        assert abs(table.value[1, 0, 0] - 1.0) <= table.error[1, 0, 0] * (1 + 1e-9)


def test_complex_step_where_analytic():
    f = lambda z: np.exp(z) * np.tanh(z + 0.3)  # noqa: E731
    real = differentiate(lambda e: float(f(e)))
    noise = measure_noise(f, 1.0, EPS)
    step = complex_step(lambda z: f(np.complex128(z)), float(f(0.0)), noise, real)
    truth = math.tanh(0.3) + 1 / math.cosh(0.3) ** 2
    assert step.estimate is not None
    assert abs(step.estimate.value - truth) <= step.estimate.error < 1e-12


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (lambda z: np.abs(z + 1.0) + 0j, "central differences"),
        (lambda z: (np.complex128(z) + 1.0).real * 2, "not complex"),
        (lambda z: np.array([z + 1]).astype(float)[0], "imaginary"),
        (lambda z: math.sin(z), "does not take complex"),
        (lambda z: np.complex128(z + 2 if np.imag(z) else z + 1), "real part"),
    ],
)
def test_complex_step_refused_with_the_reason(f, why):
    noise = measure_noise(lambda e: e + 1.0, 1.0, EPS)
    real = differentiate(lambda e: float(abs(e + 1.0)))
    step = complex_step(f, 1.0, noise, real)
    assert step.estimate is None
    assert why in step.reason


def test_operations_that_are_not_analytic_are_seen():
    w = np.array([[0.3, -0.2], [0.1, 0.5]])
    clean = operations_not_analytic(lambda p: np.sum(np.tanh(p[0] @ p[0].T) ** 2), [w])
    assert clean == set()
    tiny_norm = operations_not_analytic(
        lambda p: np.sum(np.tanh(p[0])) + 1e-12 * np.sum(np.abs(p[0])), [w]
    )
    assert tiny_norm == {"absolute"}
    assert "real" in operations_not_analytic(lambda p: np.sum((p[0] @ p[0]).real), [w])


def test_directions_repeat_by_seed_and_lie_on_the_sphere():
    one, two = draw_direction((3, 4), 7, "W"), draw_direction((3, 4), 7, "W")
    assert np.array_equal(one, two)
    assert np.linalg.norm(one) == pytest.approx(1)
    assert not np.array_equal(one, draw_direction((3, 4), 7, "U"))
    assert not np.array_equal(one, draw_direction((3, 4), 7, "W", 1))
    assert not np.array_equal(one, draw_direction((3, 4), 8, "W"))


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.5, 10.0), (0.5, 500.0), (3.0, 1.0)])
def test_incomplete_beta_against_mpmath(a, b):
    for x in np.linspace(0, 1, 23):
        truth = float(mpmath.betainc(a, b, 0, x, regularized=True))
        assert beta_regularised(float(x), a, b) == pytest.approx(truth, abs=1e-13)


@pytest.mark.parametrize(("n", "threshold"), [(2, 0.1), (5, 0.3), (40, 0.05)])
def test_slip_probability_against_monte_carlo(n, threshold):
    rng = np.random.default_rng(n)
    u = rng.normal(size=(40_000, n))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    missed = float(np.mean(np.abs(u[:, 0]) < threshold))
    assert miss_probability(n, threshold, 1.0) == pytest.approx(missed, abs=0.012)
    assert miss_probability(n, threshold, 1.0, 2) == pytest.approx(missed**2, abs=0.02)
    assert miss_probability(n, 2.0, 1.0) == 1.0
    assert miss_probability(1, 0.1, 1.0) == 0.0


@pytest.mark.parametrize("threshold", [0.02, 0.2])
def test_no_fault_slips_through_large_blocks_more_often_than_is_said(threshold: float) -> None:
    """Directions of many entries are drawn from a cube: one, two, some or all may be wrong."""
    n, rng = MANY, np.random.default_rng(5)
    faults = np.zeros((5, n))
    faults[0, 7], faults[1, [3, 9]], faults[2, :9], faults[3], faults[4] = (
        1,
        1,
        1,
        1,
        rng.normal(size=n),
    )
    faults /= np.linalg.norm(faults, axis=1)[:, None]
    seen = np.array([faults @ draw_direction((n,), 1, "W", k) for k in range(3000)])
    assert np.allclose(np.std(seen, axis=0) * np.sqrt(n), 1, atol=0.05)
    missed = np.mean(np.abs(seen) < threshold / np.sqrt(n), axis=0)
    said = miss_probability(n, threshold / np.sqrt(n), 1.0)
    assert np.all(missed <= said + 3 * np.sqrt(said / 3000))
    assert said < 0.83 * threshold
    assert miss_probability(n, 0.5, 1.0) == 1.0
