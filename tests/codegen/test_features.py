"""What the zoo does not have: user-made functions, branches, masks, lags both ways, axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.errors import UnsupportedOperation
from gradcheck_rnn.language import (
    cell,
    concat,
    cross_entropy,
    dim,
    dot,
    elementwise,
    elu,
    erf,
    exp,
    eye,
    frozen,
    gelu,
    gelu_tanh,
    layer_norm,
    log_softmax,
    maximum,
    mean,
    normal_cdf,
    one_hot_max,
    shift,
    sigmoid,
    softmax,
    softplus,
    softsign,
    split,
    sqrt,
    tanh,
    where,
)
from gradcheck_rnn.language import sum as unit_sum
from gradcheck_rnn.language.network import Network

from .support import Case, error

FEATURES: dict[str, Callable[[Network], None]] = {}


def feature(fill: Callable[[Network], None]) -> Callable[[Network], None]:
    FEATURES[fill.__name__] = fill
    return fill


own_softsign = elementwise("softsign_codegen", "x / (1 + abs(x))")


@cell(inputs="x: d", states="h: p", params="W U_x: p p; U: p d; b: p; s: ", outputs="h y")
def branches(x, h, W, U_x, U, b, s):
    """Branches, user-made functions, scalars."""
    a = W @ h + U @ x + b
    k = s * own_softsign(a) + abs(a)
    m = maximum(k, a * h)
    h = where(a > 0, tanh(m), 0.5 * sigmoid(m) - s)
    y = dot(h, U_x @ h) / (1 + unit_sum(h**2)) + mean(exp(-abs(a)))
    return h, y


@cell(inputs="x: d", states="h: p; g: q", params="W: p p; U: p d; V: q p; w: p; z: ", outputs="h v")
def arranged(x, h, g, W, U, V, w, z):
    """Concatenation, slices, matrices computed from parameters."""
    M = (W + 0.5 * (eye("p") + W.T)) * z
    both = concat(h, g, x)
    head, tail = split(concat(tanh(M @ h + U @ x), sigmoid(V @ h)), "p", "q")
    r = log_softmax(tail) + g
    v = concat(both * 2.0, sqrt(1 + r**2), both[: dim("p")])
    return {"h": softmax(w) * head, "g": r * 0.5, "v": v}


@cell(inputs="x: p", states="h: p", params="W: p p; w: p", outputs="h s")
def words(x, h, W, w):
    """Units chosen, moved and measured; the error function and what is made of it; floors."""
    a = np.roll(W @ h, 1) + shift(x, -1) * h[-1] + gelu_tanh(w * h)
    b = gelu(a) * np.max(a) - np.min(softsign(x)) + 0.1 * normal_cdf(w).sum() - elu(a)
    h = tanh(erf(a * one_hot_max(x)) - b % 1.5 + a[:1] * np.trace(W) + np.clip(h, -0.5, 0.5))
    return {"h": h, "s": dot(h[:-1], x[1:]) + x.mean() + np.min(h) + gelu(w)[0] * erf(w)[1]}


@cell(inputs="x: p; y: ", states="h: p", params="W: p p; g k: p; s: ", outputs="h")
def summed(x, y, h, W, g, k, s):
    """Sums of units of several factors, quotients by what a step does not change."""
    a = W @ h + (x + g + k)
    scale = sqrt(1 + unit_sum(x * x))
    total = unit_sum(a * x * g) / (1 + unit_sum(a * a)) - unit_sum(-(g * a) / scale) * s
    shared = exp(h * 0 + y * s * unit_sum(x) * 0.1)
    return tanh(2 * (a / scale) * g + total * x / (3 * scale) + shared * unit_sum(a) * s / 7)


@cell(inputs="x: d", states="h: p", params="W_1 W_3: p p; U: p d; b: p", lags={"h": (1, 3)})
def delayed(x, h, W_1, W_3, U, b):
    return tanh(W_1 @ h[1] + W_3 @ h[3] + U @ x + b)


@cell(inputs="x: d", states="a b: d", params="u: d", lags={"a": (2,), "b": (1, 2)}, outputs="y")
def shift_register(x, a, b, u):
    """States without a recurrence: everything is vectorised over time."""
    y = u * x + a[2] * b[1] + b[2]
    return {"a": x, "b": tanh(u * x), "y": y}


@cell(inputs="x: d", states="h c: p", params="W: 4*p p; U: 4*p d; g k: 4*p", outputs="h")
def normed(x, h, c, W, U, g, k):
    a = layer_norm(W @ h + U @ x, g, k)
    i, f, o, z = split(a, 4)
    c = sigmoid(f) * c + frozen(sigmoid(i)) * 0 + sigmoid(i) * tanh(z)
    h = sigmoid(o) * softplus(c)
    return h, c


@cell(inputs="h: p; target: q", params="V: q p", outputs="loss")
def head(h, target, V):
    return cross_entropy(V @ h, target) + 0.1 * unit_sum(V @ h)


@cell(inputs="u: p; v: p", params="A: p p", outputs="s")
def bridge(u, v, A):
    return tanh(A @ (u + v))


@feature
def branching(n: Network) -> None:
    s = n.scan(branches)
    n.output(s.h), n.output(s.y), n.output(s.final("h"))


@feature
def vocabulary(n: Network) -> None:
    s = n.scan(words)
    n.output(s.h), n.output(s.s)


@feature
def sums_and_quotients(n: Network) -> None:
    s = n.scan(summed)
    n.output(s.h), n.output(s.final("h"))


@feature
def arranging(n: Network) -> None:
    s = n.scan(arranged)
    n.output(s.v), n.output(s.final("g"))


@feature
def lags_forwards_and_backwards(n: Network) -> None:
    x = n.input("x", "d")
    one, two = n.scan(delayed, suffix="_r", x=x), n.scan(delayed, suffix="_l", x=x, reverse=True)
    for s in (one, two):
        n.output(s.h), n.output(s.final("h"))


@feature
def registers(n: Network) -> None:
    s = n.scan(shift_register)
    n.output(s.y), n.output(s.final("b"))


@feature
def masked_delays(n: Network) -> None:
    mask = n.input("mask", "", data=True)
    s = n.scan(delayed, mask=mask)
    n.output(s.h), n.output(s.final("h"))


@feature
def masked_normed_with_loss(n: Network) -> None:
    mask = n.input("mask", "", data=True)
    s = n.scan(normed, mask=mask)
    n.loss(n.scan(head, h=s.h).loss)
    n.output(s.h)


@feature
def trained_starts_and_zero_starts(n: Network) -> None:
    start = n.parameter("start", "p")
    s = n.scan(normed, initial={"h": start, "c": None})
    n.output(s.h), n.output(s.final("c"))


@feature
def axes_bridged_by_once(n: Network) -> None:
    """Two encoders on axes of their own, a vector made of both once, a decoder started by it."""
    one = n.scan(delayed, suffix="_a", axis="S")
    two = n.scan(delayed, suffix="_b", axis="R", reverse=True)
    s = n.scan(bridge, axis=None, u=one.final("h"), v=two.final("h")).s
    last = n.scan(delayed, suffix="_c", initial={"h": (s, one.final("h"), None)})
    n.output(last.h), n.output(s), n.output(two.final("h"))


@feature
def tied_over_depth(n: Network) -> None:
    names = ("W_1", "W_3", "U", "b")
    shared = {k: n.parameter(k, "p p" if k != "b" else "p") for k in names}
    x = n.input("x", "p")
    low = n.scan(delayed, suffix="_1", x=x, **shared)
    high = n.scan(delayed, suffix="_2", x=low.h, **shared)
    n.output(low.h), n.output(high.h)


def made(name: str) -> Network:
    n = Network(name, FEATURES[name].__doc__ or name)
    FEATURES[name](n)
    return n


@pytest.mark.parametrize("name", FEATURES)
def test_outputs_and_gradients(name: str) -> None:
    c = Case(made(name))
    outputs, saved = c.forward()
    expected = c.expected_outputs()
    assert set(outputs) == set(expected)
    for label, value in expected.items():
        assert error(outputs[label], value) < 1e-13, label
    cotangents = c.cotangents()
    program = c.expected_gradients(cotangents, loss=False)
    gradients = c.backward(saved, cotangents)
    assert set(gradients) == set(program)
    for n, value in program.items():
        assert error(gradients[n], value) < 2e-13, n
    everything = dict(cotangents)
    if c.network.loss_terms:
        everything["loss"] = np.asarray(0.7)
    for label, cotangent in everything.items():
        alone = c.backward(saved, {label: cotangent})
        for n, g in alone.items():
            direction = {n: c.rng.normal(size=c.arrays[n].shape)}
            slope = c.slope({label: cotangent}, direction)
            along = float(np.sum(g * direction[n]))
            size = float(np.sum(np.abs(g * direction[n])))
            assert abs(slope - along) <= 1e-11 * max(size, 1e-2), (label, n)


@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def test_sizes_no_array_tells(backend: str) -> None:
    """A state that starts at zero, with a dim of its own, is refused when code is generated."""

    @cell(inputs="x: ", states="h: p")
    def lone(x, h):  # type: ignore[no-untyped-def]
        return tanh(0.5 * h + x)

    network = Network("network")
    network.output(network.scan(lone, x=network.input("x", ""), initial={"h": None}).h)
    with pytest.raises(UnsupportedOperation, match="no array tells the size of the dim 'p'"):
        generate(derive(network), backend)
