"""Losses whose values lie on a lattice: rounded to decimals, cast, floored; denormal numbers."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.verify import Verdict, check_gradient
from gradcheck_rnn.verify.oracle.lattice import common_spacing
from gradcheck_rnn.verify.oracle.noise import Noise

MODES = ["entrywise", "directional"]
CASTS = {
    "3 decimals": lambda v: round(v, 3), "4 decimals": lambda v: round(v, 4),
    "5 decimals": lambda v: round(v, 5), "6 decimals": lambda v: round(v, 6),
    "float32": np.float32, "float16": np.float16,
}  # fmt: skip


def problem(seed):
    r = np.random.default_rng(seed)
    n, m = int(r.integers(2, 7)), int(r.integers(3, 9))
    A, w = r.normal(size=(m, n)) * 10 ** r.uniform(-0.7, 0.7), r.normal(size=n)
    return (
        lambda p: float(np.log(np.cosh(A @ p)).sum()),
        lambda p: A.T @ np.tanh(A @ p),
        w,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cast", CASTS)
def test_a_rounded_loss_fails_no_right_gradient_and_wrong_ones_where_visible(cast, mode):
    counts = dict.fromkeys(Verdict, 0)
    for seed in range(8):
        loss, gradient, w = problem(seed)

        def rounded(p, loss=loss):
            return CASTS[cast](loss(p))

        right = check_gradient(rounded, gradient, w, mode=mode)
        assert right.verdict is not Verdict.FAIL, f"seed {seed}\n{right}"
        wrong = check_gradient(rounded, lambda p, g=gradient: 1.5 * g(p), w, mode=mode)
        counts[wrong.verdict] += 1
    assert counts[Verdict.FAIL] >= 6
    assert counts[Verdict.PASS] == 0


def test_the_noise_of_a_rounded_loss_is_its_spacing():
    loss, gradient, w = problem(3)
    report = check_gradient(lambda p: round(loss(p), 4), gradient, w)
    assert 2e-5 < report.noise < 1e-4
    assert any(f.kind == "rounded-loss" and "0.0001" in f.message for f in report.findings)


def test_a_common_spacing_is_found_among_decimals_and_nowhere_else():
    r = np.random.default_rng(2)
    decimals = np.round(3.7 + 0.1 * r.normal(size=9), 3)
    assert np.isclose(common_spacing(decimals, 1e-15), 1e-3)
    assert common_spacing(3.7 + 0.1 * r.normal(size=9), 1e-15) == 0.0
    assert common_spacing(np.array([1.0, 2.0, 2.0]), 1e-15) == 0.0


@pytest.mark.parametrize("mode", MODES)
def test_a_floor_is_called_a_floor(mode):
    loss, gradient, w = problem(4)
    w[0] = 0.4321
    floored = lambda p: np.r_[np.floor(200 * p[:1]) / 200, p[1:]]  # noqa: E731
    own = np.r_[0.0, np.ones(w.size - 1)]  # its derivative in the floored entry is zero
    right = check_gradient(
        lambda p: loss(floored(p)), lambda p: gradient(floored(p)) * own, w, mode=mode
    )
    assert right.verdict is Verdict.PASS, str(right)
    through = check_gradient(lambda p: loss(floored(p)), lambda p: gradient(floored(p)), w)
    assert through.verdict is Verdict.UNDECIDED
    assert "floored or rounded" in through.rows[0].reason
    assert "roundoff" not in through.rows[0].reason


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1e-300, 1e-310, 1e-318])
def test_denormal_losses_gradients_and_parameters_are_judged(size, mode):
    A = np.random.default_rng(3).normal(size=(4, 3))
    w = np.random.default_rng(4).normal(size=3)
    loss = lambda p: size * np.sum(np.tanh(A @ p))  # noqa: E731
    gradient = lambda p: A.T @ (size * (1 - np.tanh(A @ p) ** 2))  # noqa: E731
    assert check_gradient(loss, gradient, w, mode=mode).passed
    wrong = check_gradient(loss, lambda p: 1.5 * gradient(p), w, mode=mode)
    assert wrong.verdict is Verdict.FAIL
    linear = check_gradient(lambda p: np.sum(A[0] * p), lambda p: A[0].copy(), size * w, mode=mode)
    assert linear.passed, str(linear)


@pytest.mark.parametrize("mode", MODES)
def test_a_slope_on_one_step_of_a_part_that_lost_its_digits_refutes_nothing(mode):
    # 1 - s is a few units in the last place for the first row: log(1 - s) goes in steps there
    w = np.array([0.99, 0.3])
    A, y = np.array([[36.1, 0.4], [1.2, -0.7], [-0.8, 1.1]]), np.array([0.0, 1.0, 0.0])
    s = lambda p: 1 / (1 + np.exp(-(A @ p)))  # noqa: E731
    loss = lambda p: float(-(y * np.log(s(p)) + (1 - y) * np.log(1 - s(p))).sum())  # noqa: E731
    right = check_gradient(loss, lambda p: A.T @ (s(p) - y), w, mode=mode)
    assert right.verdict is Verdict.UNDECIDED
    assert mode == "directional" or "changes in steps" in right.rows[0].reason
    wrong = check_gradient(loss, lambda p: A.T @ (y - s(p)), w, mode=mode)
    assert wrong.verdict is Verdict.FAIL


def test_rounding_inside_the_loss_is_told_from_steps_of_the_loss():
    inside = Noise(8e-4, 1e-16, 2.0**-52, 0.0, 8, "ECnoise", quantum=6e-8)
    decimals = Noise(3e-5, 1e-16, 2.0**-52, 0.0, 8, "floor", quantum=1e-4)
    assert inside.rounded_inside
    assert not decimals.rounded_inside


def test_a_small_error_everywhere_is_called_one():
    r = np.random.default_rng(2)
    A, w, off = r.normal(size=(6, 4)), r.normal(size=4), 1e-6 * r.normal(size=4)
    loss = lambda p: float(np.log(np.cosh(A @ p)).sum())  # noqa: E731
    report = check_gradient(loss, lambda p: A.T @ np.tanh(A @ p) + off, w)
    assert report.verdict is Verdict.FAIL
    assert "of the block everywhere" in report.sentence()
    half = check_gradient(loss, lambda p: A.T @ np.tanh(A @ p) * [1, 1, 1, 0.5], w)
    assert "of the block everywhere" not in half.sentence()


def test_entries_too_small_beside_their_block_are_counted_for_every_row():
    A = np.random.default_rng(3).normal(size=(5, 4)) * [1.0, 1.0, 1e-13, 1e-14]
    B = np.random.default_rng(4).normal(size=(5, 3))
    z = lambda a, b: A @ a.real + B @ b.real  # noqa: E731

    def gradient(a, b):
        return A.T @ np.tanh(z(a, b)), B.T @ np.tanh(z(a, b))

    point = (np.full(4, 0.3), np.full(3, -0.4))
    report = check_gradient(lambda a, b: float(np.log(np.cosh(z(a, b))).sum()), gradient, point)
    assert report.passed, str(report)
    assert report.rows[0].hidden == 2
    assert report.rows[1].hidden == 0


def _naive(kind, seed, size):
    """A loss that loses its digits where units saturate, its right gradient, and a point."""
    r = np.random.default_rng(seed)
    n, m = int(r.integers(2, 7)), int(r.integers(2, 5))
    A, y = r.normal(size=(n, m)) * size, (r.random(n) > 0.5) * 1.0
    w = r.normal(size=m)
    if kind == "tanh":
        loss = lambda p: float(np.log(1 - np.tanh(A @ p)).sum() + (p**2).sum())  # noqa: E731
        return loss, lambda p: -A.T @ (1 + np.tanh(A @ p)) + 2 * p, w
    s = lambda p: 1 / (1 + np.exp(-(A @ p)))  # noqa: E731
    loss = lambda p: float(-(y * np.log(s(p)) + (1 - y) * np.log(1 - s(p))).sum())  # noqa: E731
    return loss, lambda p: A.T @ (s(p) - y), w


@pytest.mark.parametrize(
    ("kind", "seed", "size", "mode"),
    [
        ("bce", 0, 8, "entrywise"),  # narrow steps: wider slopes are the gradient, tiny ones not
        ("bce", 19, 14, "entrywise"),
        ("bce", 10, 8, "directional"),
        ("bce", 15, 8, "directional"),  # a step met by one direction, a wider one by the next
        ("tanh", 19, 10, "entrywise"),
        ("tanh", 11, 10, "directional"),
        ("bce", 101, 14, "directional"),  # narrow steps, of which the slope is off by 4 %
        ("tanh", 106, 14, "directional"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_steps_of_all_widths_refute_no_right_gradient(kind, seed, size, mode):
    loss, gradient, w = _naive(kind, seed, size)
    assert check_gradient(loss, gradient, w, mode=mode).verdict is Verdict.UNDECIDED


def test_a_flat_step_refutes_no_slope_and_a_dead_unit_does():
    w = np.array([0.3, -0.4, 0.5])
    a = np.array([1.0, 2.0, -1.0])
    phase = lambda p: 1e-7 * (a @ p) + 3e-8  # noqa: E731
    flat = check_gradient(
        lambda p: float(np.sqrt(1 - np.cos(phase(p))) * 1e7),
        lambda p: a * np.sign(phase(p)) / np.sqrt(2), w, mode="entrywise",
    )  # fmt: skip
    assert flat.verdict is Verdict.UNDECIDED
    dead = check_gradient(lambda p: np.maximum(p, 0).sum(), lambda p: 1 + 0 * p, w)
    assert dead.verdict is Verdict.FAIL


def test_what_wiggles_is_no_step():
    """A smooth loss of two scales: the slope of the wide one alone is wrong."""
    w = np.array([0.3, -0.4, 0.5])
    loss = lambda p: float((np.sin(40 * p) / 8 + p**2).sum())  # noqa: E731
    assert check_gradient(loss, lambda p: 5 * np.cos(40 * p) + 2 * p, w).passed
    for mode in ("entrywise", "directional"):
        assert check_gradient(loss, lambda p: 2 * p, w, mode=mode).verdict is Verdict.FAIL
