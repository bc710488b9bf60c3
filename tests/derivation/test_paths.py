"""Transition Jacobians of many terms: counted, and not written out."""

from __future__ import annotations

from gradcheck_rnn import api
from gradcheck_rnn.calculus.terms import Plus, Times
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.pages.jacobians import MOST_PATHS, transitions
from gradcheck_rnn.language import cell, sigmoid
from gradcheck_rnn.language.cell import Cell


def substeps(number: int) -> Cell:
    def ltc(x, h, W, U, A):
        u = U @ x
        for _ in range(number):
            f = sigmoid(W @ h + u)
            h = (h + 0.1 * (f * A)) / (1 + 0.1 * f)
        return h

    made: Cell = cell(inputs="x: d", states="h: p", params="W: p p; U: p d; A: p")(ltc)
    return made


def leaves(term) -> int:
    """Terms of a sum when it is multiplied out."""
    if isinstance(term, Plus):
        return sum(map(leaves, term.operands))
    if isinstance(term, Times):
        product = 1
        for factor in term.operands:
            product *= leaves(factor)
        return product
    return 1


def test_paths_are_the_terms_of_a_block() -> None:
    for name, scan in (("elman", "elman"), ("lstm", "lstm"), ("slstm", "slstm")):
        derivation = api.derive(name)
        for state in derivation.program(scan).scan.states:
            block = derivation.transition(scan, state.name, "h")
            paths = derivation.paths(scan, state.name, "h")
            assert paths == (0 if block is None else leaves(block))


def test_a_block_of_too_many_terms_is_said_and_left_out() -> None:
    few, many = derive(substeps(1)), derive(substeps(12))
    (written,) = transitions(few, False, "numerator")
    assert len(written.lines) == 1
    assert many.paths("ltc", "h", "h") == few.paths("ltc", "h", "h") ** 12 > MOST_PATHS
    (left_out,) = transitions(many, False, "numerator")
    assert not left_out.lines
    assert any("531,441" in str(word) for words in left_out.text for word in words)
