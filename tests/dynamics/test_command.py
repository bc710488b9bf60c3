"""The command `decay`, as a shell sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradcheck_rnn.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    plain_environment: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["decay", *argv])
        held = capsys.readouterr()
        return code, held.out, held.err

    return run


SMALL = ("--steps", "60", "--size", "p=4", "--size", "d=3")


def test_words(run: Run) -> None:
    code, out, _ = run("lstm", *SMALL)
    assert code == 0
    for word in ("Vanishing", "closed forget gates", "orthogonal start", "W_f: spectral radius"):
        assert word in out


def test_json(run: Run) -> None:
    code, out, _ = run("elman", "gru", *SMALL, "--json", "--no-remedies")
    assert code == 0
    first, second = json.loads(out)
    assert first["name"] == "elman"
    assert second["exponents"]["exponents"][0] < 0


def test_pictures(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run("elman", *SMALL, "-o", "a.svg")[0] == 0
    first = (tmp_path / "a.svg").read_text()
    assert "<svg" in first
    assert run("elman", "gru", *SMALL, "--no-remedies", "-o", "b.png")[0] == 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(os.listdir(tmp_path)) == ["a.svg", "b.png"]


def test_a_trained_model_on_a_text(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "t.txt").write_text("hello world, hello gradient " * 5)
    n = len(set("hello world, hello gradient "))
    for name in ("a.npz", "b.npz"):
        np.savez(
            tmp_path / name,
            weight_ih_l0=rng.normal(size=(16, n)),
            weight_hh_l0=rng.normal(size=(16, 4)) / 2,
            bias_ih_l0=np.zeros(16),
            bias_hh_l0=np.zeros(16),
        )
    given = ("--weights", "a.npz", "--weights", "b.npz", "--input", "t.txt", "--no-remedies")
    code, out, err = run("lstm", *given)
    assert code == 0, err
    assert "lstm, a.npz" in out
    assert "lstm, b.npz" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("lsmt",), "did you mean lstm"),
        (("lstm", "-o", "a.gif"), "suffix"),
        (("lstm", "-o", "none/a.png"), "there is no folder"),
        (("lstm", "--weights", "none.npz"), "there is no weight file none.npz"),
        (("lstm", "gru", "elman", "--weights", "a.npz", "--weights", "b.npz"), "one file a cell"),
        (("lstm", "--input", "none.txt"), "there is no input file none.txt"),
        (("lstm", "--steps", "10"), "at least 60"),
        (("lstm", "--init", "glorot"), "orthogonal"),
        (("lstm", "--size", "p"), "not of the form"),
        (("lstm", "--size", "r=3"), "has no dim 'r'; it has d, p"),
        (("readout",), "no recurrent state"),
        (("linear", "--gain", "9", "--steps", "1000"), "not finite from step"),
        (("lstm", "--device", "tpu"), "tpu"),
    ],
)
def test_one_line_for_a_mistake(
    run: Run, tmp_path: Path, argv: tuple[str, ...], words: str
) -> None:
    code, out, err = run(*argv)
    assert code == 2
    assert not out
    assert len(err.splitlines()) == 1
    assert words in err
    assert os.listdir(tmp_path) == []


def test_an_input_that_is_too_short(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("abc" * 30)
    code, _, err = run("lstm", "--input", "t.txt", "--steps", "500")
    assert code == 2
    assert "the input has 89 steps, 500 were asked for" in err
