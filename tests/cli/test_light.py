"""Help and the catalogue are quick because they load nothing heavy; colour is for terminals."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).parent / "gradcheck-rnn")
HEAVY = {"sympy", "scipy", "flint", "mpmath"}


def loaded(*argv: str) -> set[str]:
    """Top-level packages a fresh interpreter has loaded after running the command."""
    code = (
        "import sys, io\nfrom gradcheck_rnn.cli import main\nreal = sys.stdout\n"
        "sys.stdout = io.StringIO()\n"
        f"code = main({list(argv)!r})\n"
        "print(code, *{m.split('.')[0] for m in sys.modules}, file=real)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exit_code, *names = done.stdout.split()
    assert exit_code == "0", done.stderr
    return set(names)


@pytest.mark.parametrize("argv", [("--help",), ("--version",), ("derive", "--help")])
def test_help_loads_nothing_heavy(argv: tuple[str, ...]) -> None:
    assert not loaded(*argv) & {*HEAVY, "numpy"}


def test_the_catalogue_needs_no_symbolic_algebra() -> None:
    assert not loaded("cells") & HEAVY
    assert not loaded("cells", "--json") & HEAVY


def test_help_is_quick() -> None:
    """Processor time, the best of three: wall-clock time would measure the other tests."""
    best = 9.0
    for _ in range(3):
        start = processor_seconds()
        subprocess.run([PROGRAM, "--help"], capture_output=True, check=True)
        best = min(best, processor_seconds() - start)
    assert best < 0.3


def processor_seconds() -> float:
    """Processor time of the finished children of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_terminal(argv: list[str], **environment: str) -> bytes:
    """Output of a command whose stdout is a terminal."""
    ours, theirs = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "100", **environment}
    with subprocess.Popen(argv, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        out = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not read:
                break
            out += read
    os.close(ours)
    assert process.returncode == 0
    return out


def test_colour_only_in_terminals_that_want_it() -> None:
    # Bold is not a colour: rich keeps it under NO_COLOR, as no-color.org says it may.
    assert b"\x1b[" in in_terminal([PROGRAM, "cells"])
    assert b"\x1b[3" not in in_terminal([PROGRAM, "cells"], NO_COLOR="1")
    unforced = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    piped = subprocess.run([PROGRAM, "cells"], capture_output=True, check=True, env=unforced)
    assert b"\x1b[" not in piped.stdout


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {PROGRAM} cells --json | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[\n"
    assert done.stderr == ""
    assert done.returncode in (0, 141)


@pytest.mark.parametrize("program", [[PROGRAM], [sys.executable, "-m", "gradcheck_rnn"]])
def test_a_shell_sees_the_exit_code(program: list[str]) -> None:
    assert subprocess.run([*program, "--version"], capture_output=True, check=False).returncode == 0
    wrong = subprocess.run([*program, "nope"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
