"""Black-box check: planted faults are found, correct gradients in hard regimes never accused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.errors import DimensionError, GradcheckError, UsageError
from gradcheck_rnn.verify import GradientMismatch, Verdict, check_gradient
from gradcheck_rnn.verify.reachable import sharing
from tests.verify.handwritten import elman_problem, lstm_problem


def rng(seed=0):
    return np.random.default_rng(seed)


def verdicts(report):
    return {row.name: row.verdict for row in report.rows}


# ------------------------------------------------------------------------------- planted faults

FAULTS = {
    "truncated": ({"truncate": 2}, "WUb"),
    "transposed": ({"transpose": True}, "WUb"),
    "missing phi'": ({"drop_phi": True}, "WUb"),
    "time index off by one": ({"lag": True}, "W"),
    "overwritten": ({"overwrite": True}, "U"),
}


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_an_elman_network_are_found(fault, dtype, mode):
    keywords, blocks = FAULTS[fault]
    loss, gradient, P = elman_problem(rng(3), dtype=dtype)
    assert check_gradient(loss, gradient, P, mode=mode).passed
    report = check_gradient(loss, lambda Q: gradient(Q, **keywords), P, mode=mode)
    assert report.verdict is Verdict.FAIL
    for name, verdict in verdicts(report).items():
        if name in blocks:
            assert verdict is Verdict.FAIL, str(report)
        elif name != "h0":
            assert verdict is Verdict.PASS, str(report)


@pytest.mark.parametrize("fault", ["lose_c", "forget"])
def test_faults_in_an_lstm_are_found(fault):
    loss, gradient, P = lstm_problem(rng(4))
    assert check_gradient(loss, gradient, P).passed
    report = check_gradient(loss, lambda Q: gradient(Q, **{fault: True}), P)
    assert verdicts(report)["W"] is Verdict.FAIL
    if fault == "lose_c":
        assert verdicts(report)["c0"] is Verdict.FAIL


@pytest.mark.parametrize("size", [1e-1, 1e-4, 1e-7])
def test_one_wrong_entry_is_found_and_named(size):
    loss, gradient, P = lstm_problem(rng(5))

    def wrong(Q):
        g = gradient(Q)
        g["W"][7, 2] *= 1 + size
        return g

    report = check_gradient(loss, wrong, P)
    row = next(r for r in report.rows if r.name == "W")
    assert (row.verdict, row.worst, row.failing) == (Verdict.FAIL, "[7, 2]", 1)
    assert all(r.verdict is Verdict.PASS for r in report.rows if r.name != "W")


def test_a_fault_below_the_stated_resolution_is_invisible_and_said_so():
    loss, gradient, P = elman_problem(rng(6))
    honest = check_gradient(loss, gradient, P)
    floor = next(r for r in honest.rows if r.name == "W").resolution

    def wrong(factor):
        def shifted(Q):
            g = gradient(Q)
            g["W"] = g["W"] * (1 + factor)
            return g

        return check_gradient(loss, shifted, P)

    assert wrong(30 * floor).verdict is Verdict.FAIL
    # a line through all parameters sees more than differences of single entries do
    assert wrong(1e-5 * floor).passed
    missed = next(r for r in honest.rows if r.name == "W").missed
    assert f"{floor:.1e}" in missed
    assert "shows on a line through all" in missed


def _contracting(T):
    """h = 0.5 h + x u, loss c h_T: lag k contributes 0.5^k."""
    x = rng(1).normal(size=T)

    def loss(P):
        h = P["h0"]
        for t in range(T):
            h = P["w"] * h + x[t] * P["u"]
        return np.sum(h)

    def gradient(P, lag=None):
        hs = [P["h0"]]
        for t in range(T):
            hs.append(P["w"] * hs[-1] + x[t] * P["u"])
        g = {k: np.zeros_like(v) for k, v in P.items()}
        delta = np.ones_like(P["h0"])
        for t in reversed(range(T)):
            g["w"] += np.sum(delta * hs[t])
            g["u"] += delta * x[t]
            delta = P["w"] * delta
            if lag is not None and T - t >= lag:
                delta = np.zeros_like(delta)
        g["h0"] = delta
        return g

    P = {"w": np.array([0.5]), "u": np.array([0.7]), "h0": np.array([0.3])}
    return loss, gradient, P


@pytest.mark.parametrize("lag", [5, 17, 25, 39])
def test_truncated_recurrence_beyond_fixed_tolerances_is_found(lag):
    loss, gradient, P = _contracting(40)
    assert check_gradient(loss, gradient, P).passed
    report = check_gradient(loss, lambda Q: gradient(Q, lag=lag), P)
    assert report.verdict is Verdict.FAIL, str(report)
    assert verdicts(report)["h0"] is Verdict.FAIL


def test_what_has_vanished_is_undecided_without_complex_numbers():
    loss, gradient, P = _contracting(70)
    real_only = lambda Q: float(np.real(loss(Q))) + 1.0  # noqa: E731
    report = check_gradient(real_only, lambda Q: gradient(Q, lag=65), P)
    row = next(r for r in report.rows if r.name == "h0")
    assert row.verdict is Verdict.UNDECIDED
    assert "roundoff" in row.reason
    assert check_gradient(loss, gradient, P).passed  # the complex step sees 0.5^70


def test_factor_sign_and_transpose_are_named():
    loss, gradient, P = elman_problem(rng(7))

    def scaled(factor):
        return lambda Q: {k: factor * v for k, v in gradient(Q).items()}

    double = check_gradient(loss, scaled(2.0), P)
    assert "it is 2 times" in next(r for r in double.rows if r.name == "V").reason
    assert any(f.kind == "common-factor" for f in double.findings)
    minus = check_gradient(loss, scaled(-1.0), P)
    assert "opposite sign" in str(minus)

    def turned(Q):
        g = gradient(Q)
        return g | {"W": g["W"].T.copy()}

    assert (
        "transpose" in next(r for r in check_gradient(loss, turned, P).rows if r.name == "W").reason
    )


# --------------------------------------------------------------------------- correct, but hard


def _hard(seed):
    """A random correct problem in a random hard regime."""
    r = rng(seed)
    dtype = [np.float64, np.float32][seed % 2]
    T, B, p, d, q = (int(r.integers(1, k)) for k in (9, 4, 5, 4, 4))
    scale = float(10 ** r.uniform(-2, 0.8))
    if r.random() < 0.6:
        loss, gradient, P = elman_problem(
            r, T=T, B=B, p=p, d=d, q=q, dtype=dtype, scale=scale,
            offset=float(r.choice([0, 1e6, -3])), activation=str(r.choice(["tanh", "relu"])),
            last_only=bool(r.random() < 0.3),
        )  # fmt: skip
    else:
        loss, gradient, P = lstm_problem(r, T=T, B=B, p=p, d=d, dtype=dtype, scale=scale)
    k = dtype(10.0 ** r.choice([-8, -4, 0, 4, 8]))
    P["U"] = (P["U"] / k).astype(dtype)

    def rescaled(Q):
        return loss(Q | {"U": Q["U"] * k})

    def regradient(Q):
        g = gradient(Q | {"U": Q["U"] * k})
        return g | {"U": g["U"] * k}

    return rescaled, regradient, P, "directional" if r.random() < 0.3 else "entrywise"


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("chunk", range(4))
def test_no_false_alarm_on_random_correct_gradients(chunk):
    counts = dict.fromkeys(Verdict, 0)
    for seed in range(12 * chunk, 12 * chunk + 12):
        loss, gradient, P, mode = _hard(seed)
        report = check_gradient(loss, gradient, P, mode=mode)
        assert report.verdict is not Verdict.FAIL, f"seed {seed}\n{report}"
        for row in report.rows:
            counts[row.verdict] += 1
    # undecided is for what is lost in roundoff, single precision with an offset of 1e6 mostly
    assert counts[Verdict.PASS] > 4 * counts[Verdict.UNDECIDED]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "regime",
    [
        {"scale": 6.0},
        {"scale": 3.0, "activation": "relu", "T": 8},
        {"offset": 1e6},
        {"T": 1, "B": 1, "p": 1, "d": 1, "q": 1},
        {"T": 24, "scale": 0.3, "last_only": True},
        {"activation": "relu"},
    ],
)
def test_hard_regimes_are_not_accused(regime, dtype):
    for seed in range(3):
        loss, gradient, P = elman_problem(rng(seed), dtype=dtype, **regime)
        assert check_gradient(loss, gradient, P).verdict is not Verdict.FAIL
        assert check_gradient(loss, gradient, P, mode="directional").verdict is not Verdict.FAIL


def test_vanished_gradient_is_resolved_by_the_complex_step():
    loss, gradient, P = elman_problem(rng(8), T=60, scale=0.3, last_only=True)
    assert np.max(np.abs(gradient(P)["h0"])) < 1e-12
    report = check_gradient(loss, gradient, P)
    row = next(r for r in report.rows if r.name == "h0")
    assert row.verdict is Verdict.PASS
    assert "complex step" in row.method
    lost = check_gradient(loss, lambda Q: gradient(Q) | {"h0": 0 * Q["h0"]}, P)
    assert verdicts(lost)["h0"] is Verdict.FAIL


def test_kink_at_the_point_is_undecided_and_named():
    loss = lambda w: np.sum(np.maximum(w, 0.0))  # noqa: E731
    w = np.array([0.5, 0.0, -0.5])
    report = check_gradient(loss, lambda w: (w > 0).astype(float), w)
    assert report.verdict is Verdict.UNDECIDED
    assert "kink" in report.rows[0].reason
    assert "[1]" in report.rows[0].reason
    wrong = check_gradient(loss, lambda w: (w < 0).astype(float), w)
    assert wrong.verdict is Verdict.FAIL


def test_noisy_loss_is_judged_by_its_own_noise():
    loss, gradient, P = elman_problem(rng(9))
    jitter = rng(10)

    def noisy(Q):
        return loss(Q) + 1e-7 * jitter.normal()

    report = check_gradient(noisy, gradient, P)
    assert report.verdict is not Verdict.FAIL
    assert not report.deterministic
    assert any(f.kind == "nondeterministic" for f in report.findings)
    assert check_gradient(noisy, lambda Q: gradient(Q, drop_phi=True), P).verdict is Verdict.FAIL


# ---------------------------------------------------------------------------------- the harness


def _quadratic():
    w = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]])
    return (lambda p: 0.5 * np.sum(p["w"] ** 2) + np.sum(np.sin(p["b"]))), (
        lambda p: {"w": p["w"] * 1.0, "b": np.cos(p["b"])}
    ), {"w": w, "b": np.array([0.1, 0.2])}  # fmt: skip


def test_mutated_inputs_are_found_and_the_caller_keeps_theirs():
    loss, gradient, P = _quadratic()
    before = {k: v.copy() for k, v in P.items()}

    def greedy(p):
        value = loss(p)
        p["w"] *= 0.9
        return value

    def grabbing(p):
        g = gradient(p)
        p["b"] -= 0.1
        return g

    for f, g, name in ((greedy, gradient, "'w'"), (loss, grabbing, "'b'")):
        report = check_gradient(f, g, P)
        assert report.verdict is Verdict.FAIL
        assert any(x.kind == "mutated-input" and name in x.message for x in report.findings)
    assert all(np.array_equal(before[k], P[k]) for k in P)


def test_shared_memory_is_found_among_many_arrays():
    whole, empty = np.arange(24.0).reshape(4, 6), np.zeros((0, 2))
    arrays = [np.zeros(3), whole[1:3], np.ones(()), whole[::-1, 4:], empty, whole[3, ::-1]]
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    found = sharing(arrays)
    assert found == [(i, j) for i, j in pairs if np.may_share_memory(arrays[i], arrays[j])]
    assert (1, 3) in found


def test_alias_is_noted_and_does_not_fail():
    loss, gradient, P = _quadratic()
    report = check_gradient(loss, lambda p: gradient(p) | {"w": p["w"]}, P)
    assert report.passed
    assert any(f.kind == "alias" for f in report.findings)


def test_shared_output_buffer_does_not_confuse_the_check():
    loss, gradient, P = _quadratic()
    buffer = {k: np.zeros_like(v) for k, v in P.items()}

    def reusing(p):
        for k, v in gradient(p).items():
            buffer[k][...] = v
        return buffer

    assert check_gradient(loss, reusing, P).passed


def test_functions_that_ignore_their_argument():
    loss, gradient, P = _quadratic()
    deaf = check_gradient(lambda p: loss(P), gradient, P)
    assert deaf.verdict is not Verdict.PASS
    assert any(f.kind == "loss-ignores-argument" for f in deaf.findings)
    stale = check_gradient(loss, lambda p: gradient(P), P)
    assert stale.verdict is Verdict.FAIL
    assert any(f.kind == "gradient-ignores-argument" for f in stale.findings)
    x = np.array([1.0, 2.0])
    linear = check_gradient(lambda p: np.sum(p * x), lambda p: x * 1.0, np.array([0.3, 0.4]))
    assert linear.passed, str(linear)


def test_gradients_that_are_not_finite_fail_and_losses_that_are_not_stay_undecided():
    loss, gradient, P = _quadratic()
    report = check_gradient(loss, lambda p: gradient(p) | {"b": np.array([np.nan, 1.0])}, P)
    assert verdicts(report) == {"w": Verdict.PASS, "b": Verdict.FAIL}
    assert "nan" in next(r for r in report.rows if r.name == "b").reason
    lost = check_gradient(lambda p: np.inf, gradient, P)
    assert lost.verdict is Verdict.UNDECIDED
    assert "inf" in lost.rows[0].reason


def test_lower_precision_gradient_fails_by_its_dtype():
    loss, gradient, P = _quadratic()
    report = check_gradient(
        loss, lambda p: {k: v.astype(np.float32) for k, v in gradient(p).items()}, P
    )
    assert report.verdict is Verdict.FAIL
    assert any(f.kind == "dtype" and "float32" in f.message for f in report.findings)


@pytest.mark.parametrize(
    ("loss", "gradient", "error", "words"),
    [
        (lambda p: p["w"], None, UsageError, "scalar"),
        (lambda p: np.zeros(3), 0, UsageError, r"\(3,\)"),
        (0, lambda p: {"w": p["w"]}, UsageError, "'b' is missing"),
        (0, lambda p: {"w": p["w"], "b": None}, UsageError, "'b' is None"),
        (0, lambda p: {"w": p["w"], "b": p["b"], "c": p["b"]}, UsageError, "'c'"),
        (0, lambda p: {"w": p["w"].T, "b": p["b"]}, DimensionError, r"'w' has shape.*transposed"),
        (0, lambda p: {"w": p["w"], "b": np.array([1, 2])}, UsageError, "int"),
        (0, lambda p: (p["w"],), UsageError, "1 array for 2"),
    ],
)
def test_misuse_is_one_clear_sentence(loss, gradient, error, words):
    good_loss, good_gradient, P = _quadratic()
    with pytest.raises(error, match=words) as caught:
        check_gradient(loss or good_loss, gradient or good_gradient, P)
    assert isinstance(caught.value, GradcheckError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"mode": "fast"}, "mode"),
        ({"seed": "x"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"budget": "soon"}, "budget"),
        ({"budget": 0}, "budget"),
        ({"select": "W"}, "'W'"),
        ({"select": []}, "select"),
    ],
)
def test_bad_options(keywords, words):
    loss, gradient, P = _quadratic()
    with pytest.raises(UsageError, match=words):
        check_gradient(loss, gradient, P, **keywords)


@pytest.mark.parametrize("parameters", [{}, {"w": np.ones(2, complex)}, {"n": np.arange(3)}, "w"])
def test_parameters_that_cannot_be_checked(parameters):
    with pytest.raises(UsageError):
        check_gradient(lambda p: 0.0, lambda p: p, parameters)


def test_an_exception_of_the_user_propagates():
    class Mine(Exception):
        pass

    def broken(p):
        raise Mine

    loss, gradient, P = _quadratic()
    with pytest.raises(Mine):
        check_gradient(broken, gradient, P)
    with pytest.raises(Mine):
        check_gradient(loss, broken, P)


# --------------------------------------------------------------------------------- ways to call


def test_every_way_to_pass_parameters_and_gradients():
    loss, gradient, P = _quadratic()
    w, b = P["w"], P["b"]
    assert check_gradient(loss, lambda p: {f"d{k}": v for k, v in gradient(p).items()}, P).passed
    assert check_gradient(loss, lambda p: tuple(gradient(p).values()), P).passed
    assert check_gradient(loss, lambda p: (loss(p), gradient(p)), P).passed
    assert check_gradient(lambda p: (loss(p), gradient(p)), None, P).passed
    assert check_gradient(
        lambda w, b: loss({"w": w, "b": b}), lambda w, b: (w * 1.0, np.cos(b)), (w, b)
    ).passed
    assert check_gradient(lambda x: np.sum(x**3), lambda x: 3 * x**2, w).passed
    assert check_gradient(lambda x: x**3, lambda x: 3 * x**2, 0.7).passed
    nested = {"cell": {"w": w}, "out": [b]}
    report = check_gradient(
        lambda p: loss({"w": p["cell"]["w"], "b": p["out"][0]}),
        lambda p: {"cell": {"w": p["cell"]["w"] * 1.0}, "out": [np.cos(p["out"][0])]},
        nested,
    )
    assert report.passed
    assert [r.name for r in report.rows] == ["cell.w", "out[0]"]


@dataclasses.dataclass(frozen=True)
class _Parameters:
    w: Any
    b: Any


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_dataclass_of_parameters_and_lists_as_gradients(factor: float) -> None:
    loss, gradient, P = _quadratic()

    def of_record(p: _Parameters) -> _Parameters:
        g = gradient(vars(p))
        return _Parameters(g["w"], factor * g["b"])

    report = check_gradient(lambda p: loss(vars(p)), of_record, _Parameters(**P))
    assert [r.name for r in report.rows] == ["w", "b"]
    lists = check_gradient(
        loss,
        lambda p: {f"d{k}": g.tolist() for k, g in vars(of_record(_Parameters(**p))).items()},
        P,
    )
    assert report.passed is lists.passed is (factor == 1.0)


def test_integer_arrays_are_data():
    tokens = np.array([0, 2, 1])
    report = check_gradient(
        lambda p: np.sum(p["E"][p["tokens"]] ** 2),
        lambda p: {"E": 2 * p["E"]},
        {"E": rng().normal(size=(3, 2)), "tokens": tokens},
    )
    assert report.passed
    assert [r.name for r in report.rows] == ["E"]


def test_another_loss_behind_value_and_grad_is_noted():
    loss, gradient, P = _quadratic()
    report = check_gradient(loss, lambda p: (2 * loss(p), gradient(p)), P)
    assert any(f.kind == "other-loss" for f in report.findings)


def test_select_seed_budget_and_cost():
    loss, gradient, P = elman_problem(rng(11), p=8, d=3)
    one = check_gradient(loss, gradient, P, select="W")
    assert [r.name for r in one.rows] == ["W"]
    again = check_gradient(loss, gradient, P, select="W")
    assert (one.seed, one.evaluations) == (again.seed, again.evaluations)
    other = check_gradient(loss, lambda Q: gradient(Q, lag=True), P, select="W")
    assert other.seed != one.seed
    assert check_gradient(loss, gradient, P, seed=5).seed == 5
    fresh = {check_gradient(loss, gradient, P, seed="fresh", mode="directional").seed for _ in "ab"}
    assert len(fresh) == 2
    assert check_gradient(loss, gradient, P, budget=150).mode == "directional"
    short = check_gradient(loss, gradient, P, budget=150, mode="entrywise")
    assert short.verdict is Verdict.UNDECIDED
    assert "budget" in str(short)
    entries = sum(v.size for v in P.values())
    full = check_gradient(loss, gradient, P)
    assert full.evaluations <= 4 * entries + 80 * len(P) + 60


def test_report_prints_stores_and_raises():
    loss, gradient, P = elman_problem(rng(12))
    good = check_gradient(loss, gradient, P, title="elman")
    assert good.raise_for_failure() is good
    bad = check_gradient(loss, lambda Q: gradient(Q, lag=True), P, title="elman")
    with pytest.raises(GradientMismatch, match="W") as caught:
        bad.raise_for_failure()
    assert caught.value.report is bad
    text = str(bad)
    assert text.startswith("elman: the gradient of W is wrong")
    assert "\nelman: fail" in text
    assert "error÷bound" in text
    data = json.loads(bad.dumps())
    assert data["verdict"] == "fail"
    assert data["rows"][0]["failing_entries"][0]["ratio"] > 1
    assert "could have missed" in str(good)


def test_black_box_imports_neither_scipy_nor_sympy():
    code = (
        "import sys, numpy as np\n"
        "from gradcheck_rnn.verify import check_gradient\n"
        "w = np.ones((2, 2))\n"
        "f, g = lambda w: np.sum(np.tanh(w)), lambda w: 1 - np.tanh(w)**2\n"
        "assert check_gradient(f, g, w).passed\n"
        "heavy = {m.split('.')[0] for m in sys.modules} & {'scipy', 'sympy', 'mpmath'}\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kink_is_the_only_reason_and_the_way_out_is_told() -> None:
    x = np.random.default_rng(0).normal(size=12)
    x[7] = 0.0
    report = check_gradient(lambda p: np.maximum(p, 0).sum(), lambda p: (p > 0) * 1.0, x)
    (row,) = report.rows
    assert [r.kind for r in row.reasons] == ["kink"]
    assert "the gradient 0 is between them; check at a point beside it" in row.reason


def test_what_a_gradient_that_is_not_finite_could_have_missed_is_whole() -> None:
    report = check_gradient(lambda p: np.sum(p**2), lambda p: p * np.inf, np.array([1.0, 2.0]))
    assert not any("could have missed ;" in line for line in str(report).splitlines())


def test_a_gradient_that_is_none_is_called_so() -> None:
    point = {"a": np.ones(2), "c": np.ones(3)}
    with pytest.raises(UsageError, match="the gradient of 'c' is None"):
        check_gradient(
            lambda p: p["a"].sum() + p["c"].sum(), lambda p: {"a": np.ones(2), "c": None}, point
        )


def test_a_gradient_kept_by_one_of_its_parameters_is_stale():
    X = np.random.default_rng(0).normal(size=(5, 3))
    kept = {}

    def computed(p):
        h = np.tanh(X @ p["W"] + p["b"])
        a = h * (1 - h * h)
        return {"W": X.T @ a, "b": a.sum(0)}

    def gradient(p, of=lambda p: p["W"].tobytes()):
        return kept.setdefault(of(p), computed(p))

    def loss(p):
        return 0.5 * (np.tanh(X @ p["W"] + p["b"]) ** 2).sum()

    p = {"W": X[:3, :2].copy(), "b": X[0, :2].copy()}
    report = check_gradient(loss, gradient, p)
    assert report.verdict is Verdict.FAIL
    assert "the same at other parameters" in report.sentence()
    kept.clear()
    both = check_gradient(
        loss, lambda p: gradient(p, lambda p: p["W"].tobytes() + p["b"].tobytes()), p
    )
    assert both.passed
