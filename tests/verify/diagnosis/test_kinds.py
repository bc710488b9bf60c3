"""Mistakes of further kinds in code by hand (the blind corpus), and how the program makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.blind_faults import outcome
from gradcheck_rnn import api
from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.evaluate import bptt

from ...derivation.test_mutants import running


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
    ],
)
def test_is_named(fault: str, words: str) -> None:
    said = outcome([fault]).said
    assert "what you get with: " in said  # one mistake and no other
    assert words in said


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
