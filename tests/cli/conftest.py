"""Run the command line in this process, as a shell would see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradcheck_rnn.cli import main


@dataclass(frozen=True)
class Ran:
    """What a shell sees of a finished command."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], plain_environment: None) -> Callable[..., Ran]:
    """`run("derive", "lstm")` → exit code, stdout, stderr, those of its processes included."""

    def run(*argv: str) -> Ran:
        capfd.readouterr()
        code = main(argv)
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a user's file into an empty working folder and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "mine.py") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write
