"""Losses that jump exactly at the point, which differences and the complex step do not see."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.verify import Verdict, check_gradient, check_vjp
from gradcheck_rnn.verify.budget import Budget
from gradcheck_rnn.verify.jumping import LineOfAll, look_for_jumps
from gradcheck_rnn.verify.oracle.noise import measure_noise
from gradcheck_rnn.verify.steps_of_losses import step_between
from gradcheck_rnn.verify.target import Target
from gradcheck_rnn.verify.trees import Tree

MODES = ["entrywise", "directional"]


def problem(seed):
    r = np.random.default_rng(seed)
    A, w = r.normal(size=(7, 5)), r.normal(size=5)
    w[0], w[3] = 0.3, w[2]
    return A, w, lambda p: np.log(np.cosh(A @ p)).sum(), lambda p: A.T @ np.tanh(A @ p)


JUMPS = {
    "threshold": lambda p, w: (p[0] >= 0.3) * 1e-6,
    "large threshold": lambda p, w: (p[0] >= 0.3) * 1e-2,
    "tie": lambda p, w: (p[2] >= p[3]) * 1e-3,
    "alone": lambda p, w: np.array_equal(p, w) * 1e-5,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", JUMPS)
def test_a_jump_at_the_point_is_undecided_and_named(kind, mode):
    for seed in range(6):
        _, w, smooth, gradient = problem(seed)
        at = w.copy()

        def loss(p, f=smooth, at=at):
            return f(p) + JUMPS[kind](p, at)

        report = check_gradient(loss, gradient, w, mode=mode)
        assert report.verdict is Verdict.UNDECIDED, f"seed {seed}\n{report}"
        assert "a jump at the point" in report.rows[0].reason
        assert "roundoff" not in report.rows[0].reason
        if "threshold" in kind:
            assert any(f.kind == "jump" and "[0]" in f.message for f in report.findings)


@pytest.mark.parametrize("mode", MODES)
def test_wrong_gradients_at_a_jump_are_no_pass_and_others_are_not_suspected(mode):
    for seed in range(6):
        _, w, smooth, gradient = problem(seed)

        def jumping(p, f=smooth):
            return f(p) + (p[0] >= 0.3) * 1e-6

        wrong = check_gradient(jumping, lambda p, g=gradient: 1.1 * g(p), w, mode=mode)
        assert wrong.verdict is not Verdict.PASS

        def beside(p, f=smooth):
            return f(p) + (p[0] >= 0.31) * 1e-3

        assert check_gradient(beside, gradient, w, mode=mode).passed

        def bent(p, f=smooth):
            return f(p) + abs(p[0] - 0.3)

        report = check_gradient(bent, gradient, w, mode=mode)
        assert not any(f.kind == "jump" for f in report.findings)


def test_a_jump_in_one_parameter_says_nothing_of_the_others():
    _, w, smooth, gradient = problem(1)
    v = np.array([0.2, -0.7])
    report = check_gradient(
        lambda p: smooth(p["w"]) + (p["w"][0] >= 0.3) * 1e-6 + np.sum(np.sin(p["v"])),
        lambda p: {"w": gradient(p["w"]), "v": np.cos(p["v"])},
        {"w": w, "v": v},
    )
    assert [row.verdict for row in report.rows] == [Verdict.UNDECIDED, Verdict.PASS]


def test_parameters_of_other_sizes_are_no_jump() -> None:
    """Entries of 1e-8, 1 and 1e8 are each moved by their own size."""
    sizes = np.array([1e-8, 1.0, 1e8])
    A = np.random.default_rng(3).normal(size=(7, 3))

    def loss(p):
        return np.tanh(A @ (p * sizes)).sum()

    def gradient(p):
        return A.T @ (1 - np.tanh(A @ (p * sizes)) ** 2) * sizes

    report = check_gradient(loss, gradient, np.array([0.4, -0.7, 1.1]) / sizes)
    assert report.passed, report


def test_noise_and_jumps_are_seen_in_one_set_of_values() -> None:
    _, w, smooth, gradient = problem(2)
    tree = Tree.of(w)
    target = Target(smooth, gradient, tree, [0], Budget(None))
    target.base = target.value(tree.leaves)
    line = LineOfAll(target, np.random.default_rng(0))
    assert np.all(np.abs(line.directions[0]) >= 0.5 * target.scale(0))
    noise = measure_noise(line, 1.0, 2.0**-52, 0.0, target.base)
    spent = target.evaluations
    assert noise.evaluations == spent - 1
    assert look_for_jumps(target, line) is None
    assert target.evaluations == spent + 1
    # at the point itself nothing is remembered: it is what repeats are for
    line(np.zeros(2))
    assert target.evaluations == spent + 3


def between(loss, claim):
    """What `step_between` says of a slope of 1 at small steps, and how many losses that took."""
    calls = []

    def phi(steps):
        calls.extend(steps)
        return np.array([loss(float(h)) for h in steps])

    return step_between(phi, 1.0, loss(0.0), claim, 1.0, 1e-16), len(calls)


def test_a_smooth_slope_that_passes_by_the_claim_costs_few_losses():
    # slopes over ±1/4 and ±1/32 are 1.23, 0.73, 1.03 and 0.97: one is near to the claim
    assert between(lambda h: h + h**2 - 0.3 * h**3, 1.24) == ("", 7)


@pytest.mark.parametrize("tread", [2.0**-4, 2.0**-7, 2.0**-11])
def test_steps_of_the_loss_beside_the_point_are_still_found(tread):
    # the slope over many steps is 1.3, on the one at the point it is 1
    said, _ = between(lambda h: h + 0.3 * tread * np.floor(h / tread + 0.4), 1.3)
    assert "changes in" in said


def test_a_straight_through_gradient_is_undecided_and_told_what_to_give() -> None:
    """The gradient of round(8x)/8, the same everywhere by intent, is called no stale cache."""
    x = 3 * np.random.default_rng(0).normal(size=4)
    report = check_vjp(lambda x: (np.round(8 * x) / 8, x), lambda dy, x: (dy,), (x,))
    assert report.verdict is Verdict.UNDECIDED
    assert "give that as surrogate=" in report.rows[0].reason
    given = check_vjp(
        lambda x: (np.round(8 * x) / 8, x), lambda dy, x: (dy,), (x,), surrogate=lambda x: 1.0 * x
    )
    assert given.passed
