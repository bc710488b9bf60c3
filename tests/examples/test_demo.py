"""`make demo`, with a short training: it ends well, and badly when something is not as expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import demo


def test_the_demo_goes_as_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--seconds", "3", "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("(exit code 0") == 6
    assert out.count("(exit code 1") == 1
    assert "-    dprev_c = dc * f" in out
    assert "Adjoint recursion" in out
    assert "all as expected" in out
    assert (tmp_path / "lstm_kernel.py").is_file()


def test_a_broken_gradient_that_passes_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "WRONG", demo.RIGHT)
    monkeypatch.setattr(demo, "train", lambda *_: None)
    assert demo.main(["--folder", str(tmp_path)]) == 1
    assert "exit code 0, expected 1" in capsys.readouterr().out
