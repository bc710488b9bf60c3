"""Adding a linear map of units is one declaration and its adjoint: from them, every pass works.

``language/ops/structural.py`` holds those of the language (``cumsum``); the two below are what
would be added to it for first differences. Nothing else of the package names them. A structural
operation that is no such map (softmax, concat) is a node of the calculus; CONTRIBUTING.md lists
what that takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, language
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.derivation.tangents import rtrl
from gradcheck_rnn.errors import UnsupportedOperation
from gradcheck_rnn.language import cell, cumsum, numeric, reverse_cumsum, tanh
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.ops import structural
from gradcheck_rnn.language.ops.unit_maps import UNIT_MAPS, UnitMap
from tests.codegen.cupy.support import on_cupy
from tests.codegen.support import Case, load
from tests.cuda_shim import fake_cupy
from tests.property.reference import complex_gradients, draw_case


def declare() -> UnitMap:
    UnitMap(
        "steps_on",
        "xᵢ − xᵢ₊₁, xₙ₊₁ = 0.",
        array=lambda x: -np.diff(x, axis=-2, append=0 * x[..., :1, :]),
        adjoint="steps",
        numpy="""
def steps_on(x: Array, out: Array | None = None) -> Array:
    return np.subtract(x, np.append(x[..., 1:], 0 * x[..., :1], axis=-1), out=out)
""",
    )
    return UnitMap(
        "steps",
        "xᵢ − xᵢ₋₁, x₀ = 0.",
        array=lambda x: np.diff(x, axis=-2, prepend=0 * x[..., :1, :]),
        adjoint="steps_on",
        numpy="""
def steps(x: Array, out: Array | None = None) -> Array:
    return np.subtract(x, np.append(0 * x[..., :1], x[..., :-1], axis=-1), out=out)
""",
    )


@pytest.fixture
def steps() -> Iterator[UnitMap]:
    yield declare()
    for name in ("steps", "steps_on"):
        del UNIT_MAPS[name], numeric.UNIT_MAPS[name]


def network_of(map_: Callable[[Any], Any]) -> Network:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p", name="mapped")
    def definition(x, h, W, U, b):  # type: ignore[no-untyped-def]
        return tanh(map_(W @ h + U @ x) * h + map_(b) - map_(h))

    return as_network(definition)


def test_the_declarations_are_short() -> None:
    """Cumulated sums and their adjoint stand in one file, in at most 40 lines with their texts."""
    source = inspect.getsource(structural)
    assert len(source[source.index("def _sums") :].splitlines()) <= 40
    assert len(inspect.getsource(declare).splitlines()) <= 30
    root = Path(language.__file__).parents[1]
    named = [p for p in root.rglob("*.py") if "reverse_cumsum" in p.read_text()]
    assert named == [Path(structural.__file__)]


@pytest.mark.parametrize("name", [n for n, m in UNIT_MAPS.items() if m.adjoint])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_declared_adjoint_is_the_transpose(name: str, n: int) -> None:
    declared = UNIT_MAPS[name]
    assert (UNIT_MAPS[declared.adjoint].matrix(n) == declared.matrix(n).T).all()


def test_one_declaration_goes_all_the_way(steps: UnitMap, tmp_path: Path) -> None:
    network = network_of(steps)
    assert "steps_on(" in api.render(derive(network))
    result = prove(derive(network), exact=True)
    assert result.proved
    assert result.certificate is not None
    assert result.certificate.exact
    verification = api.verify(network, shape=2)
    assert verification.passed, "\n".join(map(str, verification))
    page = tmp_path / "steps.typ"
    api.report(network, page)
    assert "steps" in page.read_text()


@pytest.mark.parametrize("map_", [cumsum, reverse_cumsum], ids=lambda f: f.__name__)
def test_gradients_are_those_of_the_complex_step(map_: UnitMap) -> None:
    network = network_of(map_)
    case = draw_case(network, seed=3, lengths={"T": 3})
    truth = complex_gradients(case)
    run = forward(derive(network), case.values, case.sizes, case.lengths)
    for made in (
        bptt(run, case.cotangents),
        bptt(run, case.cotangents, form="kronecker"),
        rtrl(run, case.cotangents),
    ):
        for name, expected in truth.items():
            np.testing.assert_allclose(made[name], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["cumsum", "reverse_cumsum"])
@pytest.mark.parametrize("p", [1, 3, 75])
def test_kernels_for_cuda_give_what_numpy_gives(name: str, p: int) -> None:
    """One unit, and more units than threads of a block."""
    case = Case(network_of(UNIT_MAPS[name]))
    rng = np.random.default_rng(0)
    sizes = {"T": 3, "B": 2, "d": 4, "p": p}
    for n, axes in case.module.SHAPES.items():
        case.arrays[n] = rng.normal(size=[sizes[a] for a in axes]) / p
    given = {"h": rng.normal(size=(3, 2, p)), "h_final": rng.normal(size=(2, p))}
    outputs, saved = case.forward()
    expected = {f"gradient {n}": a for n, a in case.backward(saved, given).items()}
    expected["output h"] = outputs["h"]
    for reverse in (False, True):
        with fake_cupy.installed(reverse=reverse) as cupy:
            module = load(generate(case.derivation, "cupy"), "mapped_cupy")
            found = on_cupy(case, module, cupy, case.arrays, given)
        for n, a in expected.items():
            np.testing.assert_allclose(found[n], a, rtol=1e-9, atol=1e-11, err_msg=n)


def test_a_backend_without_a_text_refuses(steps: UnitMap) -> None:
    derivation = derive(network_of(steps))
    with pytest.raises(
        UnsupportedOperation, match=r"(cuda|cupy) has no text for the map of units 'step"
    ):
        generate(derivation, "cupy")


def test_a_wrong_declared_adjoint_is_not_proved(steps: UnitMap) -> None:
    object.__setattr__(steps, "adjoint", "steps")
    assert not prove(derive(network_of(steps))).proved
