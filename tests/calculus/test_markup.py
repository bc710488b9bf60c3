"""Names in LaTeX and typst: mathematics passes, what acts or is incomplete does not."""

from __future__ import annotations

import pytest

from gradcheck_rnn.calculus.printing import markup
from gradcheck_rnn.calculus.printing.markup import check_markup
from gradcheck_rnn.calculus.printing.notation import Notation
from gradcheck_rnn.errors import NotationError


@pytest.mark.parametrize(
    "text",
    [r"W", r"\bar{c}", r"W_{hh}", r"\mathbf{W}_{hh}^{(1)}", r"\tilde{c}'", r"h^{\prime}_t", r"\operatorname{net}_i",
     r"\hat{\boldsymbol{\theta}}", r"{W}", r"W_{i,j}", r"\Gamma", r"x''", "è"],
)  # fmt: skip
def test_latex_names(text: str) -> None:
    check_markup(text, "latex")


@pytest.mark.parametrize(
    "text",
    ["W", "macron(c)", 'W_"hh"', "bold(W)_(h h)", "theta.alt", 'op("net")_i', "hat(bold(x))'", "W^((1))", "W_(i, j)", "dot.double(x)", "ω"],
)  # fmt: skip
def test_typst_names(text: str) -> None:
    check_markup(text, "typst")


@pytest.mark.parametrize(
    "text",
    [r"\input{x}", r"\write18{id}", r"\def\x{y}", r"\csname input\endcsname", r"^^5cinput", "{", "}", "a_", "_a", "a_b_c",
     "a^b^c", r"\bar", r"\bar c", "$", "%", "#", "&", "~", "a\nb", "", " ", "{}", "\\", r"\end{x}", "{" * 500, r"\unknown", "<b>", "a\0"],
)  # fmt: skip
def test_what_is_no_latex_name(text: str) -> None:
    with pytest.raises(NotationError, match="is no name in latex"):
        check_markup(text, "latex")


@pytest.mark.parametrize(
    "text",
    ["#x", '#read("x")', "$", "bold(", ")", "bold()", "hh", "unknown(x)", "a_", "_a", "a, b", '"open', '"a\\"b"', "\\", "//x", "/*x*/",
     "bold(a, b)", "@x", "<x>", "a;b", "a\nb", "[x]", "`x`", "", "(" * 500, "theta.nope", "image(x)"],
)  # fmt: skip
def test_what_is_no_typst_name(text: str) -> None:
    with pytest.raises(NotationError, match="is no name in typst"):
        check_markup(text, "typst")


def test_a_subscript_is_split_off_only_where_both_parts_are_whole() -> None:
    split = Notation({"c": {"typst": "c_(t u)"}}).name_for("c", "typst")
    whole = Notation({"c": {"typst": "macron(c_(t))"}}).name_for("c", "typst")
    assert split is not None
    assert whole is not None
    assert [x.base for x in (split.head, *split.subscripts)] == ["c", "t u"]
    assert [x.base for x in (whole.head, *whole.subscripts)] == ["macron(c_(t))"]


def test_typst_knows_every_word_that_is_let_through() -> None:
    typst = pytest.importorskip("typst")
    words = [f"$ {w} x_({w}) $" for w in sorted(markup._TYPST_SYMBOLS)]
    calls = [f"$ {f}(x) $" for f in sorted(markup._TYPST_FUNCTIONS)]
    source = "\n".join(words + calls).encode()
    assert typst.compile({"main.typ": source}, format="pdf", ignore_system_fonts=True)


def test_a_report_reads_nothing_of_the_working_folder(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    typst = pytest.importorskip("typst")
    from gradcheck_rnn.report.manuscript import Manuscript
    from gradcheck_rnn.report.typesetting import compiled

    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("hidden")  # type: ignore[operator]
    m = Manuscript("a report")
    m.say('#read("secret.txt")')
    with pytest.raises(typst.TypstError, match="not found"):
        compiled(m, "html")
