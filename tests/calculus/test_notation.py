"""Notation files, and the row-vector convention."""

import numpy as np
import pytest

from gradcheck_rnn.calculus.printing import (
    Notation,
    load_notation,
    to_latex,
    to_text,
    to_typst,
    transpose_equation,
)
from gradcheck_rnn.calculus.terms import Apply, Sym
from gradcheck_rnn.errors import NotationError
from tests.calculus.dense import dense, random_values
from tests.calculus.test_printing import ELMAN, LSTM_C, LSTM_H
from tests.calculus.test_terms import DIMS, IDS, SHAPES, W, b, h

KNOWN = ["W", "U", "b_i", "h", "x", "c_tilde"]


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "notation.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_names_are_used_everywhere(write):
    path = write(
        """
        [names]
        h = "s"
        W = "W_{hh}"
        b_i = { latex = '\\beta_{0}', typst = "beta_0" }
        """
    )
    n = load_notation(path, KNOWN)
    assert to_text(ELMAN, n) == "tanh(W_hh s_{t−1} + U x_t + b_i)"
    assert r"\mathbf{W}_{hh} \mathbf{s}_{t-1}" in to_latex(ELMAN, n)
    assert r"\boldsymbol{\beta}_{0}" in to_latex(ELMAN, n)
    assert "bold(beta)_0" in to_typst(ELMAN, n)
    assert to_text(h.with_(mark="bar"), n) == "δs_t"


def test_raw_subscripts_join_the_time_index():
    n = Notation({"h": {"latex": r"\eta_{1}"}})
    assert to_latex(h.at(-1), n) == r"\boldsymbol{\eta}_{1,t-1}"


def test_not_bold():
    n = Notation(bold=False)
    assert to_latex(LSTM_H, n) == r"o_{t} \odot \tanh(c_{t})"
    assert to_typst(LSTM_H, n) == "o_t ⊙ tanh(c_t)"


def test_row_vectors():
    n = Notation(vectors="row")
    assert to_text(ELMAN, n) == "tanh(h_{t−1} W + x_t U + b_i)"
    assert to_text(LSTM_C, n) == to_text(LSTM_C)
    assert to_text(W.T @ h, n) == "h_t Wᵀ"


@pytest.mark.parametrize(("term", "_shape"), SHAPES, ids=IDS)
def test_row_form_is_the_transpose(term, _shape):
    """Row variables hold the transposed values; the row term must be the transposed value."""
    row = transpose_equation(term)
    assert row.shape == tuple(reversed(term.shape))
    values = random_values(term, DIMS)
    transposed = {s.with_(rows=s.cols, cols=s.rows): a.T for s, a in values.items()}
    np.testing.assert_allclose(
        dense(row, transposed, DIMS), dense(term, values, DIMS).T, rtol=1e-14
    )


def test_a_forgotten_reversal_would_be_noticed():
    row = transpose_equation(W @ W.T @ h)
    wrong = (row.operands[0] @ row.operands[2]) @ row.operands[1]
    values = random_values(row, DIMS)
    assert not np.allclose(dense(row, values, DIMS), dense(wrong, values, DIMS))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[names]\ng = 's'", ["'g'", "W, b_i, c_tilde, h"]),
        ("names = 3", ["table"]),
        ("colour = 'red'", ["colour", "vectors"]),
        ("vectors = 'diagonal'", ["vectors", "diagonal"]),
        ("bold = 'yes'", ["bold", "yes"]),
        ("[names]\nbold = true", ["bold", "above"]),
        ("[names]\nW = 3", ["W", "string"]),
        ("[names]\nW = '\\\\mathcal{W}'", ["mathcal", "latex"]),
        ("[names]\nW = { html = 'W' }", ["html", "latex"]),
        ("[names]\nW = { latex = '' }", ["latex", "empty"]),
        ("[names", ["TOML"]),
    ],
)
def test_bad_files_are_refused_in_one_line(write, text, words):
    path = write(text)
    with pytest.raises(NotationError) as error:
        load_notation(path, KNOWN)
    message = str(error.value)
    assert "\n" not in message
    assert "notation.toml" in message or "bold" in message
    for word in words:
        assert word in message


def test_unreadable_files(tmp_path):
    with pytest.raises(NotationError, match="there is no notation file"):
        load_notation(tmp_path / "none.toml", KNOWN)
    with pytest.raises(NotationError, match="cannot read"):
        load_notation(tmp_path, KNOWN)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(NotationError, match="UTF-8"):
        load_notation(tmp_path / "binary.toml", KNOWN)


def test_notation_does_not_touch_the_term():
    before = hash(ELMAN)
    to_text(ELMAN, Notation({"h": "s"}, vectors="row"))
    assert hash(ELMAN) == before
    assert Apply("tanh", Sym("b", 3) + Sym("b", 3)).shape == (3, 1)
    assert to_text(b, Notation({"b": "beta"})) == "β"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ('h = "s"\nx = "s"', "print 'h' and 'x' alike"),
        ('h = "x"', "print 'h' and 'x' alike"),
        ('h = { typst = "W" }', "alike in typst"),
    ],
)
def test_two_symbols_may_not_look_alike(tmp_path, names, words):
    path = tmp_path / "n.toml"
    path.write_text(f"[names]\n{names}\n")
    with pytest.raises(NotationError, match=words):
        load_notation(path, KNOWN)


def test_names_may_be_exchanged(tmp_path):
    path = tmp_path / "n.toml"
    path.write_text('[names]\nh = "x"\nx = "h"\n')
    assert load_notation(path, KNOWN).names == {"h": "x", "x": "h"}


def test_an_initial_state_follows_its_state():
    h0 = Sym("h_0", "p", 1, "static", None)
    assert to_text(h0, Notation({"h": "s"})) == "s_0"
    assert to_text(h0, Notation({"h": "s", "h0": "start"})) == "start"
    assert to_text(h0, Notation({"x": "s"})) == "h_0"
