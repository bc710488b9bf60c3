"""Reports of verifications and of gradient decay, and the doors that write reports."""

import json
import re
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from gradcheck_rnn import api, check_gradient
from gradcheck_rnn.cli import main
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.report import typesetting
from gradcheck_rnn.report.decay import decay_report
from gradcheck_rnn.report.typesetting import compiled
from gradcheck_rnn.report.verification import reports_of, verification_report
from gradcheck_rnn.verify.session import verify_kernel


@pytest.fixture(scope="module")
def wrong():
    """A kernel whose gradient of W is wrong in its first row only."""
    text = api.generate("elman")
    faulty = text.replace(
        '        "W": d_W,', '        "W": d_W * (1 + (np.arange(p) == 0)[:, None]),'
    )
    assert faulty != text
    kernel = ModuleType("faulty")
    exec(compile(faulty, "faulty", "exec"), vars(kernel))
    return verify_kernel(api.load("elman"), kernel, faulty, target="mine.py")


def test_a_failure_is_shown_where_it_is(wrong):
    manuscript = verification_report(wrong)
    source = manuscript.source()
    assert manuscript.title == "Verification of mine.py"
    assert manuscript.subtitle == "Verdict: fail"
    assert "Wrong: `W`." in source
    assert "3 of 9 are wrong, in row 0" in source
    assert "gradcheck-rnn verify mine.py" in source
    page = compiled(manuscript, "html").decode()
    assert "Heat map of 3 by 3 cells" in page


def test_a_pass_says_what_was_resolved():
    manuscript = verification_report(api.verify("elman_hidden"))
    assert manuscript.subtitle == "Verdict: pass"
    assert "Heat map" not in manuscript.source()
    assert "Resolution" in manuscript.source()


def test_reports_come_back_from_json(wrong):
    plain = json.loads(json.dumps([r.to_json() for r in wrong]))
    again = verification_report(reports_of(plain), "mine.py")
    assert again.subtitle == "Verdict: fail"
    assert "3 of 9 are wrong, in row 0" in again.source()


def test_nothing_checked_is_not_a_pass():
    manuscript = verification_report([])
    assert manuscript.subtitle == "Verdict: undecided"
    assert compiled(manuscript, "html")


def test_a_diagnosis_shows_its_equation():
    from tests.verify.diagnosis.test_faults import check

    source = verification_report([check(("df * f * (1 - f)", "df"))]).source()
    assert "without φ′ of σ" in source
    assert source.count("are what you get with") == 1
    assert "$arrow.l bold(delta)_t^(f) ⊙ bold(f)_t ⊙ (1 - bold(f)_t)$" in source
    assert "$arrow.l bold(delta)_t^(f)$,), [in this code]" in source
    assert "in columns 3, 4 and 5" in source
    assert "lag" in source


def test_decay_of_two_models():
    found = api.decay("elman", steps=80, sizes={"p": 8, "d": 3, "q": 2})
    found += api.decay("elman", steps=80, sizes={"p": 8, "d": 3, "q": 2}, gain=3.0, name="large")
    manuscript = decay_report(found)
    source = manuscript.source()
    assert 'Most is left in #"large";' in source
    page = compiled(manuscript, "html").decode()
    assert page.count("<img") == len(manuscript.files)
    assert len(manuscript.files) >= 13
    with pytest.raises(UsageError, match="no recurrence"):
        decay_report([])


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("out.doc", "the suffix is '.doc', give .html, .pdf or .typ"),
        ("out", "it has no suffix"),
        ("missing/out.html", "there is no folder"),
    ],
)
def test_bad_paths_are_one_line(tmp_path, capsys, path, says):
    assert main(["report", "elman", "-o", str(tmp_path / path)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(typesetting.os, "access", lambda *_: False)
    assert main(["report", "elman", "-o", str(tmp_path / "a.pdf")]) == 2
    assert "write-protected" in capsys.readouterr().err


def test_missing_packages_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["report", "elman", "-o", str(tmp_path / "a.pdf")]) == 2
    assert "pip install 'gradcheck-rnn[report]'" in capsys.readouterr().err


def test_an_unknown_cell(tmp_path, capsys):
    assert main(["report", "elmann", "-o", str(tmp_path / "a.pdf")]) == 2
    assert "elmann" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_all_formats(tmp_path):
    outs = [tmp_path / f"out.{s}" for s in ("html", "pdf", "typ")]
    assert main(["report", "elman", *(x for o in outs for x in ("-o", str(o)))]) == 0
    assert re.search(r"<title>.*Elman", outs[0].read_text())
    assert outs[1].read_bytes().startswith(b"%PDF")
    assert "#show: house.with" in outs[2].read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "out.pdf", "out.typ"]


def test_verify_and_decay_write_reports(tmp_path, capsys):
    out = tmp_path / "v.html"
    pdf = tmp_path / "v.pdf"
    assert main(["verify", "elman_hidden", "--report", str(out), "--report", str(pdf)]) == 0
    assert "Verdict: pass" in out.read_text()
    assert pdf.read_bytes().startswith(b"%PDF")
    several = tmp_path / "several.pdf"
    assert main(["verify", "elman_hidden", "linear", "--report", str(several)]) == 0
    assert several.read_bytes().startswith(b"%PDF")
    assert main(["verify", "elman", "--report", str(tmp_path / "v.txt")]) == 2
    decay = tmp_path / "d.html"
    small = ["--size", "p=6", "--size", "d=2", "--size", "q=2", "--steps", "80", "--no-remedies"]
    assert main(["decay", "elman", *small, "-o", str(decay)]) == 0
    assert "Gradient decay: Elman" in decay.read_text()
    assert "wrote" not in capsys.readouterr().out


def test_pytest_writes_a_report(pytester):
    pytester.makepyfile(
        gradcheck_mine="""
        import numpy as np
        from gradcheck_rnn import gradient_case

        @gradient_case
        def square():
            x = np.array([1.0, 2.0])
            return (lambda p: float(np.sum(p["x"] ** 2))), (lambda p: {"x": 2 * p["x"]}), {"x": x}
        """
    )
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--gradcheck-report", "out.html", "gradcheck_mine.py"
    )
    assert result.ret == 0
    assert "Verdict: pass" in (pytester.path / "out.html").read_text()


def test_what_json_says_of_a_row_comes_back_as_it_was():
    loss = lambda p: float(np.sum(np.tanh(p["W"])))  # noqa: E731
    nan = check_gradient(loss, lambda p: {"W": p["W"] * np.nan}, {"W": np.array([0.3, 0.4, 0.5])})
    assert [r.kind for r in nan.rows[0].reasons] == ["not-finite"]
    (again,) = reports_of([json.loads(nan.dumps())])
    assert again.rows[0].reasons == nan.rows[0].reasons
    assert again.findings == nan.findings
    assert "the gradient is nan at [0]" in again.sentence()


def test_a_failing_row_keeps_its_reason_on_the_command_line(tmp_path, capsys):
    (tmp_path / "nan.py").write_text(
        "import numpy as np\nimport gradcheck_rnn\n\n\n"
        "def loss(p):\n    return float(np.sum(np.tanh(p['W'])))\n\n\n"
        "def gradient(p):\n    return {'W': p['W'] * [1.0, np.nan]}\n\n\n"
        "@gradcheck_rnn.gradient_case\n"
        "def mine():\n    return loss, gradient, {'W': np.array([0.3, 0.4])}\n"
    )
    assert main(["verify", str(tmp_path / "nan.py")]) == 1
    assert "the gradient is nan at [1]" in capsys.readouterr().out
