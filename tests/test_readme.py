"""What the README shows is run: Python blocks, commands, and what they print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gradcheck_rnn.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.M | re.S)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, text in BLOCKS
    if not language
    for line in text.splitlines()
    if line.startswith("gradcheck-rnn ")
]


def as_shown(shown: str, printed: str) -> bool:
    """Whether the lines stand there in turn; ``…`` is anything, 3e+07 any number of that form."""
    lines = iter(" ".join(line.split()) for line in printed.splitlines())
    for line in shown.splitlines():
        words = re.escape(" ".join(line.split())).replace("…", ".*")
        words = re.sub(r"\d(\\\.\d)?e(\\\+|\\-)\d+", r"[\\d.e+-]+", words)
        if not any(re.fullmatch(words, other) for other in lines):
            return False
    return True


def test_the_gradient_shown_as_wrong_fails_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PYTHON[0], "README.md", "exec"), {})
    printed = capsys.readouterr().out
    shown = next(text for _, text in BLOCKS if text.startswith("gradient check: the gradient"))
    # Directions are drawn from the content, so everything but rounding repeats.
    assert as_shown(shown, printed)
    assert not as_shown(shown.replace("-5.83102436", "-5.83102437"), printed)


def test_the_gradient_shown_passes_once_it_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "(1 - h))}        # should be 1 - h**2"
    assert wrong in PYTHON[0]
    right = PYTHON[0].replace(wrong, "(1 - h**2))}")
    exec(compile(right, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("gradient check: pass")


def test_the_wrong_term_is_named_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "h[t + 1]                  # should be h[t]"
    code = next(text for text in PYTHON if wrong in text)
    shown = next(text for _, text in BLOCKS if text.startswith("elman_hidden"))
    exec(compile(code, "README.md", "exec"), {})
    assert as_shown(shown, capsys.readouterr().out)
    exec(compile(code.replace(wrong, "h[t]"), "README.md", "exec"), {})
    assert ": pass (" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    definition = next(text for text in PYTHON if text.startswith("# mine.py"))
    (tmp_path / "mine.py").write_text(definition, encoding="utf-8")
    notes = next(text for _, text in BLOCKS if text.startswith("δc_t"))
    (tmp_path / "notes.txt").write_text(notes, encoding="utf-8")
    if "check-equations" in command:  # the notes shown have a mistake, which is found
        assert main(shlex.split(command)[1:]) == 1
        shown = next(text for _, text in BLOCKS if text.startswith("lstm, read as"))
        assert capsys.readouterr().out.strip() == shown.strip()
        return
    assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err


def test_there_are_commands() -> None:
    assert {shlex.split(c)[1] for c in COMMANDS} >= {"derive", "prove"}


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (Path(__file__).parent.parent / link).exists()
