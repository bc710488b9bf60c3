"""The oracle against plain nested differentiation, which shares no code with it."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

import gradcheck_rnn.derivation.proof as proof
from gradcheck_rnn.derivation.proof import (
    FieldPoint,
    default_lengths,
    default_sizes,
    differentiate,
    unrolled_gradients,
)
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language import cell, elementwise, frozen, maximum, sigmoid, split, tanh
from gradcheck_rnn.language.network import Network, as_network


class Sigmoid(sympy.Function):
    """σ with its derivative in terms of itself, for plain nested `diff`."""

    def fdiff(self, argindex: int = 1) -> Any:
        return self * (1 - self)


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p; V: q p; b_y: q", outputs="y")
def elman(x, h, W, U, b, V, b_y):
    h = tanh(W @ h + U @ x + b)
    return h, V @ h + b_y


@cell(
    inputs="x: d",
    states="h c: p",
    params="W_i W_f W_o W_c: p p; U_i U_f U_o U_c: p d; b_i b_f b_o b_c: p",
    outputs="h",
)
def lstm(x, h, c, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c):
    i = sigmoid(W_i @ h + U_i @ x + b_i)
    f = sigmoid(W_f @ h + U_f @ x + b_f)
    o = sigmoid(W_o @ h + U_o @ x + b_o)
    c = f * c + i * tanh(W_c @ h + U_c @ x + b_c)
    return o * tanh(c), c


@cell(
    inputs="x: d",
    states="h: p",
    params="W_z W_r W_h: p p; U_z U_r U_h: p d",
)
def gru(x, h, W_z, W_r, W_h, U_z, U_r, U_h):
    z = sigmoid(W_z @ h + U_z @ x)
    r = sigmoid(W_r @ h + U_r @ x)
    return (1 - z) * h + z * tanh(W_h @ (r * h) + U_h @ x)


def t(v: Any) -> Any:
    return v.applyfunc(sympy.tanh)


def s(v: Any) -> Any:
    return v.applyfunc(Sigmoid)


def times(*parts: Any) -> Any:
    out = parts[0]
    for part in parts[1:]:
        out = out.multiply_elementwise(part)
    return out


def elman_by_hand(v: dict[str, Any]) -> dict[str, list[Any]]:
    h, ys = v["h0"], []
    for x in v["x"]:
        h = t(v["W"] * h + v["U"] * x + v["b"])
        ys.append(v["V"] * h + v["b_y"])
    return {"y": ys, "h_final": [h]}


def lstm_by_hand(v: dict[str, Any]) -> dict[str, list[Any]]:
    h, c, hs = v["h0"], v["c0"], []
    for x in v["x"]:
        i, f, o, a = (v[f"W_{g}"] * h + v[f"U_{g}"] * x + v[f"b_{g}"] for g in "ifoc")
        c = times(s(f), c) + times(s(i), t(a))
        h = times(s(o), t(c))
        hs.append(h)
    return {"h": hs, "h_final": [h], "c_final": [c]}


def gru_by_hand(v: dict[str, Any]) -> dict[str, list[Any]]:
    h, hs = v["h0"], []
    for x in v["x"]:
        z, r = (s(v[f"W_{g}"] * h + v[f"U_{g}"] * x) for g in "zr")
        new = t(v["W_h"] * times(r, h) + v["U_h"] * x)
        h = times(sympy.ones(*z.shape) - z, h) + times(z, new)
        hs.append(h)
    return {"h": hs, "h_final": [h]}


def symbols_like(values: Any) -> tuple[dict[str, Any], dict[Any, Any]]:
    """Explicit SymPy matrices shaped like the oracle's arrays, and the value of each symbol."""
    known: dict[Any, Any] = {}

    def matrix(name: str, array: Any) -> Any:
        def one(i: int, j: int) -> Any:
            symbol = sympy.Symbol(f"{name}_{i}_{j}")
            known[symbol] = array[i, j]
            return symbol

        return sympy.Matrix(*array.shape, one)

    made = {}
    for name, array in values.items():
        steps = [matrix(f"{name}{k}", a) for k, a in enumerate(array)] if array.ndim == 3 else None
        made[name] = steps or matrix(name, array)
    return made, known


def evaluate(e: Any, known: dict[Any, Any]) -> Any:
    """A SymPy expression in the field; `known` also remembers what was computed."""
    if e in known:
        return known[e]
    if e.is_Rational:
        return sympy.Rational(e)
    parts = [evaluate(a, known) for a in e.args]
    if e.is_Add:
        value = sum(parts[1:], parts[0])
    elif e.is_Mul:
        value = parts[0]
        for p in parts[1:]:
            value = value * p
    elif e.is_Pow:
        value = parts[0] ** int(e.exp)
    else:
        value = getattr(parts[0], e.func.__name__.lower())()
    known[e] = value
    return value


@pytest.mark.parametrize(
    ("definition", "by_hand", "steps", "sizes"),
    [
        # Nested `diff` grows with the number of paths, so the three steps are taken at small dims.
        (elman, elman_by_hand, 3, {"d": 1, "p": 2, "q": 3}),
        (lstm, lstm_by_hand, 1, {"d": 2, "p": 3}),
        (gru, gru_by_hand, 1, {"d": 2, "p": 3}),
    ],
    ids=["elman", "lstm", "gru"],
)
def test_equals_plain_nested_diff(definition: Any, by_hand: Any, steps: int, sizes: Any) -> None:
    network = as_network(definition)
    result = unrolled_gradients(network, sizes=sizes, lengths={"T": steps}, point=FieldPoint(1))
    setting = result.setting
    matrices, known = symbols_like(setting.values)
    outputs = by_hand(matrices)
    for label, expected in outputs.items():
        flat = [evaluate(x, known) for m in expected for x in m]
        assert flat == list(result.outputs[label].flat)
    loss = sympy.Integer(0)
    for label, made in outputs.items():
        entries = [x for m in made for x in m]
        for k, (x, g) in enumerate(zip(entries, setting.cotangents[label].flat, strict=True)):
            cotangent = sympy.Symbol(f"g_{label}_{k}")
            known[cotangent] = g
            loss += cotangent * x
    assert evaluate(loss, known) == result.loss
    for name in setting.differentiated:
        group = matrices[name] if isinstance(matrices[name], list) else [matrices[name]]
        plain = [evaluate(sympy.diff(loss, symbol), known) for m in group for symbol in m]
        assert plain == list(result.gradients[name].flat), name
        assert any(x.value for x in result.gradients[name].flat)


def test_outputs_alone_add_up_to_all_together() -> None:
    both = unrolled_gradients(as_network(lstm), point=FieldPoint(2))
    alone = [
        differentiate(replace(both.setting, cotangents={label: g}))
        for label, g in both.setting.cotangents.items()
    ]
    assert len(alone) == 3
    for name, gradient in both.gradients.items():
        assert np.all(sum(r.gradients[name] for r in alone) == gradient)
        assert all(np.any(r.gradients[name] != 0) for r in alone)


def test_cotangents_have_to_fit() -> None:
    network = as_network(elman)
    with pytest.raises(UsageError, match="no output 'z'"):
        unrolled_gradients(network, point=FieldPoint(0), cotangents={"z": np.ones((3, 1), int)})
    with pytest.raises(UsageError, match=r"cotangent of 'y' has shape \(4, 1\)"):
        unrolled_gradients(network, point=FieldPoint(0), cotangents={"y": np.ones((4, 1), int)})


def test_default_setting() -> None:
    network = as_network(elman)
    assert default_sizes(network) == {"p": 3, "d": 2, "q": 4}
    assert default_lengths(network) == {"T": 3}


def test_dims_stay_different_where_composite_dims_meet() -> None:
    @cell(inputs="x: d", states="h: p", params="W: 2*p p; U: m d; V: 2*p m")
    def packed(x, h, W, U, V):
        a = W @ h + V @ (U @ x)
        return tanh(split(a, 2)[0])

    sizes = default_sizes(as_network(packed))
    assert len({*sizes.values(), 2 * sizes["p"]}) == 4
    assert (sizes["d"], sizes["p"]) == (2, 3)


def test_long_delays_get_more_steps() -> None:
    @cell(inputs="x: p", states="h: p", params="w: p", lags={"h": (1, 3)})
    def delayed(x, h, w):
        return tanh(w * h[1] + h[3] + x)

    assert default_lengths(as_network(delayed)) == {"T": 5}
    result = unrolled_gradients(as_network(delayed), point=FieldPoint(0))
    assert {n for n in result.gradients if n.startswith("h0")} == {"h0_1", "h0_2", "h0_3"}


def test_a_second_axis_is_longer() -> None:
    network = Network("pair")
    first = network.scan(elman, suffix="_1", axis="T")
    second = network.scan(elman, suffix="_2", axis="S", initial={"h": first.final("h")})
    network.output(second.y)
    assert default_lengths(network) == {"T": 3, "S": 4}


def test_frozen_values_are_constants() -> None:
    @cell(inputs="x: p", states="h: p", params="w: p")
    def stopped(x, h, w):
        return w * frozen(h * w) + x

    result = unrolled_gradients(as_network(stopped), point=FieldPoint(3))
    assert result.frozen
    assert all(x.value == 0 for x in result.gradients["h0"].flat)
    h, g = result.everything["h"], result.setting.cotangents
    w, h0 = result.setting.values["w"], result.setting.values["h0"]
    before = np.stack([h0, h[0], h[1]]) * w
    total = g["h"] + np.stack([0 * w, 0 * w, g["h_final"]])
    assert np.all((total * before).sum(axis=0) == result.gradients["w"])


def test_functions_made_by_users_run_as_what_they_are_made_of() -> None:
    soft = elementwise("oracle_softsign", "x / (1 + abs(x))")

    @cell(inputs="x: p", states="h: p", params="w: p")
    def user(x, h, w):
        return soft(w * h) + maximum(x, h)

    result = unrolled_gradients(as_network(user), lengths={"T": 1}, point=FieldPoint(4))
    values, g = result.setting.values, result.setting.cotangents
    for k in range(3):
        w, h, x = values["w"][k, 0], values["h0"][k, 0], values["x"][0, k, 0]
        # |x| is sign(x)·x with a generic sign, whose square is not 1: the quotient rule as it is.
        sign = 2 * (w * h).positive_bit() - 1
        slope = 1 / (1 + abs(w * h)) - w * h * sign / (1 + abs(w * h)) ** 2
        down = g["h"][0, k, 0] + g["h_final"][k, 0]
        assert result.gradients["w"][k, 0] == down * slope * h
        bit = (x - h).positive_bit()
        assert result.gradients["x"][0, k, 0] == down * bit
        assert result.gradients["h0"][k, 0] == down * (slope * w + 1 - bit)


def test_the_oracle_knows_nothing_of_what_it_judges() -> None:
    """Only `prove` may import the derivation; the rest the language, errors and pieces of HTML."""
    folder = Path(proof.__file__).parent
    for path in folder.glob("*.py"):
        if path.name == "prove.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = ["." * node.level + (node.module or "")]
            else:
                continue
            for name in names:
                assert "calculus" not in name, f"{path.name} imports {name}"
                assert not name.startswith("gradcheck_rnn"), f"{path.name}: relative imports only"
                if name.startswith(".."):
                    assert name.startswith(("...language", "...errors", "...html")), (
                        f"{path.name}: {name}"
                    )
