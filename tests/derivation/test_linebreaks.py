"""Long equations of LaTeX pages: what is broken fits, and reads the same without the breaks."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation.linebreaks import LINE, broken, width
from gradcheck_rnn.errors import UsageError

SUM = r"\mathbf{W}_{k}^{\top} \boldsymbol{\delta}^{a}_{t}"


def test_a_sum_is_broken_before_its_signs() -> None:
    text = " + ".join([SUM] * 12)
    lines = broken(text, LINE, LINE)
    assert len(lines) > 1
    assert all(line.startswith("+ ") for line in lines[1:])
    assert " ".join(lines) == text
    assert all(width(line) <= LINE for line in lines)


def test_no_break_where_all_fits_in_braces_or_between_growing_fences() -> None:
    assert broken(SUM, LINE) == [SUM]
    inside = r"\frac{" + " + ".join([SUM] * 12) + "}{2}"
    assert broken(inside, LINE) == [inside]
    fenced = r"\left[ " + " + ".join([SUM] * 12) + r" \right]"
    assert broken(fenced, LINE) == [fenced]


def test_a_sum_of_growing_parentheses_is_broken_before_its_signs() -> None:
    piece = r"\operatorname{pad}\left( \left[ \mathbf{x} \right]_{1}, 0, n \right)"
    assert broken(f"{piece} + {piece} - {piece}", 9.0, 9.0) == [piece, f"+ {piece}", f"- {piece}"]


def test_factors_are_parted_last_and_show_their_sign_where_a_line_begins() -> None:
    factor = r"\max\left( \left\lvert \mathbf{z}_{t}^{\top} \mathbf{q}_{t} \right\rvert, 1 \right)"
    text = r" \, ".join([factor] * 6)
    lines = broken(text, LINE, LINE)
    assert len(lines) == 2
    assert lines[1].startswith(r"\cdot \max")
    one = " ".join(lines).replace(r"\cdot ", r"\, ").replace(r"\bigl", r"\left")
    assert one.replace(r"\bigr", r"\right") == text
    assert broken(rf"{factor} + {factor} \, {factor}", 20.0, 20.0) == [
        factor, rf"+ {factor} \, {factor}"
    ]  # fmt: skip


def test_growing_parentheses_become_large_ones_where_they_are_broken() -> None:
    text = r"\mathbf{A} \left( " + " + ".join([SUM] * 12) + r" \right)"
    lines = broken(text, LINE)
    assert len(lines) > 1
    assert r"\left" not in "".join(lines)
    assert lines[0].count(r"\bigl(") == lines[-1].count(r"\bigr)") == 1


@pytest.mark.parametrize(
    "name", ["stacked_lstm", "bidirectional_lstm", "lstm_layer_norm", "mlstm", "rwkv7"]
)
def test_all_lines_of_a_page_fit(name: str) -> None:
    page = api.render(api.derive(name), "latex", steps=True, rtrl=True)
    for block in re.findall(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}", page, re.DOTALL):
        rows = [row.split("&") for row in block.split(" \\\\\n")]
        lefts = max(width(row[0]) for row in rows)
        for row in rows:
            if r"\parbox" not in row[1]:
                assert lefts + sum(width(part) for part in row[1:]) <= LINE + 1.0, row


def test_a_document_of_its_own() -> None:
    page = api.render(api.derive("gru"), "latex", standalone=True)
    assert page.startswith(r"\documentclass")
    assert page.endswith("\\end{document}\n")
    with pytest.raises(UsageError, match="standalone is for the format latex, not typst"):
        api.render(api.derive("gru"), "typst", standalone=True)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_it_compiles_and_no_line_is_too_wide(tmp_path: Path) -> None:
    page = api.render(api.derive("lstm_peephole"), "latex", steps=True, standalone=True)
    (tmp_path / "page.tex").write_text(page)
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-2000:]
    assert "Overfull" not in made.stdout
