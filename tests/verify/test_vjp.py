"""Vector-Jacobian products: the cotangent of every output alone."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify import Verdict, check_vjp


def lstm_step(x, h, c, W):
    z = np.concatenate([x, h], axis=1) @ W.T
    p = h.shape[1]
    i, f, o = (1 / (1 + np.exp(-z[:, k * p : (k + 1) * p])) for k in range(3))
    g = np.tanh(z[:, 3 * p :])
    new = f * c + i * g
    t = np.tanh(new)
    return (o * t, new), {"i": i, "f": f, "o": o, "g": g, "t": t, "x": x, "h": h, "c": c, "W": W}


def lstm_back(cotangents, cache, *, lose_c=False, scribble=False, eat=False):
    dh, dc = cotangents
    i, f, o, g, t = (cache[k] for k in "ifogt")
    dn = dh * o * (1 - t * t) + (0 if lose_c else dc)
    dz = np.concatenate(
        [dn * g * i * (1 - i), dn * cache["c"] * f * (1 - f), dh * t * o * (1 - o),
         dn * i * (1 - g * g)], axis=1,
    )  # fmt: skip
    d = cache["x"].shape[1]
    dxh = dz @ cache["W"]
    dW = dz.T @ np.concatenate([cache["x"], cache["h"]], axis=1)
    if scribble:
        cache["i"] *= 0
    if eat:
        dc *= f
    return dxh[:, :d], dxh[:, d:], dn * f, dW


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    B, d, p = 2, 3, 4
    return (rng.normal(size=(B, d)), rng.normal(size=(B, p)), rng.normal(size=(B, p)),
            rng.normal(size=(4 * p, d + p)) * 0.5)  # fmt: skip


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_correct_step_passes_with_a_row_for_each_output_and_input(inputs, mode):
    report = check_vjp(lstm_step, lstm_back, inputs, mode=mode)
    assert report.passed, str(report)
    assert len(report.rows) == 8
    outputs, given = zip(*(r.name.split(" -> ") for r in report.rows), strict=True)
    assert (len(set(outputs)), len(set(given))) == (2, 4)


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_lost_cell_cotangent_is_found_at_that_output_alone(inputs, mode):
    report = check_vjp(
        lstm_step, lambda ct, cache: lstm_back(ct, cache, lose_c=True), inputs, mode=mode
    )
    assert report.verdict is Verdict.FAIL
    failing = {r.name.split(" -> ")[0] for r in report.rows if r.verdict is Verdict.FAIL}
    fine = {r.name.split(" -> ")[0] for r in report.rows if r.verdict is Verdict.PASS}
    assert len(failing) == 1
    assert not failing & fine or len(fine) == 1


def test_backward_that_destroys_cache_or_cotangents(inputs):
    scribbled = check_vjp(lstm_step, lambda ct, cache: lstm_back(ct, cache, scribble=True), inputs)
    assert any(f.kind == "mutated-cache" for f in scribbled.findings)
    assert scribbled.passed
    eaten = check_vjp(lstm_step, lambda ct, cache: lstm_back(ct, cache, eat=True), inputs)
    assert any(f.kind == "mutated-cotangent" and f.fatal for f in eaten.findings)
    assert eaten.verdict is Verdict.FAIL


def test_dicts_single_outputs_and_no_cache():
    x = np.random.default_rng(1).normal(size=(3, 2))
    report = check_vjp(
        lambda x, a: np.tanh(a * x), lambda ct, given: {
            "x": ct * given["a"] * (1 - np.tanh(given["a"] * given["x"]) ** 2),
            "a": np.sum(ct * given["x"] * (1 - np.tanh(given["a"] * given["x"]) ** 2)),
        }, {"x": x, "a": np.array(0.7)}, cache=False,
    )  # fmt: skip
    assert report.passed, str(report)
    assert [r.name for r in report.rows] == ["outputs -> x", "outputs -> a"]
    named = check_vjp(
        lambda x: ({"y": x * x, "z": np.sin(x)}, x),
        lambda ct, x: 2 * x * ct["y"] + np.cos(x) * ct["z"],
        x,
    )
    assert named.passed, str(named)
    assert [r.name for r in named.rows] == ["y -> inputs", "z -> inputs"]
    only = check_vjp(
        lambda x: ({"y": x * x, "z": np.sin(x)}, x), lambda ct, x: 2 * x * ct["y"], x, outputs=["y"]
    )
    assert only.passed


def test_misuse(inputs):
    with pytest.raises(UsageError, match="cache"):
        check_vjp(lambda x: x, lambda ct, cache: ct, inputs[0])
    with pytest.raises(UsageError, match="no output 'q'"):
        check_vjp(lstm_step, lstm_back, inputs, outputs=["q"])
    with pytest.raises(UsageError, match="floating"):
        check_vjp(lambda x: (np.argmax(x), x), lambda ct, cache: ct, inputs[0])


# -- outputs stacked over time --------------------------------------------------------------------

RHO = 0.4


def leaky(x, h0):
    """h_t = ρ h_{t−1} + x_t: the whole sequence, and the last state."""
    h, hs = h0, []
    for step in x:
        h = RHO * h + np.tanh(step)
        hs.append(h)
    return (np.stack(hs), h), (x, h0)


def leaky_back(cotangents, cache, deaf=None):
    dhs, dlast = cotangents
    x, _ = cache
    dx, carry = np.zeros_like(x), dlast
    for t in reversed(range(len(x))):
        carry = carry + (0 if t == deaf else dhs[t])
        dx[t] = carry * (1 - np.tanh(x[t]) ** 2)
        carry = RHO * carry
    return dx, carry


@pytest.fixture
def sequence():
    rng = np.random.default_rng(1)
    return rng.normal(size=(4, 2, 3)), rng.normal(size=(2, 3))


def test_every_step_of_a_stacked_output_has_a_cotangent_of_its_own(sequence):
    report = check_vjp(leaky, leaky_back, sequence, time_axis=0)
    assert report.passed, str(report)
    outputs = list(dict.fromkeys(r.name.split(" -> ")[0] for r in report.rows))
    assert outputs == [
        "[0]", *(f"[0] at step {t}" for t in (1, 2, 3, 4)), "[1]",
    ]  # fmt: skip
    by_name = check_vjp(leaky, leaky_back, sequence, time_axis={"[0]": 0})
    assert [r.name for r in by_name.rows] == [r.name for r in report.rows]
    plain = check_vjp(leaky, leaky_back, sequence)
    assert len({r.name.split(" -> ")[0] for r in plain.rows}) == 2


def test_the_step_whose_cotangent_is_lost_is_named(sequence):
    def back(cotangents, cache):
        return leaky_back(cotangents, cache, deaf=2)

    report = check_vjp(leaky, back, sequence, time_axis=0)
    bad = {r.name.split(" -> ")[0] for r in report.rows if r.verdict is Verdict.FAIL}
    assert bad == {"[0]", "[0] at step 3"}


def test_a_carry_cut_beyond_what_a_sum_can_show(monkeypatch):
    """ρ²⁴ ≈ 4e-17 of the gradient: below the roundoff of the whole, alone in its own step."""
    monkeypatch.setattr(f"{__name__}.RHO", 0.2)
    rng = np.random.default_rng(2)
    inputs = (rng.normal(size=(26, 1, 2)), rng.normal(size=(1, 2)))

    def back(cotangents, cache):
        (dhs, _), (x, _) = cotangents, cache
        reached = [sum(RHO ** (s - t) * dhs[s] for s in range(t, min(t + 24, 26)))
                   for t in range(26)]  # fmt: skip
        start = sum(RHO ** (s + 1) * dhs[s] for s in range(23))
        return np.stack(reached) * (1 - np.tanh(x) ** 2), start

    whole = check_vjp(leaky, back, inputs, outputs="[0]")
    assert str(whole.verdict) != "fail", "the sum does not show it"
    steps = check_vjp(leaky, back, inputs, outputs="[0]", time_axis=0)
    bad = [r.name.split(" -> ")[0] for r in steps.rows if r.verdict is Verdict.FAIL]
    assert bad
    assert set(bad) <= {f"[0] at step {t}" for t in (24, 25, 26)}


def test_time_axes_that_are_not_there(sequence):
    with pytest.raises(UsageError, match="time_axis names 'y'; outputs are"):
        check_vjp(leaky, leaky_back, sequence, time_axis={"y": 0})
    with pytest.raises(UsageError, match="time_axis 3: the output"):
        check_vjp(leaky, leaky_back, sequence, time_axis=3)


def test_what_is_said_of_a_pair_has_the_names_of_its_functions() -> None:
    rng = np.random.default_rng(0)
    report = check_vjp(
        lambda x: (np.tanh(x) + 1e-3 * rng.normal(size=x.shape), x),
        lambda g, x: (g * (1 - np.tanh(x) ** 2),),
        (np.ones((3, 2)),),
    )
    (said,) = [f.message for f in report.findings if f.kind == "nondeterministic"]
    assert said.startswith("output 'outputs': forward draws random numbers: it differs")
    assert "Fix the seed inside forward and the gradient" in said
    counts: list[int] = []

    def counted(x):
        counts.append(0)
        return np.tanh(x) * (1 + 0.01 * len(counts)), x

    report = check_vjp(counted, lambda g, x: (g * (1 - np.tanh(x) ** 2),), (np.ones((3, 2)),))
    assert "forward keeps state from the last call" in str(report)


def test_steps_whose_gradient_lies_below_its_bound_are_named():
    """h ← h/1000 + x: what reaches the first of twelve steps is 10⁻³³ of the block."""

    def forward(x):
        h = np.zeros_like(x[0])
        for step in x:
            h = 1e-3 * np.abs(h) + np.sin(step)
        return h, x

    def backward(dh, x):
        h, signs = np.zeros_like(x[0]), []
        for step in x:
            signs.append(np.sign(h))
            h = 1e-3 * np.abs(h) + np.sin(step)
        dx = np.zeros_like(x)
        for t in reversed(range(len(x))):
            dx[t], dh = dh * np.cos(x[t]), 1e-3 * dh * signs[t]
        dx[0] *= 2
        return dx

    x = np.random.default_rng(2).normal(size=(12, 2, 3))
    report = check_vjp(forward, backward, (x,))
    assert report.passed
    assert "(all of [0] to [" in str(report)


@pytest.mark.parametrize("cache", [True, False])
def test_cotangents_that_are_views_are_read_as_such(cache: bool) -> None:
    """Wrong: the memory of a cotangent is read in its own order, as a kernel in C would."""
    rng = np.random.default_rng(0)

    def forward(x, w):
        y = np.tanh(x * w)
        return (y, (x, w)) if cache else y

    def pulled(g, inputs, read):
        x, w = inputs
        a = read(g) * (1 - np.tanh(x * w) ** 2)
        return a * w, (a * x).sum(0)

    inputs = rng.normal(size=(4, 3)), rng.normal(size=3)
    wrong = check_vjp(
        forward, lambda g, c: pulled(g, c, lambda g: g.ravel("K").reshape(g.shape)), inputs,
        cache=cache,
    )  # fmt: skip
    assert wrong.verdict is Verdict.FAIL
    assert "for cotangents that are not contiguous" in str(wrong)
    assert check_vjp(forward, lambda g, c: pulled(g, c, np.copy), inputs, cache=cache).passed


def test_a_transposed_input_comes_as_it_was_given() -> None:
    rng = np.random.default_rng(0)
    x, W = rng.normal(size=(5, 3)), rng.normal(size=(2, 3)).T

    def backward(g, c):
        x, W, h = c
        a = g * (1 - h * h)
        d = x.T @ a
        return a @ W.T, d if W.flags.c_contiguous else d[:, ::-1]

    def forward(x, W):
        h = np.tanh(x @ W)
        return h, (x, W, h)

    assert check_vjp(forward, backward, (x, W)).verdict is Verdict.FAIL
    assert check_vjp(forward, backward, (x, W.copy())).passed
    right = check_vjp(forward, lambda g, c: (g * (1 - c[2] ** 2) @ c[1].T,
                                             c[0].T @ (g * (1 - c[2] ** 2))), (x, W))  # fmt: skip
    assert right.passed


@pytest.mark.parametrize("seed", range(6))
def test_a_gradient_of_rounding_alone_may_depend_on_the_layout_of_cotangents(seed: int) -> None:
    """The bias before a batch normalisation: its terms cancel, and what is left is rounding."""
    draw = np.random.default_rng(seed).normal

    def forward(x, W, b):
        a = x @ W + b
        scale = np.sqrt(a.var(0) + 1e-5)
        return (a - a.mean(0)) / scale, (x, W, (a - a.mean(0)) / scale, scale)

    def backward(d, cache):
        x, W, n, scale = cache
        da = (d - d.mean(0) - n * (d * n).mean(0)) / scale
        return da @ W.T, x.T @ da, da.sum(0)

    report = check_vjp(forward, backward, (draw(size=(9, 2)), draw(size=(2, 3)), draw(size=3)))
    assert report.passed, str(report)
