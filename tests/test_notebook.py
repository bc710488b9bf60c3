"""Notebooks: read, run cell by cell, with places; objects as HTML."""

from __future__ import annotations

import inspect
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, derive, layers, load, loading, prove
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.notebook import cells_of, file_of
from gradcheck_rnn.verify.annotations import annotation
from gradcheck_rnn.verify.cases import collect_cases

CASE = """from gradcheck_rnn import gradient_case
@gradient_case
def square():
    return lambda W: (W ** 2).sum(), lambda W: factor * W, np.ones((2, 3))
"""


def write(folder: Path, *cells: str) -> str:
    made = [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in cells]
    path = folder / "notes.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "# one"}, *made]}))
    return str(path)


def test_cells_run_in_one_namespace_without_their_magics(tmp_path: Path) -> None:
    path = write(
        tmp_path, "%matplotlib inline\nimport numpy as np\nif True:\n    !ls\nnp.ones?\n",
        "%%bash\nnot python\n", "factor = 2.0\n", CASE,
    )  # fmt: skip
    module = loading.run_file(path)
    (case,) = collect_cases(module, path)
    assert case.check().passed
    assert (case.path, case.line) == (f"{tmp_path.resolve() / 'notes.ipynb'}:cell 5", 2)
    assert "factor * W" in inspect.getsource(case.function)
    assert loading.split_target(f"{path}:square") == (path, "square")


def test_errors_have_a_cell_and_a_line(tmp_path: Path) -> None:
    for text, said in (
        ("x = 1\ny = 1 / 0\n", "cell 2:2: ZeroDivisionError"),
        ("x = 1\n\nx = = 2\n", "cell 2:3: SyntaxError"),
        ("import sys\nsys.exit(1)\n", "cell 2:2: exits while it is loaded"),
    ):
        path = write(tmp_path, text)
        with pytest.raises(UsageError, match=said) as raised:
            loading.run_file(path)
        assert str(raised.value).startswith(f"{path}:cell 2:")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"cells": [{"source": 3}]}', '{"cells": 3}'])
def test_what_is_no_notebook_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.ipynb"
    path.write_text(text)
    with pytest.raises(UsageError, match="is no notebook of format 4"):
        list(cells_of(path))
    with pytest.raises(UsageError, match="nothing"):
        list(cells_of(tmp_path / "nothing.ipynb"))


def test_the_command_on_a_notebook(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from gradcheck_rnn.cli import main

    path = write(tmp_path, "import numpy as np\nfactor = 2.1\n", CASE)
    assert main(["verify", path, "--github"]) == 1
    out = capfd.readouterr().out
    assert f"::error file={path},title=square" in out
    assert "cell 3, line 2" in out
    assert f"gradcheck-rnn verify {path}:square" in out
    assert main(["verify", f"{path}:square"]) == 1
    assert main(["verify", write(tmp_path, "import numpy as np\n", CASE)]) == 2
    assert 'notes.ipynb:cell 3", line 4' in capfd.readouterr().err


def test_an_annotation_of_a_file_has_its_line() -> None:
    report = {"verdict": "fail", "rows": [], "findings": [], "title": "t", "sentence": "s"}
    assert "file=a.py,line=3," in str(annotation(report, file="a.py", line=3))
    assert file_of("a.ipynb:cell 3") == "a.ipynb"
    assert file_of("a.py") == "a.py"


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(value: Any) -> str:
    parser = Balanced()
    parser.feed(value._repr_html_())
    assert not parser.open
    return parser.text


def test_objects_show_themselves() -> None:
    text = shown(load("gru").scans[0].cell)
    assert "reset before the product" in text
    assert "W_r W_z W_c" in text
    assert "h = (1 - z) * h + z * h_tilde" in text
    text = shown(layers("elman_hidden", 2, bidirectional=True))
    assert "elman_hidden_l1_reverse (backwards)" in text

    def loss(W: Any) -> Any:
        return (W**2).sum()

    W = np.ones((2, 3))
    text = shown(check_gradient(loss, lambda W: 2 * W, W, title="a < b"))
    assert text.startswith("a < b: pass")
    report = check_gradient(loss, lambda W: 2.1 * W, W)
    text = shown(report)
    assert report.sentence() in text
    assert "could have missed" in text
    made = derive("elman_hidden")
    assert repr(made) == "<derivation of elman_hidden; render() writes it>"
    proof = prove("elman_hidden")
    assert shown(proof) == str(proof)
