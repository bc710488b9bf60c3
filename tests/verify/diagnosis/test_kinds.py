"""Mistakes of further kinds in code by hand (the blind corpus), and how the program makes them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from benchmarks.blind_faults import FAULTS, check, outcome
from benchmarks.time_to_name import Code
from gradcheck_rnn import api
from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.evaluate import bptt
from gradcheck_rnn.verify.diagnosis.candidates import Bench, Beside, Candidate, derived_candidates
from gradcheck_rnn.verify.diagnosis.check import check_model
from gradcheck_rnn.verify.diagnosis.effects import Effects
from gradcheck_rnn.verify.diagnosis.own_recursions import own_recursions
from gradcheck_rnn.verify.diagnosis.parts import alike_in_all

from ...derivation.test_mutants import running
from .study import DerivedCode

pytestmark = pytest.mark.usefixtures("few_points")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("char/divided", "divided by 1 − h_t², not multiplied"),
        ("char/state-before", "∇V with h_{t−1} instead of h_t"),
        ("char/softmax-twice", "the factor softmax(y_t) ⊙ (1_v − softmax(y_t)) too many"),
        ("packed/copied-prime", "f_t instead of one of the i_t"),
        ("gru/stale-delta", "δr_t with δa_{z,t} instead of δa_{c,t}"),
        ("packed/carry-kept", "what a step receives for δh is added to what it hands on"),
        ("bi/same-order", "runs in the order of its forward pass"),
        ("bi/outputs-reversed", "h_{bwd,t} in reversed order of time"),
        ("gla/query-for-key", "δv_t with q_t instead of k_t"),
        ("decoder/state-for-context", "∇C with h_{t−1} instead of h_{src,final}"),
        ("decoder/matrix-of-decoder", "W instead of W_src"),
        ("elman/clipped", "dW clipped to ±1"),
        ("normed/no-xhat", "without the factor x̂ of mean(d ⊙ x̂), where x̂ = centred_t / scale_t"),
    ],
)
def test_is_named(fault: str, words: str) -> None:
    said = outcome([fault]).said
    assert "what you get with: " in said  # one mistake and no other
    assert words in said


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("lnlstm/gradient-after-norm", "δs_{h,t} = δa_t ⊙ g_h, the adjoint of centred_t / scale_t"),
        ("lnlstm/gain-of-raw", "∇g_h with s_{h,t} instead of centred_t / scale_t"),
        ("vanilla/first-step-state", "h_t instead of h_{t−1} at the first step alone"),
        (
            "gated/value-undecayed",
            "δv_t out of a recursion of its own: δS_{t−1} without the factor",
        ),
        ("gated/decay-without-final", "δα_t out of a recursion of its own: the cotangent of"),
        ("rule/error-before-decay", "δS_{t−1} with the factor α_t missing in one of the terms"),
    ],
)
def test_of_the_second_corpus_is_named(fault: str, words: str) -> None:
    said = outcome([fault]).said
    assert "what you get with: " in said
    assert words in said


def test_nothing_is_said_of_rounding_where_an_array_should_be_zero() -> None:
    """Neither that another one's gradient lost its digits, nor that zero was clipped to 1e-17."""
    assert "unstable" not in str(check("bipool", [FAULTS["bipool/bias-copied"].edit]))
    assert "clipped" not in outcome(["onegate/one-sum-for-all"]).said


def test_what_cannot_be_evaluated_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Effects.total

    def total(self: Effects, candidate: Candidate) -> Any:
        if candidate.kind == "final":
            raise ValueError("shapes")
        return whole(self, candidate)

    monkeypatch.setattr(Effects, "total", total)
    said = outcome(["gru/stale-delta"]).said
    assert "δr_t with δa_{z,t} instead of δa_{c,t}" in said
    assert "of the known mistakes could not be evaluated and were left out" in said
    assert "(shapes); this is a fault of gradcheck-rnn itself" in said


@pytest.mark.parametrize(
    "pair",
    [
        ("vanilla/state-for-slope", "vanilla/bias-mean"),  # of a result
        ("vanilla/unsloped-weights", "vanilla/carry-lost"),  # where nothing arrives in one case
        ("mgu/sigmoid-slope", "mgu/difference-reversed"),  # of two readings of one operand
        ("gated/value-undecayed", "gated/decay-reads-after"),
    ],
)
def test_two_of_which_one_is_no_edit_of_one_term_are_both_named(pair: tuple[str, str]) -> None:
    assert outcome(list(pair)).named == "right"


def test_a_recursion_of_its_own_changes_one_gradient_as_the_program_does() -> None:
    code = DerivedCode(api.load("gated_linear_attention"))
    report = check_model(code.network, forward=code.forward, backward=code.backward, diagnose=False)
    bench, place = Bench(code.derivation), report.comparisons[1]
    effects = Effects(bench, place)
    derived = derived_candidates(code.derivation)
    some = list(own_recursions(code.derivation, derived))
    assert {"k", "alpha", "v"} <= {next(iter(c.touches or ())) for c in some}
    for c in some[::7]:
        whole = effects.flat([bench.gradients(c, place, k) for k in effects.cases])
        np.testing.assert_allclose(effects.change(c), whole - effects.want, rtol=1e-8, atol=1e-12)
        (name,) = c.touches or ()
        others = (whole - effects.want)[~effects.of(name)]
        np.testing.assert_allclose(others, 0, atol=1e-12)
    edits = next(c.edits for c in derived if c.id == "final:S")
    own = next(c for c in some if c.id == "own:alpha:final:S")
    assert own.beside == (Beside(edits, frozenset({"alpha"})),)


def test_a_step_left_out_of_the_adjoint_of_an_inner_value_is_left_out_for_all_it_is_made_of() -> (
    None
):
    derivation = api.derive("lstm_layer_norm")
    found = derived_candidates(derivation)
    (c,) = [c for c in found if c.id == "step-inner:lstm_layer_norm/a<-centred_1:1"]
    assert set(c.edits.terms) == {"lstm_layer_norm/a<-centred_1", "lstm_layer_norm/a<-scale_1"}
    assert "without the factor g_x in the adjoint of centred_{1,t} / scale_{1,t}" in c.says
    assert not any("g_x" in str(term) for term in c.edits.terms.values())


def test_mistakes_of_one_direction_are_those_of_the_other() -> None:
    derivation = api.derive("bidirectional_lstm")
    found = alike_in_all(derivation, derived_candidates(derivation))
    (same,) = [c for c in found if c.id == "alike:time:lstm_fwd/c_fwd<-f_fwd:c_fwd10"]
    assert set(same.edits.terms) == {"lstm_fwd/c_fwd<-f_fwd", "lstm_bwd/c_bwd<-f_bwd"}
    assert {str(x) for x in same.edits.terms.values()} == {
        "δc_{fwd,t} ⊙ c_{fwd,t}", "δc_{bwd,t} ⊙ c_{bwd,t}"
    }  # fmt: skip
    assert same.says.startswith("in both directions alike: ")


@pytest.mark.parametrize("beginning", ["cut:", "not-received:", "held:", "raw:", "part:"])
@pytest.mark.parametrize("name", ["stacked_elman", "gru_reset_after"])
def test_mistakes_of_a_kind_are_what_the_whole_program_makes(name: str, beginning: str) -> None:
    code = DerivedCode(api.load(name))
    report = check_model(code.network, forward=code.forward, backward=code.backward, diagnose=False)
    bench, place = Bench(code.derivation), report.comparisons[1]
    effects = Effects(bench, place)
    some = [c for c in derived_candidates(code.derivation) if c.id.startswith(beginning)]
    for c in some[:: max(len(some) // 4, 1)]:
        whole = effects.flat([bench.gradients(c, place, k) for k in effects.cases])
        np.testing.assert_allclose(effects.change(c), whole - effects.want, rtol=1e-8, atol=1e-12)
        assert np.isfinite(whole).all()


def gradients(name: str, edits: Edits) -> tuple[Any, Any]:
    _, run, cotangents = running(name)
    return bptt(run, cotangents), bptt(run, cotangents, edits=edits)


def test_cotangents_of_two_final_states_exchanged() -> None:
    _, run, given = running("lstm")
    taken = Edits(taken_outputs={"h_final": "c_final", "c_final": "h_final"})
    swapped = {**given, "h_final": given["c_final"], "c_final": given["h_final"]}
    wrong, right = bptt(run, given, edits=taken), bptt(run, swapped)
    assert all(np.array_equal(wrong[n], right[n]) for n in right)


def test_a_sequence_handed_on_in_reversed_order() -> None:
    edge = next(e for e in api.derive("elman_hidden").edges if e.operand.name == "x")
    right, wrong = gradients("elman_hidden", Edits(mirrored=frozenset({edge.id})))
    assert np.array_equal(wrong["x"], right["x"][::-1])
    assert np.array_equal(wrong["W"], right["W"])


def test_a_carry_cut_in_absolute_time_is_that_of_a_loop() -> None:
    """∂L/∂h0 is zero, and what a step hands on is zero at steps 1, 4, 7."""
    derivation = api.derive("elman_hidden")
    (edge,) = [e.id for e in derivation.edges if e.kind == "state"]
    right, wrong = gradients("elman_hidden", Edits(skip_steps={edge: (1, 4, 7)}))
    assert not wrong["h0"].any()
    assert right["h0"].any()
    assert np.array_equal(wrong["x"][-1], right["x"][-1])


def test_names_of_a_dozen_layers_do_not_meet() -> None:
    network = api.layers("lstm", 12)
    assert len(network.scans) == 12
    assert "c_l010" in network.inputs
    assert "c_l10" not in network.inputs


@pytest.mark.parametrize("name", ["gru", "lstm_layer_norm", "encoder_decoder"])
def test_words_say_which_factor_is_missing_in_the_notation_of_the_page(name: str) -> None:
    found = derived_candidates(api.derive(name))
    left_out = [c.says for c in found if c.kind == "step"]
    assert not [s for s in left_out if "the elementwise product" in s or "matrix product" in s]
    assert any("without the factor " in s for s in left_out)
    assert not [c.says for c in found if "@" in c.says or "#" in c.says]


def test_what_goes_back_to_a_state_has_the_name_of_its_adjoint() -> None:
    said = outcome(["concat/state-carry-zero"])
    assert "what you get with: " in said.said
    assert "in δh_{t−1}, for all 4 terms alike: " in said.said


def test_a_value_of_the_first_step_read_where_it_has_none_is_zero() -> None:
    """Two mistakes in one term: α of the step before, and of the first step at every step."""
    code = DerivedCode(api.load("delta_net"))
    report = check_model(code.network, forward=code.forward, backward=code.backward, diagnose=False)
    bench, place = Bench(code.derivation), report.comparisons[0]
    found = derived_candidates(code.derivation)
    pinned = [c for c in found if c.kind == "pinned" and "<-alpha" not in c.where]
    pairs = [(a, b) for a in pinned for b in found if b.kind == "held" and a.where == b.where]
    assert pairs
    effects = Effects(bench, place)
    for a, b in pairs:
        both = a & b
        whole = effects.flat([bench.gradients(both, place, k) for k in effects.cases])
        np.testing.assert_allclose(effects.change(both), whole - effects.want, atol=1e-12)


def test_lines_of_packed_gradients_are_found_behind_a_mistake_between_them() -> None:
    """The slope lies between the gates of the program; what ends in gradients is behind it."""
    code = Code("gru")
    known = derived_candidates(code.derivation)
    late = [c for c in known if c.kind == "time" and code.derivation.edge(c.where).kind == "param"]
    slope = next(c for c in known if c.id == "step:gru/z<-a_z:0")
    bench = Bench(code.derivation)
    assert all(map(bench.is_at_the_end, late))
    assert not bench.is_at_the_end(slope)
    code.edits = functools.reduce(lambda edits, c: edits | c.edits, late, slope.edits)
    report = check_model(code.network, forward=code.forward, backward=code.backward, plan="few")
    assert report.diagnosis is not None
    (said,) = [m.message for m in report.diagnosis.matches]
    assert said.startswith("δa_{z,t} without φ′ of σ(a_{z,t})")
    assert "every gradient made with x_t" in said
    assert "with h_t instead of h_{t−1}" in said
