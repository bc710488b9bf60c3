"""Every system of the zoo against an independent step, and in every number type."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import mpmath
import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.errors import DefinitionError, UsageError
from tests.cells import drawing, later, reference

REFERENCE = reference.REFERENCE | later.LATER


def _check(name: str, made: dict[str, Any], values: dict[str, Any], scale: float) -> None:
    wanted = REFERENCE[name]({n: np.asarray(a, float) for n, a in values.items()}, 5)
    assert set(made) == set(wanted)
    for n, array in wanted.items():
        got = np.asarray(made[n])
        assert got.shape == np.shape(array), n
        # Rounding of two different orders of summation; entries are of order 1 to 100.
        bound = scale * (1 + np.max(np.abs(array)))
        assert np.max(np.abs(np.asarray(got - array, complex))) < bound, n


def test_reference_covers_the_zoo() -> None:
    assert set(REFERENCE) == set(cells.names())


@pytest.mark.parametrize("name", cells.names())
def test_forward(name: str) -> None:
    network = cells.get(name)
    values = drawing.draw(network)
    _check(name, drawing.forward(network, values), values, 2e-14)


@pytest.mark.parametrize("name", ["elman", "lstm_peephole", "gru", "elmo", "encoder_decoder"])
def test_forward_can_fail(name: str) -> None:
    """A parameter moved by 1e-9 is seen, so the bound above is not too loose."""
    network = cells.get(name)
    values = drawing.draw(network)
    for parameter in network.parameters:
        moved = {**values, parameter: values[parameter] + 1e-9}
        with pytest.raises(AssertionError):
            _check(name, drawing.forward(network, moved), values, 2e-14)


def _objects(array: Any) -> Any:
    return np.vectorize(lambda x: mpmath.mpf(float(x)), otypes=[object])(array)


DTYPES = {
    "float32": (lambda a: np.asarray(a, np.float32), np.float32, 2e-5),
    "longdouble": (lambda a: np.asarray(a, np.longdouble), np.longdouble, 2e-14),
    "complex128": (lambda a: np.asarray(a, complex), np.complex128, 2e-14),
    "mpmath": (_objects, object, 2e-14),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", cells.names())
def test_dtypes(name: str, dtype: str) -> None:
    """The same definition runs in every number type and stays in it."""
    convert, kind, scale = DTYPES[dtype]
    network = cells.get(name)
    values = drawing.draw(network, batch=2)
    # What float32 cannot hold is rounded before, not compared.
    values = {n: a.astype(np.float32).astype(float) for n, a in values.items()}
    made = drawing.forward(network, {n: convert(a) for n, a in values.items()})
    for n, array in made.items():
        assert np.asarray(array).dtype == kind, n
    _check(name, made, values, scale)


@pytest.mark.parametrize("name", ["lstm", "slstm", "elman_leaky", "gru_d", "lstm_layer_norm"])
def test_more_digits(name: str) -> None:
    """Longdouble and mpmath runs are not float64 in disguise: they agree beyond its digits."""
    network = cells.get(name)
    values = drawing.draw(network, batch=2)
    wide = drawing.forward(network, {n: a.astype(np.longdouble) for n, a in values.items()})
    with mpmath.workdps(40):
        exact = drawing.forward(network, {n: _objects(a) for n, a in values.items()})
    double = drawing.forward(network, values)

    def off(a: Any) -> Any:
        with mpmath.workdps(40):
            pairs = zip(np.ravel(a), np.ravel(exact["h"]), strict=True)
            # A longdouble goes into mpmath in two halves, each a float64.
            return max(abs(mpmath.mpf(float(x)) + float(x - float(x)) - y) for x, y in pairs)

    assert off(wide["h"]) < 5e-18 * 100
    assert off(double["h"]) > 1e-17


def test_stacked_perturbations_broadcast() -> None:
    network = cells.get("lstm")
    values = drawing.draw(network)
    from gradcheck_rnn.language.running import run, to_columns

    refs = network.parameters | network.inputs
    columns = {n: to_columns(refs[n], a) for n, a in values.items()}
    shifts = np.random.default_rng(1).normal(size=(4, 3, 3))
    together = run(network, {**columns, "W_f": columns["W_f"] + shifts})
    for k, shift in enumerate(shifts):
        alone = run(network, {**columns, "W_f": columns["W_f"] + shift})
        np.testing.assert_array_max_ulp(together["h"][:, k], alone["h"], maxulp=64)


def test_get_is_fresh() -> None:
    first = cells.get("elman")
    first.parameter("extra", "p")
    assert "extra" not in cells.get("elman").parameters


def test_unknown_name_suggests() -> None:
    with pytest.raises(UsageError, match=r"unknown cell 'lstn'; did you mean lstm"):
        cells.get("lstn")


def test_every_row_has_a_line_and_a_source() -> None:
    for name, kind, what, source, _ in cells.describe():
        assert kind in ("cell", "network", "loss")
        assert what.endswith((".", "–")), name
        assert len(source) > 10, name


def test_every_row_of_the_source_documents() -> None:
    """The systems the source documents describe, under their names."""
    wanted = (
        "elman elman_general elman_residual elman_delayed elman_leaky linear echo_state lstm_1997 "
        "lstm lstm_peephole lstm_peephole_full lstm_gate_recurrent gru gru_reset_after mgu "
        "autonomous driven stacked_elman stacked_lstm bidirectional_elman bidirectional_lstm "
        "bidirectional_stack bidirectional_deep_output elmo one_to_many many_to_one many_to_many "
        "encoder_decoder char_rnn char_lstm softmax_cross_entropy logistic_cross_entropy "
        "squared_error given_gradient lstm_packed constant_error_carousel elman_hidden"
    )
    assert set(wanted.split()) <= set(cells.names())


def test_any_delays() -> None:
    from gradcheck_rnn.cells.elman import delayed
    from gradcheck_rnn.language.network import as_network

    for lags in [(1,), (2,), (1, 2, 4)]:
        network = as_network(delayed(lags))
        values = drawing.draw(network)
        depth = max(lags)
        start = ["h0"] if depth == 1 else [f"h0_{k}" for k in range(1, depth + 1)]
        line = [values[n] for n in reversed(start)]
        for t in range(5):
            a = values["x"][t] @ values["U"].T + values["b_i"]
            line.append(np.tanh(a + sum(line[-k] @ values[f"W_{k}"].T for k in lags)))
        np.testing.assert_allclose(
            drawing.forward(network, values)["h"], np.stack(line[depth:]), rtol=0, atol=1e-13
        )


def test_three_heads_and_three_layers() -> None:
    from gradcheck_rnn.cells.elman import elman_hidden, multihead
    from gradcheck_rnn.cells.elmo import mix
    from gradcheck_rnn.cells.stacked import stack
    from gradcheck_rnn.language.network import Network, as_network

    assert [str(s.shape.rows) for s in as_network(multihead(3)).scans[0].states] == ["3*p"]
    network = Network("deep")
    made = stack(network, elman_hidden, network.input("x", "d"), 3)
    assert str(made[2].h.shape.rows) == "p_3"
    assert mix(3).params == ("gamma", "s_1", "s_2", "s_3")


@pytest.mark.parametrize("loss", cells.LOSSES)
@pytest.mark.parametrize("name", ["lstm", "elman", "elmo", "softmax_readout", "bidirectional_lstm"])
def test_with_loss(name: str, loss: str) -> None:
    bare = cells.get(name)
    network = cells.with_loss(bare, loss)
    assert not bare.loss_terms
    assert len(network.loss_terms) == 1
    values = drawing.draw(network)
    made = drawing.forward(network, values)
    y = made["y_out" if "y_out" in made else "y"]
    wanted = REFERENCE[loss]({"y": y, "target": values["target"]}, 5)["loss"]
    np.testing.assert_allclose(made["loss"], wanted, rtol=1e-12, atol=0)


def test_with_loss_leaves_a_network_that_has_one() -> None:
    network = cells.get("char_rnn")
    again = cells.with_loss(network)
    assert again is not network
    assert [r.name for r in again.loss_terms] == [r.name for r in network.loss_terms]


def test_with_loss_of_the_users_own() -> None:
    from gradcheck_rnn.language import cell, sqrt
    from gradcheck_rnn.language import sum as over_units

    @cell(inputs="y: q", data="target: q", outputs="loss")
    def smooth(y, target):
        loss = over_units(sqrt(1 + (y - target) ** 2))
        return loss  # noqa: RET504

    network = cells.with_loss(cells.get("gru"), smooth)
    values = drawing.draw(network)
    made = drawing.forward(network, values)
    wanted = np.sqrt(1 + (made["y"] - values["target"]) ** 2).sum()
    np.testing.assert_allclose(made["loss"], wanted, rtol=1e-13)


def test_with_loss_refuses() -> None:
    from gradcheck_rnn.language.network import Network

    with pytest.raises(UsageError, match=r"unknown loss 'mse'; there are softmax_cross_entropy"):
        cells.with_loss(cells.get("elman"), "mse")
    with pytest.raises(DefinitionError, match=r"network 'empty' has no output"):
        cells.with_loss(Network("empty"))


def test_zoo_is_light() -> None:
    code = (
        "import sys; from gradcheck_rnn import cells; [cells.get(n) for n in cells.names()]; "
        "print(*[m for m in ('sympy', 'scipy', 'mpmath', 'cupy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
