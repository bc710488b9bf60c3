"""Conventions, derivatives by matrices, products over time: right in every sense, wrong in none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.audit.difference_quotients import Differences
from gradcheck_rnn.audit.extraction import read_lines
from gradcheck_rnn.audit.judge import judge_at
from gradcheck_rnn.audit.note import RIGHT, Note
from gradcheck_rnn.audit.truth import READINGS, Source, Truth
from gradcheck_rnn.audit.vocabulary import Vocabulary


def judged(cell: str, *lines: str, **names: str) -> Note:
    source = Source(api.derive(cell))
    known = source.known()
    return judge_at(source, read_lines(lines, Vocabulary.of(known, names)))


RIGHT_LINES = [
    ("elman", "∂h_{t+1}/∂h_t = diag(1 − h_{t+1}²) W"),
    ("elman", "∂h_t/∂h_k = Π_{j=k+1}^{t} ∂h_j/∂h_{j−1}"),
    ("elman", "∂h_T/∂h_k = Π_{j=k+1}^{T} (diag(tanh'(i_j)) W)"),
    ("elman", "∂i_t/∂W = h_{t−1}ᵀ ⊗ I_p"),
    ("elman", "∂h_t/∂W = diag(1 − h_t²) (h_{t−1}ᵀ ⊗ I_p + W ∂h_{t−1}/∂W)"),
    ("elman", "∂L/∂U = Σ_{t=1}^{T} vec^{-1}_{p×d}((∂h_t/∂U)ᵀ × ∂L/∂h_t)"),
    ("elman", "∂L/∂h_t = ∂L/∂y_t V + ∂L/∂h_{t+1} ∂h_{t+1}/∂h_t"),
    ("elman", "∇W = Σ_{k=0}^{T−1} δi_{k+1} h_kᵀ"),
    ("elman", (r"\frac{\partial h_t}{\partial h_k} = \prod_{j=k+1}^{t} "
               r"\frac{\partial h_j}{\partial h_{j-1}}")),
    ("elman", r"\frac{\partial h^{(t)}}{\partial h^{(t-1)}} = \mathrm{diag}(1 - (h^{(t)})^2) W"),
    ("stacked_elman", "∂L/∂W^{(1)} = Σ_{t=1}^{T} δi^{(1)}_t (h^{(1)}_{t−1})ᵀ"),
    ("linear", "∂h_T/∂h_1 = W^{T−1}"),
    ("lstm", "∂c_t/∂c_{t−1} = diag(f_t)"),
    ("lstm", "∂c_t/∂c_{t−1} = diag(f_t) + ∂c_t/∂h_{t−1} ∂h_{t−1}/∂c_{t−1}"),
    ("gru", ("∂h_t/∂h_{t−1} = diag(1 − z_t) + diag(z_t) ∂h̃_t/∂h_{t−1} "
             "+ diag(h̃_t − h_{t−1}) ∂z_t/∂h_{t−1}")),
]  # fmt: skip
CONVENTIONS = [
    ("elman", "∂h_t/∂h_{t−1} = tanh'(i_t) W", "diag"),
    ("elman", "∂L_t/∂W = ∂L_t/∂h_t ∂h_t/∂W", "vec of the gradient"),
    ("elman", "∇W = δi_t h_{t−1}ᵀ", "sum over the steps"),
    ("elman", "∇W = Σ_{t=2}^{T} δi_t h_{t−1}ᵀ", "first state is zero"),
    ("elman", "∇W = Σ_{t=0}^{T−1} δi_t h_{t−1}ᵀ", "counted from 0"),
    ("elman", "∇b_i = 1/T Σ_{t=1}^{T} δi_t", "mean over the steps"),
]
WRONG_LINES = [
    ("elman", "∂h_t/∂i_t = (1 − h_tᵀ h_t) I_p"),
    ("elman", "∂h_t/∂h_k = Π_{j=k}^{t} ∂h_j/∂h_{j−1}"),
    ("elman", "∂h_t/∂h_k = Π_{j=k+1}^{t} ∂h_{j−1}/∂h_j"),
    ("elman", "∂L_t/∂W = Σ_{k=1}^{t−1} ∂L_t/∂h_t ∂h_t/∂h_k ∂⁺h_k/∂W"),
    ("elman", "∂h_t/∂W = ∂h_t/∂h_{t−1} ∂h_{t−1}/∂W"),
    ("elman", "∂L/∂h_t = ∂L/∂y_t ∂y_t/∂h_t"),
    ("elman", "∇W = Σ_{k=1}^{T} δi_T h_{T−1}ᵀ"),
    ("elman", "∂i_t/∂W = I_p ⊗ h_{t−1}ᵀ"),
    ("linear", "∂h_T/∂h_1 = Π_{t=2}^{T} W^{T−1}"),
    ("lstm", "∂c_T/∂c_k = Π_{j=k+1}^{T} diag(f_j)"),
    ("gru", "∂h_t/∂h_{t−1} = diag(1 − z_t) + diag(z_t) ∂h̃_t/∂h_{t−1}"),
]


@pytest.mark.parametrize(("cell", "line"), RIGHT_LINES)
def test_right(cell: str, line: str) -> None:
    (found,) = judged(cell, line).lines
    assert found.status == "right", found


@pytest.mark.parametrize(("cell", "line", "sense"), CONVENTIONS)
def test_right_in_a_convention_that_is_named(cell: str, line: str, sense: str) -> None:
    (found,) = judged(cell, line).lines
    assert found.status == "convention", found
    assert sense in found.why


@pytest.mark.parametrize(("cell", "line"), WRONG_LINES)
def test_wrong_with_numbers(cell: str, line: str) -> None:
    (found,) = judged(cell, line).lines
    assert found.status == "wrong", found
    assert "it is" in found.evidence


def test_every_member_of_a_chain_is_judged() -> None:
    note = judged("elman", "δi_t = δh_t ⊙ (1 − h_t) = δh_t ⊙ (1 − h_t²)")
    assert [j.status for j in note.lines] == ["wrong", "right"]


def test_the_forward_line_pins_the_layout() -> None:
    line = "∂h_t/∂h_{t−1} = W diag(1 − h_t²)"
    note = judged("elman", "i_t = W h_{t−1} + U x_t + b_i", line)
    assert [j.status for j in note.lines] == ["right", "wrong"]
    assert "rows" in note.lines[1].why


def test_what_cannot_be_checked_is_not_right() -> None:
    for line in ("δh_{t+9} = 3 δh_t", "∇W = Σ_{k=1}^{T} δi_j h_{j−1}ᵀ", "δa_g = 3 δh_t"):
        (found,) = judged("elman", line).lines
        assert found.status == "not understood", found
    (found,) = judged("elman", "δh_t = δh_t").lines
    assert found.status == "own"


@pytest.mark.parametrize("line", ["∇V = Σ_{t=1}^{T} −δy_t h_tᵀ", "∇b_y = Σ_{t=1}^{T} δy_t²"])
def test_a_loss_that_does_not_reach_it_makes_nothing_right(line: str) -> None:
    (found,) = judged("elman", line).lines
    assert found.status == "wrong", found


def test_what_is_right_for_one_unit_says_so() -> None:
    line = "∂h_t/∂W = tanh'(i_t) (h_{t−1} + W ∂h_{t−1}/∂W)"
    note = judged("elman", line)
    assert [(j.status, j.one_unit) for j in note.lines] == [("not understood", True)]
    assert "with one unit" in str(note)
    assert not note.passed


def test_what_a_loop_carries() -> None:
    body = ("dh = V.T @ dy + dh_next", "di = dh * (1 - h**2)", "dh_next = W.T @ di")
    assert judged("elman", *body).passed
    body = ("dh = V.T @ dy + dh_next", "di = dh * (1 - h**2)", "dh_next = W @ di")
    assert judged("elman", *body).lines[0].status == "wrong"
    (found,) = judged("elman", "∂h_t/∂x_{t+1} = 0").lines
    assert found.status == "right"


def test_sums_in_code() -> None:
    two = ("dh[t] = V.T @ dy[t]", "dh[t] += W.T @ di[t+1]")
    assert [j.status for j in judged("elman", *two).lines] == ["own", "right"]
    again = ("dW += di[t] @ h[t-1].T", "dW += di[t] @ h[t-1].T")
    assert [j.status for j in judged("elman", *again).lines] == ["right", "wrong"]


def test_an_own_name_has_the_value_of_the_line_before() -> None:
    lines = ("tmp = di[t] @ h[t-1].T", "dW += tmp", "tmp = di[t] @ x[t].T", "dU += tmp")
    assert judged("elman", *lines).passed
    crossed = ("tmp = di[t] @ h[t-1].T", "tmp = di[t] @ x[t].T", "dW += tmp")
    assert not judged("elman", *crossed).passed


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "stacked_elman"])
def test_differences_agree_with_the_derivation(cell: str) -> None:
    derivation = api.derive(cell)
    exact, measured = Truth.of(derivation, real=True), Differences.of(derivation)
    for name in exact.made:
        for loss in (None, 2):
            a, b = (k.value(name, 2, True, loss) for k in (exact, measured))
            np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), atol=1e-7)
    parameter = next(iter(derivation.network.parameters))
    state = derivation.scans[0].scan.states[0].name
    for reading in READINGS:
        for by, s in ((state, 2), (parameter, 0)):
            a, b = (k.jacobian(state, 3, by, s, reading) for k in (exact, measured))
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                np.testing.assert_allclose(np.asarray(a, float), b, atol=1e-7)


def test_differences_judge_alike() -> None:
    source = Source(api.derive("elman"), make=Differences.of)
    known = source.known()
    lines = ["δi_t = δh_t ⊙ (1 − h_t²)", "δi_t = δh_t ⊙ (1 − h_t)"]
    note = judge_at(source, read_lines(lines, Vocabulary.of(known)), explain=False)
    assert [j.status in RIGHT for j in note.lines] == [True, False]


def test_names_of_a_notation_file_and_a_report(tmp_path: Path) -> None:
    note, names = tmp_path / "note.txt", tmp_path / "names.toml"
    note.write_text("∇W_{hh} = Σ_{t=1}^{T} δi_t h_tᵀ\n", encoding="utf-8")
    names.write_text('[names]\nW = "W_{hh}"\n', encoding="utf-8")
    found = api.check_equations(note, "elman", notation=names)
    assert found.count("wrong") == 1
    pytest.importorskip("typst")
    api.write_note_report(found, "note.txt", tmp_path / "out.html")
    assert "h_t−1 belongs" in (tmp_path / "out.html").read_text(encoding="utf-8")
