"""A file is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradcheck_rnn import files
from gradcheck_rnn.errors import UsageError


def test_text_arrives_as_it_is(tmp_path: Path) -> None:
    path = files.write_text(tmp_path / "a.py", "σ\r\nx\n")
    assert path.read_bytes() == "σ\r\nx\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = files.write_text(tmp_path / "a.py", "x")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_permissions_of_a_replaced_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("old")
    path.chmod(0o750)
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o750


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_nothing_half_written_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.py"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UsageError, match=r"cannot write .*a\.py: No space left on device"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


def test_a_device_is_written_through() -> None:
    files.write_text("/dev/null", "x")
    assert Path("/dev/null").is_char_device()


def test_a_text_that_cannot_be_encoded_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        files.write_text(tmp_path / "a.py", "\udc80")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"), [("", "it is a folder"), ("no/a.py", "there is no folder")]
)
def test_unwritable_paths_are_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        files.write_text(tmp_path / name, "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_protected_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        files.write_text(tmp_path / "a.py", "x")


def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(UsageError, match="cannot write it"):
        files.check_writable("it")
