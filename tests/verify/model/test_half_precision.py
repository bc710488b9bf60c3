"""Coarse formats: whole arrays are judged finer than entries, and instability is no excuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cell, check_model
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language import exp, softplus
from gradcheck_rnn.verify.diagnosis.typical import Typical, rounding_up_or_down
from gradcheck_rnn.verify.harness.arrays import precision
from gradcheck_rnn.verify.verdict import Verdict


@cell(inputs="x: p; k: p; a: p", states="h: p")
def gated(x: Any, k: Any, a: Any, h: Any) -> Any:
    h = exp(-softplus(a)) * h + k * x
    return h  # noqa: RET504 - the name is the state


@cell(inputs="x: p; k: p; a: p", states="h: p")
def fast(x: Any, k: Any, a: Any, h: Any) -> Any:
    h = exp(-8 * softplus(a)) * h + k * x
    return h  # noqa: RET504 - the name is the state


def code(
    inner: str,
    outer: str,
    power: float = 1.0,
    factor: float = 1.0,
    trick: bool = False,
    noise: float = 0.0,
):
    """Forward and backward; every result rounded to ``inner``, those handed out to ``outer``.

    ``trick`` takes the gradient of the decay as a sum of differences that cancel, ``noise`` is that
    of the carried adjoint in every step, the same in every call at a point.
    """
    q, out = precision(inner).quantise, precision(outer).quantise

    def forward(x: Any, k: Any, a: Any, h0: Any) -> Any:
        x, k, a, h0 = (np.asarray(v, float) for v in (x, k, a, h0))
        decays, hs = q(np.exp(-q(power * np.logaddexp(0, a)))), [h0]
        for t in range(len(x)):
            hs.append(q(q(decays[t] * hs[-1]) + q(k[t] * x[t])))
        return {"h": out(np.stack(hs[1:])), "h_final": out(hs[-1])}, (x, k, a, decays, np.stack(hs))

    def backward(c: Any, saved: Any) -> Any:
        x, k, a, decays, h = saved
        g = {n: np.zeros_like(v) for n, v in (("x", x), ("k", k), ("a", a))}
        last = dh = np.asarray(c["h_final"], float)
        total = q(last * h[-1])
        rng = np.random.default_rng(np.frombuffer(h.tobytes(), np.uint32))
        for t in reversed(range(len(x))):
            now = np.asarray(c["h"][t], float)
            dh = q(dh + now)
            g["x"][t], g["k"][t] = q(dh * k[t]), q(dh * x[t])
            total = q(total + q(q(now * h[t + 1]) - q(g["x"][t] * x[t])))
            shared = total if trick else q(q(dh * decays[t]) * h[t])
            g["a"][t] = q(-shared * q(power / (1 + np.exp(-a[t]))))
            dh = q(dh * decays[t] * (1 + noise * rng.standard_normal(dh.shape)))
        g["k"] = g["k"] * factor
        return {n: out(v) for n, v in {**g, "h0": dh}.items()}

    return {"forward": forward, "backward": backward, "array": np.asarray, "diagnose": False}


BF16: Any = {"dtype": "bfloat16"}
CLAIM: Any = {"dtype": "bfloat16", "accumulate": "float32"}


@pytest.mark.parametrize(
    ("inner", "factor", "options", "verdict"),
    [
        ("bfloat16", 1.0, BF16, "pass"),
        ("float32", 1.0, BF16, "pass"),
        ("float32", 1.0, CLAIM, "pass"),
        ("bfloat16", 1.0, CLAIM, "fail"),
        ("bfloat16", 1.02, BF16, "fail"),
        ("float32", 1.02, CLAIM, "fail"),
    ],
)
def test_a_claim_and_a_factor_are_told(
    inner: str, factor: float, options: Any, verdict: str
) -> None:
    report = check_model(gated, **code(inner, "bfloat16", factor=factor), **options, seed=1)
    assert str(report.verdict) == verdict, str(report)
    if factor > 1:
        row = next(r for r in report.rows if r.name == "k")
        assert str(row.verdict) == "fail"
        assert options is CLAIM or "times that of the definition along itself" in row.reason


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_one_factor_has_one_name(kind: str) -> None:
    """It is fitted at two points, whose last digits the format does not resolve."""
    options = CLAIM if kind == "bfloat16" else {"dtype": kind}
    wrong = {**code("float32" if options is CLAIM else kind, kind, factor=1.02), "diagnose": True}
    found = check_model(gated, **wrong, **options, seed=1).diagnosis
    assert found is not None
    assert len(found.matches) == 1
    assert "dk has a factor 1.0" in found.matches[0].message


def offset(code: dict[str, Any], by: float) -> dict[str, Any]:
    """The same code with outputs that are off by a share of themselves."""
    inner, q = code["forward"], precision("bfloat16").quantise

    def forward(x: Any, k: Any, a: Any, h0: Any) -> Any:
        outs, saved = inner(x, k, a, h0)
        return {n: q((1 + by) * y) for n, y in outs.items()}, saved

    return {**code, "forward": forward}


@pytest.mark.parametrize(
    ("code", "options", "fits"),
    [
        (code("bfloat16", "bfloat16"), CLAIM, "bfloat16"),
        (code("bfloat16", "float32"), {"dtype": "float32"}, "bfloat16"),
        (code("float16", "float32"), {"dtype": "float32"}, "tf32 or float16"),
        (code("float32", "float64"), {"dtype": "float64"}, "float32"),
        (offset(code("float32", "bfloat16"), 0.005), CLAIM, ""),
        (offset(code("float32", "bfloat16"), -0.05), CLAIM, ""),
    ],
)
def test_states_in_a_coarser_format_are_told_from_another_function(
    code: dict[str, Any], options: Any, fits: str
) -> None:
    said = str(check_model(gated, **code, **options, seed=1))
    assert ("fits states kept in" in said) is bool(fits)
    assert not fits or f"fits states kept in {fits} between steps" in said
    assert "differs from the definition" in said


def test_the_error_against_float64_is_printed() -> None:
    report = check_model(gated, **code("float32", "float32"), dtype="float32", plan="point")
    assert "rms error" in str(report)
    assert all(0 < r.rms < 1e-5 for r in report.rows)
    assert all(0 < row["rms_error"] < 1e-5 for row in report.to_json()["rows"])


@pytest.mark.parametrize("inner", ["bfloat16", "float32"])
def test_cancellation_is_no_excuse(inner: str) -> None:
    options = BF16 if inner == "bfloat16" else CLAIM
    assert check_model(fast, **code(inner, "bfloat16", 8.0), **options).passed
    report = check_model(fast, **code(inner, "bfloat16", 8.0, trick=True), **options)
    assert str(report.verdict) == "fail"
    if inner == "bfloat16":
        assert "unstable" in str(report)
        assert "the definition's own formula keeps" in str(report)
    # Where nothing cancels the same formula is as good as any.
    assert check_model(gated, **code("float32", "float32", trick=True), dtype="float32").passed


@pytest.mark.parametrize(("noise", "options"), [(0.1, BF16), (0.01, CLAIM)])
def test_noise_of_the_carried_adjoint(noise: float, options: Any) -> None:
    inner = "bfloat16" if options is BF16 else "float32"
    report = check_model(fast, **code(inner, "bfloat16", 8.0, noise=noise), **options)
    assert str(report.verdict) == "fail", str(report)


def test_what_is_accumulated_is_no_coarser() -> None:
    with pytest.raises(UsageError, match="coarser"):
        check_model(gated, **code("float32", "float32"), dtype="float32", accumulate="bfloat16")


@pytest.mark.parametrize(
    ("kind", "options", "noise", "verdicts"),
    [
        ("bfloat16", {"chunk": 32}, 0.0, {"pass"}),
        ("bfloat16", {}, 0.0, {"pass"}),
        ("bfloat16", {}, 0.01, {"undecided"}),
        ("bfloat16", {}, 0.03, {"undecided", "fail"}),
        ("float32", {}, 0.03, {"undecided", "fail"}),
        ("bfloat16", {}, 0.1, {"fail"}),
    ],
)
def test_errors_of_all_points_together(
    kind: str, options: Any, noise: float, verdicts: set[str]
) -> None:
    """No entry shows three percent of noise in a bfloat16 carry; all of them together do."""
    made = code(kind, "bfloat16", noise=noise)
    report = check_model(gated, **made, **BF16, **options, seed=0)
    assert str(report.verdict) in verdicts, str(report)
    if 0 < noise < 0.1:
        assert "rounding every operation to bfloat16 leaves" in str(report)
    elif not noise:
        assert "random errors below 0.0" in str(report)


def test_one_point_may_be_an_outlier() -> None:
    made = code("bfloat16", "bfloat16", 8.0)
    assert all(
        check_model(fast, **made, **BF16, plan="point", seed=seed).passed for seed in (22, 28)
    )


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.02, "fail"), (0.98, "fail")])
def test_a_factor_is_seen_over_all_points(factor: float, verdict: str) -> None:
    report = check_model(fast, **code("bfloat16", "bfloat16", 8.0, factor=factor), **BF16, seed=2)
    assert str(report.verdict) == verdict, str(report)
    assert ("times that of the definition along itself" in str(report)) is (verdict == "fail")


def test_stochastic_rounding_is_unbiased() -> None:
    form, x = precision("bfloat16"), np.linspace(-1.7, 3.1, 8)
    rounded = rounding_up_or_down(form, np.random.default_rng(0))
    many = np.stack([rounded(x) for _ in range(4000)])
    np.testing.assert_array_equal(form.quantise(many), many)
    np.testing.assert_allclose(many.mean(axis=0), x, atol=2e-4)
    assert np.abs(many - x).max() < 2 * form.eps
    np.testing.assert_array_equal(rounded(form.quantise(x)), form.quantise(x))


@cell(inputs="x: p; a: ", states="h: p")
def leaky(x: Any, a: Any, h: Any) -> Any:
    h = exp(-softplus(a)) * h + x
    return h  # noqa: RET504 - the name is the state


def in_blocks(kind: str, factor: float = 1.0, steps: int = 64) -> dict[str, Any]:
    """Blocks at once, h = exp(G) Σ exp(−G) x, G the sum of log decays; backward by steps."""
    q = precision(kind).quantise

    def forward(x: Any, a: Any, h0: Any) -> Any:
        x, a, h = (np.asarray(v, float) for v in (x, a, h0))
        start, hs, logs = h, [], q(np.logaddexp(0, a.reshape(len(x), -1)))
        for t in range(len(x)):
            if t % steps == 0:
                start, total, held = h, np.zeros(logs.shape[1]), np.zeros_like(h)
            total = q(total - logs[t])
            with np.errstate(all="ignore"):
                held = q(held + q(q(np.exp(-total))[:, None] * x[t]))
                h = q(q(np.exp(total))[:, None] * q(held + start))
            hs.append(h)
        return {"h": np.stack(hs), "h_final": h}, (x, a, h0, np.stack(hs), logs)

    def backward(c: Any, saved: Any) -> Any:
        x, a, h0, h, logs = saved
        dh, dx, da = np.asarray(c["h_final"], float), np.empty_like(x), np.empty_like(logs)
        slopes = q(1 / (1 + np.exp(-a.reshape(logs.shape))))
        for t in reversed(range(len(x))):
            dx[t] = dh = q(dh + np.asarray(c["h"][t], float))
            shared = q((dh * (h[t - 1] if t else np.asarray(h0, float))).sum(-1))
            da[t] = factor * q(q(-shared * q(np.exp(-logs[t]))) * slopes[t])
            dh = q(q(np.exp(-logs[t]))[:, None] * dh)
        return {"x": dx, "a": da.reshape(a.shape), "h0": dh}

    return {"forward": forward, "backward": backward, "array": np.asarray, "diagnose": False}


def test_an_order_of_steps_that_loses_all_is_unstable_and_not_wrong() -> None:
    report = check_model(leaky, **in_blocks("bfloat16"), **BF16, chunk=64)
    assert str(report.verdict) == "fail"
    assert not any(c.wrong for c in report.comparisons)
    assert str(report).startswith("leaky in the definition's own names: da is unstable")
    assert "the definition's own formula keeps" in str(report)
    assert check_model(leaky, **in_blocks("bfloat16", steps=8), **BF16, chunk=8).passed
    wrong = check_model(leaky, **in_blocks("bfloat16", factor=-1.0), **BF16, chunk=64)
    assert any(c.wrong for c in wrong.comparisons)


def test_what_leaves_the_range_of_a_format_is_said() -> None:
    report = check_model(leaky, **in_blocks("float16"), dtype="float16", shapes={"T": [1, 3, 96]})
    assert str(report.verdict) == "fail"
    assert "leaves the range of float16" in str(report)


def test_a_part_that_is_off_along_itself_comes_before_a_louder_one() -> None:
    """A packed array is judged by the worst of its parts: a factor fails, noise of 1.4 does not."""
    loud = Typical("W", 9, 1.4, 1.4, 0.01, 0.01, 0.05, 0.0, 0.01)
    off = replace(loud, times=1.1, factor=0.02)
    assert loud.verdict(False) is Verdict.PASS
    assert off.verdict(False) is Verdict.FAIL
    assert max((loud, off), key=lambda t: t.rank) is off
    assert max((off, replace(off, times=1.2)), key=lambda t: t.rank).times == 1.2
