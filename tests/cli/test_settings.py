"""`[tool.gradcheck-rnn]` of a user's pyproject.toml, and folders that a project imports from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .test_verify import BAD, GOOD, NOISY


@pytest.fixture
def project(write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))

    def table(text: str) -> None:
        write(f"[tool.gradcheck-rnn]\n{text}\n", "pyproject.toml")

    return table


def seed_of(ran) -> int:
    return json.loads(ran.out)["reports"][0]["seed"]


def test_options_hold_and_the_command_line_wins(run, write, project) -> None:
    project('seed = 11\nundecided = "warn"\nreport = "found.html"')
    ran = run("verify", write(GOOD), "--json")
    assert ran.code == 0, ran.err
    assert seed_of(ran) == 11
    assert Path("found.html").stat().st_size > 1000
    assert seed_of(run("verify", "mine.py", "--json", "--seed", "12")) == 12
    assert run("verify", write(NOISY, "noisy.py")).code == 0
    assert run("verify", "noisy.py", "--undecided", "fail").code == 3
    assert run("verify", write(BAD, "bad.py")).code == 1


def test_the_nearest_table_counts(run, write, project, monkeypatch) -> None:
    project("seed = 11")
    Path("sub").mkdir()
    Path("sub/pyproject.toml").write_text("[project]\nname = 'x'\n")
    write(GOOD, "sub/mine.py")
    monkeypatch.chdir("sub")
    assert seed_of(run("verify", "mine.py", "--json")) == 11


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets = 3", "unknown key 'budgets'; did you mean budget?"),
        ('budget = "soon"', "budget: "),
        ("budget = true", "budget: True is neither a text nor a number"),
        ('undecided = "maybe"', "undecided: "),
        ('seed = "luck"', "seed: "),
        ('jobs = "many"', "jobs: "),
        ('timeout = "never"', "timeout: "),
        ("github = 1", "github: write true or false"),
        ("report = 1", "report: write a file"),
    ],
)
def test_errors_name_file_and_key(run, write, project, text: str, said: str) -> None:
    project(text)
    ran = run("verify", write(GOOD))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: pyproject.toml: [tool.gradcheck-rnn] {said}")
    assert ran.err.count("\n") == 1
    assert run("verify", "--help").code == 0


def test_a_file_that_is_not_toml_and_a_table_that_is_none(run, write, project) -> None:
    project("= 3")
    ran = run("verify", write(GOOD))
    assert ran.code == 2
    assert "pyproject.toml: not TOML" in ran.err
    write("tool.gradcheck-rnn = 3\n", "pyproject.toml")
    assert "is not a table" in run("verify", "mine.py").err


def test_what_makes_no_sense_beside_an_option_is_left_out(run, write, project) -> None:
    project("jobs = 2\nshapes = 2")
    assert run("verify", "linear", "--shape", "1").code == 0


IMPORTS = GOOD.replace("import numpy as np\n", "import numpy as np\nfrom NAME import one\n", 1)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pyproject.toml", '[tool.pytest.ini_options]\npythonpath = ["src"]\n'),
        ("pyproject.toml", '[tool.gradcheck-rnn]\npythonpath = ["src"]\n'),
        ("pytest.ini", "[pytest]\npythonpath = src other\n"),
        ("setup.cfg", "[tool:pytest]\npythonpath = src\n"),
    ],
)
def test_pythonpath_is_that_of_pytest(run, write, project, file: str, text: str) -> None:
    name = f"lib_{abs(hash((file, text)))}"
    for folder in ("src", "checks"):
        Path(folder).mkdir()
    write("one = 1\n", f"src/{name}.py")
    write(IMPORTS.replace("NAME", name), "checks/mine.py")
    refused = run("verify", "checks/mine.py")
    assert refused.code == 2
    assert f"No module named '{name}'; it lies in src: pythonpath = [" in refused.err
    write(text, file)
    ran = run("verify", "checks/mine.py")
    assert ran.code == 0, ran.err
    sys.modules.pop(name, None)


@pytest.mark.parametrize("more", [(), ("--jobs", "2")])
def test_pythonpath_as_an_option(run, write, monkeypatch, more: tuple[str, ...]) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    Path("lib").mkdir()
    write("one = 1\n", "lib/only_by_option.py")
    write(IMPORTS.replace("NAME", "only_by_option"), "mine.py")
    refused = run("verify", "mine.py", "--pythonpath", "lob")
    assert (refused.code, refused.err) == (2, "error: --pythonpath lob: there is no such folder\n")
    ran = run("verify", "mine.py", "--pythonpath", "lib", *more)
    assert ran.code == 0, ran.err
    sys.modules.pop("only_by_option", None)


def test_a_pythonpath_that_is_none(run, write, project) -> None:
    project("pythonpath = 3")
    ran = run("verify", write(GOOD))
    assert ran.code == 2
    assert "pythonpath is not a list of folders" in ran.err
