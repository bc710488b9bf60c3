"""Rendering: every format of every system, notation files, options, bad requests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gradcheck_rnn import api, cell
from gradcheck_rnn.calculus.printing.json import from_json
from gradcheck_rnn.errors import NotationError, UsageError
from gradcheck_rnn.language import tanh
from tests.property.blocks import Seeded, make
from tests.property.pipeline import load_text

PLAIN = r"""\documentclass{article}
\usepackage{amsmath,amssymb,bm}
\usepackage[utf8]{inputenc}
\begin{document}
%s
\end{document}
"""


def everything(name: str, fmt: str) -> str:
    return api.render(api.derive(name), fmt, form="kronecker", rtrl=True, steps=True)  # type: ignore[arg-type]


def test_all_systems_compile_as_typst() -> None:
    typst = pytest.importorskip("typst", reason="the typst wheel is an extra")
    source = "\n".join(everything(n, "typst") for n in api.names())
    assert typst.compile(source.encode(), format="pdf")[:4] == b"%PDF"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_all_systems_compile_as_latex_pasted_in_a_plain_document(tmp_path: Path) -> None:
    body = "\n\\clearpage\n".join(
        everything(n, "latex") + api.render(api.derive(n), "latex") for n in api.names()
    )
    (tmp_path / "page.tex").write_text(PLAIN % body, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("!")]
    assert done.returncode == 0, errors or done.stdout[-800:]


@pytest.mark.parametrize("name", api.names())
def test_latex_is_balanced_ascii(name: str) -> None:
    page = everything(name, "latex")
    assert page.isascii(), sorted({c for c in page if not c.isascii()})
    assert not re.findall(r"\[[A-Z -]{6,}\]", page)  # a character that has no text
    assert page.count("{") == page.count("}")
    assert page.count(r"\begin{align*}") == page.count(r"\end{align*}") > 0


def test_json_terms_can_be_read_back() -> None:
    page = json.loads(api.render(api.derive("gru"), "json"))
    assert page["schema"] == "gradcheck_rnn/derivation/1"
    lines = [line for s in page["sections"] for line in s["lines"]]
    for line in lines:
        assert str(from_json(line["right"]["term"])) == line["right"]["text"]
    assert {"id", "equation", "operand", "lag", "pullback", "rules"} <= set(page["edges"][0])


def test_wrt_restricts_gradients_and_refuses_strangers() -> None:
    page = api.render(api.derive("elman"), "text", wrt=["W"])
    assert "∇W " in page
    assert "∇U" not in page
    with pytest.raises(UsageError, match=r"'elman' has no parameter.*'Q'.*W, U, b_i"):
        api.render(api.derive("elman"), "text", wrt=["Q"])


def test_notation_file_renames_and_turns_to_rows(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('vectors = "row"\n[names]\nW = "W_{hh}"\nh = "s"\n', encoding="utf-8")
    page = api.render(api.derive("elman"), "text", notation=file)
    assert "s_{t−1} W_hh" in page
    assert "x_t: 1 × d (input)" in page  # shapes are those of what is printed
    assert "U: d × p (parameter)" in page


def test_cotangents_follow_the_names_of_their_outputs(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[names]\nh = "s"\n', encoding="utf-8")
    page = api.render(api.derive("elman_hidden"), "text", notation=file)
    assert "δs_t = g_{s,t} + Wᵀ δi_{t+1}    (at t = T add g_{s,final})" in page
    file.write_text('[names]\nh = {latex = "\\\\eta"}\n', encoding="utf-8")
    page = api.render(api.derive("elman_hidden"), "latex", notation=file)
    assert r"g}_{\eta,\mathrm{final}}" in page
    # A parameter of that name is another thing.
    file.write_text('[names]\nh = "s"\n', encoding="utf-8")
    page = api.render(api.derive("lstm_layer_norm"), "text", notation=file)
    assert "∇g_h " in page
    assert "∇g_s " not in page


def test_a_notation_file_names_only_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[names]\nQ = "W"\n', encoding="utf-8")
    with pytest.raises(NotationError, match="'Q'"):
        api.render(api.derive("elman"), "text", notation=file)


def test_denominator_layout_is_the_transpose() -> None:
    derivation = api.derive("elman")
    numerator = api.render(derivation, "text", form="kronecker")
    denominator = api.render(derivation, "text", form="kronecker", layout="denominator")
    assert re.search(r"∂i_t/∂\(vec W\)ᵀ +=\ h_\{t−1\}ᵀ ⊗ I_p", numerator)
    assert re.search(r"∂i_tᵀ/∂vec W +=\ h_\{t−1\} ⊗ I_p", denominator)


def test_steps_name_rule_and_citation() -> None:
    page = api.render(api.derive("elman"), "text", steps=True)
    assert "by the rule for the matrix product" in page
    assert "Magnus & Neudecker 2019" in page


def test_steps_are_contributions_and_a_shared_one_is_written_once() -> None:
    derivation = api.derive("elman_hidden")
    page = api.render(derivation, "text", steps=True)
    passage = page[page.index("From i_t = ") : page.index("From h_t = ")]
    assert passage.count("δ(W h_{t−1}) ←") == 1
    assert re.search(r"∇W +← δi_t h_\{t−1\}ᵀ", passage)
    assert re.search(r"δh_\{t−1\} +← Wᵀ δi_t", passage)
    assert "∂⁺" not in passage
    assert r"\boldsymbol{\delta}[\mathbf{W} \mathbf{h}_{t-1}] &\leftarrow" in api.render(
        derivation, "latex", steps=True
    )
    assert "arrow.l" in api.render(derivation, "typst", steps=True)
    sections = json.loads(api.render(derivation, "json", steps=True))["sections"]
    lines = next(s["lines"] for s in sections if s["key"] == "steps:i")
    assert lines[0]["left"]["adjoint"]["text"] == "W h_{t−1}"
    assert all(line["adds"] for line in lines)


def test_arguments_of_gates_follow_the_names_of_the_gates(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[names]\nf = "phi"\n', encoding="utf-8")
    page = api.render(api.derive("lstm"), "text", notation=file)
    assert "φ_t = σ(a_{φ,t})" in re.sub(" +", " ", page)
    assert "a_{f,t}" not in page
    file.write_text('[names]\nf = {latex = "\\\\varphi"}\n', encoding="utf-8")
    assert r"a}_{\varphi,t}" in api.render(api.derive("lstm"), "latex", notation=file)
    file.write_text('[names]\nf = "phi"\na_f = "z"\n', encoding="utf-8")
    assert "σ(z_t)" in api.render(api.derive("lstm"), "text", notation=file)


def test_truncation_is_said_and_checked() -> None:
    assert "blocks of 4 steps" in api.render(api.derive("elman"), "text", truncate=4)
    with pytest.raises(UsageError, match="1 or more"):
        api.render(api.derive("elman"), "text", truncate=0)


def test_a_renamed_gate_leaves_the_line_of_its_family(tmp_path: Path) -> None:
    """``W_k, for k ∈ {…}`` would hide that W_f has another name; other families stay one line."""
    file = tmp_path / "n.toml"
    file.write_text('[names]\nW_f = "A_f"\n', encoding="utf-8")
    text = api.render(api.derive("lstm"), "text", notation=file)
    assert "∇A_f = Σ" in text
    assert "∇W_i = Σ" in text
    assert "∇W_k" not in text
    assert "∇U_k = Σ" in text


def _page(name: str, **options: object) -> str:
    return api.render(api.derive(name), "text", **options)  # type: ignore[arg-type]


def test_starts_are_states_at_their_own_times() -> None:
    """Adjoints of starts have no running t left in them, in whichever direction a scan runs."""
    assert "δh_0 = W_iᵀ δa_{i,1}" in _page("lstm")
    assert "δc_0 = δc_1 ⊙ f_1" in _page("lstm")
    delayed = _page("elman_delayed")
    assert re.search(r"δh_0 += W_1ᵀ δi_1 \+ W_3ᵀ δi_3", delayed)
    assert re.search(r"δh_\{−1\} = W_3ᵀ δi_2", delayed)
    assert re.search(r"δh_\{−2\} = W_3ᵀ δi_1", delayed)
    both = _page("bidirectional_elman")
    assert "h_{bwd,T+1}: p_bwd" in both
    assert "δh_{bwd,T+1} = W_bwdᵀ δi_{bwd,T}" in both
    assert "δh_{1,0} = W_1ᵀ δi_{1,1}" in _page("stacked_elman")
    for name in api.names():
        starts = re.findall(r"^ +(δ\S*?[_,{](?:0|T\+1|−\d)\}?) += (.*)$", _page(name), re.M)
        assert all(not re.search(r"[_,{]t\b", right) for _, right in starts), name


def test_a_start_of_the_readers_own_name(tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text('[names]\nh = "z"\n', encoding="utf-8")
    assert "δz_0 = Wᵀ δi_1" in _page("elman", notation=file)
    file.write_text('[names]\nh = "z"\nh0 = "s_a"\n', encoding="utf-8")
    page = _page("elman", notation=file)
    assert "s_a: p" in page
    assert "δs_a = Wᵀ δi_1" in page


def test_what_a_decoder_reads_at_every_step_gathers_from_all_of_them() -> None:
    page = _page("encoder_decoder")
    assert "at t = S add Σ_{t=1}^{T} Cᵀ δi_t + δh_0" in page
    assert "δh_0 = Wᵀ δi_1" in page, "the start that the encoder hands over is defined"


def test_a_scan_without_adjoints_has_no_section_about_them() -> None:
    assert "Adjoint recursion (BPTT), scan softmax" not in _page("encoder_decoder")


def test_words_follow_the_row_convention(tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text('vectors = "row"\n', encoding="utf-8")
    page = _page("elman", notation=file, form="kronecker")
    assert "δv is ∂L/∂v, a row;" in page
    assert "∂h_t/∂i_t     = diag(1 − h_t²)" in page
    assert "Numerator" not in page
    assert "a column for each entry of the equation" in page


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
def squeezed(h, x, W, U):  # type: ignore[no-untyped-def]
    """A recurrent weight that is computed: an equation with a matrix on its left."""
    V = W * tanh(W)
    h = tanh(V @ h + U @ x)
    return h  # noqa: RET504


@pytest.mark.parametrize("fmt", ["text", "latex", "typst", "markdown", "json"])
def test_an_equation_of_a_matrix_has_its_kronecker_form(fmt: str) -> None:
    page = api.render(api.derive(squeezed), fmt, form="kronecker", rtrl=True, steps=True)
    if fmt == "text":
        assert "vec(∇W) = Σ_{t=1}^{T} (diag(vec(tanh(W))) vec(δV_t) +" in page
        assert page.count("∂V_t/∂(vec W)ᵀ") == 1, "read twice, it has one derivative"
        assert "= diag(vec(tanh(W)) + vec(W ⊙ (1 − tanh(W)²)))" in page


@pytest.mark.parametrize("name", api.names())
def test_a_derivative_is_one_equation(name: str) -> None:
    """z is read twice in h = (1 − z) ⊙ h + z ⊙ c: its Jacobian is the sum of both."""
    page = json.loads(api.render(api.derive(name), "json", form="kronecker", rtrl=True))
    for section in page["sections"]:
        if section["key"] in ("jacobians", "immediate"):
            lefts = [json.dumps(line["left"]) for line in section["lines"]]
            assert len(lefts) == len(set(lefts)), section["title"]


def test_jacobians_of_what_is_read_twice_are_as_a_person_writes_them() -> None:
    assert "= diag(h̃_t − h_{t−1})" in _page("gru", form="kronecker")
    centred = _page("lstm_layer_norm", form="kronecker")
    assert re.search(r"∂centred_\{2,t\}/∂c_tᵀ += I_p − \(1 / p\) · 1_p 1_pᵀ", centred)


@pytest.mark.parametrize("seed", [500002, *range(600000, 600010)])
def test_any_definition_has_pages(seed: int, tmp_path: Path) -> None:
    """Random definitions, with matrices computed in them, starts handed over, scans both ways."""
    text, name = make(Seeded(seed), 5, 60)
    derivation = api.derive(load_text(text, name))
    rows = tmp_path / "rows.toml"
    rows.write_text('vectors = "row"\n', encoding="utf-8")
    for form in ("matrix", "kronecker"):
        for notation in (None, rows):
            page = api.render(derivation, "text", form=form, rtrl=True, notation=notation)
            assert "Gradients" in page
