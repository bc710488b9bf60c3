"""Words that NumPy users know: on arrays they are NumPy's, traced they are proved."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest

from gradcheck_rnn import language
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.errors import UnsupportedOperation
from gradcheck_rnn.language import (
    cell,
    clip,
    cos,
    diag,
    dot,
    elu,
    erf,
    expm1,
    eye,
    floor,
    gelu,
    gelu_tanh,
    log1p,
    logaddexp,
    mean,
    norm,
    normal_cdf,
    ones,
    outer,
    roll,
    shift,
    sign,
    silu,
    softsign,
    zeros,
)
from gradcheck_rnn.language import sum as total
from gradcheck_rnn.language.network import as_network
from tests.codegen.support import Case


def one(a: Any) -> Any:
    return np.asarray(a)


X = np.linspace(-3, 3, 8).reshape(4, 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (silu, lambda x: x / (1 + np.exp(-x))),
        (expm1, np.expm1),
        (lambda x: log1p(x * x), lambda x: np.log1p(x * x)),
        (lambda x: clip(x, -1, 0.5), lambda x: np.clip(x, -1, 0.5)),
        (lambda x: logaddexp(x, 1), lambda x: np.logaddexp(x, 1)),
        (norm, lambda x: np.linalg.norm(x, axis=-2, keepdims=True)),
        (softsign, lambda x: x / (1 + abs(x))),
        (elu, lambda x: np.where(x > 0, x, np.exp(x) - 1)),
        (erf, lambda x: np.vectorize(math.erf)(x)),
        (normal_cdf, lambda x: 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2))),
        (gelu, lambda x: 0.5 * x * np.vectorize(math.erfc)(-x / math.sqrt(2))),
        (gelu_tanh, lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
        (language.max, lambda x: np.max(x, axis=-2, keepdims=True)),
        (language.min, lambda x: np.min(x, axis=-2, keepdims=True)),
        (lambda x: roll(x, 1), lambda x: np.roll(x, 1, axis=-2)),
        (lambda x: roll(x, -2), lambda x: np.roll(x, -2, axis=-2)),
        (lambda x: shift(x, 1), lambda x: np.vstack([0 * x[:1], x[:-1]])),
        (lambda x: shift(x, -2), lambda x: np.vstack([x[2:], 0 * x[:2]])),
    ],
)
def test_words_are_those_of_numpy(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(one(ours(X)), theirs(X), rtol=1e-14)
    step = 1e-30
    slope = (theirs(X + 1e-6) - theirs(X - 1e-6)) / 2e-6
    np.testing.assert_allclose(one(ours(X + 1j * step)).imag / step, slope, rtol=1e-7, atol=1e-9)


def test_functions_of_the_error_function_keep_the_precision_of_their_argument() -> None:
    x = np.linspace(-5.5, 5.5, 45).astype(np.longdouble)
    with mpmath.workdps(30):
        for ours, theirs, bound in [(erf, mpmath.erf, 5e-19), (normal_cdf, mpmath.ncdf, 1e-16)]:
            right = np.array([np.longdouble(str(theirs(float(v)))) for v in x])
            assert np.max(np.abs(one(ours(x[:, None]))[:, 0] / right - 1)[right != 0]) < bound
        small = np.array([1e-3, 1e-8, -1e-12])  # 1 − erfc would lose their digits
        right = np.array([float(mpmath.erf(v)) for v in small])
        for wide in (np.float64, np.longdouble):
            np.testing.assert_allclose(
                one(erf(small.astype(wide)[:, None]))[:, 0], right, rtol=1e-15
            )
    assert one(gelu(np.float32([[0.5]]))).dtype == np.float32


def test_what_jumps_has_no_derivative_between_its_jumps() -> None:
    x = X + 1e-30j
    for made, plain in [(floor(x), np.floor(X)), (sign(x), np.sign(X))]:
        np.testing.assert_array_equal(one(made).real, plain)
        assert not np.any(one(made).imag)

    @cell(inputs="x: p", states="h: p", params="w: p", outputs="h a")
    def sawtooth(x, h, w):
        a = (w * h + x) % 0.7 - np.mod(x, w + 2.5) // 0.3 + np.ceil(x) * np.sign(w)
        return {"h": a, "a": np.floor_divide(w, 0.1 + x * x)}

    c = Case(as_network(sawtooth))
    made = c.expected_outputs()
    x, w, h = c.arrays["x"], c.arrays["w"], c.arrays["h0"]
    for t in range(len(x)):
        h = (w * h + x[t]) % 0.7 - np.mod(x[t], w + 2.5) // 0.3 + np.ceil(x[t]) * np.sign(w)
        np.testing.assert_allclose(made["h"][t], h, atol=1e-12)
        np.testing.assert_array_equal(made["a"][t], w // (0.1 + x[t] ** 2))


def test_on_ties_the_derivative_of_the_maximum_goes_to_the_first() -> None:
    x = np.array([[1.0, 2.0], [3.0, 2.0], [3.0, 2.0]])
    np.testing.assert_array_equal(one(language.one_hot_max(x)), [[0, 1], [1, 0], [0, 0]])
    exact = language.one_hot_max(x.astype(int).astype(object))
    np.testing.assert_array_equal(one(exact), [[0, 1], [1, 0], [0, 0]])


@cell(inputs="x: p", states="h: p", params="W: p p; w: p", outputs="h s")
def words(x, h, W, w):
    """Units chosen, moved and measured; the error function; floors; NumPy's spellings."""
    a = np.roll(W @ h, 1) + shift(x, -1) * h[-1] + gelu_tanh(w * h)
    b = gelu(a) * np.max(a, axis=0) - softsign(x).min() + normal_cdf(w).sum(axis=-2) * 0.1
    h = np.tanh(
        erf(a) - b % 1.5 + a[:1] * np.trace(W) + h.clip(-0.5, 0.5) * np.linalg.norm(1 + x * x)
    )
    return {"h": h, "s": np.vdot(h[:-1], x[1:]) + np.ones_like(w).mean() * x.mean() + np.min(h)}


def test_elu_is_that_of_pytorch_and_has_its_slope_at_zero() -> None:
    torch = pytest.importorskip("torch")

    @cell(inputs="x: p", states="h: p", params="w: p")
    def curved(x, h, w):
        return elu(w * elu(x) - 0.3 * h)

    c = Case(as_network(curved))
    c.arrays["x"][1, 0], c.arrays["x"][2, 1] = 0.0, [-800.0, 0.0, 800.0][: c.sizes["p"]]
    a = {n: torch.tensor(v, requires_grad=True) for n, v in c.arrays.items()}
    h, made = a["h0"], []
    for x in a["x"]:
        h = torch.nn.functional.elu(a["w"] * torch.nn.functional.elu(x) - 0.3 * h)
        made.append(h)
    outputs, saved = c.forward()
    np.testing.assert_allclose(outputs["h"], torch.stack(made).detach(), rtol=1e-12, atol=1e-12)
    given = {"h": c.cotangents()["h"]}
    (torch.stack(made) * torch.tensor(given["h"])).sum().backward()
    for n, g in c.backward(saved, given).items():
        np.testing.assert_allclose(g, a[n].grad, rtol=1e-12, atol=1e-12, err_msg=n)


def test_the_tails_of_silu_do_not_overflow() -> None:
    np.testing.assert_array_equal(one(silu(np.array([[-1e4, 1e4]]))), [[0.0, 1e4]])


@cell(inputs="x y: p", states="h: p", params="w: p", outputs="h s")
def vector(x, y, h, w):
    """The vocabulary on vectors, some of it as NumPy spells it."""
    a = logaddexp(np.float64(0.3), x) - silu(w * h + x) + np.clip(y, -0.5, w) + zeros("p")
    h = np.tanh(a + np.logaddexp(np.float64(0.5) - x, y) * np.mean(x)) + np.expm1(-x * x)
    s = norm(1 + x * x) + np.sum(np.log1p(y * y))
    return {"h": h, "s": s}


@cell(inputs="k: n; v: m", states="S: n m", params="A: n m; P: n n", outputs="S s t r")
def matrix(k, v, S, A, P):
    """Sums over the entries of matrices, diagonal matrices, a trace."""
    S = 0.5 * S + outer(k, v) + diag(k) @ A * mean(S * A)
    s = dot(S, A) + total(P) * norm(1.0 + S * S)
    t = dot(P, diag(ones("n"))) + mean(P * P)
    r = np.sum(k) + np.sum(v)
    return {"S": S, "s": s, "t": t * total(k), "r": r}


@pytest.mark.parametrize("definition", [vector, matrix, words])
def test_words_are_derived_and_proved(definition: Any) -> None:
    assert prove(derive(definition)).proved
    c = Case(as_network(definition))
    outputs, saved = c.forward()
    for n, a in c.expected_outputs().items():
        np.testing.assert_allclose(outputs[n], a, rtol=1e-12, atol=1e-12, err_msg=n)
    given = c.cotangents()
    gradients = c.backward(saved, given)
    for n, a in c.expected_gradients(given, loss=False).items():
        np.testing.assert_allclose(gradients[n], a, rtol=1e-11, atol=1e-12, err_msg=n)
    direction = {n: c.rng.normal(size=a.shape) for n, a in c.arrays.items()}
    along = np.sum([np.sum(gradients[n] * d) for n, d in direction.items()])
    np.testing.assert_allclose(along, c.slope(given, direction), rtol=1e-10)


def test_sums_of_matrices_are_of_all_entries() -> None:
    c = Case(as_network(matrix))
    a, made = c.arrays, c.expected_outputs()
    S = a["S0"].copy()
    for t in range(c.lengths["T"]):
        for b in range(len(S)):
            k, v = a["k"][t, b], a["v"][t, b]
            row = np.diag(k) @ a["A"] * np.mean(S[b] * a["A"])
            S[b] = 0.5 * S[b] + np.outer(k, v) + row
            s = np.sum(S[b] * a["A"]) + a["P"].sum() * np.sqrt(np.sum((1 + S[b] ** 2) ** 2))
            np.testing.assert_allclose(made["s"][t, b], s, rtol=1e-12)
            trace = (np.trace(a["P"]) + np.mean(a["P"] ** 2)) * k.sum()
            np.testing.assert_allclose(made["t"][t, b], trace, rtol=1e-12)


def test_a_matrix_of_parameters_alone_is_not_summed() -> None:
    @cell(inputs="x: p", states="h: p", params="W: p p")
    def wrong(x, h, W):
        return h + x * total(W)

    with pytest.raises(UnsupportedOperation, match="sum acts on the units of a vector"):
        derive(wrong)


def test_functions_of_constant_matrices_are_proved() -> None:
    @cell(inputs="x: p", states="h: p", params="P: p p")
    def turned(x, h, P):
        return np.tanh(cos(0.3 * eye("p")) @ (P @ h) + x)

    assert prove(derive(turned)).proved
