"""Generated CuPy modules on the test bench, and how far their results may be from exact ones."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from tests.codegen import test_features as features
from tests.codegen.support import Arrays, Case, load
from tests.cuda_shim import fake_cupy
from tests.cuda_shim.compiler import compile_batch

ZOO = tuple(cells.names())
FEATURES = tuple(features.FEATURES)
NAMES = (*ZOO, *FEATURES)
REALS = {"float32": "float", "float64": "double"}
#: Errors in units of the measured spread: on the test bench 1.9 is the most that was met.
FEW = 4.0
#: Random ways in which arguments are off by a rounding; of an error that is beyond half of `FEW`
#: by the first number, the spread is measured by the second.
RUNS, MOST_RUNS = 8, 64
#: On a GPU, whose own tanh, exp and fused multiply-add round differently (CUDA documents 2 ulps).
FEW_ON_GPU = 16.0


@functools.cache
def case(name: str) -> Case:
    """A system with its NumPy module and random arrays: the reference."""
    return Case(features.made(name) if name in FEATURES else cells.get(name))


@functools.cache
def text(name: str) -> str:
    return generate(case(name).derivation, "cupy")


@functools.cache
def modules() -> dict[str, types.ModuleType]:
    """All modules, their kernels compiled by one call of g++ for each dtype."""
    with fake_cupy.installed():
        made = {name: load(text(name), f"{name}_cupy") for name in NAMES}
    sources = [m.CUDA for m in made.values() if "__global__" in m.CUDA]
    for real in REALS.values():
        compile_batch(sources, options(real))
    return made


def options(real: str) -> tuple[str, ...]:
    """Compiler options of the generated modules."""
    return ("-std=c++17", f"-DREAL={real}")


def upstream(c: Case) -> Arrays:
    """A random cotangent of every output, the loss included; the same at each call."""
    c.rng = np.random.default_rng(1)
    given = c.cotangents()
    if c.network.loss_terms:
        given["loss"] = np.asarray(0.7)
    return given


def cast(arrays: Mapping[str, Any], dtype: Any) -> Arrays:
    return {n: np.asarray(a, dtype) for n, a in arrays.items()}


def on_numpy(c: Case, arrays: Arrays, cotangents: Arrays) -> Arrays:
    """Outputs and gradients by the NumPy module, in the dtype of the arrays."""
    given = c.split(arrays)
    outputs, saved = c.module.forward(*given, **c.keywords)
    gradients = c.module.backward(*given, saved, cotangents, **c.keywords)
    return _results(outputs, gradients)


def on_cupy(
    c: Case, module: types.ModuleType, cupy: Any, arrays: Arrays, cotangents: Arrays
) -> Arrays:
    """The same by a CuPy module."""
    parameters, inputs = ({n: cupy.asarray(a) for n, a in g.items()} for g in c.split(arrays))
    outputs, saved = module.forward(parameters, inputs, **c.keywords)
    outputs = {n: a.get() for n, a in outputs.items()}
    given = {n: cupy.asarray(a) for n, a in cotangents.items()}
    gradients = module.backward(parameters, inputs, saved, given, **c.keywords)
    return _results(outputs, {n: a.get() for n, a in gradients.items()})


def _results(outputs: Mapping[str, Any], gradients: Mapping[str, Any]) -> Arrays:
    out = {f"output {n}": np.asarray(a) for n, a in outputs.items()}
    return out | {f"gradient {n}": np.asarray(a) for n, a in gradients.items()}


def excess(c: Case, found: Arrays, dtype: Any, cotangents: Arrays) -> dict[str, float]:
    """Error of each result in units of its own spread.

    What is exact is computed by the NumPy module in extended precision, at the same arguments. The
    spread is the largest error of that module in ``dtype`` when each argument is off by one
    rounding, in ``RUNS`` random ways; it is never taken below one rounding of the result. The
    largest of so few is at times far too small (of 150 draws of a layer norm one error was 3.3 by
    8 ways and 1.4 by 64), so that what it decides is decided by ``MOST_RUNS``.
    """
    wide = np.longdouble
    arrays, given = cast(c.arrays, dtype), cast(cotangents, dtype)
    exact = on_numpy(c, cast(arrays, wide), cast(given, wide))
    eps = np.finfo(dtype).eps
    spread = {n: eps * float(np.abs(e).max(initial=0)) for n, e in exact.items()}
    rng = np.random.default_rng(2)
    kinds = {**c.network.parameters, **c.network.inputs}
    assert set(found) == set(exact)
    error = {}
    for n, e in exact.items():
        assert found[n].shape == e.shape, n
        assert found[n].dtype == np.dtype(dtype), n
        error[n] = float(np.abs(found[n] - e).max(initial=0))
        assert not np.isnan(error[n]), n
    for run in range(MOST_RUNS):
        if run >= RUNS and all(error[n] <= FEW / 2 * spread[n] for n in exact):
            break
        near = on_numpy(c, {n: _off(a, rng, kinds[n].kind) for n, a in arrays.items()}, given)
        for n, e in exact.items():
            spread[n] = max(spread[n], float(np.abs(near[n] - e).max(initial=0)))
    return {
        n: e / spread[n] if spread[n] else (0.0 if e == 0 else np.inf) for n, e in error.items()
    }


def _off(a: Any, rng: np.random.Generator, kind: str) -> Any:
    """The array with every entry off by up to one rounding; data such as masks stay."""
    if kind in ("data", "static_data"):
        return a
    return a * (1 + np.finfo(a.dtype).eps * rng.uniform(-1, 1, a.shape).astype(a.dtype))
