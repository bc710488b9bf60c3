"""Mutants: every one is a different gradient, is said in words, and covers the known mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation import Derivation, derive
from gradcheck_rnn.derivation.editing import Adjoints, split_names
from gradcheck_rnn.derivation.evaluate import Run, adjoints, bptt, forward, gathered
from gradcheck_rnn.derivation.mutants import Mutant, mutants
from gradcheck_rnn.derivation.program import NEAREST
from gradcheck_rnn.language import cell, sigmoid, tanh
from gradcheck_rnn.language import name as name_as
from gradcheck_rnn.language.running import array_shape, to_columns

STEPS, BATCH = 7, 2


def running(name: str) -> tuple[Derivation, Run, dict[str, Any]]:
    derivation = api.derive(name)
    network = derivation.network
    rng = np.random.default_rng(1)
    sizes = dict(zip(network.dims, (2, 3, 4, 5, 6), strict=False))
    lengths = dict(zip(network.axes, (STEPS, STEPS + 1), strict=False))
    refs = {**network.parameters, **network.inputs}
    values = {
        n: to_columns(r, rng.standard_normal(array_shape(r, sizes, batch=BATCH, lengths=lengths)))
        for n, r in refs.items()
    }
    run = forward(derivation, values, sizes, lengths)
    cotangents = {n: rng.standard_normal(run.output(n).shape) for n in network.outputs}
    return derivation, run, cotangents


def gap(
    run: Run, cotangents: dict[str, Any], mutant: Mutant, right: dict[str, Any] | None = None
) -> float:
    """Largest difference relative to the scale of the gradient that differs most."""
    right = bptt(run, cotangents) if right is None else right
    wrong = bptt(run, cotangents, edits=mutant.edits)
    return max(
        float(np.abs(wrong[n] - right[n]).max() / max(np.abs(right[n]).max(), 1e-300))
        for n in right
    )


@pytest.mark.parametrize("name", ["elman", "gru", "lstm_peephole", "elman_delayed"])
def test_every_mutant_differs_from_the_right_gradient(name: str) -> None:
    derivation, run, cotangents = running(name)
    # An adjoint taken for a value is squared at every step: small ones stay finite.
    cotangents = {n: g / 64 for n, g in cotangents.items()}
    found = mutants(derivation)
    assert len({m.id for m in found}) == len(found) > 70
    right = bptt(run, cotangents)
    some = found[::3] if len(found) > 2000 else found
    unseen = [m.id for m in some if not gap(run, cotangents, m, right) > 1e-9]
    assert unseen == []


def test_what_all_sequences_share_is_there_for_each() -> None:
    """δ_leak belongs to the time constants, which have no batch, and x_t to the sequences."""
    derivation, run, cotangents = running("elman_leaky")
    found = {m.id: m for m in mutants(derivation)}
    edits = found["adjoint:elman_leaky/i<-U:leak"].edits
    wrong = bptt(run, cotangents, edits=edits)["U"]
    shared, x = adjoints(run, cotangents)["leak"], run.series["x"]
    want = sum(shared[t] * x[t].sum(-1) for t in range(1, STEPS + 1))
    np.testing.assert_allclose(wrong, want, rtol=1e-12)


@pytest.mark.parametrize("name", ["elman_leaky", "driven"])
def test_mutants_run_that_take_what_sequences_share_for_what_they_have(name: str) -> None:
    derivation, run, cotangents = running(name)
    with np.errstate(all="ignore"):
        for mutant in mutants(derivation)[::2]:
            bptt(run, cotangents, edits=mutant.edits)


def test_the_words_name_the_term() -> None:
    found = {m.says for m in mutants(api.derive("lstm"))}
    assert "δa_{f,t} without φ′ of σ(a_{f,t}) in δf_t ⊙ f_t ⊙ (1 − f_t)" in found
    assert "δh_{t−1} with W_f instead of W_fᵀ in W_fᵀ δa_{f,t}" in found
    assert "the cotangent of the final state c is lost" in found
    assert "∇W_i with h_t instead of h_{t−1} in δa_{i,t} h_{t−1}ᵀ" in found
    assert "δc_t with i_t instead of o_t in δh_t ⊙ o_t ⊙ (1 − tanh(c_t)²)" in found


def test_operations_are_exchanged_within_a_line_and_over_its_terms() -> None:
    """δz = δh ⊙ (h̃ − h₋) has two terms in the derivation, and one product in a line of code."""
    found = {m.says for m in mutants(api.derive("gru"))}
    assert "δz_t with δh_t ⊙ h_{t−1} ⊙ h̃_t instead of −δh_t ⊙ h_{t−1} + δh_t ⊙ h̃_t" in found
    assert "∇W_c with r_t + h_{t−1} instead of r_t ⊙ h_{t−1} in δa_{c,t} (r_t ⊙ h_{t−1})ᵀ" in found
    assert not any("with z_t + 1 − z_t" in says for says in found)  # 1 is the slope left out


def test_two_mistakes_are_both_made() -> None:
    derivation, run, cotangents = running("elman")
    table = {m.id: m for m in mutants(derivation)}
    sign, final = table["sign:elman/i<-U:"], table["final:h"]
    right = bptt(run, cotangents)
    both = bptt(run, cotangents, edits=sign.edits | final.edits)
    lost = bptt(run, cotangents, edits=final.edits)
    assert np.allclose(both["U"], -lost["U"])
    assert not np.allclose(both["W"], right["W"])


def test_exchanged_gates_flow_back_through_time() -> None:
    """The adjoints are exchanged before they are used: for the weights and for what is carried."""
    derivation, run, cotangents = running("lstm")
    (mutant,) = (m for m in mutants(derivation) if m.id == "exchanged:lstm/a_i:a_f")
    # With a cotangent at the first step alone nothing has been carried: db is just exchanged.
    last = {n: np.zeros_like(g) for n, g in cotangents.items()}
    last["h"][0] = cotangents["h"][0]
    right, wrong = bptt(run, last), bptt(run, last, edits=mutant.edits)
    np.testing.assert_allclose(wrong["b_i"], right["b_f"], rtol=1e-12)
    np.testing.assert_allclose(wrong["b_f"], right["b_i"], rtol=1e-12)
    assert np.abs(wrong["h0"] - right["h0"]).max() > 1e-3
    twice = bptt(run, cotangents, edits=mutant.edits | mutant.edits)
    for n, g in bptt(run, cotangents).items():
        np.testing.assert_array_equal(twice[n], g)


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("elman_leaky", []),  # its leak is one for all sequences: no gate to be taken for another
        ("gru", ["a_r:a_z", "a_z:a_c"]),  # a_c reads r, so δa_c is needed before δa_r is there
        ("lstm_peephole", ["a_i:a_f", "a_i:a_c", "a_f:a_c"]),
    ],
)
def test_gates_that_can_be_exchanged(name: str, pairs: list[str]) -> None:
    derivation, run, cotangents = running(name)
    found = [m for m in mutants(derivation) if m.kind == "exchanged"]
    assert [m.id.partition("/")[2] for m in found] == pairs
    for mutant in found:
        assert gap(run, cotangents, mutant) > 1e-6


def test_what_all_sequences_share_is_not_taken_for_what_each_has() -> None:
    """|λ| is a column like the state, and has no batch that a product with δy could sum over."""
    ids = {m.id for m in mutants(api.derive("lru"))}
    assert "sibling:lru/x_re<-l_re:x_re>x_im" in ids
    assert "sibling:lru/y<-C_re:x_re>size" not in ids
    assert "sibling:lru/l_re<-size:phase>gamma" in ids


@pytest.mark.parametrize("name", ["gru", "lstm_layer_norm"])
def test_shares_kept_where_they_are_read_give_what_all_shares_give(name: str) -> None:
    derivation, run, cotangents = running(name)
    some = [m for m in mutants(derivation) if m.edits.shares]
    names = {e.name for p in derivation.scans for e in p.equations}
    changed = 0
    for m in some[:: max(1, len(some) // 16)]:
        assert split_names(derivation, m.edits) < names
        with np.errstate(all="ignore"):
            short = bptt(run, cotangents, edits=m.edits)
            everything = Adjoints(shared=True)
            sums = adjoints(run, cotangents, edits=m.edits, shares=everything)
        for n, g in gathered(run, sums).items():
            np.testing.assert_array_equal(short[n], g, err_msg=f"{m.id}: {n}")
        changed += gap(run, cotangents, m) > 1e-9
    assert changed


def test_values_of_a_long_program_are_taken_for_those_next_to_them_and_for_states() -> None:
    @cell(inputs="x: p", states="h: p", params="W: p p")
    def chained(x, h, W):  # type: ignore[no-untyped-def]
        s = tanh(W @ h + x)
        for k in range(2 * NEAREST):
            s = name_as(sigmoid(s), f"s{k}")
        return s

    derivation = derive(chained)
    program = derivation.program(next(iter(derivation.edges)).scan)
    middle = next(e for e in program.edges if e.equation.name == f"s{NEAREST}")
    near = [e.name for e in program.near(middle).equations]
    assert near == [f"s{k}" for k in range(NEAREST // 2, NEAREST + NEAREST // 2)] + ["h"]
    for edge in (next(program.edges), list(program.edges)[-1]):
        assert edge.equation.name in [e.name for e in program.near(edge).equations]
    short = api.derive("lstm")
    edge = next(iter(short.edges))
    assert short.program(edge.scan).near(edge) is short.program(edge.scan)
