"""Gradients that are zero at the point: a pass where that is right, and never where it is not."""

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_vjp
from gradcheck_rnn.verify import zeros
from gradcheck_rnn.verify.verdict import Verdict

rng = np.random.default_rng(5)
X, C = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))
AT = np.array([1.0, -0.5, 2.0])


def normalised(a):
    return (a - a.mean(axis=0)) / np.sqrt(a.var(axis=0) + 1e-5)


def batch_norm_loss(p):
    return (np.tanh(normalised(X @ p["W"] + p["b"])) * C).sum()


def batch_norm_gradient(p, bias=lambda da, dh: da):
    a = X @ p["W"] + p["b"]
    h, s = normalised(a), np.sqrt(a.var(axis=0) + 1e-5)
    dh = C * (1 - np.tanh(h) ** 2)
    da = (dh - dh.mean(axis=0) - h * (dh * h).mean(axis=0)) / s
    return {"W": X.T @ da, "b": bias(da, dh).sum(axis=0)}


NORM = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}


def test_a_bias_before_a_normalisation_passes():
    report = check_gradient(batch_norm_loss, batch_norm_gradient, NORM)
    assert report.passed, report
    assert "by more than rounding" in report.rows[1].missed


def test_a_bias_that_skips_the_normalisation_fails():
    wrong = check_gradient(
        batch_norm_loss, lambda p: batch_norm_gradient(p, lambda da, dh: dh), NORM
    )
    assert [row.verdict for row in wrong.rows] == [Verdict.PASS, Verdict.FAIL]


@pytest.mark.parametrize("power", [2, 4])
def test_an_exact_minimum_is_checked_beside_it(power):
    def loss(p):
        return ((p - AT) ** power).sum()

    right = check_gradient(loss, lambda p: power * (p - AT) ** (power - 1), AT)
    assert right.passed, right
    assert "at another, where it is not" in right.rows[0].missed
    wrong = check_gradient(loss, lambda p: (p - AT) ** (power - 1), AT)
    assert wrong.verdict is Verdict.UNDECIDED
    assert "wrong where it is not" in wrong.rows[0].reason


def test_units_that_are_off_do_not_hide_a_gradient_that_is_always_zero():
    at = np.full(3, -0.2)
    loss = lambda p: np.maximum(p + 0.1, 0).sum()  # noqa: E731
    for seed in range(6):
        right = check_gradient(loss, lambda p: (p > -0.1) * 1.0, at, seed=seed)
        wrong = check_gradient(loss, lambda p: 0 * p, at, seed=seed)
        # what the loss does beyond the plateau is no noise
        assert right.noise == 0
        assert (right.passed, wrong.verdict) == (True, Verdict.UNDECIDED)


def forward(x, W, h0):
    h = [h0]
    for x_t in x:
        h.append(np.tanh(x_t + h[-1] @ W))
    return h[-1] + 0 * float(np.real(h[0]).sum()), (W, h)  # no complex step takes float()


@pytest.mark.parametrize(("kept", "verdicts"), [(0.0, "undecided fail"), (1.0, "pass undecided")])
def test_what_vanished_on_the_way_is_no_zero(kept, verdicts):
    """Over 150 steps dh0 is 1e-70 of the rest; a backward that drops it must not pass."""

    def backward(dh, cache):
        W, h = cache
        dx, dW = np.zeros((len(h) - 1, *dh.shape)), np.zeros_like(W)
        for t in reversed(range(len(h) - 1)):
            dx[t] = dh * (1 - h[t + 1] ** 2)
            dW += h[t].T @ dx[t]
            dh = dx[t] @ W.T
        return dx, dW, kept * dh

    inputs = (rng.normal(size=(150, 2, 3)), 0.2 * rng.normal(size=(3, 3)), rng.normal(size=(2, 3)))
    report = check_vjp(forward, backward, inputs)
    assert report.rows[2].verdict.name.lower() in verdicts, report


def test_outputs_that_an_input_does_not_reach():
    right = check_vjp(
        lambda a, b: ((np.sin(a), np.abs(b).astype(float) * 3.0, np.ones(2)), (a, b)),
        lambda d, c: (d[0] * np.cos(c[0]), 3.0 * np.sign(c[1]) * d[1]),
        (rng.normal(size=3), rng.normal(size=2)),
    )
    assert right.passed, right


def test_a_loss_that_reads_no_argument_is_no_pass():
    report = check_gradient(lambda p: 3.0, lambda p: 0 * p, AT)
    assert report.verdict is Verdict.UNDECIDED
    assert "never changes" in report.rows[0].reason


@pytest.mark.parametrize("step", [np.round, np.trunc, np.floor, np.ceil])
@pytest.mark.parametrize("seed", [3, 6, 10, 11])
def test_stairs_are_neither_flat_nor_steep(step, seed):
    """Over many steps differences converge to the average slope; here the derivative is zero."""
    x = np.random.default_rng(seed).normal(size=3)
    report = check_vjp(lambda x: (step(3 * x), x), lambda d, x: 0 * d, x)
    assert report.verdict is Verdict.UNDECIDED, report


def test_zeros_for_a_loss_rounded_for_print_fail():
    loss = lambda p: round(float(((p - 1) ** 2).sum()), 4)  # noqa: E731
    assert check_gradient(loss, lambda p: 0 * p, AT + 0.3).verdict is Verdict.FAIL


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("largest", ["real", "float"])
def test_a_softmax_over_one_class_has_no_gradient(largest, right):
    """No complex step takes either; moves that are large, in many regimes, settle it."""

    def softmax(a):
        top = a.real.max(-1, keepdims=True) if largest == "real" else float(np.max(a))
        e = np.exp(a - top)
        return e / e.sum(-1, keepdims=True)

    def back(d, cache):
        z, W = cache
        p = softmax(z @ W)
        da = p * (d - (p * d).sum(-1, keepdims=True)) if right else p * d
        return da @ W.T, z.T @ da

    inputs = rng.normal(size=(3, 4)), rng.normal(size=(4, 1))
    report = check_vjp(lambda z, W: (softmax(z @ W), (z, W)), back, inputs)
    assert report.verdict is (Verdict.PASS if right else Verdict.FAIL), report


@pytest.mark.parametrize("constant", [True, False])
def test_a_start_that_decays_away_is_no_zero(constant):
    """Of a start 150 steps ago no bit is left, whether the decay is a number or an argument."""

    def run(x, h0, a):
        hs = [h0]
        for x_t in x:
            hs.append((0.5 if constant else 1 / (1 + np.exp(a))) * hs[-1] + x_t)
        return hs[-1] + 0 * float(np.real(h0).sum()), (x, hs, a)

    def back(d, cache):
        x, hs, a = cache
        s = 0.5 if constant else 1 / (1 + np.exp(a))
        dx, da = np.zeros_like(x), np.zeros_like(a)
        for t in reversed(range(len(x))):
            dx[t] = d
            da = da - 0 ** int(constant) * (d * hs[t] * s * (1 - s)).sum(0)
            d = d * s
        return dx, 0 * d, 0 * a if constant else da

    inputs = rng.normal(size=(150, 2, 3)), rng.normal(size=(2, 3)), 1 + rng.random(3)
    report = check_vjp(run, back, inputs)
    assert report.rows[1].verdict is Verdict.UNDECIDED, report


def _zero_at_the_point(count):
    """Blocks of units that are off at the point, and not elsewhere."""
    at = {f"w{k}": np.full(40, -0.3) for k in range(count)}

    def loss(p):
        return float(sum(np.maximum(w, 0) @ w for w in p.values()))

    return at, loss, lambda p: {n: 2 * np.maximum(w, 0) for n, w in p.items()}


def test_zeros_cost_no_more_than_the_check_and_what_is_left_is_told():
    at, loss, gradient = _zero_at_the_point(8)
    report = check_gradient(loss, gradient, at)
    left = [row for row in report.rows if row.has("zeros-not-seen")]
    assert 0 < len(left) < len(report.rows)
    assert all(row.verdict is Verdict.UNDECIDED for row in left)
    assert all("as many as this is worth, were spent" in row.reason for row in left)
    assert all(row.verdict is Verdict.PASS for row in report.rows if row not in left)
    short = check_gradient(loss, gradient, at, budget=report.evaluations // 2)
    assert short.verdict is Verdict.UNDECIDED


def test_zeros_along_directions_are_looked_at_elsewhere_too():
    at, loss, gradient = _zero_at_the_point(1)
    right = check_gradient(loss, gradient, at, mode="directional")
    assert right.passed, right
    wrong = check_gradient(
        loss, lambda p: {n: 1.1 * g for n, g in gradient(p).items()}, at, mode="directional"
    )
    assert wrong.verdict is Verdict.UNDECIDED, wrong
    assert "wrong where it is not" in wrong.rows[0].reason


def test_a_fault_of_the_check_itself_comes_out(monkeypatch):
    def broken(*_):
        raise RuntimeError("ours")

    monkeypatch.setattr(zeros._Look, "settle", broken)
    with pytest.raises(RuntimeError, match="ours"):
        check_gradient(lambda p: ((p - AT) ** 2).sum(), lambda p: 2 * (p - AT), AT)
