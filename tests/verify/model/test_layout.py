"""Layouts: what is written down is what is read, both ways; what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.language import cell
from gradcheck_rnn.verify.harness import Layout, ready
from gradcheck_rnn.verify.harness.layout import Fitted
from gradcheck_rnn.verify.harness.subject import notation_for

SIZES = {"d": 2, "p": 3}


def fit(layout: Layout, system: str = "lstm", batch: int = 2) -> Fitted:
    return layout.fit(api.load(system), SIZES, batch, {"T": 4})


def drawn(fitted: Fitted) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(s) for n, s in fitted.of_definition.items()}


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("pytorch lstm", "lstm"),
        ("pytorch gru", "gru_reset_after"),
        ("pytorch rnn", "elman_hidden"),
        ("keras lstm", "lstm"),
        ("keras gru", "gru_reset_after"),
        ("keras rnn", "elman_hidden"),
        ("cudnn lstm", "lstm"),
        ("cudnn gru", "gru_reset_after"),
        ("lecture lstm", "lstm"),
        ("lecture gru", "gru"),
        ("stacked lstm", "lstm"),
    ],
)
def test_values_come_back_as_they_went(text: str, cell: str) -> None:
    fitted = fit(ready(text), cell)
    values = drawn(fitted)
    arrays = fitted.pack(values, np.random.default_rng(1))
    assert {n: a.shape for n, a in arrays.items()} == {n: fitted.shapes[n] for n in arrays}
    back = fitted.unpack(arrays)
    for n, a in back.items():
        np.testing.assert_allclose(a, values[n], rtol=0, atol=4e-16 * 4)


def test_gradients_go_the_other_way() -> None:
    """<pull(g), arrays> = <g, unpack(arrays)> for every layout: pull is the adjoint of unpack."""
    for text, system in [("pytorch gru", "gru_reset_after"), ("keras gru", "gru_reset_after"),
                       ("cudnn lstm", "lstm"), ("stacked lstm", "lstm")]:  # fmt: skip
        fitted = fit(ready(text), system)
        g, rng = drawn(fitted), np.random.default_rng(2)
        arrays = {u: rng.standard_normal(fitted.shapes[u]) for u in fitted.arguments}
        left = sum(float(np.sum(fitted.pull(u, g) * a)) for u, a in arrays.items())
        right = sum(float(np.sum(g[n] * a)) for n, a in fitted.unpack(arrays).items())
        assert left == pytest.approx(right, rel=1e-12)


def test_gates_lie_where_the_text_says() -> None:
    fitted = fit(ready("lecture lstm"))
    values = drawn(fitted)
    arrays = fitted.pack(values, np.random.default_rng(0))
    wanted = np.concatenate([values[f"U_{g}"].T for g in "ifoc"], axis=1)
    np.testing.assert_array_equal(arrays["Wx"], wanted)
    np.testing.assert_array_equal(arrays["x"], values["x"].swapaxes(0, 1))
    gru = fit(ready("pytorch gru"), "gru_reset_after")
    values = drawn(gru)
    arrays = gru.pack(values, np.random.default_rng(0))
    np.testing.assert_array_equal(arrays["weight_ih_l0"][3:6], -values["U_z"])
    np.testing.assert_allclose(
        arrays["bias_ih_l0"][:3] + arrays["bias_hh_l0"][:3], values["b_r"], rtol=1e-15
    )
    np.testing.assert_array_equal(arrays["bias_hh_l0"][6:], values["d_c"])


def plain(**changed: str) -> dict[str, str]:
    names = [f"{a}_{g}" for a in "WU" for g in "ifoc"] + [f"b_{g}" for g in "ifoc"]
    return {n: n for n in names} | changed


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (plain(W_i="W_q"), "'W_q', which 'lstm' does not have"),
        (plain(W_i="[W_i; U_i]"), "have .* columns"),
        (plain(W_i="[W_i b_i; U_i]"), "columns"),
        (plain(W_i="W_i + U_i"), "no matrix of names"),
        ({n: t for n, t in plain().items() if n != "W_f"}, "no array holds 'W_f'"),
    ],
)
def test_what_does_not_fit_is_named(parameters: dict[str, str], says: str) -> None:
    with pytest.raises((UsageError, DimensionError), match=says):
        fit(Layout(parameters, {"x": "x"}, {"h": "h"}))


@pytest.mark.parametrize("axes", ["B T q", "T T n", "B n"])
def test_axes_that_are_no_order_are_refused(axes: str) -> None:
    with pytest.raises((UsageError, DimensionError)):
        fit(Layout(plain(), {"x": f"x: {axes}"}, {"h": "h"}))


def test_a_code_without_batch_leaves_b_out() -> None:
    fitted = fit(Layout(plain(), {"x": "x: T n"}, {"h": "h: T n"}), batch=1)
    assert fitted.shapes["x"] == (4, 2)


def test_an_unknown_convention_names_the_known() -> None:
    with pytest.raises(UsageError, match="conventions are pytorch, keras"):
        ready("theano lstm")


@pytest.mark.parametrize(
    ("user", "shape", "says"),
    [
        ("b_i", (3, 1), "'b_i as column'"),
        ("b_i", (1, 3), "'b_i as row'"),
        ("U", (2, 3), "'U.T'"),
        ("x", (4, 2, 5), "'x: T n B'"),
        ("x", (5, 1, 4, 2), "'x: B 1 T n'"),
        ("h_final", (1, 5, 3), "'h_final: 1 B n'"),
        ("b_i", (4,), ""),
        ("x", (4, 3, 5), ""),
    ],
)
def test_another_shape_gets_its_notation(user: str, shape: tuple[int, ...], says: str) -> None:
    network = api.load("elman_hidden")
    held = Layout.of(network).fit(network, SIZES, 5, {"T": 4})
    found = notation_for(held, user, shape)
    assert says in found
    assert bool(found) == bool(says)
    if says:  # what is written gives just that shape
        text = found.split("'")[1]
        group = {"b_i": "parameters", "U": "parameters", "x": "inputs"}.get(user, "outputs")
        whole = Layout.of(network)
        changed = {g: dict(getattr(whole, g)) for g in ("parameters", "inputs", "outputs")}
        changed[group][user] = text
        again = Layout(**changed).fit(network, SIZES, 5, {"T": 4})
        assert again.shapes[user] == shape


def test_one_number_a_step_has_no_units() -> None:
    @cell(inputs="x: p", data="m: ", states="h: p", domains={"m": "0/1"})
    def held(x, m, h):  # type: ignore[no-untyped-def]
        return m * x + (1 - m) * h

    network = api.load(held)
    with pytest.raises(UsageError, match=r"one number a step, so .* is 'm: T B 1'"):
        Layout({}, {"x": "x", "h0": "h0", "m": "m: T B n"}).fit(network, {"p": 3}, 2, {"T": 4})
    fitted = Layout({}, {"x": "x", "h0": "h0", "m": "m: B T 1 as bool"}).fit(
        network, {"p": 3}, 2, {"T": 4}
    )
    assert fitted.shapes["m"] == (2, 4, 1)
    values = drawn(fitted) | {"m": np.array([[0, 1], [1, 1], [0, 0], [1, 0.0]])}
    packed = fitted.pack(values, np.random.default_rng(0))
    assert packed["m"].dtype == bool
    assert np.array_equal(packed["m"][:, :, 0].T, values["m"])
    assert np.array_equal(fitted.unpack(packed)["m"], values["m"])


def test_data_in_two_arrays_are_whole_in_both() -> None:
    network = api.load("char_rnn")
    names = {n: n for n in network.parameters}
    layout = Layout(names, {"x": "x", "t1": "target", "t2": "target: B T n", "y": "labels of x"})
    fitted = layout.fit(network, {"v": 5, "p": 3}, 2, {"T": 4})
    values = drawn(fitted) | {"x": np.eye(5)[np.array([[0, 4], [1, 2], [3, 3], [2, 0]])]}
    packed = fitted.pack(values, np.random.default_rng(0))
    assert np.array_equal(packed["t1"], values["target"])
    assert np.array_equal(packed["t2"], values["target"].transpose(1, 0, 2))
    assert packed["y"].tolist() == [[0, 4], [1, 2], [3, 3], [2, 0]]
    back = fitted.unpack(packed)
    assert np.array_equal(back["target"], values["target"])
    del packed["x"]
    assert np.array_equal(fitted.unpack(packed)["x"], values["x"])


def test_parts_of_a_layout_are_texts_by_name() -> None:
    with pytest.raises(UsageError, match=r"parameters is \['W', 'U'\]; give texts by name"):
        Layout(["W", "U"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"outputs is .*3"):
        Layout({"W": "W"}, outputs={"h": 3})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="zero is 'b_i'; give a list of names"):
        Layout({"W": "W"}, zero="b_i")
