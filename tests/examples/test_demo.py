"""`make demo`, with a short training: it ends well, and badly when something is not as expected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples import demo

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_goes_as_expected(tmp_path: Path, plain_environment: None) -> None:
    # In a process of its own: the number of BLAS threads is set before NumPy is there.
    command = [sys.executable, "-m", "examples.demo", "--seconds", "1", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    out = done.stdout
    assert done.returncode == 0, out + done.stderr
    assert done.stderr == ""
    assert out.count("(exit code 0") == 6
    assert out.count("(exit code 1") == 1
    assert "-    dprev_c = dc * f" in out
    assert "what you get with: δc_{t−1} without the factor f_t" in out
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
