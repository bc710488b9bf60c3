"""`cells NAME`, `layouts`, and the example at the end of every help page."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import typer.main

from gradcheck_rnn import Layout, api
from gradcheck_rnn.cli.app import app
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.running import array_shape
from gradcheck_rnn.verify.harness.packages import PACKAGES
from gradcheck_rnn.verify.harness.ready import KINDS, READY, VARIANTS, definition, ready

GROUP: Any = typer.main.get_command(app)
SIZES = {"d": 2, "p": 3, "k": 4}
KERNELS = [f"{c} {k}" for c, (_, kinds) in PACKAGES.items() for k in kinds]


def test_one_cell_with_its_arrays_and_equations(run) -> None:
    ran = run("cells", "gru")
    assert ran.code == 0, ran.err
    assert "W_r, W_z, W_c: p × p (parameter)" in ran.out
    assert "h_t     = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ h̃_t" in ran.out
    assert "inputs: x (T, B, d), h0 (B, p)" in ran.out
    assert (
        "ready layouts: onnx gru, lecture gru, stacked gru, columns gru, separate gru, "
        "keras gru reset_after=False" in ran.out
    )
    assert "δ" not in ran.out


@pytest.mark.parametrize("name", ["gru", "lstm_packed", "bidirectional_elman", "squared_error"])
def test_the_dims_are_those_of_the_arrays(run, name: str) -> None:
    shown = json.loads(run("cells", name, "--json").out)
    network = api.load(name)
    sizes = {**SIZES, "q": 6, "p_fwd": 7, "p_bwd": 8}
    tables = ("parameters", "inputs", "outputs")
    for key in tables:
        for array, dims in shown[key].items():
            ref = getattr(network, key)[array]
            shape = array_shape(ref, sizes, batch=5, lengths={"T": 4})
            assert tuple(eval(d, {}, {**sizes, "T": 4, "B": 5}) for d in dims) == shape
    assert any(shown[key] for key in tables)


def test_a_cell_of_ones_own_and_one_that_is_not_there(run, write) -> None:
    path = write(
        "from gradcheck_rnn import cell\n"
        '@cell(inputs="x: d", states="h: p", params="U: p d")\n'
        "def mine(x, h, U):\n    h = h + U @ x\n    return h\n"
    )
    ran = run("cells", f"{path}:mine")
    assert ran.code == 0, ran.err
    assert "parameters: U (p, d)" in ran.out
    ran = run("cells", "grru")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: unknown cell 'grru'; did you mean gru")


def test_layouts_are_listed_with_the_cell_they_are_for(run) -> None:
    rows = json.loads(run("layouts", "--json").out)
    names = [*(f"{c} {k}" for c in READY for k in KINDS), *VARIANTS]
    assert [r["name"] for r in rows] == [*names, *KERNELS, "own"]
    listed = run("layouts").out
    for row in rows:
        assert row["name"] in listed
        network = api.load("gru" if row["cell"] == "any" else row["cell"])
        sizes = {**{n: 5 + k for k, n in enumerate(network.dims)}, **SIZES}
        fitted = ready(row["name"], network).fit(network, sizes, 5, {"T": 4})
        assert fitted.shapes


@pytest.mark.parametrize("name", ["linear_attention", "many_to_one", "elman_tied"])
def test_dims_by_name_are_those_of_the_arrays(name: str) -> None:
    """A matrix for every sequence has all of its axes."""
    network = as_network(api.load(name))
    sizes = {d: 7 + k for k, d in enumerate(network.dims)}
    shown, known = api.describe_cell(name), {**sizes, "T": 4, "B": 3}
    for key in ("parameters", "inputs"):
        for array, dims in shown[key].items():
            ref = getattr(network, key)[array]
            made = array_shape(ref, sizes, batch=3, lengths={"T": 4})
            assert tuple(known[d] for d in dims) == made


@pytest.mark.parametrize(
    "name",
    [*(f"{c} {k}" for c in READY for k in KINDS), *VARIANTS, *KERNELS,
     "linear-attention gla head_first", "pytorch gru bias=False batch_first",
     "keras lstm use_bias=False", "onnx rnn bias=False", "lecture lstm order=f,i,o,c"],
)  # fmt: skip
def test_a_printed_layout_is_the_layout(run, name: str) -> None:
    space: dict[str, Any] = {}
    exec(run("layouts", name).out, space)
    assert isinstance(space["layout"], Layout)
    assert space["layout"] == ready(name)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_have_a_layout(kind: str, bidirectional: bool) -> None:
    name = f"pytorch {kind} num_layers=3 bidirectional={bidirectional} bias=False"
    network = api.layers(definition(name), 3, bidirectional=bidirectional)
    fitted = ready(name).fit(network, {"d": 2, "p": 3}, 5, {"T": 4})
    ways = 1 + bidirectional
    assert fitted.shapes["h_0"] == fitted.shapes["h_n"] == (3 * ways, 5, 3)
    assert fitted.shapes["output"] == (4, 5, 3 * ways)
    assert fitted.shapes["weight_ih_l1"][1] == 3 * ways


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch lstm layers=2", "pytorch has no option 'layers'; it has suffix"),
        ("pytorch lstm num_layers", "num_layers needs a value"),
        ("pytorch lstm num_layers=0", "is a number from 1 on, not '0'"),
        ("pytorch lstm bias=no", "bias is True or False, not 'no'"),
        ("pytorch gru projected", "an option of the LSTM only"),
        ("onnx gru peepholes", "an option of the LSTM only"),
        ("pytorch cnn", "no ready layout for 'cnn'"),
        ("pytorch", "the layout's kind is missing; there are lstm"),
        ("flashrnn", "write the layout's kind, “flashrnn KIND”: flashrnn has lstm"),
        ("", "conventions are pytorch"),
    ],
)
def test_options_of_layouts_that_are_not_there(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ready(name)


def test_layers_of_what_is_not_one_cell() -> None:
    for target in ("stacked_lstm", "linear_attention"):
        with pytest.raises(UsageError, match="is not one cell with an input x and a state h"):
            api.layers(target, 2)


def test_a_layout_that_is_not_there(run) -> None:
    ran = run("layouts", "caffe lstm")
    assert (ran.code, ran.out) == (2, "")
    assert "conventions are pytorch, keras" in ran.err


@pytest.mark.parametrize("name", GROUP.commands)
def test_a_help_page_ends_with_an_example_that_parses(run, name: str) -> None:
    command = GROUP.commands[name]
    # A narrow terminal folds it, so it is read from the command and looked for without its folds.
    epilog = command.epilog
    assert "".join(run(name, "--help").out.split()).endswith("".join(epilog.split()))
    program, sub, *arguments = shlex.split(epilog.removeprefix("Example: "))
    assert (program, sub) == ("gradcheck-rnn", name)
    command.make_context(name, arguments)
