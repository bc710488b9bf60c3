"""Cases run in processes of their own: what leaves, crashes or hangs fails alone, and counts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .conftest import CASES

LOST = (
    CASES
    + """
import ctypes, os, sys

@gradient_case
def good():
    return loss, right, point

@gradient_case
def hard():
    os._exit(0)

@gradient_case
def body():
    sys.exit(0)

@gradient_case
def in_c():
    return loss, (lambda p: ctypes.CDLL(None)._exit(0)), point

@gradient_case
def fault():
    return loss, (lambda p: ctypes.string_at(0)), point

@gradient_case
def hangs():
    while True:
        pass

@gradient_case
def skipped():
    import pytest
    pytest.skip("not here")

@gradient_case
def bad():
    return loss, wrong, point
"""
)
FIXTURE = """
import os
from gradients import *

def test_leaves(gradcheck):
    gradcheck(lambda p: os._exit(0), right, point)

def test_hangs(gradcheck):
    def loss(p):
        while True:
            pass
    gradcheck(loss, right, point)

def test_good(gradcheck):
    calls = []
    gradcheck(lambda p: calls.append(1) or loss(p), right, point)
    assert calls, "a check of the fixture runs in this process"
"""


def test_what_is_lost_is_named_and_costs_no_other(project, run_pytest, pytester) -> None:
    project(
        gradcheck_lost=LOST, test_fixture=FIXTURE, gradcheck_exit="import os\nos._exit(0)\n",
        gradcheck_leave="import sys\nsys.exit(0)\n", gradcheck_none="import numpy\n",
    )  # fmt: skip
    options = ("--gradcheck-timeout", "4", "--gradcheck-github", "--gradcheck-report", "r.json")
    ran = run_pytest(*options, "--continue-on-collection-errors", alone=True)
    assert ran.code == 1
    assert "8 failed, 2 passed, 1 skipped, 1 warning, 2 errors" in ran.last
    for said in (
        "error: case 'hard': exits (os._exit(0)) before there is a result",
        "error: case 'body': exits (sys.exit(0)) before there is a result",
        "error: case 'in_c': its process ended with exit code 0 before there was a result",
        "error: case 'fault': its process died of SIGSEGV",
        "error: case 'hangs': did not end within 4 s",
        "FAILED test_fixture.py::test_leaves",
        "gradcheck in test_hangs: did not end within 4 s",
        "gradcheck_exit.py exits (os._exit(0)) before there is a result",
        "gradcheck_leave.py exits (sys.exit(0)) before there is a result",
        "bad: fail (entrywise, seed",
        "GradcheckWarning: gradcheck_none.py has no test: mark cases with @gradient_case",
        "gradcheck: 2 pass, 2 fail, 8 without a report",
    ):
        assert said in ran.out
    told = [line for line in ran.out.splitlines() if line.startswith("::error ")]
    assert len(told) == 10
    for case, how in (("in_c", "its process ended with exit code 0"), ("hangs", "did not end")):
        line = LOST[: LOST.index(f"def {case}()")].count("\n")
        (said,) = [x for x in told if f"gradcheck_lost.py,line={line},title={case}%3A" in x]
        assert how in said
    (said,) = [x for x in told if "gradcheck_exit.py,line=1," in x]
    assert "exits (os._exit(0)) before there is a result" in said
    plain = json.loads((pytester.path / "r.json").read_text())
    mine = "gradcheck_lost.py::{}".format
    account = plain["accounting"]
    assert account["planned"] == 10
    assert account["crashed"] == [*map(mine, ("hard", "body", "in_c", "fault"))]
    assert account["timed_out"] == [mine("hangs")]
    assert "test_fixture.py::test_hangs" in account["raised"]
    assert account["reported"] + sum(len(v) for k, v in account.items() if k not in (
        "planned", "reported")) == account["planned"]  # fmt: skip
    assert (plain["verdict"], plain["passed"]) == ("fail", False)


@pytest.mark.parametrize("how", ["_exit(0)", "abort()"])
@pytest.mark.parametrize(
    ("file", "isolation"), [("gradcheck_lost", "never"), ("test_fixture", "auto")]
)
def test_what_takes_pytest_away_is_named(
    project, pytester, how: str, file: str, isolation: str
) -> None:
    """In pytest's own process: that of cases beside threads, and that of the fixture's calls."""
    ends = f"lambda p: ctypes.CDLL(None).{how}"
    case = f"\nimport ctypes\n@gradient_case\ndef ends():\n    return loss, {ends}, point\n"
    fixture = f"\nimport ctypes\ndef ends(gradcheck):\n    gradcheck(loss, {ends}, point)\n"
    text = CASES + (case if isolation == "never" else fixture.replace("ends(", "test_ends("))
    project(**{file: text})
    argv = ("-p", "no:cacheprovider", "-p", "no:faulthandler", "--gradcheck-github")
    # Whoever reads the pipe to its end has what is said after pytest's end, too.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *argv, "--gradcheck-isolation", isolation],
        cwd=pytester.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -6), "that cannot be helped"
    test = f"{file}.py::" + ("ends" if isolation == "never" else "test_ends")
    said = "the process of pytest ended before there was a result; what follows did not run"
    assert f"error: {test}: {said}" in done.stderr
    (told,) = [x for x in done.stderr.splitlines() if x.startswith("::error")]
    # A case is shown at its decorator, a call of the fixture where it stands.
    line = text[: text.index("ends")].count("\n") + 2 * (isolation == "auto")
    assert f"{file}.py,line={line}," in told
    assert f"::{said}" in told


def test_where_a_fork_does_no_good_the_limits_hold_as_far_as_they_can(project, run_pytest) -> None:
    project(gradcheck_lost=LOST)
    ran = run_pytest(
        "--gradcheck-isolation", "never", "-o", "gradcheck_timeout=4",
        "-k", "good or hard or body or hangs", alone=True,
    )  # fmt: skip
    assert "3 failed, 1 passed, 4 deselected" in ran.last
    assert "gradcheck: 1 pass, 3 without a report" in ran.out
    assert "error: case 'hard': exits (os._exit(0)) before there is a result" in ran.out
    assert "error: case 'hangs': did not end within 4 s" in ran.out
    ran = run_pytest("--gradcheck-timeout", "soon")
    assert ran.code == 4
    assert "timeout 'soon' is no positive number of seconds" in ran.err
