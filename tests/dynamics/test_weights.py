"""Weight files: formats, layouts, and everything a file can have wrong with it."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.cells.bidirectional import join
from gradcheck_rnn.dynamics.inputs import Given
from gradcheck_rnn.dynamics.model_source import model_of, with_weight_file
from gradcheck_rnn.dynamics.torch_layout import find_layers
from gradcheck_rnn.dynamics.trajectory import forward
from gradcheck_rnn.dynamics.weights import read_weights
from gradcheck_rnn.errors import DimensionError, UsageError

Array = np.ndarray[Any, Any]
D, P, STEPS = 2, 3, 7
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
CELL = {"rnn": "elman_hidden", "gru": "gru_reset_after", "lstm": "lstm"}
LAYERS = {k: cells.get(n).scans[0].cell for k, n in CELL.items()}


def state_dict(
    kind: str, layers: int = 1, both: bool = False, prefix: str = "", bias: bool = True
) -> dict[str, Array]:
    """Random weights with PyTorch's names and shapes."""
    rng = np.random.default_rng(0)
    rows = GATES[kind] * P
    out: dict[str, Array] = {}
    for layer in range(layers):
        reads = D if layer == 0 else P * (1 + both)
        for way in ("", "_reverse") if both else ("",):
            end = f"_l{layer}{way}"
            out[f"{prefix}weight_ih{end}"] = rng.normal(size=(rows, reads))
            out[f"{prefix}weight_hh{end}"] = rng.normal(size=(rows, P))
            if bias:
                out[f"{prefix}bias_ih{end}"] = rng.normal(size=rows)
                out[f"{prefix}bias_hh{end}"] = rng.normal(size=rows)
    return out


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def torch_layer(kind: str, w: dict[str, Array], end: str, xs: Array) -> Array:
    """The equations in the documentation of torch.nn.RNN, GRU and LSTM, one step after another."""
    h = c = np.zeros(P)
    out = []
    rows = GATES[kind] * P
    b_ih = w.get(f"bias_ih{end}", np.zeros(rows))
    b_hh = w.get(f"bias_hh{end}", np.zeros(rows))
    for x in xs:
        a = w[f"weight_ih{end}"] @ x + b_ih
        b = w[f"weight_hh{end}"] @ h + b_hh
        if kind == "rnn":
            h = np.tanh(a + b)
        elif kind == "gru":
            (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3), np.split(b, 3)
            r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
            n = np.tanh(a_n + r * b_n)
            h = (1 - z) * n + z * h
        else:
            i, f, g, o = np.split(a + b, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out)


def torch_forward(kind: str, w: dict[str, Array], layers: int, both: bool, xs: Array) -> Array:
    for layer in range(layers):
        ways = [torch_layer(kind, w, f"_l{layer}", xs)]
        if both:
            ways.append(torch_layer(kind, w, f"_l{layer}_reverse", xs[::-1])[::-1])
        xs = np.concatenate(ways, axis=1)
    return xs


def save(path: Path, arrays: dict[str, Array]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors", reason="pip install 'gradcheck-rnn[weights]'")
        from safetensors.numpy import save_file

        save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, str(path))
    return path


def load(path: Path, kind: str) -> Any:
    return with_weight_file(cells.get(CELL[kind]), path, LAYERS, join)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_torch_layouts_compute_what_torch_documents(
    tmp_path: Path, kind: str, layers: int, both: bool
) -> None:
    arrays = state_dict(kind, layers, both)
    path = save(tmp_path / "w.npz", arrays)
    network, values, found, _ = load(path, kind)
    assert str(found).startswith(f"torch.nn.{kind.upper()}(2, 3, {layers}")
    xs = np.random.default_rng(1).normal(size=(STEPS, D))
    model = model_of(network, parameters=values, inputs={"x": Given(xs)})
    expected = torch_forward(kind, arrays, layers, both, xs)
    systems = model.systems(steps=STEPS)
    assert len(systems) == 1 + both
    halves = np.split(expected, 1 + both, axis=1)
    for system, half in zip(systems, halves, strict=True):
        segments = list(forward(system, STEPS))
        last = [n for n in system.states if n.startswith("h")][-1]
        made = np.concatenate([s.line[last][:, system.depth :] for s in segments], axis=1).T
        made = made[::-1] if system.reverse else made
        np.testing.assert_allclose(made, half, atol=1e-13)


def test_gates_taken_in_another_order_are_seen(tmp_path: Path) -> None:
    arrays = state_dict("lstm")
    xs = np.random.default_rng(1).normal(size=(STEPS, D))
    expected = torch_forward("lstm", arrays, 1, False, xs)
    i, f, g, o = np.split(arrays["weight_hh_l0"], 4)
    arrays["weight_hh_l0"] = np.concatenate([f, i, g, o])
    network, values, *_ = load(save(tmp_path / "w.npz", arrays), "lstm")
    model = model_of(network, parameters=values, inputs={"x": Given(xs)})
    (segment,) = forward(model.systems()[0], STEPS)
    assert abs(segment.line["h"][:, 1:].T - expected).max() > 1e-3


def test_a_layer_without_bias_and_with_a_prefix(tmp_path: Path) -> None:
    arrays = state_dict("gru", prefix="rnn.", bias=False)
    arrays |= {"fc.weight": np.ones((5, P)), "embedding.weight": np.ones((11, D))}
    network, values, found, others = load(save(tmp_path / "w.npz", arrays), "gru")
    assert found.prefix == "rnn."
    assert set(others) == {"fc.weight", "embedding.weight"}
    assert not values["b_c"].any()
    assert not values["d_c"].any()
    assert network.name == "gru_reset_after"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_own_names(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    mine = {"W": rng.normal(size=(P, P)), "U": rng.normal(size=(P, D)), "b_i": rng.normal(size=P)}
    path = save(tmp_path / f"w{suffix}", mine)
    network, values, found, _ = with_weight_file(cells.get("elman_hidden"), path, LAYERS, join)
    assert found is None
    model = model_of(network, parameters=values)
    np.testing.assert_array_equal(model.values["W"], mine["W"])
    assert dict(model.sizes) == {"d": D, "p": P}


def test_safetensors_in_single_precision(tmp_path: Path) -> None:
    arrays = {n: a.astype(np.float32) for n, a in state_dict("lstm").items()}
    made = read_weights(save(tmp_path / "w.safetensors", arrays))
    assert made["weight_hh_l0"].dtype == np.float64


def test_pytorch_itself_agrees(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'gradcheck-rnn[torch]'")
    module = torch.nn.LSTM(D, P, 2, bidirectional=True).double()
    path = tmp_path / "w.pt"
    torch.save(module.state_dict(), path)
    arrays = read_weights(path)
    xs = np.random.default_rng(1).normal(size=(STEPS, D))
    expected = module(torch.tensor(xs))[0].detach().numpy()
    np.testing.assert_allclose(torch_forward("lstm", arrays, 2, True, xs), expected, atol=1e-12)


# ------------------------------------------------------------------------------------- bad files


class Opened:
    """Unpickled, it would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_untrusted_files_run_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    objects = np.array([Opened(mark)], dtype=object)
    npz = tmp_path / "w.npz"
    np.savez(npz, W=objects, allow_pickle=True)
    with pytest.raises(UsageError, match="pickled objects, which are never loaded"):
        read_weights(npz)
    for name in ("v.npz", "w.pt", "w.safetensors"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(Opened(mark)))
        with pytest.raises(UsageError):
            read_weights(path)
    assert not mark.exists()
    # The mark works: this is what would have happened.
    pickle.loads(pickle.dumps(Opened(mark)))
    assert mark.exists()


def broken(change: Callable[[dict[str, Array]], Any], kind: str = "lstm") -> dict[str, Array]:
    arrays = state_dict(kind)
    change(arrays)
    return arrays


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (broken(lambda a: a.pop("weight_hh_l0")), ["missing weight_hh_l0", "weight_ih_l0 (12, 2)"]),
        (broken(lambda a: a.pop("weight_ih_l0")), ["missing: weight_ih_l0 (12, 0)"]),
        (broken(lambda a: a.pop("bias_hh_l0")), ["missing: bias_hh_l0 (12,)"]),
        (
            broken(lambda a: a.update(bias_ih_l0=np.ones(5))),
            ["bias_ih_l0 has shape (5,), expected (12,)"],
        ),
        (broken(lambda a: a.update(weight_hh_l0=np.ones((7, 3)))), ["(7, 3)", "(4p, p) for LSTM"]),
        (broken(lambda a: a.update(weight_hr_l0=np.ones((2, 3)))), ["proj_size"]),
        ({**state_dict("rnn", prefix="a."), **state_dict("rnn", prefix="b.")}, ["'a.', 'b.'"]),
        (state_dict("gru"), ["torch.nn.GRU", "'gru_reset_after'", "'lstm'"]),
    ],
)
def test_torch_files_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, Array], words: list[str]
) -> None:
    path = save(tmp_path / "w.npz", arrays)
    with pytest.raises(UsageError) as error:
        load(path, "lstm")
    for word in [*words, "w.npz"]:
        assert word in str(error.value)


def test_missing_and_foreign_names_are_listed(tmp_path: Path) -> None:
    path = save(tmp_path / "w.npz", {"W": np.eye(3), "V": np.ones((2, 3))})
    with pytest.raises(UsageError) as error:
        with_weight_file(cells.get("elman_hidden"), path, LAYERS, join)
    said = str(error.value)
    assert "missing: U, b_i" in said
    assert "foreign: V (2, 3)" in said
    assert "expected: W (p, p), U (p, d), b_i (p)" in said


def test_shapes_that_disagree(tmp_path: Path) -> None:
    mine = {"W": np.eye(3), "U": np.ones((4, 2)), "b_i": np.zeros(3)}
    network, values, *_ = with_weight_file(
        cells.get("elman_hidden"), save(tmp_path / "w.npz", mine), LAYERS, join
    )
    with pytest.raises(DimensionError, match="'U'"):
        model_of(network, parameters=values)
    flat = save(tmp_path / "v.npz", {**mine, "U": np.ones(3)})
    with pytest.raises(UsageError, match=r"'U' has shape \(3,\), expected \(p, d\)"):
        with_weight_file(cells.get("elman_hidden"), flat, LAYERS, join)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    w = np.eye(3)
    w[1, 2] = np.nan
    with pytest.raises(UsageError, match="'W' holds 1 of 9 values that are NaN or infinite"):
        read_weights(save(tmp_path / "w.npz", {"W": w}))
    with pytest.raises(UsageError, match="not real numbers"):
        read_weights(save(tmp_path / "v.npz", {"W": np.array(["a"])}))


def test_files_that_are_not_there_or_not_what_they_say(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no weight file"):
        read_weights(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"not '\.h5'"):
        read_weights(tmp_path / "w.h5")
    for name, package in (("w.npz", "numpy"), ("w.safetensors", "safetensors")):
        (tmp_path / name).write_text("hello")
        there = importlib.util.find_spec(package) is not None
        with pytest.raises(UsageError, match="cannot read" if there else r"weights\]"):
            read_weights(tmp_path / name)
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(UsageError, match="no arrays"):
        read_weights(tmp_path / "empty.npz")
    np.save(tmp_path / "one.npy", np.eye(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(UsageError, match="single array"):
        read_weights(tmp_path / "one.npz")


def test_other_files_have_no_layers() -> None:
    assert find_layers({"W": np.eye(2)}, Path("w.npz")) is None
