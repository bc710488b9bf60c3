"""A matrix for every sequence goes through all rooms: run, derived, proved, generated, judged."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.edits import NO_EDITS
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.mutants import mutants
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.errors import DefinitionError, DimensionError, UnsupportedOperation
from gradcheck_rnn.language import cell, tanh
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.running import run, to_columns, to_rows
from tests.codegen.cupy.support import on_cupy
from tests.codegen.support import Case, load
from tests.cuda_shim import fake_cupy
from tests.matrices import definitions

CELLS: dict[str, Cell] = {n: c for n, c in vars(definitions).items() if isinstance(c, Cell)}
Array = np.ndarray[Any, Any]


@functools.cache
def case(name: str) -> Case:
    return Case(as_network(CELLS[name]))


# -- the forward pass against loops over steps and sequences -----------------------------------


def _linear(q: Array, k: Array, v: Array, g: Array, S: Array) -> tuple[Array, Array]:
    S = g * S + np.outer(k, v)
    return S, q @ S


def _delta(q: Array, k: Array, v: Array, beta: Array, S: Array) -> tuple[Array, Array]:
    S = S - beta * np.outer(S @ k, k) + beta * np.outer(v, k)
    return S, S @ q


@pytest.mark.parametrize(("name", "step"), [("linear_attention", _linear), ("delta_rule", _delta)])
def test_the_definition_is_the_recurrence(name: str, step: Callable[..., Any]) -> None:
    c = case(name)
    made = c.expected_outputs()
    steps, batch = c.lengths["T"], made["S_final"].shape[0]
    for b in range(batch):
        S = c.arrays["S0"][b]
        for t in range(steps):
            given = [c.arrays[n][t, b] for n in CELLS[name].shapes if n != "S"]
            S, o = step(*given, S)
            np.testing.assert_allclose(made["o"][t, b], o, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(made["S_final"][b], S, rtol=1e-12, atol=1e-13)


def test_layouts_at_the_doors_are_taken_there_and_back() -> None:
    c = case("delta_rule")
    refs = {**c.network.inputs, **c.network.outputs}
    for name in ("S0", "q", "beta"):
        there = to_columns(refs[name], c.arrays[name])
        np.testing.assert_array_equal(to_rows(refs[name], there), c.arrays[name])
    columns = c.columns()
    assert columns["S0"].shape == (c.sizes["m"], c.sizes["n"], 2)
    stacked = run(c.network, {**columns, "S0": np.stack([columns["S0"]] * 3)}, c.lengths)
    plain = run(c.network, columns, c.lengths)
    np.testing.assert_allclose(stacked["o"][:, 1], plain["o"], rtol=1e-14)


# -- derivation and proof ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_derivations_are_proved(name: str) -> None:
    result = prove(derive(CELLS[name]))
    assert result.proved, str(result)


@pytest.mark.parametrize("name", CELLS)
def test_several_cotangents_at_once_give_what_each_gives(name: str) -> None:
    """Also to what all sequences share, and where its adjoint is taken for one that they have."""
    c = case(name)
    ran = forward(c.derivation, c.columns(), c.sizes, c.lengths)
    rng = np.random.default_rng(2)
    refs = {**c.network.outputs, **c.network.parameters, **c.network.inputs}
    moving = {n for n, r in refs.items() if r.axis is not None}
    given = {n: rng.standard_normal((3, *ran.output(n).shape)) for n in c.network.outputs}
    stacked = {n: g.swapaxes(0, 1) if n in moving else g for n, g in given.items()}
    mistaken = [m.edits for m in mutants(c.derivation) if m.id.startswith("adjoint:")]
    for edits in (NO_EDITS, *mistaken):
        found = bptt(ran, stacked, edits=edits)
        for k in range(3):
            for n, a in bptt(ran, {n: g[k] for n, g in given.items()}, edits=edits).items():
                one = found[n][:, k] if n in moving else found[n][k]
                np.testing.assert_allclose(one, a, rtol=1e-12, atol=1e-12, err_msg=n)


def test_the_page_speaks_of_matrices() -> None:
    page = api.render(derive(definitions.delta_rule))
    assert "S_t = S_{t−1} (I_n − β_t · k_t k_tᵀ) + β_t · v_t k_tᵀ" in page
    assert "δS_{t+1} (I_n − β_{t+1} · k_{t+1} k_{t+1}ᵀ)ᵀ + δo_t q_tᵀ" in page
    assert "S_0: m × n (one matrix per sequence)" in page
    kronecker = api.render(derive(definitions.delta_rule), form="kronecker")
    assert "∂S_t/∂(vec S_{t−1})ᵀ = (I_n − β_t · k_t k_tᵀ)ᵀ ⊗ I_m" in kronecker
    for form in ("latex", "typst"):
        assert "top" in api.render(derive(definitions.delta_rule), form)
    linear = api.render(derive(definitions.linear_attention))
    assert "δS_t = g_{t+1} · δS_{t+1} + q_t δo_tᵀ" in linear


# -- kernels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_kernels_give_what_the_derivation_gives(name: str) -> None:
    c = case(name)
    outputs, saved = c.forward()
    for label, a in c.expected_outputs().items():
        np.testing.assert_allclose(outputs[label], a, rtol=1e-11, atol=1e-12, err_msg=label)
    given = c.cotangents()
    gradients = c.backward(saved, given)
    for n, a in c.expected_gradients(given, loss=False).items():
        assert gradients[n].shape == c.arrays[n].shape
        np.testing.assert_allclose(gradients[n], a, rtol=1e-10, atol=1e-11, err_msg=n)
    direction = {n: c.rng.normal(size=a.shape) for n, a in c.arrays.items()}
    along = sum(np.sum(gradients[n] * d) for n, d in direction.items())
    np.testing.assert_allclose(along, c.slope(given, direction), rtol=1e-11)


@pytest.mark.parametrize("name", CELLS)
def test_kernels_loop_over_time_alone(name: str) -> None:
    text = generate(derive(CELLS[name]))
    loops = [line.strip() for line in text.splitlines() if line.strip().startswith("for t")]
    spans = {line.replace("range(start, stop)", "range(T)") for line in loops}  # blocks of steps
    assert spans == {"for t in range(T):", "for t in reversed(range(T)):"}
    body = text[text.index("def forward(") :]
    assert "for i" not in body
    assert "for j" not in body


@pytest.mark.parametrize("name", CELLS)
def test_kernels_for_cuda_give_what_numpy_gives(name: str) -> None:
    c = case(name)
    outputs, saved = c.forward()
    c.rng = np.random.default_rng(1)
    given = c.cotangents()
    expected = {f"gradient {n}": a for n, a in c.backward(saved, given).items()}
    expected |= {f"output {n}": a for n, a in outputs.items()}
    with fake_cupy.installed() as cupy:
        module = load(generate(c.derivation, "cupy"), f"{name}_cupy")
        found = on_cupy(c, module, cupy, c.arrays, given)
    for n, a in expected.items():
        np.testing.assert_allclose(found[n], a, rtol=1e-9, atol=1e-11, err_msg=n)


# -- other rooms -------------------------------------------------------------------------------


def test_generated_kernels_are_verified_and_reported(tmp_path: Any) -> None:
    assert api.verify(definitions.projected, shape=2).passed
    page = tmp_path / "page.typ"
    api.report(definitions.delta_rule, page)
    assert "bold(S)_(t - 1) (bold(I)_(n) - beta_t" in page.read_text()


def test_written_equations_are_judged(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("δq_t = S_tᵀ δo_t\nδq_t = S_{t−1}ᵀ δo_t\n", encoding="utf-8")
    found = api.check_equations(note, definitions.delta_rule)
    assert [j.status for j in found.lines] == ["right", "wrong"]


# -- refusals ----------------------------------------------------------------------------------


def test_products_that_do_not_fit_name_the_dims() -> None:
    @cell(inputs="q: n; v: m", states="S: n m", outputs="o")
    def wrong(q: Any, v: Any, S: Any) -> Any:
        return {"S": S, "o": S @ q}

    with pytest.raises(DimensionError, match=r"S\[t-1\] has shape \(n, m\)"):
        derive(wrong)


def test_outputs_are_vectors_or_states() -> None:
    @cell(inputs="q: n; v: m", states="S: n m", outputs="P")
    def wrong(q: Any, v: Any, S: Any) -> Any:
        S = S + q @ v.T
        return {"S": S, "P": q @ v.T}

    with pytest.raises(DefinitionError, match="outputs that are no states are vectors"):
        derive(wrong)


def test_softmax_of_a_matrix_is_refused() -> None:
    from gradcheck_rnn.language import softmax

    @cell(inputs="q: n; v: m", states="S: n m")
    def wrong(q: Any, v: Any, S: Any) -> Any:
        return softmax(S + q @ v.T)

    with pytest.raises(UnsupportedOperation, match="acts on the units of a vector"):
        derive(wrong)


def test_without_a_matrix_state_sequences_are_not_mixed() -> None:
    @cell(inputs="q: p", states="h: p")
    def wrong(q: Any, h: Any) -> Any:
        return h @ q.T @ h

    with pytest.raises(UnsupportedOperation, match="would mix sequences"):
        derive(wrong)


def test_array_shapes_are_checked_at_a_step() -> None:
    wrong = {"q": np.ones((2, 4)), "k": np.ones((2, 4)), "v": np.ones((3, 4))}
    with pytest.raises(DimensionError, match=r"\(…, n, m, B\)"):
        definitions.linear_attention.step({**wrong, "g": np.ones((1, 4)), "S": np.ones((2, 3))})


# -- networks ----------------------------------------------------------------------------------


def _networks() -> dict[str, Network]:
    @cell(inputs="x: n; v: m", states="S: n m", lags={"S": (1, 2)})
    def delayed(x: Any, v: Any, S: Any) -> Any:
        return {"S": 0.5 * tanh(S[1]) + 0.3 * S[2] + x @ v.T}

    @cell(inputs="S: n m", params="w: n; r: m", outputs="y")
    def reader(S: Any, w: Any, r: Any) -> Any:
        return {"y": S.T @ w * (w.T @ S @ r)}

    chain = Network("chain")
    made = chain.scan(delayed)
    chain.output(chain.scan(reader, S=made.S).y)
    backwards = Network("backwards")
    handle = backwards.scan(definitions.gated, reverse=True)
    backwards.output(handle.o, handle.final("S"))
    starts = Network("starts")
    first = starts.scan(
        definitions.linear_attention, initial={"S": starts.parameter("S_start", "n m")}
    )
    second = starts.scan(definitions.linear_attention, suffix="_2", initial={"S": None})
    starts.output(first.o, second.o, second.final("S_2"))
    masked = Network("held")
    held = masked.scan(definitions.linear_attention, mask=masked.input("mask", "", data=True))
    masked.output(held.o, held.final("S"))
    return {n.name: n for n in (chain, backwards, starts, masked)}


@pytest.mark.parametrize("name", ["chain", "backwards", "starts", "held"])
def test_networks_of_matrices(name: str) -> None:
    """Lags, a matrix as input, reverse, trained and zero starts, masks."""
    c = Case(_networks()[name])
    assert prove(c.derivation).proved
    outputs, saved = c.forward()
    for label, a in c.expected_outputs().items():
        np.testing.assert_allclose(outputs[label], a, rtol=1e-11, atol=1e-12, err_msg=label)
    given = c.cotangents()
    gradients = c.backward(saved, given)
    for n, a in c.expected_gradients(given, loss=False).items():
        np.testing.assert_allclose(gradients[n], a, rtol=1e-10, atol=1e-11, err_msg=n)
