"""Slides for a lecture: few of them, nothing left out, nothing cut off."""

import re

import pytest

pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from gradcheck_rnn import api
from gradcheck_rnn.derivation.pages import document
from gradcheck_rnn.derivation.pages.grouping import renamed_apart
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.report.slides import LINES, slides
from gradcheck_rnn.report.typesetting import compiled


@pytest.mark.parametrize(("name", "count"), [("elman", 1), ("lstm", 2), ("gru", 2)])
def test_a_cell_takes_few_slides(name, count):
    pdf = compiled(slides(api.derive(name)), "pdf")
    assert re.findall(rb"/Type/Pages/Count (\d+)", pdf) == [str(count).encode()]


def test_every_equation_is_on_a_slide():
    derivation = api.derive("encoder_decoder")
    m = slides(derivation)
    source = m.source()
    pages = [s for s in document(derivation).sections if s.key != "dims"]
    lines = [line for s in pages for line in renamed_apart(s.lines, None)]
    for line in lines:
        assert f"(${m.maths.left(line.left)}$, (" in source
    assert source.count("$, ($") == len(lines)
    assert "The cell: Decoder" in source


def test_slides_are_no_html(tmp_path):
    with pytest.raises(UsageError, match="cannot write slides to"):
        api.report("elman", tmp_path / "elman.html", slides=True)
    (made,) = api.report("elman", tmp_path / "elman.typ", slides=True)
    assert "#slide(" in made.read_text(encoding="utf-8")


def test_a_column_holds_few_sums_since_each_is_as_high_as_two_lines():
    source = slides(api.derive("attention_decoder")).source()
    columns = source.split("#part[")[1:]
    sums = [sum("($= sum_" in row for row in c.splitlines()) for c in columns]
    assert sum(sums) == 13  # one of them over the steps that read the sequence as a whole
    assert max(sums) <= LINES // 2
