"""What authors write (what, source, docstrings, names of files) comes out as text everywhere."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.cli import main

MARKUP = """<script>alert(1)</script> \"\"\" $x$ #read("s.txt") \\input{s} `y` *b* // z \0 end"""
CELL = """\
from gradcheck_rnn.language import cell, tanh

@cell(what=WHAT, source=WHAT, inputs="x: d", states="h: p", params="W: p p; U: p d; b: p")
def mine(h, x, W, U, b):
    DOC
    h = tanh(W @ h + U @ x + b)
    return {"h": h}
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = "m<script>$x$#y.py"
    Path(name).write_text(CELL.replace("WHAT", repr(MARKUP)).replace("DOC", repr(MARKUP)))
    Path("s.txt").write_text("secret-2718")
    return f"{name}:mine"


@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def test_a_generated_module_has_it_in_its_docstring_only(target: str, backend: str) -> None:
    text = api.generate(target, backend)  # type: ignore[arg-type]
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring is not None
    assert docstring.startswith(MARKUP.replace("\0", " "))
    assert "Gradients, summed over time" in docstring


def test_a_kernel_made_of_it_passes(target: str) -> None:
    Path("k.py").write_text(api.generate(target))
    assert api.verify("k.py", definition=target).passed


@pytest.mark.parametrize(
    ("fmt", "shown"),
    [
        ("latex", r"\textbackslash{}input\{s\}"),
        ("typst", r"\#read(" + '"s.txt")'),
        ("typst", r"\// z"),
        ("markdown", r"&lt;script>alert(1)&lt;/script>"),
        ("markdown", r"\`y\`"),
        ("text", "<script>alert(1)</script>"),
    ],
)
def test_formats_escape_it(target: str, fmt: str, shown: str) -> None:
    assert shown in api.render(api.derive(target), fmt)  # type: ignore[arg-type]


def test_json_has_it_as_it_is(target: str) -> None:
    assert json.loads(api.render(api.derive(target), "json"))["what"] == MARKUP


def test_a_report_has_no_script_and_reads_nothing(target: str) -> None:
    pytest.importorskip("typst")
    assert main(["report", target, "-o", "r.html", "-o", "r.pdf"]) == 0
    html = Path("r.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html or "&lt;script>alert(1)" in html
    assert "secret-2718" not in html
    assert Path("r.pdf").read_bytes().startswith(b"%PDF")


def test_names_of_weight_files_are_text_in_pictures_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("typst")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    name = r"a$\frac$<b>#x_{.npz"
    np.savez(name, W=rng.standard_normal((3, 3)), U=np.ones((3, 2)), b_i=np.zeros(3))
    command = ["decay", "elman_hidden", "--weights", name, "--steps", "60", "--no-remedies"]
    for out in ("r.html", "r.svg", "r.png"):
        assert main([*command, "-o", out]) == 0
    assert r"a$\frac$&lt;b&gt;#x_{.npz" in Path("r.svg").read_text(encoding="utf-8")
    assert "<b>" not in Path("r.html").read_text(encoding="utf-8")
