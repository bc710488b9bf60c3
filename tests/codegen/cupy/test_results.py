"""Generated CuPy modules, run on the CPU, against the NumPy modules of the same schedule."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.language import cell, tanh
from gradcheck_rnn.language.network import as_network
from tests.codegen import golden_kernels
from tests.codegen.support import Arrays, Case, load
from tests.cuda_shim import fake_cupy
from tests.cuda_shim.errors import ShimError

from .support import (
    FEW,
    NAMES,
    ZOO,
    case,
    cast,
    excess,
    modules,
    on_cupy,
    text,
    upstream,
)

#: Systems for the reverse order of threads: steps, sums over units in and out of loops, lags.
ORDERS = ("lstm", "gru", "lstm_layer_norm", "char_rnn", "elman_delayed", "slstm")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients(name: str, dtype: str) -> None:
    c, module = case(name), modules()[name]
    given = upstream(c)
    with fake_cupy.installed() as cupy:
        found = on_cupy(c, module, cupy, cast(c.arrays, dtype), cast(given, dtype))
    over = {n: r for n, r in excess(c, found, dtype, given).items() if not r <= FEW}
    assert not over


def test_an_error_is_measured_by_a_spread_of_many_draws() -> None:
    """At arguments where eight draws are off by little by chance; a larger error stays one."""
    c, module = copy.copy(case("lstm_layer_norm")), modules()["lstm_layer_norm"]
    rng = np.random.default_rng([12, 6])
    c.arrays = {n: rng.normal(size=a.shape) for n, a in c.arrays.items()}
    given = {n: rng.normal(size=g.shape) for n, g in upstream(c).items()}
    with fake_cupy.installed() as cupy:
        found = on_cupy(c, module, cupy, c.arrays, given)
    assert max(excess(c, found, "float64", given).values()) < FEW / 2
    found["gradient g_c"] = found["gradient g_c"] * (1 + 1e-14)
    over = excess(c, found, "float64", given)
    assert [n for n, r in over.items() if r > FEW] == ["gradient g_c"]


@pytest.mark.parametrize("name", NAMES)
def test_each_cotangent_alone(name: str) -> None:
    c, module = case(name), modules()[name]
    for label, g in upstream(c).items():
        with fake_cupy.installed() as cupy:
            found = on_cupy(c, module, cupy, c.arrays, {label: g})
        over = {n: r for n, r in excess(c, found, "float64", {label: g}).items() if not r <= FEW}
        assert not over, label


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_of_threads_does_not_matter(name: str) -> None:
    c, module = case(name), modules()[name]
    results = []
    for reverse in (False, True):
        with fake_cupy.installed(reverse=reverse) as cupy:
            results.append(on_cupy(c, module, cupy, c.arrays, upstream(c)))
    for n, a in results[0].items():
        assert np.array_equal(a, results[1][n]), n


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_saved_arrays_are_left_alone(name: str) -> None:
    c, module = case(name), modules()[name]
    with fake_cupy.installed() as cupy:
        moved = {n: cupy.array(a) for n, a in c.arrays.items()}
        given = {n: cupy.array(a) for n, a in upstream(c).items()}
        parameters, inputs = c.split(moved)
        _, saved = module.forward(parameters, inputs, **c.keywords)
        one, two = (
            module.backward(parameters, inputs, saved, given, **c.keywords) for _ in range(2)
        )
        assert all(np.array_equal(g.get(), two[n].get()) for n, g in one.items())
        assert all(np.array_equal(a, moved[n].get()) for n, a in c.arrays.items())
        assert all(np.array_equal(a, given[n].get()) for n, a in upstream(c).items())


def at_sizes(name: str, sizes: dict[str, int]) -> Case:
    """A system with other sizes; its weights are small enough that nothing saturates."""
    c = copy.copy(case(name))
    rng = np.random.default_rng(0)
    c.arrays = {}
    for n, axes in modules()[name].SHAPES.items():
        shape = [int(eval(a, {}, sizes)) for a in axes]
        c.arrays[n] = rng.normal(size=shape) / np.sqrt(shape[-1])
    return c


@pytest.mark.parametrize("name", ["lstm_layer_norm", "lstm"])
def test_more_units_than_threads(name: str) -> None:
    """Rows longer than a block, rows that end inside a warp, several blocks an array."""
    c = at_sizes(name, {"T": 3, "B": 3, "d": 2, "p": 75})
    rng = np.random.default_rng(0)
    given: Arrays = {"h": rng.normal(size=(3, 3, 75)), "c_final": rng.normal(size=(3, 75))}
    with fake_cupy.installed() as cupy:
        found = on_cupy(c, modules()[name], cupy, c.arrays, given)
    assert max(excess(c, found, "float64", given).values()) <= FEW


def test_loss_and_gradients_is_forward_and_backward() -> None:
    c, module = case("char_rnn"), modules()["char_rnn"]
    with fake_cupy.installed() as cupy:
        parameters, inputs = ({n: cupy.asarray(a) for n, a in g.items()} for g in c.split(c.arrays))
        loss, gradients = module.loss_and_gradients(parameters, inputs)
        found = {n: a.get() for n, a in gradients.items()}
        loss = loss.get()
    wanted, slopes = c.module.loss_and_gradients(*c.split(c.arrays))
    assert loss == pytest.approx(wanted, rel=1e-14)
    assert all(np.allclose(found[n], g, rtol=1e-12, atol=1e-14) for n, g in slopes.items())


def test_saturated_gates_stay_finite() -> None:
    c, module = case("lstm"), modules()["lstm"]
    far = {**c.arrays, "b_i": np.array([-1e4, 800.0, 1e4]), "b_f": np.array([-800.0, 0, 1e4])}
    for dtype in ("float32", "float64"):
        with fake_cupy.installed() as cupy:
            found = on_cupy(c, module, cupy, cast(far, dtype), cast(upstream(c), dtype))
        assert all(np.isfinite(a).all() for a in found.values())


# ------------------------------------------------------------------------------ faults are found


def planted(name: str, right: str, wrong: str) -> dict[str, float]:
    """How far the results are off for a module whose text is changed."""
    source = text(name)
    assert right in source
    c = case(name)
    with fake_cupy.installed() as cupy:
        module = load(source.replace(right, wrong), "wrong")
        found = on_cupy(c, module, cupy, c.arrays, upstream(c))
    return excess(c, found, "float64", upstream(c))


@pytest.mark.parametrize(
    ("right", "wrong", "hit"),
    [
        ("d_c_j * f_j", "d_c_j", "gradient c0"),
        ("real(1) - square(tanh_c_j)", "real(1) - tanh_c_j", "gradient W_f"),
        ("d_h[0] += W_d_a", "pass", "gradient h0"),
    ],
)
def test_a_planted_fault_is_found(right: str, wrong: str, hit: str) -> None:
    assert planted("lstm", right, wrong)[hit] > 1e6


def test_a_planted_race_is_found() -> None:
    barrier = "__syncthreads();  // an earlier call may still be reading"
    with pytest.raises(ShimError, match="race on element"):
        planted("lstm_layer_norm", barrier, "")


def test_a_planted_stray_index_is_found() -> None:
    with pytest.raises(ShimError, match="outside"):
        planted("lstm", "[row * 4 * p + 3 * p + unit] =", "[row * 4 * p + 9 * p + unit] =")


# ------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize("name", ZOO)
def test_committed_module_is_current(name: str) -> None:
    assert not golden_kernels.difference(name, "cupy", text(name))


def test_same_text_twice() -> None:
    for name in ("lstm", "elmo"):
        assert generate(case(name).derivation, "cupy") == text(name)


@pytest.mark.parametrize("name", NAMES)
def test_loops_hold_products_and_kernels_and_nothing_else(name: str) -> None:
    source = text(name)
    imports = [line for line in source.split("\n") if re.match(r"import|from", line)]
    imports = [line.replace("NotRequired, ", "") for line in imports]
    assert [line for line in imports if line != "from cupyx.scipy import special"] == [
        "from __future__ import annotations",
        "import functools",
        "from collections.abc import Callable, Mapping",
        "from typing import Any, TypedDict",
        "import cupy as cp",
        "import numpy as np",
    ]
    kernels = set(re.findall(r"__global__ void (\w+)\(", source))
    assert len(kernels) == source.count("__global__")
    for body in re.findall(r"\n    for t in .*:\n((?:        .*\n)+)", source):
        calls = re.findall(r"^        (\w\S*?)\(", body, re.M)
        assert calls
        assert set(calls) <= kernels | {"cp.dot"}
        # Nothing is added but to a sum over steps that all sequences share.
        added = [line for line in body.split("\n") if "+=" in line]
        assert all(re.match(r"        d_\w+ \+= (cp\.|\w+\.sum\()", line) for line in added), added
        assert " @ " not in body
    cuda = re.sub(r"//.*", "", modules()[name].CUDA)
    assert re.search("double|float", cuda) is None


def test_an_lstm_step_is_one_product_and_one_kernel() -> None:
    bodies = re.findall(r"\n    for t in .*:\n((?:        .*\n)+)", text("lstm"))
    assert [body.count("cp.dot(") for body in bodies] == [1, 1]
    assert [body.count("_step") for body in bodies] == [1, 1]


# ------------------------------------------------------------------------------------- bad input


def test_what_does_not_fit_is_named() -> None:
    c, module = case("lstm"), modules()["lstm"]
    parameters, inputs = c.split(c.arrays)
    with fake_cupy.installed():
        with pytest.raises(ValueError, match=r"'W_f' has shape \(3, 4\), expected \(p, p\)"):
            module.forward({**parameters, "W_f": np.zeros((3, 4))}, inputs)
        with pytest.raises(ValueError, match="there is no array for 'b_o'"):
            module.forward({n: a for n, a in parameters.items() if n != "b_o"}, inputs)
        with pytest.raises(TypeError, match="float32 or float64, not float16"):
            module.forward(cast(parameters, "float16"), cast(inputs, "float16"))
        with pytest.raises(TypeError, match="float32 or float64, not complex128"):
            module.forward({**parameters, "b_o": parameters["b_o"] + 0j}, inputs)
        _, saved = module.forward(parameters, inputs)
        with pytest.raises(ValueError, match="there is no output 'y'"):
            module.backward(parameters, inputs, saved, {"y": np.zeros(3)})
        with pytest.raises(ValueError, match=r"cotangent of 'h' has shape \(3,\)"):
            module.backward(parameters, inputs, saved, {"h": np.zeros(3)})


def test_arrays_may_be_strided_and_no_steps_are_right_too() -> None:
    c, module = case("lstm"), modules()["lstm"]
    turned = {n: np.asfortranarray(a) for n, a in c.arrays.items()}
    with fake_cupy.installed() as cupy:
        found = on_cupy(c, module, cupy, turned, upstream(c))
        assert max(excess(c, found, "float64", upstream(c)).values()) <= FEW
        parameters, inputs = c.split({**c.arrays, "x": c.arrays["x"][:0]})
        outputs, saved = module.forward(parameters, inputs)
        assert np.array_equal(outputs["h_final"].get(), inputs["h0"])
        g = {"h_final": np.ones_like(inputs["h0"])}
        gradients = module.backward(parameters, inputs, saved, g)
    assert np.array_equal(gradients["h0"].get(), g["h_final"])
    assert not gradients["W_i"].get().any()


@cell(inputs="row: int", states="double: unit", params="exp: unit unit; signed: unit int")
def awkward(row, double, exp, signed):
    return {"double": tanh(exp @ double + signed @ row)}


def test_names_that_mean_something_in_cuda() -> None:
    c = Case(as_network(awkward))
    with fake_cupy.installed() as cupy:
        module = load(generate(c.derivation, "cupy"), "awkward")
        found = on_cupy(c, module, cupy, c.arrays, upstream(c))
    assert max(excess(c, found, "float64", upstream(c)).values()) <= FEW
