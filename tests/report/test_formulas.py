"""Formulas within prose are typeset, and every text is markup that compiles."""

from __future__ import annotations

import base64
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck_rnn import api
from gradcheck_rnn.report.formulas import prose
from gradcheck_rnn.report.manuscript import Manuscript
from gradcheck_rnn.report.typesetting import FAMILY, face


def shown(text: str) -> str:
    return re.sub(r'#"(.*?)";', r"\1", prose(text))


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("the memory is a pure sum.", "the memory is a pure sum."),
        ("read at its state, y = h (the", "read at its state, $y = h$ (the"),
        ("readout V = I, b_y = 0).", "readout $V = I$, $b_(y) = 0$)."),
        ("h̃ = tanh(W_c (r ⊙ h₋) + b_c).",
         '$tilde(h) = op("tanh") \\( W_(c) \\( r dot.o h_(-) \\) + b_(c) \\)$.'),
        ("with a, b kept", "with a, $b$ kept"),
        ("of m units", "of $m$ units"),
        ("(target − y)².", '$\\( "target" - y \\)^(2)$.'),
        ("H = I − 2 u uᵀ / uᵀu.", "$H = I - 2 u u^top \\/ u^top u$."),
        ("exp(−e^A_log Δ) one", '$op("exp") \\( - e^(A_(op("log"))) Δ \\)$ one'),
        ("y = V⃗ h⃗ + b", "$y = arrow(V) arrow(h) + b$"),
    ],
)  # fmt: skip
def test_what_is_a_formula(text: str, made: str) -> None:
    assert shown(text) == made


WORDS = st.text(alphabet="ab_^=()[]{}\"\\#$*+−⊙₋ᵀ²′ h̃ŷΣσ.,:/|<>'`~@½жé1-", max_size=12)


@settings(max_examples=6)
@given(st.lists(WORDS, min_size=20, max_size=20))
def test_every_text_compiles(texts: list[str]) -> None:
    pytest.importorskip("typst", reason="reports are an extra")
    from gradcheck_rnn.report.typesetting import compiled

    m = Manuscript("Words", texts[0])
    m.items(prose(text) for text in (*texts, *(row["what"] for row in api.catalogue()[:40:9])))
    assert compiled(m, "html")


def test_the_font_has_what_is_shown() -> None:
    pytest.importorskip("fontTools", reason="reports are an extra")
    from fontTools.ttLib import TTFont

    rule = face("<p>a</p><math><mi>h</mi><mo>⊙</mo><msup><mi>W</mi><mo>⊤</mo></msup></math>")
    assert FAMILY in rule
    found = re.search(r"base64,([^\"]+)", rule)
    assert found is not None
    font = TTFont(io.BytesIO(base64.b64decode(found[1])))
    assert {ord(c) for c in "ℎ⊙𝑊W⊤"} <= set(font.getBestCmap())
    assert ord("x") not in font.getBestCmap()
    assert "MATH" in font
    assert face("<p>no formula</p>") == ""


def test_the_font_has_what_the_zoo_shows() -> None:
    pytest.importorskip("fontTools", reason="reports are an extra")
    from fontTools.ttLib import TTFont

    from gradcheck_rnn.report.typesetting import _font

    known = set(TTFont(io.BytesIO(_font())).getBestCmap())
    said = "".join(row["what"] for row in api.catalogue())
    assert {ord(c) for c in said if c in "⊙ΣΔαβγδεηθκλμνστφ∂−"} <= known
