"""Scans put together: names, dims, axes, masks, starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import load
from gradcheck_rnn.cells.elman import elman, elman_delayed, elman_hidden
from gradcheck_rnn.cells.losses import softmax_cross_entropy, squared_error
from gradcheck_rnn.cells.lstm import lstm
from gradcheck_rnn.cells.readout import readout
from gradcheck_rnn.errors import DefinitionError, DimensionError, UsageError
from gradcheck_rnn.language import cell, dim, tanh
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.running import array_shape, run, sizes_of, to_columns, to_rows
from gradcheck_rnn.language.transforms import masked

SIZES = {"d": 2, "p": 3, "q": 4}


def draw(network: Network, T: int, B: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    refs = (*network.parameters.values(), *network.inputs.values())
    lengths = dict.fromkeys(network.axes, T)
    return {r.name: rng.normal(size=array_shape(r, SIZES, batch=B, lengths=lengths)) for r in refs}


def forward(network: Network, values: dict[str, Any], **lengths: int) -> dict[str, Any]:
    refs = network.parameters | network.inputs
    columns = {n: to_columns(refs[n], a) for n, a in values.items()}
    made = run(network, columns, lengths)
    return {n: a if n == "loss" else to_rows(network.outputs[n], a) for n, a in made.items()}


def test_names_that_clash() -> None:
    network = Network("net")
    x = network.input("x", "d")
    network.scan(elman_hidden, x=x)
    with pytest.raises(DefinitionError, match="has a scan 'elman_hidden' already; give a name"):
        network.scan(elman_hidden, x=x)
    with pytest.raises(DefinitionError, match="name 'W' is already taken by a param; give the"):
        network.scan(elman_hidden, name="second", x=x)
    with pytest.raises(DefinitionError, match="name 'h' is already taken by a value of scan"):
        network.input("h", "p")
    with pytest.raises(DefinitionError, match="'x' is already input"):
        network.input("x", "d", data=True)


def test_bindings_that_do_not_exist_or_fit() -> None:
    network = Network("net")
    x = network.input("x", "d")
    made = network.scan(elman, x=x)
    with pytest.raises(DefinitionError, match="has no argument 'z' to bind; it has x, W, U, b_i"):
        network.scan(elman, suffix="_2", z=x)
    with pytest.raises(DefinitionError, match="has no argument 'h' to bind"):
        network.scan(elman, suffix="_2", h=x)
    with pytest.raises(DefinitionError, match="no value 'z'; it has i, h, y"):
        made["z"]
    with pytest.raises(DefinitionError, match="has no state 'y'"):
        made.final("y")
    with pytest.raises(DefinitionError, match="'target' of cell 'squared_error' is declared data"):
        network.scan(squared_error, y=made.y, target=network.input("goal", "q"))
    with pytest.raises(DefinitionError, match="parameter 'V' is bound to 'x', which differs from"):
        network.scan(readout, suffix="_2", h=made.h, V=x)


def test_a_cell_of_the_zoo_is_scanned_as_load_gives_it() -> None:
    network = Network("language model")
    made = network.scan(load("gru"), x=network.input("x", "d"))
    y = network.scan(load("readout"), h=made.h).y
    network.loss(network.scan(load("softmax_cross_entropy"), y=y).loss)
    assert [scan.cell.name for scan in network.scans] == ["gru", "readout", "softmax_cross_entropy"]


@pytest.mark.parametrize("other", ["gru", load("stacked_elman"), None])
def test_only_a_cell_is_scanned(other: Any) -> None:
    network = Network("net")
    with pytest.raises(UsageError, match=r"a cell, or a network of one scan"):
        network.scan(other, x=network.input("x", "d"))


def test_axes() -> None:
    network = Network("net")
    source = network.input("source", "d", axis="S")
    with pytest.raises(
        DefinitionError,
        match="runs along 'T' but 'x' is bound to 'source', a sequence along 'S'; bind its last",
    ):
        network.scan(elman_hidden, x=source)
    with pytest.raises(DefinitionError, match="has no time axis, so cell 'elman_hidden' cannot"):
        network.scan(elman_hidden, axis=None, x=network.input("u", "d", axis=None))
    encoder = network.scan(elman_hidden, axis="S", x=source)
    with pytest.raises(DefinitionError, match="a sequence along 'S'"):
        network.scan(readout, axis=None, h=encoder.h)
    network.output(network.scan(readout, axis=None, h=encoder.final("h")).y)
    assert network.axes == ("S",)


@pytest.mark.parametrize("axis", ["B", "S'", "é", "", "p", "d", 1, ("T",)])
def test_what_no_axis_can_be_called(axis: Any) -> None:
    """Sizes are told by name: a dim and a time axis of one name would be one size."""
    network = Network("n")
    with pytest.raises(DefinitionError, match="axis"):
        network.scan(elman_hidden, axis=axis)
    assert not network.scans
    assert not network.inputs
    network.scan(elman_hidden, axis="lambda")


def test_dims_unify() -> None:
    network = Network("net")
    wide = network.input("wide", "2*p+q")
    made = network.scan(elman_hidden, x=wide, dims={"p": "m"})
    assert str(network.parameters["U"].shape) == "(m, 2*p + q)"
    assert str(made.h.shape) == "(m)"
    bad = network.parameter("V", "m k")
    with pytest.raises(DimensionError, match="'W' of cell 'elman_hidden' needs m but 'V' has k"):
        network.scan(elman_hidden, suffix="_2", x=wide, W=bad)
    with pytest.raises(DimensionError, match="'target' of cell 'squared_error' needs m but"):
        network.scan(squared_error, y=made.h, target=network.input("goal", "q", data=True))


def test_starts() -> None:
    network = Network("net")
    x = network.input("x", "d")
    with pytest.raises(DimensionError, match=r"initial value 'x' \(d\) does not fit state 'h'"):
        network.scan(elman_hidden, x=x, initial={"h": x})
    with pytest.raises(DefinitionError, match="initial names 'z', which is not a state"):
        network.scan(elman_hidden, suffix="_2", x=x, initial={"z": None})
    with pytest.raises(DefinitionError, match="reaches 3 steps back and needs as many initial"):
        network.scan(elman_delayed, suffix="_3", x=x, initial={"h": (None,)})


def test_zero_start_is_a_start_of_zeros() -> None:
    given, zero = Network("given"), Network("zero")
    for network, initial in ((given, None), (zero, {"h": None, "c": None})):
        network.output(network.scan(lstm, x=network.input("x", "d"), initial=initial).h)
    values = draw(given, 4, 5)
    values["h0"], values["c0"] = 0 * values["h0"], 0 * values["c0"]
    same = {n: a for n, a in values.items() if n not in ("h0", "c0")}
    np.testing.assert_array_equal(forward(given, values)["h"], forward(zero, same)["h"])
    narrow = forward(zero, {n: a.astype(np.float32) for n, a in same.items()})
    assert narrow["h"].dtype == np.float32


def test_zero_start_without_parameters() -> None:
    @cell(inputs="x: d", states="h: d")
    def total(x, h):
        """Running sum."""
        return h + x

    network = Network("total")
    network.output(network.scan(total, x=network.input("x", "d"), initial={"h": None}).h)
    x = np.random.default_rng(0).normal(size=(4, 3, 2))
    np.testing.assert_allclose(forward(network, {"x": x})["h"], np.cumsum(x, axis=0))


def test_trained_start_is_shared_by_the_batch() -> None:
    network = Network("net")
    start = network.parameter("h0", "p")
    network.output(network.scan(elman_hidden, x=network.input("x", "d"), initial={"h": start}).h)
    plain = as_network(elman_hidden)
    values = draw(network, 4, 5)
    tiled = {**values, "h0": np.tile(values["h0"], (5, 1))}
    np.testing.assert_array_equal(forward(network, values)["h"], forward(plain, tiled)["h"])


def test_outputs_and_losses_are_checked() -> None:
    network = Network("net")
    x = network.input("x", "d")
    made = network.scan(elman_hidden, x=x)
    with pytest.raises(DefinitionError, match="output 'x' is not made by a scan"):
        network.output(x)
    with pytest.raises(DefinitionError, match=r"the loss 'h' must be a scalar made by a scan"):
        network.loss(made.h)


def test_arrays_are_checked_at_the_door() -> None:
    network = as_network(elman)
    values = draw(network, 5, 6)
    assert sizes_of(network, values) == SIZES
    for name, array, text in [
        ("x", np.ones((5, 2)), "'x' has shape (5, 2), expected (T, B, d)"),
        ("U", np.ones((3, 7)), "'U' has shape (3, 7)"),
        ("W", np.ones((3, 4)), "'W' has shape (3, 4) but dim p is 3 by 'W'"),
        ("h0", np.ones(3), "'h0' has shape (3,), expected (B, p)"),
    ]:
        with pytest.raises(DimensionError) as caught:
            sizes_of(network, {**values, name: array} | ({"x": values["x"]} if name == "U" else {}))
        assert "elman" in str(caught.value)
        assert text in str(caught.value) or name == "U"
    with pytest.raises(UsageError, match="no array for param 'W'"):
        sizes_of(network, {n: a for n, a in values.items() if n != "W"})


def test_sizes_from_multiples_and_sums() -> None:
    @cell(inputs="x: 2*p; z: p+q", params="V: q p+q", outputs="y")
    def odd(x, z, V):
        return V @ z

    with pytest.raises(DefinitionError, match="input 'x' is never used"):
        as_network(odd)

    @cell(inputs="x: 2*p", outputs="y")
    def even(x):
        return tanh(x)

    network = as_network(even)
    assert sizes_of(network, {"x": np.ones((5, 6, 8))}) == {"p": 4}
    with pytest.raises(DimensionError, match=r"no size of p makes 2\*p = 7"):
        sizes_of(network, {"x": np.ones((5, 6, 7))})

    @cell(inputs="x: p+q; z: p", outputs="y")
    def split_off(x, z):
        return x[: dim("p")] * z

    network = as_network(split_off)
    arrays = {"x": np.ones((5, 6, 7)), "z": np.ones((5, 6, 3))}
    assert sizes_of(network, arrays) == {"p": 3, "q": 4}


def test_lengths() -> None:
    network = Network("net")
    start = network.parameter("h0", "p")

    @cell(states="h: p", params="W: p p")
    def alone(h, W):
        return tanh(W @ h)

    network.output(network.scan(alone, initial={"h": start}).h)
    values = draw(network, 5, 1)
    with pytest.raises(UsageError, match="number of steps along 'T'; give lengths"):
        forward(network, values)
    assert forward(network, values, T=7)["h"].shape == (7, 1, 3)
    both = Network("both")
    both.scan(elman_hidden, x=both.input("x", "d"))
    both.scan(elman_hidden, suffix="_2", x=both.input("u", "d"))
    values = draw(both, 5, 2)
    with pytest.raises(DimensionError, match="'u' has 4 steps along 'T', others have 5"):
        forward(both, {**values, "u": values["u"][:4]})


def test_reverse_reads_the_future() -> None:
    network = Network("net")
    network.output(network.scan(elman_hidden, x=network.input("x", "d"), reverse=True).h)
    plain = as_network(elman_hidden)
    values = draw(network, 5, 6)
    flipped = forward(plain, {**values, "x": values["x"][::-1]})["h"][::-1]
    np.testing.assert_array_equal(forward(network, values)["h"], flipped)


def test_a_copy_can_be_added_to() -> None:
    network = as_network(elman)
    other = network.copy()
    other.loss(other.scan(softmax_cross_entropy, y=other.outputs["y"]).loss)
    assert not network.loss_terms
    assert "target" not in network.inputs
    network.input("target", "q")


@pytest.mark.parametrize("definition", [elman_hidden, lstm, elman_delayed], ids=lambda c: c.name)
@pytest.mark.parametrize("reverse", [False, True])
def test_masks_equal_running_each_sequence_alone(definition: Any, reverse: bool) -> None:
    """Sequences of different lengths in one batch: each ends where it would end alone."""
    network, alone = Network("masked"), Network("alone")
    for net in (network, alone):
        mask = net.input("mask", "", data=True) if net is network else None
        made = net.scan(definition, x=net.input("x", "d"), mask=mask, reverse=reverse)
        y = net.scan(readout, suffix="_out", h=made.h)["y"]
        loss = net.scan(softmax_cross_entropy, y=y, mask=mask).loss
        net.output(made.h, *(made.final(s) for s in definition.states))
        net.loss(loss)
    T, lengths = 6, [6, 2, 4, 1]
    values = draw(network, T, len(lengths))
    values["mask"] = (np.arange(T)[:, None] < np.array(lengths)).astype(float)
    together = forward(network, values)
    total = 0.0
    for b, length in enumerate(lengths):
        refs = alone.parameters | alone.inputs
        own = {}
        for n, ref in refs.items():
            own[n] = values[n]
            if ref.axis:
                own[n] = values[n][:length, b : b + 1]
            elif ref.shape.batch:
                own[n] = values[n][b : b + 1]
        single = forward(alone, own)
        total = total + single["loss"]
        for n in together:
            if n.endswith("_final"):
                np.testing.assert_allclose(together[n][b], single[n][0], rtol=0, atol=1e-14)
        np.testing.assert_allclose(together["h"][:length, b], single["h"][:, 0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(together["loss"], total, rtol=1e-14)


def test_a_mask_in_the_middle_holds_the_whole_delay_line() -> None:
    """Steps masked out in the middle are as if they had never been."""
    network = Network("masked")
    mask = network.input("mask", "", data=True)
    made = network.scan(elman_delayed, x=network.input("x", "d"), mask=mask)
    network.output(made.h)
    plain = as_network(elman_delayed)
    assert set(plain.inputs) == set(network.inputs) - {"mask"}
    values = draw(network, 7, 2)
    bits = np.array([1, 1, 0, 1, 0, 0, 1.0])
    values["mask"] = np.tile(bits[:, None], (1, 2))
    kept = {n: a for n, a in values.items() if n != "mask"}
    kept["x"] = values["x"][bits > 0]
    np.testing.assert_allclose(
        forward(network, values)["h"][bits > 0], forward(plain, kept)["h"], rtol=0, atol=1e-14
    )


def test_masked_starts_are_given_per_lag() -> None:
    network = Network("masked")
    mask = network.input("mask", "", data=True)
    x = network.input("x", "d")
    start = network.parameter("s", "p")
    made = network.scan(elman_delayed, x=x, mask=mask, initial={"h": (start, None, None)})
    network.output(made.h)
    assert [s.initial[0].ref and s.initial[0].ref.name for s in network.scans[0].states] == [
        "s", None, None,
    ]  # fmt: skip
    assert forward(network, draw(network, 4, 2))["h"].shape == (4, 2, 3)
    with pytest.raises(DefinitionError, match="reaches 3 steps back and needs as many initial"):
        network.scan(elman_delayed, suffix="_2", x=x, mask=mask, initial={"h": (None,)})


def test_mask_name_is_taken() -> None:
    with pytest.raises(DefinitionError, match="already has an argument 'mask'"):
        masked(masked(elman_hidden))


def test_at_least_follows_renames_and_starts() -> None:
    @cell(states="n: p", params="W: p p; tau: p", at_least={"n": 1.0, "tau": 2.0})
    def mine(n, W, tau):
        return tanh(W @ n) / tau

    network = Network("net")
    network.scan(mine, suffix="_a")
    shared = network.parameter("clock", "p")
    network.scan(mine, suffix="_b", tau=shared, initial={"n": None})
    found = {n: str(d) for n, d in network.domains.items()}
    assert found == {"n_a0": ">= 1", "tau_a": ">= 2", "clock": ">= 2"}
