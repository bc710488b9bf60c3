"""`verify`: exit codes, what is printed, and the command that repeats a failure."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .test_errors import one_line

PROGRAM = str(Path(sys.executable).parent / "gradcheck-rnn")

GOOD = """\
import numpy as np
from gradcheck_rnn import gradient_case

def loss(p):
    return np.sum(np.tanh(p["W"]) ** 2) + np.sum(p["b"] ** 2)

def gradient(p):
    h = np.tanh(p["W"])
    return {"W": 2 * h * (1 - h * h), "b": 2 * p["b"]}

@gradient_case
def mine():
    return loss, gradient, {"W": np.linspace(0.1, 1, 6).reshape(2, 3), "b": np.ones(2)}
"""
BAD = GOOD.replace("1 - h * h", "1 - h")
# float() also keeps the complex step out, which additive noise would not stop.
NOISY = GOOD.replace(
    "return np", "return 1e3 * np.random.default_rng().normal() + float(np"
).replace("** 2)\n", "** 2))\n", 1)


def test_a_right_gradient_passes(run, write) -> None:
    ran = run("verify", write(GOOD))
    assert ran.code == 0
    assert ran.err == ""
    assert "\x1b" not in ran.out
    assert "mine: pass (entrywise, seed " in ran.out
    assert "W           pass" in ran.out
    assert "not seen: faults below" in ran.out
    assert ran.out.splitlines()[-1].startswith("pass: 1 of 1 case passed")


def test_a_wrong_gradient_fails_and_says_where_and_how_to_repeat(run, write) -> None:
    ran = run("verify", write(BAD))
    assert ran.code == 1
    assert "W           fail" in ran.out
    assert "b           pass" in ran.out
    assert "6 of 6" in ran.out
    assert "0 of 2" in ran.out
    (command,) = [x for x in ran.out.splitlines() if x.startswith("repeat: ")]
    words = shlex.split(command.removeprefix("repeat: "))
    assert words[:5] == ["gradcheck-rnn", "verify", "mine.py:mine", "--select", "W"]
    again = run(*words[1:])
    assert again.code == 1
    assert "b  " not in again.out

    def told(out: str) -> list[list[str]]:
        """Verdict, entry, gradient, difference and count; not step and noise."""
        rows = [x.split() for x in out.splitlines() if x.startswith(" W")]
        return [[*row[:2], *row[3:7], *row[8:]] for row in rows]

    assert told(again.out) == told(ran.out) != [], "the same entry with the same numbers"


def test_a_budget_says_what_it_bought(run, write) -> None:
    ran = run("verify", write(GOOD), "--budget", "30")
    assert ran.code == 0
    assert "mine: pass (directional, seed " in ran.out
    (said,) = [x for x in ran.out.splitlines() if "could have missed" in x]
    assert "a fault as large as the gradient with probability " in said
    assert "of 1e-4 with probability " in said
    assert "1 random direction)" in said
    assert "loss evaluations of a budget of 30)" in ran.out.splitlines()[-1]
    assert "not seen: faults below" not in ran.out, "no size is certain along a direction"


def test_what_cannot_be_decided_has_its_own_code(run, write) -> None:
    name = write(NOISY)
    assert run("verify", name).code == 3
    ran = run("verify", name, "--undecided", "warn")
    assert ran.code == 0
    assert "undecided: 0 of 1 case passed, taken as a warning" in ran.out


def test_json_is_json_whatever_the_users_code_prints(run, write) -> None:
    ran = run(
        "verify", write(BAD.replace("    h = np", "    print('hello')\n    h = np")), "--json"
    )
    assert ran.code == 1
    plain = json.loads(ran.out)
    assert (plain["verdict"], plain["passed"], plain["kind"]) == ("fail", False, "cases")
    assert [row["verdict"] for row in plain["reports"][0]["rows"]] == ["fail", "pass"]
    assert plain["reports"][0]["replay"].startswith("gradcheck-rnn verify mine.py:mine --select W")
    assert "hello" in ran.err


def test_a_fresh_seed_is_drawn_and_shown(run, write) -> None:
    name = write(GOOD)
    seeds = {json.loads(run("verify", name, "--seed", "fresh", "--json").out)["reports"][0]["seed"]
             for _ in range(2)}  # fmt: skip
    assert len(seeds) == 2
    ran = run("verify", name, "--seed", "7", "--json")
    assert json.loads(ran.out)["reports"][0]["seed"] == 7


def test_the_budget_is_kept(run, write) -> None:
    large = GOOD.replace("np.linspace(0.1, 1, 6).reshape(2, 3)", "np.full((60, 60), 0.3)")
    plain = json.loads(run("verify", write(large), "--budget", "2000", "--json").out)
    assert plain["reports"][0]["mode"] == "directional"
    assert plain["reports"][0]["evaluations"] < 2000


def test_the_users_traceback_and_only_that(run, write) -> None:
    ran = run("verify", write(GOOD.replace("h = np.tanh", "h = nothing + np.tanh")))
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("Traceback")
    assert 'File "mine.py", line 8, in gradient' in ran.err
    assert ran.err.count("File ") == 1
    assert ran.err.endswith("NameError: name 'nothing' is not defined\n")


@pytest.mark.parametrize(
    ("text", "argv", "message"),
    [
        ("x = 1\n", (), "mine.py has no gradient case, no cell and was not generated: write a"),
        ("import nothing_at_all\n", (), "mine.py:1: ModuleNotFoundError: No module named"),
        ("def f(:\n", (), "mine.py:1: SyntaxError"),
        (GOOD, ("--select", "q"), "select names 'q', which is no parameter; choose from W, b"),
        (GOOD, ("--budget", "1x"), "budget '1x' is neither a count nor seconds"),
        (GOOD, ("--budget", "0"), "budget is 0"),
        (GOOD, ("--seed", "x"), "seed 'x' is neither a non-negative integer nor 'fresh'"),
        (GOOD, ("--undecided", "maybe"), "'maybe' is not one of"),
        (GOOD.replace("return loss, gradient, ", "return loss, "), (), "returned a tuple of 2"),
        (GOOD.replace('"b": 2 * p["b"]', '"b": 2.0'), (), "the gradient of 'b' has shape ()"),
    ],
)
def test_misuse_is_one_line(run, write, text: str, argv: tuple[str, ...], message: str) -> None:
    ran = run("verify", write(text), *argv)
    assert ran.code == 2
    assert message in one_line(ran.err)
    assert ran.out == ""


def test_unknown_targets(run, write) -> None:
    name = write(GOOD)
    assert "unknown cell 'lsmt'; did you mean lstm" in one_line(run("verify", "lsmt").err)
    assert "there is no file nowhere.py" in one_line(run("verify", "nowhere.py").err)
    assert "did you mean mine" in one_line(run("verify", f"{name}:mime").err)


def test_a_narrow_terminal_cuts_no_number(run, write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ran = run("verify", write(GOOD))
    assert "…" not in ran.out


def test_black_box_cases_need_no_symbolic_algebra(write) -> None:
    name = write(GOOD)
    code = (
        "import sys, io\nfrom gradcheck_rnn.cli import main\nreal = sys.stdout\n"
        "sys.stdout = io.StringIO()\n"
        f"assert main(['verify', {name!r}]) == 0\n"
        "print(*{m.split('.')[0] for m in sys.modules}, file=real)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"sympy", "scipy", "flint", "mpmath"}
