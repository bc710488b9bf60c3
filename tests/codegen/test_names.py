"""Names of the user that generated code, Python, C++ or CUDA has already."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.language.network import as_network
from tests.cuda_shim import fake_cupy
from tests.cuda_shim.compiler import compile_batch

from .cupy.support import on_cupy, on_numpy, options
from .hostile import DIMS, HOSTILE, HOSTILE_DIMS, ROLES, made
from .support import Case, error, load

#: Sums of a few products of numbers near one.
EXACT = 1e-12


@st.composite
def hostile_names(draw: st.DrawFn) -> dict[str, str]:
    """Different hostile names for all roles."""
    values = [r for r in ROLES if r not in DIMS]
    names = draw(st.lists(st.sampled_from(HOSTILE), min_size=len(values), max_size=len(values),
                          unique=True))  # fmt: skip
    dims = draw(st.lists(st.sampled_from(HOSTILE_DIMS), min_size=len(DIMS), max_size=len(DIMS),
                         unique=True))  # fmt: skip
    return {**dict(zip(values, names, strict=True)), **dict(zip(DIMS, dims, strict=True))}


def check(case: Case) -> None:
    """The NumPy module against the definition and the complex step."""
    outputs, saved = case.forward()
    for label, value in case.expected_outputs().items():
        assert error(outputs[label], value) < EXACT, label
    cotangents = case.cotangents()
    gradients = case.backward(saved, cotangents)
    assert set(gradients) == set(case.arrays)
    for n, g in gradients.items():
        direction = {n: case.rng.normal(size=case.arrays[n].shape)}
        slope = case.slope(cotangents, direction)
        along = float(np.sum(g * direction[n]))
        assert abs(slope - along) <= 1e-11 * max(float(np.sum(np.abs(g * direction[n]))), 1e-2), n


@settings(max_examples=40, deadline=None)
@given(hostile_names())
def test_hostile_names_on_numpy(names: dict[str, str]) -> None:
    check(Case(as_network(made(names))))


@settings(max_examples=2, deadline=None, phases=[Phase.generate])
@given(st.lists(hostile_names(), min_size=10, max_size=10))
def test_hostile_names_on_cupy(names: list[dict[str, str]]) -> None:
    """A batch of cells, because each call of g++ takes a while; NumPy says what is right."""
    cases = [Case(as_network(made(n))) for n in names]
    with fake_cupy.installed() as cupy:
        modules = [load(generate(c.derivation, "cupy"), "hostile") for c in cases]
        compile_batch([m.CUDA for m in modules], options("double"))
        for c, module in zip(cases, modules, strict=True):
            given_out = c.cotangents()
            found = on_cupy(c, module, cupy, c.arrays, given_out)
            for n, value in on_numpy(c, c.arrays, given_out).items():
                assert error(found[n], value) < EXACT, n
