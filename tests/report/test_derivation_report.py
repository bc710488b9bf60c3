"""Derivation reports: complete, numbered, self-contained, and right in their numbers."""

import html
import re

import numpy as np
import pytest

pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from gradcheck_rnn import api
from gradcheck_rnn.calculus.terms import Neg
from gradcheck_rnn.derivation import Derivation
from gradcheck_rnn.derivation.evaluate import bptt
from gradcheck_rnn.errors import NotationError
from gradcheck_rnn.report.chapters.evidence import ladder
from gradcheck_rnn.report.chapters.example import small_example as example_of
from gradcheck_rnn.report.derivation import derivation_report, notation_of
from gradcheck_rnn.report.listing import definition_of, titled
from gradcheck_rnn.report.typesetting import compiled
from gradcheck_rnn.report.unrolled import unrolled

SYSTEMS = ("elman", "lstm", "elman_delayed", "lstm_1997_truncated", "encoder_decoder", "readout")


@pytest.fixture(scope="module")
def pages():
    made = {}

    def page(name):
        if name not in made:
            manuscript = derivation_report(
                api.derive(name), proof=api.prove(name), kernel=api.generate(name)
            )
            made[name] = manuscript, compiled(manuscript, "html").decode()
        return made[name]

    return page


def words(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_equation_shows_its_number(pages, name):
    manuscript, page = pages(name)
    shown = re.findall(r'class="no">.*?\((\d+)\)', page)
    assert manuscript.equations >= 5
    assert [int(n) for n in shown] == list(range(1, manuscript.equations + 1))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_page_needs_nothing_but_itself(pages, name):
    page = pages(name)[1]
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(x.startswith(("data:", "#")) for x in links)
    targets = set(re.findall(r'\bid="([^"]+)"', page))
    assert {x[1:] for x in links if x.startswith("#")} <= targets
    assert "<script" not in page


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_page_is_accessible(pages, name):
    page = pages(name)[1]
    assert page.count("<h1") == 1
    assert 'role="doc-toc"' in page
    assert '<html lang="en"' in page
    images = re.findall(r"<img[^>]*>", page)
    assert len(images) == 2
    assert all(len(re.search(r'alt="([^"]*)"', x)[1]) > 40 for x in images)
    assert page.count("<math") > 50
    assert "prefers-color-scheme" in page


def test_the_chapters_are_there_in_order(pages):
    page = pages("lstm")[1]
    titles = [words(x) for x in re.findall(r"<h2[^>]*>(.*?)</h2>", page)]
    assert [t.lstrip("0123456789 ") for t in titles] == [
        "Contents",
        "The cell",
        "Notation and conventions",
        "Why gradients sum over time",
        "One step, differentiated",
        "Backpropagation through time",
        "How a step carries the gradient",
        "Forwards instead: real-time recurrent learning",
        "A worked example",
        "Proof",
        "Evidence from finite differences",
        "The generated kernel",
        "Sources",
    ]
    text = words(page)
    assert "Magnus and H. Neudecker" in text
    assert "def backward(" in text
    assert "Schwartz and Zippel" in text


def test_a_pdf_has_title_outline_and_pages(pages):
    made = compiled(pages("elman")[0], "pdf")
    assert made.startswith(b"%PDF-")
    assert b"/Outlines" in made
    assert b"/Title" in made
    assert made.count(b"/Type /Page") + made.count(b"/Type/Page") > 5


def test_equal_reports_are_equal_files():
    made = [compiled(derivation_report(api.derive("elman")), kind) for kind in ("html", "pdf") * 2]
    assert made[0] == made[2]
    assert made[1] == made[3]


def test_the_reader_s_notation(tmp_path):
    derivation = api.derive("elman")
    file = tmp_path / "n.toml"
    file.write_text('[names]\nh = "s"\nW = "A"\n')
    source = derivation_report(derivation, notation=notation_of(derivation, file)).source()
    assert "bold(A)" in source
    assert "bold(W)" not in source
    file.write_text('[names]\nnothing = "s"\n')
    with pytest.raises(NotationError, match="nothing"):
        notation_of(derivation, file)


def test_a_renamed_gate_is_not_hidden_in_its_family(tmp_path):
    derivation = api.derive("lstm")
    file = tmp_path / "n.toml"
    file.write_text('[names]\nW_f = "A_f"\nh = "s"\n')
    manuscript = derivation_report(derivation, notation=notation_of(derivation, file))
    source = manuscript.source()
    assert "bold(A)_f" in source
    assert "bold(W)_i" in source
    assert "bold(W)_k" not in source
    assert "bold(b)_k" in source  # lines without W_f are still for all gates
    # An initial state follows its state.
    assert "bold(s)_0" in source
    assert "bold(h)" not in source


def test_long_blocks_name_their_parts(pages):
    source = pages("lstm")[0].source()
    named = "frac(partial bold(c)_t, partial bold(h)_(t - 1)^top)"
    assert source.count(named) == 2
    assert not re.search(r"\bblock[a-h]\b", source)  # stand-ins of `chapters.steps`


@pytest.mark.parametrize("name", api.names())
def test_definitions_are_listed_as_a_reader_can_run_them(name):
    for scan in api.load(name).scans:
        text = definition_of(scan.cell)
        assert text.startswith("@cell(")
        compile(text, name, "exec")
        assert "source=" not in text
        assert '"""' not in text
        assert max(map(len, text.splitlines())) <= 100


def test_symbols_are_listed_with_their_domains():
    source = derivation_report(api.derive("lif")).source()
    assert "fixed parameter; in (0, 1)" in source
    assert "start, given once a sequence; ≥ 0" in derivation_report(api.derive("rwkv4")).source()


def test_steps_out_of_a_domain_are_not_in_the_picture():
    """The weights of a Turing head leave the positive numbers at the longest steps."""
    found = ladder(api.derive("ntm_head"))
    assert 40 < len(found.steps) < 51
    assert np.isfinite(found.central).all()
    assert found.central.min() < 1e-9


def test_row_vectors(tmp_path):
    derivation = api.derive("elman")
    file = tmp_path / "n.toml"
    file.write_text('vectors = "row"\n')
    manuscript = derivation_report(derivation, notation=notation_of(derivation, file))
    source = manuscript.source()
    assert "bold(h)_(t - 1) bold(W)" in source
    assert "Vectors are columns" not in source
    # U is printed with a row for each of the d inputs, so its numbers must be, too.
    assert "$d times p$" in source
    u = example_of(derivation).run.series["U"][0]
    assert (
        f'[$display(bold(U) = mat(delim: "[", {", ".join(f"{x:g}" for x in u.ravel())}))$]'
        in source
    )
    assert compiled(manuscript, "html")


@pytest.mark.parametrize(
    "name", ["elman", "gru", "elman_delayed", "many_to_one", "bidirectional_elman"]
)
def test_the_worked_example_is_the_gradient(name):
    derivation = api.derive(name)
    example = example_of(derivation)
    expected = bptt(example.run, example.cotangents)
    assert expected
    for ref in derivation.differentiated():
        if ref.axis is None:
            found = example.adjoints.get(ref.name, {}).get(0, np.zeros(()))
            np.testing.assert_allclose(
                found + 0 * expected[ref.name], expected[ref.name], rtol=1e-14
            )


def test_a_right_gradient_reaches_roundoff():
    found = ladder(api.derive("lstm"))
    # Second order: a tenth of the step, a hundredth of the error.
    at = {round(float(np.log10(h)), 2): e for h, e in zip(found.steps, found.central, strict=True)}
    assert 50 < at[-1.5] / at[-2.5] < 200
    assert found.central.min() < 1e-9
    assert found.complex_step is not None
    assert found.complex_step < 1e-14


def test_a_wrong_gradient_shows_a_floor(monkeypatch):
    derivation = api.derive("lstm")
    edge = next(e for e in derivation.edges if e.operand.name == "W_f")
    object.__setattr__(edge, "pullback", Neg(edge.pullback))
    assert isinstance(derivation, Derivation)
    found = ladder(derivation)
    assert found.central.min() > 1e-4


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_drawing_keeps_inside_its_frame(name):
    svg, alt = unrolled(api.derive(name))
    x, y, w, h = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())
    for px, py in re.findall(r'<(?:rect|text) x="([-\d.]+)" y="([-\d.]+)"', svg):
        assert x <= float(px) <= x + w
        assert y <= float(py) <= y + h
    assert "unrolled" in alt


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("lstm_layer_norm", "LSTM layer norm"),
        ("many_to_one", "Many to one"),
        ("gru_d", "GRU-D"),
        ("slstm", "sLSTM"),
        ("rwkv6", "RWKV-6"),
        ("gated_delta_net", "Gated DeltaNet"),
        ("lstm, my_model.npz", "LSTM, my_model.npz"),
        ("My_Cell", "My_Cell"),
    ],
)
def test_names_are_written_as_in_papers(name, shown):
    assert titled(name) == shown


def test_a_sequence_read_whole_has_its_shape_and_what_it_is_in_the_table():
    source = derivation_report(api.derive("attention_decoder")).source()
    row = next(line for line in source.splitlines() if line.strip().startswith("[$bold(H)$]"))
    assert '[$S times k$], [#"all steps of ";' in row
    assert row.strip().endswith('as its rows";],')
