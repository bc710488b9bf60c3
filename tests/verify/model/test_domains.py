"""Textbook kernels on data in their domain: labels, p − y, boolean masks; and what stays wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, api, check_model
from gradcheck_rnn.cells.losses import with_loss
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.language import cell, dot, exp, log
from gradcheck_rnn.language import sum as total
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.verify.harness.arrays import precision
from gradcheck_rnn.verify.harness.compare import ModelPoint, neighbour
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject

Arrays = dict[str, Any]
Residual = Callable[[Any, Any], Any]
OWN = {n: n for n in ("W", "U", "b_i", "V", "b_y")}


def softmax(s: Any) -> Any:
    p = np.exp(s - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def softmax_loss(p: Any, y: Any) -> Any:
    # log of what has a weight only: a class of probability zero underflows where it may.
    return -(y * np.log(np.where(y > 0, p, 1))).sum()


def elman(a: Arrays, targets: Any, dy_of: Residual, xs: Any = None, scale: float = 1.0) -> Any:
    """Loss and gradients of an Elman network with softmax cross-entropy, summed over steps."""
    W, U, b, V, c = (a[k] for k in OWN)
    xs = a["x"] if xs is None else xs
    h, P, loss = [a["h0"]], [], 0.0
    for x, y in zip(xs, targets, strict=True):
        h.append(np.tanh(h[-1] @ W.T + x @ U.T + b))
        P.append(softmax(h[-1] @ V.T + c))
        loss += softmax_loss(P[-1], y)
    d: Arrays = {n: np.zeros_like(a[n]) for n in OWN} | {"x": np.zeros_like(xs)}
    dh: Any = np.zeros_like(h[0])
    for t in reversed(range(len(P))):
        dy = scale * dy_of(P[t], targets[t])
        d["V"] += dy.T @ h[t + 1]
        d["b_y"] += dy.sum(0)
        da = (dy @ V + dh) * (1 - h[t + 1] ** 2)
        dh = da @ W
        d["W"] += da.T @ h[t]
        d["U"] += da.T @ xs[t]
        d["b_i"] += da.sum(0)
        d["x"][t] = da @ U
    return scale * loss, d | {"h0": dh}


def textbook(p: Any, y: Any) -> Any:
    return p - y


def one_hot(labels: Any, classes: int, dtype: Any) -> Any:
    return np.eye(classes, dtype=dtype)[labels]


def check(network: Network, run: Callable[[Arrays], Any], **options: Any) -> Any:
    """Model mode on a function that gives loss and gradients, data left out."""
    data = {n for n, r in network.inputs.items() if r.kind in ("data", "static_data")}

    def gradient(a: Arrays) -> Any:
        loss, d = run(a)
        return loss, {n: g for n, g in d.items() if n not in data}

    return check_model(network, gradient=gradient, loss=lambda a: run(a)[0], **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_textbook_residual_is_right(dtype: str) -> None:
    report = check(api.load("char_rnn"), lambda a: elman(a, a["target"], textbook), dtype=dtype)
    assert str(report.verdict) == "pass", report
    assert "declared to lie (x one-hot, target one-hot)" in str(report)
    assert "no declared domain" not in str(report)


WRONG: dict[str, Residual] = {
    "twice the target": lambda p, y: p - 2 * y,
    "softmax once more": lambda p, y: p * ((p - y) - ((p - y) * p).sum(-1, keepdims=True)),
    "squared error's": lambda p, y: (p - y) * p * (1 - p),
    "only the true class": lambda p, y: y * (p - y),
    "no target": lambda p, y: p,
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("classes", [True, False])
def test_other_residuals_stay_wrong(what: str, classes: bool) -> None:
    network = api.load("char_rnn") if classes else with_loss(api.load("elman_hidden"))
    report = check(network, lambda a: elman(a, a["target"], WRONG[what]), diagnose=what[0] == "n")
    assert str(report.verdict) == "fail"
    if what == "no target":
        assert "without the term −target_t" in str(report.diagnosis)


def test_whole_numbers_for_classes() -> None:
    """Inputs and targets as labels, batch first, in 32 bits."""
    seen: list[Any] = []

    def run(a: Arrays) -> Any:
        seen.append((a["y"].dtype, a["ids"].dtype))
        v, dtype = len(a["b_y"]), a["W"].dtype
        targets, xs = one_hot(a["y"].T, v, dtype), one_hot(a["ids"].T, v, dtype)
        return elman(a, targets, textbook, xs)

    layout = Layout(
        OWN, {"ids": "labels of x: B T", "y": "labels of target: B T as int32", "h0": "h0"}
    )
    assert str(check(api.load("char_rnn"), run, layout=layout, dtype="float32").verdict) == "pass"
    assert set(seen) == {(np.dtype(np.int32), np.dtype(np.int64))}


def test_labels_make_a_general_target_one_hot() -> None:
    """The declared domain is probabilities; a kernel that takes classes says so in its layout."""

    def run(a: Arrays) -> Any:
        return elman(a, one_hot(a["y"], len(a["b_y"]), float), textbook)

    layout = Layout(OWN, {"x": "x", "h0": "h0", "y": "labels of target"})
    network = with_loss(api.load("elman_hidden"))
    assert str(check(network, run, layout=layout).verdict) == "pass"
    assert str(network.domains["target"]) == "simplex"


def test_probabilities_as_targets() -> None:
    """Distillation: p − y is right for any target that sums to one, and only for those."""
    network = with_loss(api.load("elman_hidden"))
    run = lambda a: elman(a, a["target"], textbook)  # noqa: E731
    assert str(check(network, run).verdict) == "pass"

    @cell(inputs="y: q", data="target: q", outputs="loss")
    def weighted(y, target):  # type: ignore[no-untyped-def]
        return {"loss": log(total(exp(y))) * total(target) - dot(target, y)}

    general = with_loss(api.load("elman_hidden"), weighted)
    report = check(general, run)
    assert str(report.verdict) == "fail"
    assert "target has no declared domain, so any real numbers were drawn" in str(report)


def test_a_mean_over_the_batch_is_another_function() -> None:
    run = lambda a: elman(a, a["target"], textbook, scale=1 / len(a["h0"]))  # noqa: E731
    report = check(api.load("char_rnn"), run)
    assert str(report.verdict) == "fail"
    assert "1/B of the definition's (a mean over the sequences)" in str(report)


def bce(p: Any, y: Any) -> Any:
    with np.errstate(divide="ignore"):
        return -np.where(y > 0, y * np.log(p), 0).sum() - (
            np.where(y < 1, (1 - y) * np.log1p(-p), 0).sum()
        )


@pytest.mark.parametrize("form", ["bool", "uint8", ""])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_bits_as_targets(form: str, factor: float) -> None:
    domains = {"target": "0/1"} if form else None
    network = with_loss(api.load("elman_hidden"), "logistic_cross_entropy", domains=domains)

    def run(a: Arrays) -> Any:
        y = a["target"]
        assert y.dtype == (form or "float64")
        y = y.astype(float)
        h, loss, P = [a["h0"]], 0.0, []
        for t, x in enumerate(a["x"]):
            h.append(np.tanh(h[-1] @ a["W"].T + x @ a["U"].T + a["b_i"]))
            s = h[-1] @ a["V"].T + a["b_y"]
            P.append(1 / (1 + np.exp(-s)))
            loss += (np.logaddexp(0, s) - y[t] * s).sum()
        d: Arrays = {n: np.zeros_like(a[n]) for n in (*OWN, "x")}
        dh: Any = 0
        for t in reversed(range(len(P))):
            dy = factor * P[t] - y[t]
            da = (dy @ a["V"] + dh) * (1 - h[t + 1] ** 2)
            dh = da @ a["W"]
            for n, g in (("V", dy.T @ h[t + 1]), ("b_y", dy.sum(0)), ("W", da.T @ h[t]),
                         ("U", da.T @ a["x"][t]), ("b_i", da.sum(0))):  # fmt: skip
                d[n] += g
            d["x"][t] = da @ a["U"]
        return loss, d | {"h0": dh}

    layout = Layout(OWN, {"x": "x", "h0": "h0", "target": "target" + f" as {form}" * bool(form)})
    report = check(network, run, layout=layout, diagnose=False)
    assert str(report.verdict) == ("pass" if factor == 1 else "fail"), report


def zoneout(mistake: str = "") -> Any:
    def forward(x: Any, h0: Any, z: Any, W: Any, U: Any, b_i: Any) -> Any:
        assert z.dtype == bool
        h, new = [h0], []
        for t in range(len(x)):
            new.append(np.tanh(h[-1] @ W.T + x[t] @ U.T + b_i))
            h.append(np.where(z[t], h[-1], new[-1]))
        return {"h": np.array(h[1:]), "h_final": h[-1]}, (x, z, W, U, h, new)

    def backward(g: Any, cache: Any) -> Any:
        x, z, W, U, h, new = cache
        d = {"W": np.zeros_like(W), "U": np.zeros_like(U), "b_i": np.zeros_like(W[0])}
        dx, dh = np.zeros_like(x), g["h_final"]
        for t in reversed(range(len(x))):
            dh = dh + g["h"][t]
            kept = 0 if mistake == "kept" else np.where(z[t], dh, 0)
            da = (dh if mistake == "mask" else np.where(z[t], 0, dh)) * (1 - new[t] ** 2)
            d = {"W": d["W"] + da.T @ h[t], "U": d["U"] + da.T @ x[t], "b_i": d["b_i"] + da.sum(0)}
            dx[t], dh = da @ U, kept + da @ W
        return d | {"x": dx, "h0": dh}

    return forward, backward


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("", ""),
        ("mask", "without the factor 1 − z_t in δh_t ⊙ (1 − z_t)"),
        ("kept", "without the term δh_t ⊙ z_t"),
    ],
)
def test_boolean_zoneout(mistake: str, named: str, dtype: str) -> None:
    names = {"W": "W", "U": "U", "b_i": "b_i"}
    inputs = {"x": "x", "h0": "h0", "z": "z: T B n as bool"}
    layout = Layout(names, inputs, {"h": "h", "h_final": "h_final"})
    forward, backward = zoneout(mistake)
    report = check_model(
        api.load("elman_zoneout"), forward=forward, backward=backward, layout=layout, dtype=dtype
    )
    assert str(report.verdict) == ("fail" if mistake else "pass"), report
    assert named in str(report.diagnosis)


def many_to_one(a: Arrays) -> Any:
    h = [a["h0"]]
    for x in a["x"]:
        h.append(np.tanh(h[-1] @ a["W"].T + x @ a["U"].T + a["b_i"]))
    p, at = softmax(h[-1] @ a["V"].T + a["b_y"]), (np.arange(len(a["y"])), a["y"])
    dy = p.copy()
    dy[at] -= 1
    d: Arrays = {n: np.zeros_like(a[n]) for n in (*OWN, "x")}
    d["V"], d["b_y"], dh = dy.T @ h[-1], dy.sum(0), dy @ a["V"]
    for t in reversed(range(len(a["x"]))):
        da = dh * (1 - h[t + 1] ** 2)
        d["W"], d["U"] = d["W"] + da.T @ h[t], d["U"] + da.T @ a["x"][t]
        d["b_i"], d["x"][t], dh = d["b_i"] + da.sum(0), da @ a["U"], da @ a["W"]
    return -np.log(p[at]).sum(), d | {"h0": dh}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_label_a_sequence(dtype: str) -> None:
    layout = Layout(OWN, {"x": "x", "h0": "h0", "y": "labels of target: B"})
    report = check(api.load("many_to_one"), many_to_one, layout=layout, dtype=dtype)
    assert str(report.verdict) == "pass", report


REFUSED: dict[str, tuple[str, str]] = {
    "differentiated": ("labels of x: T B", "'x', which is differentiated: declare it as data"),
    "more axes": ("labels of target: T B", "write an order of B, with 1 for an axis of length one"),
    "left out": ("target: B", "write 'labels of target: B'"),
    "bits": ("labels of target as bool", "labels are whole numbers, not bool"),
    "floats": ("target as float16", "inputs can be as bool, int, int32, uint8"),
    "no domain": ("x: T B n as int", "'x' has no declared domain; declare it in the definition"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_layouts_that_make_no_sense(what: str) -> None:
    text, said = REFUSED[what]
    layout = Layout(OWN, {"x": "x", "h0": "h0", "y": text})
    network = api.load("many_to_one")
    with pytest.raises((UsageError, DimensionError)) as caught:
        check(network, many_to_one, layout=layout)
    assert said in str(caught.value)


def test_a_format_fits_the_domain() -> None:
    network = api.load("many_to_one")
    held = Layout(OWN, {"target": "target as bool"}).narrowed(network)
    assert str(held.domains["target"]) == "one-hot"
    masks = api.load("lstm_dropout").narrowed({"r_x": "> 2"})
    with pytest.raises(UsageError, match="'r_x' is declared > 2 and 0/1"):
        Layout({}, {"r": "r_x as bool"}).narrowed(masks)


def test_neighbours_stay_in_the_domain() -> None:
    @cell(
        inputs="x: d", states="h: p", params="W: p p; U: p d; tau: p", data="m: p; k: p",
        domains={"x": "simplex", "m": "0/1", "k": "[0, 1]", "tau": ">= 1", "h": "one-hot"},
    )  # fmt: skip
    def mine(x, h, W, U, tau, m, k):  # type: ignore[no-untyped-def]
        return m * (W @ h) / tau + k * (U @ x)

    network = api.load(mine)
    form = precision("bfloat16")
    subject = Subject(None, None, lambda a: a, None, lambda x: x, form)
    place = next(p for p in plan_points(network, 5) if p.label == "long")
    point = ModelPoint.build(place, Layout.of(network), form, subject, 5)
    assert np.all(point.arrays["x"].sum(-1) == 1)
    moved = neighbour(point.arrays, form, np.random.default_rng(1), point.fitted)
    for name in ("x", "m", "h0"):
        assert np.array_equal(moved[name], place.values[name]), name
    assert np.any(point.arrays["k"] == 1)
    assert np.all((moved["k"] >= 0) & (moved["k"] <= 1))
    assert np.all(moved["tau"] >= 1)
    for name in ("W", "U", "k", "tau"):
        assert np.any(moved[name] != point.arrays[name]), name
