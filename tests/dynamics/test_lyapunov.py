"""Lyapunov spectra against systems whose exponents are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

from gradcheck_rnn.dynamics.initialisation import orthogonal
from gradcheck_rnn.dynamics.lyapunov import kaplan_yorke, lyapunov, spectrum_of
from gradcheck_rnn.dynamics.products import decay
from gradcheck_rnn.errors import UsageError
from tests.dynamics.models import linear, random_network, zoo

Array = np.ndarray[Any, Any]


def test_linear_cells_have_the_logarithms_of_their_eigenvalues() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, 5)) / 4
    expected = np.sort(np.log(abs(np.linalg.eigvals(w))))[::-1]
    # Finite time leaves O(1/T); complex pairs also turn, which averages out as fast.
    found = lyapunov(linear(w), 20_000, burn_in=2_000)
    np.testing.assert_allclose(found.exponents, expected, atol=1e-3)
    # A matrix with real eigenvalues converges at the rate of its gaps: then only the finite time
    # before the burn-in ends is left, which is none.
    s = rng.normal(size=(4, 4))
    real = s @ np.diag([1.1, 0.9, -0.5, 0.1]) @ np.linalg.inv(s)
    found = lyapunov(linear(real), 2_000, burn_in=500)
    expected = np.log([1.1, 0.9, 0.5, 0.1])
    np.testing.assert_allclose(found.exponents, expected, atol=1e-9)


def test_orthogonal_recurrence_has_only_zeros() -> None:
    w = orthogonal(6, np.random.default_rng(1))
    found = lyapunov(linear(w), 3_000)
    # Every QR rounds by about n·u, and the roundings of T steps average.
    np.testing.assert_allclose(found.exponents, 0.0, atol=20 * np.finfo(float).eps)
    assert (found.errors < 1e-14).all()
    assert found.dimension == pytest.approx(6.0) or found.exponents.sum() < 0


def test_jordan_block() -> None:
    """‖Wᵗ‖ grows as t^{p−1} λᵗ: the exponents are all log λ, with a correction (p−1) log t / t."""
    p, steps = 3, 20_000
    w = 0.9 * np.eye(p) + np.diag(np.ones(p - 1), 1)
    found = lyapunov(linear(w), steps, burn_in=steps // 2)
    correction = p / (steps / 2)
    np.testing.assert_allclose(found.exponents, np.log(0.9), atol=correction)
    assert not np.allclose(found.exponents, np.log(0.9), atol=1e-6)


def test_tanh_at_the_origin() -> None:
    """Without input and bias h = 0 stays there, and the Jacobian is W itself."""
    rng = np.random.default_rng(2)
    s = rng.normal(size=(4, 4))
    w = s @ np.diag([0.95, 0.7, 0.4, -0.2]) @ np.linalg.inv(s)
    model = zoo("elman_hidden", sizes={"p": 4, "d": 2}, parameters={"W": w}, scale=0.0)
    (system,) = model.systems()
    found = lyapunov(system, 1_500, burn_in=300)
    np.testing.assert_allclose(found.exponents, np.log([0.95, 0.7, 0.4, 0.2]), atol=1e-9)


def test_newman_formula_for_gaussian_products() -> None:
    """λ_i = log σ + ½ [log 2 + ψ((n − i + 1)/2)] (Newman 1986)."""
    n, sigma, steps = 6, 0.5, 20_000
    rng = np.random.default_rng(3)

    def blocks() -> Iterator[Array]:
        for _ in range(steps // 500):
            yield sigma * rng.normal(size=(500, n, n))

    found = spectrum_of(blocks(), n, steps=steps - 1_000, burn_in=1_000)
    order = [(n - i + 1) / 2 for i in range(1, n + 1)]
    psi = np.array([float(mpmath.digamma(x)) for x in order])
    expected = np.log(sigma) + (np.log(2) + psi) / 2
    assert (abs(found.exponents - expected) < 4 * found.errors).all()
    # The errors themselves: Var log χ²_k / 2 a step is ψ′(k/2)/4.
    sd = np.array([float(mpmath.psi(1, x)) for x in order]) ** 0.5 / 2 / np.sqrt(steps - 1_000)
    assert (found.errors < 2 * sd).all()
    assert (found.errors > sd / 2).all()


def test_sum_is_the_mean_log_determinant() -> None:
    for name in ("elman", "lstm", "gru"):
        (system,) = zoo(name, seed=4).systems()
        found = lyapunov(system, 600, determinant=True)
        assert found.exponents.sum() == pytest.approx(found.mean_log_det, abs=1e-8)


def test_a_lost_direction_is_minus_infinity_not_a_number_out_of_rounding() -> None:
    w = np.diag([0.9, 0.5, 0.0])
    found = lyapunov(linear(w), 400, burn_in=100)
    assert found.exponents[2] == -np.inf
    np.testing.assert_allclose(found.exponents[:2], np.log([0.9, 0.5]), atol=1e-9)


@pytest.mark.parametrize(("g", "limit"), [(2.5, 0.237177), (4.0, 0.432878)])
def test_mean_field_exponents(g: float, limit: float) -> None:
    """x ↦ J tanh x: λ₁ → ½ log(g² E[φ′(√q z)²]) as N → ∞ (Sompolinsky, Crisanti & Sommers 1988).

    The error at finite N is c/N to leading order: two sizes take it out (Richardson).
    """
    means, errors = [], []
    for n, seeds in ((80, 10), (160, 6)):
        found = [
            lyapunov(random_network(n, g, s), 500, burn_in=100, leading=1).leading
            for s in range(seeds)
        ]
        means.append(np.mean(found))
        errors.append(np.std(found, ddof=1) / np.sqrt(seeds))
    extrapolated = 2 * means[1] - means[0]
    error = np.hypot(2 * errors[1], errors[0])
    assert abs(extrapolated - limit) < 3 * error
    assert error < limit / 10  # otherwise the line above says nothing


def test_mean_field_near_the_transition() -> None:
    """g = 1.2: networks of a few hundred units often end in cycles (λ₁ = 0), so the couplings are
    shuffled every step, which leaves the mean-field limit 0.016476 and its 1/N error alone."""
    limit, g, steps, burn = 0.016476, 1.2, 1_200, 200

    def exponent(n: int, seed: int) -> float:
        rng = np.random.default_rng(seed)
        j = rng.standard_normal((n, n)) * g / np.sqrt(n)
        state = {"h": rng.standard_normal(n)}

        def blocks() -> Iterator[Array]:
            for _ in range(steps):
                signs = rng.choice([-1.0, 1.0], size=n)
                now = j[rng.permutation(n)] * signs
                phi = np.tanh(state["h"])
                state["h"] = now @ phi
                yield (now * (1.0 - phi**2))[None]

        return spectrum_of(blocks(), n, steps=steps - burn, burn_in=burn, leading=1).leading

    means, errors = [], []
    for n, seeds in ((50, 12), (100, 6)):
        found = [exponent(n, s) for s in range(seeds)]
        means.append(np.mean(found))
        errors.append(np.std(found, ddof=1) / np.sqrt(seeds))
    error = np.hypot(2 * errors[1], errors[0])
    assert abs(2 * means[1] - means[0] - limit) < 3 * error
    assert error < limit / 2  # otherwise the line above says nothing


def test_adjoint_slope_is_the_leading_exponent() -> None:
    for name in ("elman", "lstm"):
        model = zoo(name, seed=5)
        (system,) = model.systems()
        found = lyapunov(system, 3_000, burn_in=300)
        falling = decay(system, 3_000, paths=False, gates=False)
        # The slope over half the lags has about √2 times the error of the whole, and edge effects
        # of a few nats over 1,500 steps.
        allowed = 4 * float(found.errors[0]) + 3.0 / 1_500
        assert abs(falling.slope(falling.adjoint) - found.leading) < allowed
        assert abs(falling.slope() - found.leading) < allowed


def test_leading_exponents_alone_agree_with_the_full_spectrum() -> None:
    (system,) = zoo("gru", sizes={"p": 8, "d": 4}, seed=6).systems()
    full = lyapunov(system, 1_000, burn_in=200)
    some = lyapunov(system, 1_000, burn_in=200, leading=3)
    np.testing.assert_allclose(some.exponents, full.exponents[:3], atol=0.01)
    assert some.dimension == full.dimension == 0.0


def test_kaplan_yorke_and_entropy() -> None:
    # Lorenz: λ = 0.906, 0, −14.572 gives 2.062 (Sprott 2003).
    assert kaplan_yorke(np.array([0.906, 0.0, -14.572]), 3) == pytest.approx(2.062, abs=5e-4)
    assert kaplan_yorke(np.array([-1.0, -2.0]), 2) == 0.0
    assert kaplan_yorke(np.array([0.5, 0.1]), 2) == 2.0
    assert kaplan_yorke(np.array([0.5, 0.1]), 5) is None
    assert kaplan_yorke(np.array([0.5, -np.inf]), 2) == 1.0


def test_too_few_steps() -> None:
    with pytest.raises(UsageError, match="at least 40"):
        lyapunov(linear(np.eye(2)), 20)
    with pytest.raises(UsageError, match="were announced"):
        spectrum_of(iter([np.zeros((50, 2, 2)) + np.eye(2)]), 2, steps=60)


def test_products_of_huge_and_tiny_matrices_do_not_overflow() -> None:
    for scale in (1e200, 1e-200):
        blocks = np.broadcast_to(scale * np.diag([1.0, 2.0]), (150, 2, 2))
        found = spectrum_of([blocks], 2, steps=100, burn_in=50)
        np.testing.assert_allclose(found.exponents, np.log(scale) + np.log([2.0, 1.0]), rtol=1e-12)
