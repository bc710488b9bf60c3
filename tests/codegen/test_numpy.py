"""Generated NumPy modules against the definitions, the adjoint program and the complex step."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.errors import UsageError

from . import golden_kernels
from .support import Case, error

NAMES = tuple(cells.names())
#: Sums of at most a few hundred products of numbers near one.
EXACT = 2e-13
#: These stop gradients on purpose, so their gradient is not the derivative of what runs.
FROZEN = {"lstm_1997_truncated", "lif"}


@functools.cache
def case(name: str) -> Case:
    return Case(cells.get(name))


@pytest.fixture(autouse=True)
def no_warnings():
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.mark.parametrize("name", NAMES)
def test_forward_is_the_definition(name: str) -> None:
    c = case(name)
    outputs, _ = c.forward()
    expected = c.expected_outputs()
    assert set(outputs) == set(expected)
    for label, value in expected.items():
        assert error(outputs[label], value) < EXACT, label


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_program(name: str) -> None:
    c = case(name)
    _, saved = c.forward()
    cotangents = c.cotangents()
    expected = c.expected_gradients(cotangents, loss=False)
    gradients = c.backward(saved, cotangents)
    assert set(gradients) == set(expected)
    for n, value in expected.items():
        assert error(gradients[n], value) < EXACT, n
    if c.network.loss_terms:
        loss, gradients = c.module.loss_and_gradients(*c.split(c.arrays), **c.keywords)
        assert loss == c.forward()[0]["loss"]
        for n, value in c.expected_gradients({}, loss=True).items():
            assert error(gradients[n], value) < EXACT, n


@pytest.mark.parametrize("name", [n for n in NAMES if n not in FROZEN])
def test_gradients_are_derivatives_by_the_complex_step(name: str) -> None:
    """Each cotangent alone, so that a lost one is not hidden by the others."""
    c = case(name)
    outputs, saved = c.forward()
    everything = c.cotangents()
    if c.network.loss_terms:
        everything["loss"] = np.asarray(1.5)
    for label, cotangent in everything.items():
        gradients = c.backward(saved, {label: cotangent})
        for n, g in gradients.items():
            direction = {n: c.rng.normal(size=c.arrays[n].shape)}
            slope = c.slope({label: cotangent}, direction)
            along = float(np.sum(g * direction[n]))
            size = float(np.sum(np.abs(g * direction[n])))
            assert abs(slope - along) <= 1e-11 * max(size, 1e-2), (label, n)
    assert outputs is not None


@pytest.mark.parametrize("name", NAMES)
def test_same_text_twice_and_nothing_of_ours_is_imported(name: str) -> None:
    text = generate(derive(cells.get(name)))
    assert text == generate(derive(cells.get(name)))
    imports = [line for line in text.split("\n") if line.startswith(("import", "from"))]
    assert imports == [
        "from __future__ import annotations",
        "from collections.abc import Mapping",
        f"from typing import Any, {'NotRequired, ' * ('GIVEN' in text)}TypedDict",
        "import numpy as np",
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
@pytest.mark.parametrize("name", ["lstm", "gru", "char_rnn", "lstm_layer_norm", "elmo"])
def test_dtype_follows_the_inputs(name: str, dtype: type) -> None:
    c = Case(cells.get(name), dtype=dtype)
    before = {n: a.copy() for n, a in c.arrays.items()}
    outputs, saved = c.forward()
    cotangents = c.cotangents()
    gradients = c.backward(saved, cotangents)
    results = (*outputs.values(), *gradients.values())
    assert {np.asarray(a).dtype for a in results} == {np.dtype(dtype)}
    reference = case(name)
    wide = {n: a.astype(float) for n, a in c.arrays.items()}
    expected, kept = reference.forward(wide)
    tolerance = 200 * max(float(np.finfo(dtype).eps), float(np.finfo(float).eps))
    for label, value in expected.items():
        assert error(outputs[label], value) < tolerance
    assert kept is not None
    assert all(np.array_equal(a, before[n]) for n, a in c.arrays.items()), "an input was changed"


def test_a_planted_fault_is_seen() -> None:
    c = case("lstm")
    text = generate(c.derivation)
    assert text.count("d_a_f *= f") == 1
    from .support import load

    wrong = load(text.replace("d_a_f *= f", "d_a_f *= i"), "wrong")
    _, saved = c.forward()
    cotangents = c.cotangents()
    expected = c.expected_gradients(cotangents, loss=False)
    gradients = wrong.backward(*c.split(c.arrays), saved, cotangents)
    assert error(gradients["W_f"], expected["W_f"]) > 1e-3


def test_wrong_shapes_are_named() -> None:
    c = case("lstm")
    for name, array, message in (
        ("W_f", np.zeros((3, 4)), r"'W_f' has shape \(3, 4\), expected \(p, p\) with p = 3"),
        ("x", np.zeros((5, 2)), r"'x' has shape \(5, 2\), expected \(T, B, d\)"),
        ("h0", np.zeros((9, 3)), r"'h0' has shape \(9, 3\), expected \(B, p\) with B = 2"),
    ):
        with pytest.raises(ValueError, match=message):
            c.forward({**c.arrays, name: array})
    parameters, inputs = c.split(c.arrays)
    del parameters["b_o"]
    with pytest.raises(ValueError, match="there is no array for 'b_o'"):
        c.module.forward(parameters, inputs)
    _, saved = c.forward()
    with pytest.raises(ValueError, match="there is no output 'y'"):
        c.backward(saved, {"y": np.zeros(3)})
    with pytest.raises(ValueError, match=r"of 'h' has shape \(3,\), expected \(5, 2, 3\)"):
        c.backward(saved, {"h": np.zeros(3)})


def test_compound_dims_are_checked() -> None:
    c = case("lstm_packed")
    name = next(n for n, a in c.arrays.items() if a.shape[0] == 4 * c.sizes["p"])
    with pytest.raises(ValueError, match=f"'{name}' has shape .*expected 4 \\* p on axis 0"):
        c.forward({**c.arrays, name: c.arrays[name][:-1]})


def test_sigmoid_is_accurate_in_both_tails() -> None:
    module = case("lstm").module
    for dtype in (np.float32, np.float64):
        info = np.finfo(dtype)
        edge = -np.log(float(info.tiny)) - 1
        x = np.linspace(-edge, edge, 20001).astype(dtype)
        wide = x.astype(np.longdouble)
        exact = 1 / (1 + np.exp(-wide))
        relative = np.abs((module.sigmoid(x) - exact) / exact).max()
        assert relative < 4 * info.eps
    # Where exp overflows the generated functions say that this is meant.
    c = case("lstm")
    far = {**c.arrays, "b_i": np.array([-1e4, 800.0, 1e4]), "b_f": np.array([-800.0, 0, 1e4])}
    outputs, _ = c.forward(far)
    assert all(np.isfinite(a).all() for a in outputs.values())


@pytest.mark.parametrize("name", NAMES)
def test_committed_module_is_current(name: str) -> None:
    assert not golden_kernels.difference(name, "numpy", golden_kernels.text(name, "numpy"))


def test_golden_texts_are_those_of_the_digests() -> None:
    committed = json.loads(golden_kernels.DIGESTS.read_text(encoding="utf-8"))
    assert set(committed) == {f"{n} {b}" for n in NAMES for b in golden_kernels.BACKENDS}
    texts = {p for p in golden_kernels.FOLDER.iterdir() if p.suffix == ".py"}
    assert {p.stem for p in texts} == {
        f"{n}_{b}" for n in golden_kernels.READ for b in golden_kernels.BACKENDS
    }
    for path in texts:
        name, _, backend = path.stem.rpartition("_")
        found = golden_kernels.digest(path.read_text(encoding="utf-8"))
        assert found == committed[f"{name} {backend}"], path.name


def test_a_changed_module_is_seen() -> None:
    made = golden_kernels.text("elman", "numpy")
    assert "elman_numpy.py" in golden_kernels.difference("elman", "numpy", made + "\n")
    assert golden_kernels.difference("mgu", "numpy", made)


def test_unknown_backend() -> None:
    with pytest.raises(UsageError, match="no backend 'jax'"):
        generate(derive(cells.get("elman")), "jax")


@pytest.mark.parametrize("rows", [1, 256])
@pytest.mark.parametrize(
    "name", ["lstm_layer_norm", "stacked_lstm", "bidirectional_elman", "char_rnn"]
)
def test_blocks_of_any_length_give_the_same(name: str, rows: int, monkeypatch) -> None:
    """One step a block, and all of them in one."""
    c = case(name)
    cotangents = c.cotangents()
    _, saved = c.forward()
    expected = c.backward(saved, cotangents)
    assert c.module.ROWS not in (1, 256)
    monkeypatch.setattr(c.module, "ROWS", rows)
    outputs, saved = c.forward()
    for label, value in c.expected_outputs().items():
        assert error(outputs[label], value) < EXACT, label
    gradients = c.backward(saved, cotangents)
    for n, value in expected.items():
        assert error(gradients[n], value) < EXACT, n


def test_arrays_over_all_steps_that_only_blocks_use_are_gone() -> None:
    """What the backward pass of an LSTM allocates does not grow with the gates over all steps."""
    text = generate(derive(cells.get("lstm")))
    backward = text[text.index("def backward(") :]
    assert 'd_a = _array(workspace, "d_a", (held, B, 4 * p), dtype)' in backward
    assert "(T, B, 4 * p)" not in backward


@pytest.mark.parametrize("name", ["lstm_layer_norm", "stacked_lstm", "elman_delayed"])
def test_a_workspace_keeps_arrays_and_changes_nothing(name: str) -> None:
    """Whatever an earlier call has left in it; arrays of another shape or dtype are not taken."""
    c = case(name)
    cotangents = c.cotangents()
    outputs, saved = c.forward()
    expected = c.backward(saved, cotangents)
    workspace: dict[str, np.ndarray] = {}
    for spoil in (np.nan, 3.0):
        again, saved = c.module.forward(*c.split(c.arrays), workspace)
        gradients = c.module.backward(*c.split(c.arrays), saved, cotangents, workspace)
        for label, value in outputs.items():
            assert np.array_equal(again[label], value)
        for n, value in expected.items():
            assert np.array_equal(gradients[n], value), n
        held = {n: id(a) for n, a in workspace.items()}
        for n, a in workspace.items():
            assert not any(np.shares_memory(a, g) for g in gradients.values()), n
            a[...] = spoil
    first = next(iter(workspace))
    workspace[first] = workspace[first].astype(np.float32)[:, :1]
    _, saved = c.module.forward(*c.split(c.arrays), workspace)
    gradients = c.module.backward(*c.split(c.arrays), saved, cotangents, workspace)
    assert all(np.array_equal(gradients[n], value) for n, value in expected.items())
    assert sum(id(a) == held.get(n) for n, a in workspace.items()) >= len(held) - 1
