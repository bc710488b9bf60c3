"""Layouts: what is written down is what is read, both ways; what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.verify.harness import Layout, ready
from gradcheck_rnn.verify.harness.layout import Fitted

SIZES = {"d": 2, "p": 3}


def fit(layout: Layout, cell: str = "lstm", batch: int = 2) -> Fitted:
    return layout.fit(api.load(cell), SIZES, batch, {"T": 4})


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
    for text, cell in [("pytorch gru", "gru_reset_after"), ("keras gru", "gru_reset_after"),
                       ("cudnn lstm", "lstm"), ("stacked lstm", "lstm")]:  # fmt: skip
        fitted = fit(ready(text), cell)
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
