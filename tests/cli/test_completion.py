"""Completion in a shell; `--quiet` and `--verbose`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gradcheck_rnn import api
from gradcheck_rnn.cli.app import app
from gradcheck_rnn.cli.completion import VARIABLE, answer

GROUP: Any = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("before", "unfinished", "found"),
    [
        ([], "ve", {"verify", "vectors"}),
        ([], "--comp", {"--completion"}),
        (["cells"], "gru_", {"gru_reset_after", "gru_d"}),
        (["layouts"], "pytorch l", {"pytorch lstm", "pytorch lstm projected"}),
        (["verify", "lstm"], "--qu", {"--quiet"}),
        (["derive", "lstm", "--form"], "ma", {"matrix"}),
        (["derive", "lstm", "--layout"], "num", {"numerator"}),
        (["verify", "x.py", "--layout"], "keras l", {"keras lstm"}),
        (["vectors", "x.py:y", "--layout"], "cudnn l", {"cudnn lstm"}),
        (["verify", "x.py", "--definition"], "lstm_pee", {"lstm_peephole", "lstm_peephole_full"}),
        (["derive", "lstm", "--loss"], "", set()),
        (["nothing"], "x", set()),
    ],
)
def test_what_a_word_can_become(before: list[str], unfinished: str, found: set[str]) -> None:
    assert found <= set(answer(GROUP, before, unfinished)) or not found
    if before == ["layouts"] or len(found) == 1:
        assert set(answer(GROUP, before, unfinished)) == found


def test_a_shell_asks_by_the_environment(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cells\nlstm_pee\n.")
    assert run().out.split() == ["lstm_peephole", "lstm_peephole_full"]
    monkeypatch.setenv(VARIABLE, "")
    assert "verify" in run().out.split()
    monkeypatch.delenv(VARIABLE)
    assert run("--completion", "tcsh").code == 2
    for shell in ("bash", "zsh", "fish"):
        assert VARIABLE in run("--completion", shell).out


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_in_bash(run, tmp_path: Path) -> None:
    (tmp_path / "gradcheck-rnn").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m gradcheck_rnn "$@"\n'
    )
    (tmp_path / "gradcheck-rnn").chmod(0o755)
    script = run("--completion", "bash").out + (
        '\nCOMP_WORDS=(gradcheck-rnn layouts "keras g"); COMP_CWORD=2\n'
        '_gradcheck_rnn gradcheck-rnn; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert ran.stdout.splitlines() == ["keras\\ gru", "keras\\ gru\\ reset_after=False"]


BAD = """import numpy as np
from gradcheck_rnn import gradient_case
for factor in (2.0, 2.1):
    @gradient_case(name=f"times_{factor}")
    def case(factor=factor):
        return lambda W: (W ** 2).sum(), lambda W: factor * W, np.ones(3)
"""


def test_quiet_and_verbose(run, tmp_path: Path) -> None:
    path = tmp_path / "g.py"
    path.write_text(BAD)
    ran = run("verify", str(path), "--quiet")
    first, second = ran.out.splitlines()
    assert ran.code == 1
    assert first.startswith("times_2.1: fail. the gradient of parameters is wrong")
    assert second.startswith("repeat: gradcheck-rnn verify")
    assert run("verify", f"{path}:times_2.0", "-q").out == ""
    told = run("verify", str(path), "-v").out
    assert told.count("parameters could have missed") == told.count("  not seen: ") == 2
    assert told.splitlines()[-2] == second
    assert told.splitlines()[-1] == "fail: 1 of 2 passed"
    ran = run("verify", str(path), "-v", "-q")
    assert (ran.code, ran.err) == (2, "error: give one of --quiet, --verbose and --json\n")


def test_a_long_report_in_full() -> None:
    done = api.verify("linear")
    assert all(row.name in report.in_full() for report in done for row in report.rows)
