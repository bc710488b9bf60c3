"""From what a user names to the object, and errors that say file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gradcheck_rnn import loading
from gradcheck_rnn.errors import UsageError


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "mine.py") -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


@pytest.mark.parametrize(
    ("target", "is_file"),
    [
        ("lstm", False),
        ("a.py", True),
        ("a.py:lstm", True),
        ("some/folder/a.py:lstm", True),
        ("C:\\cells\\a.py:lstm", True),
        ("folder/a.txt", True),
        ("a:b", False),
    ],
)
def test_files_and_names_are_told_apart(target: str, is_file: bool) -> None:
    assert loading.is_file_target(target) is is_file


def test_the_named_object_and_the_only_one(write) -> None:
    path = write("one = 1\nname = 'a'\n_hidden = 2")
    assert loading.find(f"{path}:one", (int,), "number") == 1
    assert loading.find(path, (int,), "number") == 1


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("one = 1\ntwo = 2", "", r"several; say which: mine.py:one or mine.py:two"),
        ("one = 1", ":on", r"mine.py: unknown number 'on'; did you mean one\?"),
        ("one = 'a'", ":one", r"mine.py:one is a str, not a number"),
        ("", ":one", "has no 'one' and defines no number"),
        ("", "", "defines no number"),
        ("\n\nx = y", ":x", r"^mine.py:3: NameError: name 'y' is not defined"),
        ("def f():\n  return (\n", ":x", r"^mine.py:\d: SyntaxError: '\(' was never closed"),
        ("import nothing_of_that_name", ":x", "mine.py:1: ModuleNotFoundError: No module named"),
        ("open('missing.npy')", ":x", "mine.py:1: No such file"),
        ("import sys\nsys.exit(3)", ":x", "mine.py:2: exits while it is loaded"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write, text: str, suffix: str, message: str) -> None:
    path = write(text)
    with pytest.raises(UsageError, match=message) as caught:
        loading.find(path + suffix, (int,), "number")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"there is no file nowhere\.py"):
        loading.find("nowhere.py:x", (int,), "number")


def test_neighbours_can_be_imported_and_the_path_is_restored(write) -> None:
    write("value = 7", "neighbour_of_mine.py")
    before = list(sys.path)
    assert loading.find(f"{write('from neighbour_of_mine import value')}:value", (int,), "x") == 7
    assert sys.path == before


def test_a_file_named_like_a_module_shadows_nothing(write) -> None:
    module = loading.run_file(write("value = 7", "json.py"))
    assert module.value == 7
    import json

    assert not hasattr(json, "value")


def test_the_line_in_the_users_file_is_found_later_too(write) -> None:
    module = loading.run_file(write("def f(g):\n    return g()\n"))

    def ours() -> None:
        raise ValueError("deep inside")

    with pytest.raises(ValueError, match="deep") as caught:
        module.f(ours)
    assert loading.place_of(caught.value) == "mine.py:2"
    frames = "".join(loading.user_frames(caught.value))
    assert "in f" in frames
    assert "in test_the_line" not in frames


def test_no_place_when_no_user_file_is_involved() -> None:
    assert loading.place_of(ValueError()) is None
    assert loading.user_frames(ValueError()) == []


def test_nearest_names() -> None:
    known = ("elman", "lstm", "lstm_peephole", "gru")
    assert "did you mean lstm" in str(loading.suggest("lsmt", known, "cell"))
    assert "did you mean lstm_peephole?" in str(loading.suggest("peephole", known, "cell"))
    assert "there are elman, lstm" in str(loading.suggest("transformer", known, "cell"))
