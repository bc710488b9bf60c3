"""What every head has, beside what the heads share, goes through all rooms."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.calculus.printing.json import from_json, to_json
from gradcheck_rnn.calculus.rules import RULES
from gradcheck_rnn.calculus.terms import HeadSum, PerHead
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.derivation.proof.prove import certify_exactly
from gradcheck_rnn.errors import (
    DefinitionError,
    DimensionError,
    UnsupportedOperation,
)
from gradcheck_rnn.language import cell, softmax, sum_heads, tanh
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.running import run, to_columns, to_rows
from tests.codegen.cupy.support import on_cupy
from tests.codegen.support import Case, load
from tests.cuda_shim import fake_cupy
from tests.heads import definitions

CELLS: dict[str, Cell] = {n: c for n, c in vars(definitions).items() if isinstance(c, Cell)}
Array = Any


@functools.cache
def case(name: str) -> Case:
    return Case(as_network(CELLS[name]))


# -- the forward pass against loops over steps, sequences and heads -----------------------------


def test_the_definition_is_one_head_of_many() -> None:
    c = case("retention")
    a, made = c.arrays, c.expected_outputs()
    for b in range(2):
        S = a["S0"][b].copy()
        for t in range(c.lengths["T"]):
            x, y = a["x"][t, b], 0
            for h in range(c.sizes["H"]):
                k, v, q = (a[n][h] @ x for n in ("W_k", "W_v", "W_q"))
                S[h] = np.exp(-np.exp(a["a"][h])) * S[h] + np.outer(k, v)
                y = y + a["W_o"][h] @ (q @ S[h])
            np.testing.assert_allclose(made["y"][t, b], y, rtol=1e-11)
        np.testing.assert_allclose(made["S_final"][b], S, rtol=1e-12)


def test_arrays_are_taken_in_and_back() -> None:
    c = case("mixed")
    refs = {**c.network.inputs, **c.network.outputs, **c.network.parameters}
    for name in ("S0", "q", "beta", "v", "r", "w", "P"):
        there = to_columns(refs[name], c.arrays[name])
        np.testing.assert_array_equal(to_rows(refs[name], there), c.arrays[name])
    columns = c.columns()
    H, m, n = (c.sizes[d] for d in ("H", "m", "n"))
    assert columns["S0"].shape == (H, m, n, 2)
    assert columns["w"].shape == (H, m, 1)
    stacked = run(c.network, {**columns, "S0": np.stack([columns["S0"]] * 3)}, c.lengths)
    plain = run(c.network, columns, c.lengths)
    np.testing.assert_allclose(stacked["o"][:, 1], plain["o"], rtol=1e-14)


# -- derivation and proof ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_derivations_are_proved(name: str) -> None:
    result = prove(derive(CELLS[name]))
    assert result.proved, str(result)


def test_a_layer_is_certified_without_error() -> None:
    found = certify_exactly(CELLS["gated"], seconds=20)
    assert found.exact, str(found)


FAULTS: dict[str, Any] = {
    "adjoint doubled": lambda node, i, bar, out: PerHead(bar + bar, node.heads),
    "adjoint summed": lambda node, i, bar, out: PerHead(HeadSum(bar, node.heads), node.heads),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    rule = next(r for r in RULES if r.node is HeadSum)
    table = RULES.replaced(replace(rule, pullback=FAULTS[fault]))
    assert not prove(derive(CELLS["retention"], table)).proved
    forwards = RULES.replaced(replace(rule, pushforward=lambda node, i, t, out: t + t))
    assert not prove(derive(CELLS["retention"], forwards)).proved


def test_the_page_writes_one_head_and_sums_what_is_shared() -> None:
    page = api.render(derive(definitions.retention))
    assert "= γ⁽ʰ⁾_t · S⁽ʰ⁾_{t−1} + k⁽ʰ⁾_t v⁽ʰ⁾_tᵀ" in page
    assert "= Σ_{h=1}^{H} W⁽ʰ⁾_o o⁽ʰ⁾_t" in page
    assert "= W⁽ʰ⁾_oᵀ δy_t" in page
    assert "∇W⁽ʰ⁾_q = Σ_{t=1}^{T} δq⁽ʰ⁾_t x_tᵀ" in page
    assert "δx_t    = Σ_{h=1}^{H} W⁽ʰ⁾_qᵀ δq⁽ʰ⁾_t + Σ_{h=1}^{H} W⁽ʰ⁾_kᵀ δk⁽ʰ⁾_t" in page
    assert "n × m (one matrix per sequence, for each of H heads)" in page
    latex = api.render(derive(definitions.retention), "latex")
    assert r"{\mathbf{S}^{(h)}_{t}}^{\top} \mathbf{q}^{(h)}_{t}" in latex
    assert "sum_(h = 1)^(H) bold(W)_o^((h))" in api.render(derive(definitions.retention), "typst")


def test_jacobians_are_those_of_one_head() -> None:
    page = api.render(derive(definitions.mixed), form="kronecker")
    assert "∂S⁽ʰ⁾_t/∂(vec S⁽ʰ⁾_{t−1})ᵀ = (I_n − β⁽ʰ⁾_t · k⁽ʰ⁾_t k⁽ʰ⁾_tᵀ)ᵀ ⊗ I_m" in page
    assert "∂a_{c,t}/∂bᵀ               = Σ_{h=1}^{H} I_m" in page
    assert "is not written out" not in page


def test_a_block_that_joins_heads_is_not_written_out() -> None:
    @cell(heads="H", inputs="x: H n", states="z: H n", params="w: n")
    def joined(x: Any, z: Any, w: Any) -> Any:
        total = sum_heads(w * z)
        return {"z": tanh(x + total)}

    assert prove(derive(joined)).proved
    page = api.render(derive(joined), form="kronecker")
    assert "joins the heads through what they share and is not written out" in page


def test_terms_are_read_back_from_json() -> None:
    for edge in derive(definitions.mixed).edges:
        for term in (edge.pullback, edge.jacobian):
            assert from_json(to_json(term)) == term


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
    with fake_cupy.installed() as cupy:
        module = load(generate(c.derivation, "cupy"), f"{name}_cupy")
        found = on_cupy(c, module, cupy, c.arrays, given)
    for n, a in gradients.items():
        np.testing.assert_allclose(found[f"gradient {n}"], a, rtol=1e-9, atol=1e-11, err_msg=n)


@pytest.mark.parametrize("name", CELLS)
def test_kernels_loop_over_time_alone(name: str) -> None:
    text = generate(derive(CELLS[name]))
    loops = re.findall(r"^ *for (\w+) in", text, re.M)
    assert "t" in loops
    assert set(loops) <= {"t", "start", "stop"}  # steps, and blocks of them


def test_weights_of_all_heads_are_one_product() -> None:
    text = generate(derive(definitions.retention))
    assert "W = np.concatenate((W_q, W_k, W_v))" in text
    assert "d_x = (d_gates.reshape(T * B, H_m + 2 * H_n) @ W).reshape(T, B, d)" in text


# -- other rooms -------------------------------------------------------------------------------


def test_kernels_are_verified_and_reported(tmp_path: Any) -> None:
    assert api.verify(definitions.gated, shape=2).passed
    page = tmp_path / "page.typ"
    api.report(definitions.gated, page)
    assert "head after head" in page.read_text()
    (found,) = api.decay(definitions.retention, steps=60, remedies=False)
    assert found.system == "retention"


# -- refusals ----------------------------------------------------------------------------------


def test_a_shape_of_three_dims_names_heads() -> None:
    with pytest.raises(DimensionError, match='or three with heads="H"'):
        cell(inputs="q: H n m", outputs="o")(lambda q: {"o": q})
    with pytest.raises(DimensionError, match="H is the axis of the heads, which stands first"):
        cell(heads="H", inputs="q: n H", outputs="o")(lambda q: {"o": q})
    with pytest.raises(DefinitionError, match="heads='2\\*H' is no name of a dim"):
        cell(heads="2*H", inputs="q: n", outputs="o")(lambda q: {"o": q})


def test_a_sum_needs_heads_and_a_shared_state_a_sum() -> None:
    @cell(heads="H", inputs="x: H n; y: n", outputs="o")
    def wrong(x: Any, y: Any) -> Any:
        return {"o": x + sum_heads(y)}

    with pytest.raises(DimensionError, match="sum_heads: y is the same for all heads"):
        derive(wrong)

    @cell(heads="H", inputs="x: H n", states="h: n")
    def shared(x: Any, h: Any) -> Any:
        return {"h": tanh(h + x)}

    with pytest.raises(DefinitionError, match="sum_heads sums over heads"):
        derive(shared)

    @cell(heads="H", inputs="x: H n", states="h: H n", outputs="p")
    def chosen(x: Any, h: Any) -> Any:
        h = tanh(h + x)
        return {"h": h, "p": softmax(h)}

    assert prove(derive(chosen)).proved
    with pytest.raises(UnsupportedOperation, match="no kernel has Softmax within heads"):
        generate(derive(chosen))


def test_array_shapes_are_checked_at_a_step() -> None:
    wrong = {n: np.ones((3, 2, 4)) for n in ("q", "k", "v")}
    with pytest.raises(DimensionError, match=r"\(…, H, n, m, B\)"):
        definitions.gated.step({**wrong, "g": np.ones((3, 1, 4)), "S": np.ones((2, 3))})


# -- networks ----------------------------------------------------------------------------------


def _networks() -> dict[str, Network]:
    @cell(heads="H", inputs="x: H n; v: m", states="S: H n m", lags={"S": (1, 2)}, params="w: H")
    def delayed(x: Any, v: Any, S: Any, w: Any) -> Any:
        return {"S": w * tanh(S[1]) + 0.3 * S[2] + x @ v.T}

    @cell(heads="G", inputs="S: G n m", params="u: n; r: G m", outputs="y")
    def reader(S: Any, u: Any, r: Any) -> Any:
        return {"y": sum_heads(S.T @ u * (u.T @ S @ r))}

    chain = Network("chain")
    made = chain.scan(delayed)
    chain.output(chain.scan(reader, S=made.S, reverse=True).y)
    starts = Network("starts")
    first = starts.scan(definitions.gated, initial={"S": None})
    second = starts.scan(definitions.gated, suffix="_2", initial={"S": first.final("S")})
    starts.output(first.o, second.o, second.final("S_2"))
    masked = Network("held")
    held = masked.scan(definitions.mixed, mask=masked.input("mask", "", data=True))
    masked.output(held.o, held.final("S"))
    return {n.name: n for n in (chain, starts, masked)}


@pytest.mark.parametrize("name", ["chain", "starts", "held"])
def test_networks_of_heads(name: str) -> None:
    """Lags, heads as input, reverse, zero and handed-on starts, masks."""
    c = Case(_networks()[name])
    assert prove(c.derivation).proved
    outputs, saved = c.forward()
    for label, a in c.expected_outputs().items():
        np.testing.assert_allclose(outputs[label], a, rtol=1e-11, atol=1e-12, err_msg=label)
    given = c.cotangents()
    gradients = c.backward(saved, given)
    for n, a in c.expected_gradients(given, loss=False).items():
        np.testing.assert_allclose(gradients[n], a, rtol=1e-10, atol=1e-11, err_msg=n)
