"""A user's mistake is one line on stderr and exit code 2, with file and line where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.errors import GradcheckError

GOOD = """\
from gradcheck_rnn.language import cell, tanh

@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p")
def mine(h, x, W, U, b):
    h = tanh(W @ h + U @ x + b)
    return {"h": h}
"""


def one_line(err: str) -> str:
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "Missing command"),
        (("nope",), "No such command 'nope'"),
        (("derive",), "Missing argument 'CELL'"),
        (("derive", "lsmt"), "unknown cell 'lsmt'; did you mean lstm"),
        (("derive", "zebra"), "unknown cell 'zebra'; there are "),
        (("derive", "lstm", "--format", "word"), "'word' is not one of"),
        (("derive", "lstm", "--truncate", "0"), "--truncate"),
        (("derive", "lstm", "--unknown"), "No such option: --unknown"),
        (("derive", "nowhere.py:x"), "there is no file nowhere.py"),
        (("generate", "lstm", "--backend", "fortran"), "'fortran' is not one of"),
        (("prove",), "give a cell to prove, or --all"),
        (("prove", "lstm", "--all"), "give a cell to prove, or --all"),
        (("prove", "lstm", "--seed", "x"), "--seed"),
        (("vectors", "elman", "--output", ""), "--output/-o is empty; give a path"),
        (("derive", "elman", "-o", ""), "--output/-o is empty"),
        (("generate", "elman", "--backend", "c", "-o", ""), "--output/-o is empty"),
        (("report", "elman", "-o", "a.html", "-o", ""), "--output/-o is empty"),
        (("decay", "elman", "--weights", ""), "--weights is empty"),
        (("verify", "r.npz", "--against", ""), "--against is empty"),
        (("verify", "x" * 5000), f"unknown cell '{'x' * 190}"),
        (("vectors", "elman", "-o", "x" * 5000), "File name too long"),
        (("generate", "elman", "--backend", "c", "-o", "x" * 300), "File name too long"),
    ],
)
def test_misuse_is_one_line_and_exit_code_two(run, argv: tuple[str, ...], message: str) -> None:
    ran = run(*argv)
    assert ran.code == 2
    assert message in one_line(ran.err)
    assert ran.out == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("h = tanh", "h = tonh", "mine.py:5: in cell 'mine': NameError: name 'tonh' is not"),
        ("import cell", "import sell", "mine.py:1: ImportError: cannot import name 'sell'"),
        ("def mine(h, x", "def mine(h x", "mine.py:4: SyntaxError: "),
        ("U: p d", "U: p p", "mine.py:5"),
        ('return {"h": h}', "return {}", "state 'h' is never assigned"),
        ("def mine(h, x", "def mine(h, z", "mine.py:3: cell 'mine': argument 'z' is not declared"),
        (" + b)", ")", "'b'"),
    ],
)
def test_errors_in_a_users_file_give_file_and_line(
    run, write, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    ran = run("derive", f"{write(GOOD.replace(old, new))}:mine")
    assert ran.code == 2
    assert message in one_line(ran.err)
    assert "mine.py" in ran.err
    assert "/mine.py" not in ran.err, "the path is to be shown as it was given"


def test_a_fault_of_ours_is_not_a_failed_check(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(api, "derive", broken)
    ran = run("derive", "lstm")
    assert ran.code == 70
    assert "RuntimeError: planted" in ran.err
    assert "fault of gradcheck-rnn itself" in ran.err


def test_a_message_of_several_lines_becomes_one(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise GradcheckError("first\n   second.\n")

    monkeypatch.setattr(api, "derive", broken)
    assert run("derive", "lstm").err == "error: first second\n"


@pytest.mark.parametrize("command", ["derive", "generate"])
def test_an_unwritable_output_is_named_and_nothing_is_written(run, write, command: str) -> None:
    write("", "unrelated.txt")
    ran = run(command, "elman", "-o", "missing/out.txt")
    assert ran.code == 2
    assert "cannot write missing/out.txt: there is no folder" in one_line(ran.err)
    assert ran.out == ""


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc on this system")
def test_a_file_that_cannot_be_read_is_named(run, tmp_path: Path) -> None:
    path = tmp_path / "mem.py"
    path.symlink_to("/proc/self/mem")
    for command in ("verify", "derive"):
        ran = run(command, str(path))
        assert ran.code == 2
        assert f"cannot read the file {path}: Input/output error" in one_line(ran.err)
