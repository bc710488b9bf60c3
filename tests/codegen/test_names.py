"""Names of the user that generated code, Python, C++ or CUDA has already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from gradcheck_rnn import api
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.language.network import Network, as_network
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
    # An output that is called loss is a scalar.
    assume("loss" not in (names[values.index("h")], names[values.index("c")]))
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


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(hostile_names())
def test_hostile_names_are_proved_and_verified(names: dict[str, str]) -> None:
    definition = made(names)
    assert api.prove(definition).proved
    assert api.verify(definition).passed


def test_a_scratch_array_does_not_take_the_name_of_a_parameter() -> None:
    """Both ``work_p``, the array and the parameter, were one: wrong by as much as the gradient."""
    check(Case(as_network(made({"b": "work_p", "s": "work_d"}))))


def test_keys_that_are_keywords_are_keys_of_a_typed_dict() -> None:
    text = generate(derive(made({"W": "lambda", "h": "None"})))
    assert 'Parameters = TypedDict("Parameters", {' in text
    assert '"lambda": Array' in text


def test_a_docstring_is_not_ended_by_the_definition() -> None:
    definition = replace(made({}), what='He said """no""" to a \\ and a \\u')
    module = load(generate(derive(definition)), "quoted")
    assert module.__doc__ is not None
    assert 'He said """no""" to a \\ and a \\u' in module.__doc__


def test_a_time_axis_of_any_name() -> None:
    network = Network("axes")
    handle = network.scan(made({}), axis="range")
    network.output(handle.h, handle.final("h"))
    check(Case(network))
