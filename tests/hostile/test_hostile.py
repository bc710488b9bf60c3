"""A part of the hostile inputs of benchmarks/hostile_inputs.py, each in a process of its own.

Another part at every run of the week would not be repeatable, so it is every N-th of each group.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.grammar import ALL
from tests.hostile.running import Hostile, run

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, needs /proc")


@pytest.mark.parametrize("part", range(3))
def test_every_ending_is_an_answer_or_one_line(part: int) -> None:
    """Forks of a fresh interpreter: those late in a test run took ten times as long."""
    program = [sys.executable, "-m", "benchmarks.hostile_inputs"]
    ran = subprocess.run(
        [*program, *list(ALL)[part::3], "--of-each", "5", "--spawn", "99", "--limit", "120"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "{'one line'" in ran.stdout


def test_the_classes_are_told_apart() -> None:
    def fault() -> object:
        raise TypeError("planted")

    def forever() -> object:
        while True:
            pass

    def write() -> object:
        open("executed.canary", "w").close()
        return None

    assert run(Hostile("planted", (), call=fault)).kind == "traceback"
    assert run(Hostile("planted", (), call=forever), limit=0.3).kind == "left running"
    assert run(Hostile("planted", (), call=write)).kind == "executed"
    assert run(Hostile("planted", ("cells",))).kind == "silent"
    assert run(Hostile("planted", ("cells",), refused=False)).kind == "answered"
    assert run(Hostile("planted", ("nope",)), spawn=True).kind == "one line"
