"""Notes of backward equations, judged: right ones pass in every notation, wrong ones are named."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.audit.extraction import to_text
from gradcheck_rnn.audit.note import Note
from gradcheck_rnn.audit.text_notation import UnreadableEquation, parse
from gradcheck_rnn.cli import main
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language.network import as_network

derived = functools.cache(api.derive)


def judged(tmp_path: Path, text: str, cell: str, suffix: str = ".txt", **names: str) -> Note:
    path = tmp_path / f"note{suffix}"
    path.write_text(text, encoding="utf-8")
    return api.check_equations(path, cell, names=names)


MATRICES = [n for n in api.names() if as_network(api.load(n)).front]


@pytest.mark.parametrize("cell", api.names())
def test_what_derive_prints_is_right(cell: str, tmp_path: Path) -> None:
    note = judged(tmp_path, api.render(derived(cell)), cell)
    assert note.passed, str(note)
    assert note.convention == "columns"
    assert note.count("right") == len(note.lines)


@pytest.mark.parametrize(
    ("cell", "right", "wrong"),
    [
        ("phased_lstm", "α · where([r_on > φ_t], 0_p, δk_t)", "α · where([r_on > φ_t], δk_t, 0_p)"),
        ("mlstm", "· sign(z_tᵀ q_t)) · z_t", "· sign(−(z_tᵀ q_t))) · z_t"),
    ],
)
def test_branches_signs_and_zeros_are_read(
    cell: str, right: str, wrong: str, tmp_path: Path
) -> None:
    (line,) = [x for x in api.render(derived(cell)).splitlines() if right in x]
    assert judged(tmp_path, line, cell).passed
    found = judged(tmp_path, line.replace(right, wrong), cell)
    assert [x.status for x in found.lines] == ["wrong"]


@pytest.mark.parametrize(
    "cell", ["lstm", "gru_reset_after", "bidirectional_stack", "char_rnn", *MATRICES]
)
def test_what_derive_prints_in_latex_is_right(cell: str, tmp_path: Path) -> None:
    note = judged(tmp_path, api.render(derived(cell), "latex"), cell, ".tex")
    assert note.passed, str(note)


# Of an LSTM: line, what is said of it.
WRONG = {
    "da_f[t] = df[t] * f[t] * (1 + f[t])": "the sign of f_t",
    "δc_t = δc_{t+1} ⊙ f_t + δh_t ⊙ o_t ⊙ (1 − tanh(c_t)²)": "f_t where f_t+1 belongs",
    "δc_t = δc_{t+1} ⊙ f_{t+1} + δh_t ⊙ o_t ⊙ (1 − c_t²)": "c_t where tanh(c_t) belongs",
    "δf_t = δc_t ⊙ c_t": "c_t where c_t−1 belongs",
    "δi_t = −δc_t ⊙ c̃_t": "the sign",
    "δa_{c,t} = δc̃_t ⊙ (1 − c̃_t)": "c_tilde_t where c_tilde_t^2 belongs",
    "∇W_i = Σ_{t=1}^{T} δa_{i,t} h_tᵀ": "h_t where h_t−1 belongs",
    "∇W_i = Σ_{t=1}^{T} h_{t−1} δa_{i,t}ᵀ": "it is the transpose",
    "∇U_f = Σ_{t=1}^{T} δa_{i,t} x_tᵀ": "δa_i_t where δa_f_t belongs",
    "δh_t = g_{h,t} + W_iᵀ δa_{i,t+1} + W_fᵀ δa_{f,t+1} + W_oᵀ δa_{o,t+1}":
        "the term W_cᵀ δa_{c,t+1} is missing",
    "δx_t = U_i δa_{i,t} + U_fᵀ δa_{f,t} + U_oᵀ δa_{o,t} + U_cᵀ δa_{c,t}":
        "U_i where U_iᵀ belongs",
    "δa_{o,t} = δo_t ⊙ o_t": "without the factor 1 − o_t",
    "∇b_i = 2 Σ_{t=1}^{T} δa_{i,t}": "it is 2 times",
    "∇b_i = (1/5) Σ_{t=1}^{T} δa_{i,t}": "a mean over the steps",
    "∂c_t/∂c_{t−1} = diag(i_t)": "i_t where f_t belongs",
}  # fmt: skip
RIGHT = [
    "δa_{o,t} = δo_t ⊙ σ'(a_{o,t})",
    "∂h_t/∂c_t = diag(o_t ⊙ (1 − tanh(c_t)²))",
    "∂c_t/∂c_{t−1} = diag(f_t)",
    "δf_t = c_{t−1} ⊙ δc_t",
    "\\frac{\\partial L}{\\partial W_f} = \\sum_{t=1}^{T} \\delta a_{f,t} h_{t-1}^{\\top}",
]


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_line_is_named(line: str, tmp_path: Path) -> None:
    (found,) = judged(tmp_path, line, "lstm").lines
    assert found.status == "wrong"
    assert found.why.startswith(WRONG[line]), found.why
    assert found.evidence
    assert found.derived or line.startswith("∂")


@pytest.mark.parametrize("line", RIGHT)
def test_another_way_to_write_it_is_right(line: str, tmp_path: Path) -> None:
    (found,) = judged(tmp_path, line, "lstm").lines
    assert found.status == "right", found


def test_a_line_is_judged_given_the_others(tmp_path: Path) -> None:
    text = api.render(derived("lstm")).replace("δf_t     = δc_t ⊙ c_{t−1}", "δf_t = δc_t ⊙ c_t")
    note = judged(tmp_path, text, "lstm")
    assert [j.defines for j in note.lines if j.status == "wrong"] == ["δf_t"]


def test_several_wrong_lines_are_all_named(tmp_path: Path) -> None:
    note = judged(tmp_path, "\n".join(WRONG), "lstm")
    assert note.count("wrong") == len(WRONG), str(note)


def test_numpy_lines_in_rows_with_own_quantities(tmp_path: Path) -> None:
    text = """
        # x (T, n), weights x @ U
        dh_next = da[t] @ W.T
        dh[t] = g_h[t] + da[t+1] @ W.T
        da[t] = dh[t] * (1 - h[t]**2)
        dW += np.outer(h_prev, da[t])
        dU += x[t].T @ da[t]
        db += da[t].sum(axis=0)
        dx[t] = np.dot(da[t], U.T)
    """
    note = judged(tmp_path, text.replace("np.outer(h_prev, da[t])", "h_prev.T @ da[t]"),
                  "elman_hidden", a="i", b="b_i")  # fmt: skip
    assert note.passed, str(note)
    assert note.convention == "rows, weights transposed"
    assert note.count("own") == 1
    wrong = judged(tmp_path, text.replace("np.outer(h_prev, da[t])", "h[t].T @ da[t]"),
                   "elman_hidden", a="i", b="b_i")  # fmt: skip
    assert [j.text for j in wrong.lines if j.status == "wrong"] == ["dW += h[t].T @ da[t]"]


def test_an_authors_own_adjoint_is_consistent(tmp_path: Path) -> None:
    # Here δh is what comes from later steps alone: not ∂L/∂h, but used as such.
    text = "δh_t = Wᵀ δi_{t+1}\nδi_t = (g_{h,t} + δh_t) ⊙ (1 − h_t²)\n∇b_i = Σ_{t=1}^{T} δi_t"
    note = judged(tmp_path, text, "elman_hidden")
    assert [j.status for j in note.lines] == ["wrong", "consistent", "right"], str(note)


def test_what_is_not_understood_is_never_right(tmp_path: Path) -> None:
    note = judged(tmp_path, "δh_t = magic(h_t) ⊙ z\nδi_t = δh_t ⊙ (1 − h_t²)", "elman_hidden")
    assert [j.status for j in note.lines] == ["not understood", "right"]
    assert not note.passed


def test_markdown_and_notebook(tmp_path: Path) -> None:
    formula = "$$\\delta i_t = \\delta h_t \\odot (1 - h_t^2)$$"
    page = f"# BPTT\nHence\n\n{formula}\n\nand so on = nothing."
    assert judged(tmp_path, page, "elman_hidden", ".md").passed
    cells = [{"cell_type": "markdown", "source": [page]},
             {"cell_type": "code", "source": ["di = dh * (1 - h**2)\n"]}]  # fmt: skip
    book = judged(tmp_path, json.dumps({"cells": cells}), "elman_hidden", ".ipynb")
    assert book.count("right") == 2, str(book)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = tmp_path / "note.txt"
    note.write_text("δi_t = δh_t ⊙ (1 − h_t²)\n", encoding="utf-8")
    assert main(["check-equations", str(note), "elman_hidden"]) == 0
    assert main(["check-equations", str(note), "elman_hidden", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))["passed"]
    note.write_text("δi_t = δh_t ⊙ (1 − h_t)\n", encoding="utf-8")
    assert main(["check-equations", str(note), "elman_hidden"]) == 1
    assert "h_t where h_t^2 belongs" in capsys.readouterr().out
    note.write_text("δi_t = magic(δh_t)\n", encoding="utf-8")
    assert main(["check-equations", str(note), "elman_hidden"]) == 3
    for bad in (["nothing.txt", "elman_hidden"], [str(note), "elman_hidden", "--name", "a=zz"],
                [str(note), "elman_hidden", "--name", "a"]):  # fmt: skip
        assert main(["check-equations", *bad]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    note.write_text("prose without any\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no line has an equation"):
        api.check_equations(note, "elman_hidden")


def test_reading() -> None:
    assert to_text(r"\frac{\partial L}{\partial W} = \sum_{t=1}^{T} \delta_t h_{t-1}^{\top}") == (
        "∂ L/∂ W = Σ_{t=1;T} δ_t h_{t-1}ᵀ"
    )
    with pytest.raises(UnreadableEquation, match="understood"):
        parse("δh_t ⊙")
    with pytest.raises(UnreadableEquation, match="brace"):
        parse("h_{t")
