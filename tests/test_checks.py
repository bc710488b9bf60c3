"""Arguments of the wrong kind are named in one line; files are measured before they are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, check_gradient, check_vjp, checks, memory_limits, reading
from gradcheck_rnn.errors import UsageError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1, "-1"), (1.5, "1.5"), (True, "True"), ([1], "[1]"), ("3", "'3'"), (None, "None"),
        (float("nan"), "nan"), (object(), "a object"), (10**5000, "very many digits"),
    ],
    ids=map(str, range(9)),
)  # fmt: skip
def test_no_whole_number(value: Any, shown: str) -> None:
    most = 10**9 if isinstance(value, int) and value > 0 else None
    with pytest.raises(UsageError) as error:
        checks.check_whole(value, "seed", most=most)
    assert "seed is" in str(error.value)
    assert shown in str(error.value)
    assert len(str(error.value)) < 200


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert checks.check_whole(np.int64(3), "n") == 3
    assert checks.check_whole(10**30, "n") == 10**30


def test_names_are_one_or_several_strings() -> None:
    assert checks.check_names("W", "select") == ["W"]
    assert checks.check_names(("W", "b"), "select") == ["W", "b"]
    assert checks.check_names((n for n in "ab"), "select") == ["a", "b"]
    for wrong in (3, [3], b"W", {"W": 1}, None, np.array(1.0)):
        with pytest.raises(UsageError, match="select is"):
            checks.check_names(wrong, "select")


def square(w: Any) -> float:
    return float(np.sum(w**2))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: check_gradient(None, lambda w: w, np.ones(3)), "loss is None"),
        (lambda: check_gradient("elman", lambda w: w, np.ones(3)), "loss is 'elman'"),
        (lambda: check_gradient(square, 3, np.ones(3)), "gradient is 3"),
        (lambda: check_gradient(square, lambda w: 2 * w, np.ones(3), select=3), "select is 3"),
        (lambda: check_gradient(square, lambda w: 2 * w, np.ones(3), seed=[1]), r"seed \[1\]"),
        (lambda: check_gradient(square, lambda w: w, np.ones(3), budget=[1]), r"budget is \[1\]"),
        (lambda: check_gradient(square, lambda w: 2 * w, np.ones(3), budget="nans"), "'nans'"),
        (lambda: check_gradient(square, lambda w: 2 * w, np.ones(3), budget="1.5"), "'1.5'"),
        (lambda: check_vjp(None, lambda *a: a, np.ones(3)), "forward is None"),
        (lambda: api.prove("elman", seed=-1), "seed is -1"),
        (lambda: api.load("elman", loss=3), "loss is 3"),
        (lambda: api.vectors("elman", seed=[1]), r"seed is \[1\]"),
        (lambda: api.vectors("elman", sizes=[("p", 3)]), "sizes is"),
        (lambda: api.vectors("elman", sizes={"p": 10**11}), "would need about"),
        (lambda: api.vectors("elman", sizes={"p": 1000, "T": 900}), "operations on numbers"),
        (lambda: api.decay("elman", sizes={"p": 10**11}), "would need about"),
        (lambda: api.decay("elman", steps=1.5), "steps is 1.5"),
        (lambda: api.decay("elman", gain="x"), "gain is 'x'"),
        (lambda: api.decay("elman", burn_in=480), "burn-in of 480"),
        (lambda: api.verify("elman", select=3), "select is 3"),
        (lambda: api.verify("elman", shape=-1), "shape is -1"),
        (lambda: api.verify_many(["elman"], shapes=10**11), "shapes is 100000000000"),
        (lambda: api.generate("elman", "fortran"), "backend is 'fortran'"),
        (lambda: api.render("elman"), "'elman' is no derivation"),
        (lambda: api.render(api.derive("elman"), form="x"), "form is 'x'"),
        (lambda: api.report([3], "r.html"), "3 is no result"),
        (lambda: api.report("elman", 3), "path of a report is 3"),
        (lambda: api.judge_results(3, "v.npz"), "against|results is 3|no file"),
    ],
)  # fmt: skip
def test_misuse_of_the_api_names_the_argument(call: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        call()


def test_an_option_is_given_once_and_a_list_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    from gradcheck_rnn.cli import main

    assert main(["derive", "elman", "--format", "text", "--format", "json"]) == 2
    assert "--format is given twice" in capsys.readouterr().err
    assert main(["prove", "elman", "--json", "--json"]) == 2
    assert main(["derive", "elman", "-o", "a", "--output", "b"]) == 2
    capsys.readouterr()
    assert main(["derive", "elman", "--wrt", "W", "--wrt", "U"]) == 0
    assert "U" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["p=٣", "p=²", "p=0", "p=-1", "p=1.5", "p=1_0", "p= 3", "=3"])
def test_sizes_are_ascii_digits(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    from gradcheck_rnn.cli import main

    assert main(["decay", "elman", "--size", size]) == 2
    assert "is not of the form p=64" in capsys.readouterr().err


def test_a_message_is_one_line_of_bounded_length(capsys: pytest.CaptureFixture[str]) -> None:
    from gradcheck_rnn.cli import main

    assert main(["derive", "x" * 5000]) == 2
    assert len(capsys.readouterr().err) < 1500
    assert main(["derive", "no\x1b[31m\nsuch.py"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


# -- files ----------------------------------------------------------------------------------------


def test_pipes_devices_folders_and_loops_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "loop", "zero", ".", "none", "x" * 300):
        with pytest.raises(UsageError, match=r"cannot read the text|there is no text"):
            reading.read_text(tmp_path / name, "text")


def test_a_file_larger_than_makes_sense_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(10 << 20)
    with pytest.raises(UsageError, match="10 MiB, at most 1 MiB"):
        reading.read_bytes(path, "text", 1 << 20)
    assert len(reading.read_bytes(path, "text")) == 10 << 20


def test_what_does_not_fit_is_said_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limits, "available", lambda: 3 << 30)
    memory_limits.check_memory(2 << 30, "the thing", "give less")
    with pytest.raises(UsageError, match=r"the thing would need about 4 GiB .* 3 GiB are free"):
        memory_limits.check_memory(4 << 30, "the thing", "give less")
    assert memory_limits.readable(1536) == "1.5 KiB"
    assert memory_limits.readable(10**40) == "10^27 TiB"
    assert memory_limits.readable(0) == "0 B"
