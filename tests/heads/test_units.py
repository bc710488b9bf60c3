"""Softmax, maps of units, slices and concatenations within heads: NumPy, C and CuPy."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.language import (
    cell,
    concat,
    cross_entropy,
    cumsum,
    dim,
    dot,
    expm1,
    log_softmax,
    outer,
    softmax,
    sum_heads,
    tanh,
)
from gradcheck_rnn.language import sum as unit_sum
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.network import as_network
from tests.codegen.c.support import built, needs_compiler
from tests.codegen.c.test_results import agrees
from tests.codegen.cupy.support import cast, on_cupy, on_numpy, upstream
from tests.codegen.support import Case, error, load
from tests.cuda_shim import fake_cupy
from tests.property.pipeline import load_text
from tests.strategies.choices import Seeded
from tests.strategies.random_stacks import random_stack_cell


@cell(heads="H", inputs="x: d; g: H", data="c: H n", states="S: H n m; z: H n",
      params="W: H n d; W_v: H m d; W_o: H d n; u: n; w: H 3", outputs="y e")  # fmt: skip
def units(
    x: Any, g: Any, c: Any, S: Any, z: Any, W: Any, W_v: Any, W_o: Any, u: Any, w: Any
) -> Any:
    q = W @ x
    p = softmax(q + 0.3 * z)
    total = unit_sum(softmax(w) * cumsum(w)) + unit_sum(expm1(u))
    S = g * S + outer(p, W_v @ x)
    z = tanh(cumsum(p * z + u) + S @ (W_v @ x) + 0.1 * log_softmax(q) * total)
    e = sum_heads(cross_entropy(z, c))
    return {"S": S, "z": z, "y": sum_heads(W_o @ softmax(z)), "e": e}


@cell(heads="H", inputs="x: d; g: H", states="z: H n",
      params="W: H 2*n d; V: H n d; W_o: H d 2*n+1; u: n", outputs="y")  # fmt: skip
def rows(x: Any, g: Any, z: Any, W: Any, V: Any, W_o: Any, u: Any) -> Any:
    q = W[: dim("n")] @ x + concat(W, V)[dim("n") : 2 * dim("n")] @ x
    both = concat(q, z, g)
    w = concat(u, z)
    z = tanh(q * unit_sum(both[1:3]) + dot(both[2:], both[2:]) * unit_sum(w[1:3] * w[:2]))
    y = sum_heads(W_o @ concat(z, g * w[1 : dim("n") + 1], g))
    return {"z": z, "y": y}


DEFINITIONS = {"units": units, "rows": rows}


@pytest.fixture(scope="module", params=sorted(DEFINITIONS))
def case(request: pytest.FixtureRequest) -> Case:
    made: Cell = DEFINITIONS[request.param]
    return Case(as_network(made))


def judged(case: Case) -> dict[str, float]:
    """How far outputs and gradients of NumPy kernels are from the derived programs."""
    outputs, saved = case.forward()
    out = {n: error(outputs[n], a) for n, a in case.expected_outputs().items()}
    given = case.cotangents()
    gradients = case.backward(saved, given)
    wanted = case.expected_gradients(given, loss=False)
    return out | {n: error(gradients[n], a) for n, a in wanted.items()}


def test_numpy(case: Case) -> None:
    assert max(judged(case).values()) < 1e-12
    given, direction = case.cotangents(), {}
    _, saved = case.forward()
    gradients = case.backward(saved, given)
    direction = {n: case.rng.normal(size=case.arrays[n].shape) for n in gradients}
    along = sum(float(np.sum(gradients[n] * d)) for n, d in direction.items())
    np.testing.assert_allclose(along, case.slope(given, direction), rtol=1e-9)


@needs_compiler
def test_c(case: Case, tmp_path: Path) -> None:
    agrees(case, built(case, tmp_path))


def test_cupy(case: Case) -> None:
    on_device(case)


@pytest.mark.parametrize(("seed", "heads"), [(1, False), (6, False), (1, True), (278, True)])
def test_random_cells_on_cupy(seed: int, heads: bool) -> None:
    on_device(Case(load_text(random_stack_cell(Seeded(seed), heads), "stacked")))


def on_device(case: Case) -> None:
    """CuPy kernels of a case agree with NumPy's."""
    with fake_cupy.installed():
        import cupy

        module: types.ModuleType = load(generate(case.derivation, "cupy"), "units_cupy")
        given = cast(upstream(case), "float64")
        found = on_cupy(case, module, cupy, cast(case.arrays, "float64"), given)
    right = on_numpy(case, case.arrays, given)
    assert max(error(found[n], a) for n, a in right.items()) < 1e-12


@pytest.mark.parametrize(
    ("name", "right", "wrong"), [
        ("units", "within(softmax, ", "(lambda f, x, h, out=None: f(x, out=out))(softmax, "),
        ("units", "within(cumsum, ", "(lambda f, x, h, out=None: f(x, out=out))(cumsum, "),
        ("rows", "[..., 2:]", "[..., 1:-1]"),
    ],
)  # fmt: skip
def test_planted_faults_are_found(name: str, right: str, wrong: str) -> None:
    case = Case(as_network(DEFINITIONS[name]))
    text = generate(case.derivation, "numpy")
    assert right in text
    case.module = load(text.replace(right, wrong), "units_wrong")
    assert max(judged(case).values()) > 1e-3
