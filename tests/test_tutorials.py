"""Every tutorial is followed from an empty folder: files written, commands run, output as shown."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "tutorials"
NEEDS = {"torch": "torch", "jax": "jax"}
BLOCK = re.compile(r"^```(python|cpp|toml|console)\n(.*?)^```$", re.M | re.S)
NAME = re.compile(r"(?:#|//) (\S+\.\w+)\n")


def flat(text: str) -> str:
    return " ".join(text.split())


def follow(command: str, expected: list[str], folder: Path) -> None:
    """Run a command; its output must hold every expected line, with … for what is left out."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path, "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    printed = flat(ran.stdout + ran.stderr)
    for line in expected:
        for part in line.split("…"):
            assert flat(part) in printed, f"{command}\n{line}\n{ran.stdout}\n{ran.stderr}"
    if not expected:
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"


@pytest.mark.parametrize("page", sorted(p.stem for p in PAGES.glob("*.md")))
def test_a_tutorial_does_what_it_says(page: str, tmp_path: Path) -> None:
    needed = NEEDS.get(page)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    if page == "cpp" and shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    for kind, text in BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")):
        if kind != "console":
            name = NAME.match(text)
            assert name is not None, text
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
            continue
        commands: list[tuple[str, list[str]]] = []
        for line in text.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        for command, expected in commands:
            follow(command, expected, tmp_path)


def test_the_notebook_names_its_mistake_and_passes_without_it(tmp_path: Path) -> None:
    text = (PAGES / "notebook.ipynb").read_text(encoding="utf-8")
    wrong, right = "(1 - h[t + 1])", "(1 - h[t + 1] ** 2)"
    assert text.count(wrong) == 1
    for name, source in (("wrong", text), ("right", text.replace(wrong, right))):
        (tmp_path / f"{name}.ipynb").write_text(source, encoding="utf-8")
    named = ["layer: fail (model", "dh0 are what you get with: δi_t"]
    follow("gradcheck-rnn verify wrong.ipynb", named, tmp_path)
    follow("gradcheck-rnn verify right.ipynb", ["pass: 1 of 1 case passed"], tmp_path)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="sphinx is an extra")
    pytest.importorskip("furo", reason="furo is an extra")
    docs = tmp_path / "docs"
    root = PAGES.parent.parent
    shutil.copytree(root / "docs", docs, ignore=shutil.ignore_patterns("_build", "reference"))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(root / name, tmp_path)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "docs",
        "out",
    ]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "derive" in (tmp_path / "out" / "reference" / "commands.html").read_text()
    api = (tmp_path / "out" / "reference" / "api.html").read_text()
    assert "check_gradient" in api
    assert "--steps" in (tmp_path / "out" / "reference" / "commands.html").read_text()
