"""The pytest plugin: cases as tests, the fixture, what a failure looks like, the report."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from .conftest import CASES

TWO_CASES = CASES + (
    "\n@gradient_case\ndef good():\n    return loss, right, point\n"
    "\n@gradient_case\ndef bad():\n    return loss, wrong, point\n"
)
IN_A_LOOP = CASES + (
    "\nfor n in (2, 3):\n    @gradient_case(name=f'size {n}')\n    def one(n=n):\n"
    "        return loss, right, {'W': np.full((n, n), 0.3), 'b': np.ones(n)}\n"
)


def test_cases_are_collected_and_a_wrong_gradient_fails_the_run(project, run_pytest) -> None:
    project(gradcheck_mine=TWO_CASES, test_more=IN_A_LOOP, other=TWO_CASES)
    ran = run_pytest("-v")
    assert ran.code == 1
    for name in ("mine.py::good PASSED", "mine.py::bad FAILED", "size 2 PASSED", "size 3 PASSED"):
        assert name in ran.out
    assert "other.py" not in ran.out, "only named files and those of gradcheck_files"
    assert "3 passed" in ran.last
    assert "gradcheck: 3 pass, 1 fail" in ran.out
    assert "bad: fail (entrywise, seed" in ran.out
    assert "W          (2, 3)  fail" in ran.out
    assert "Traceback" not in ran.out
    assert "verify/cases.py" not in ran.out, "the frames of the checker are nobody's business"


@pytest.mark.parametrize(
    ("case", "said"),
    [("def lstm(x):", "takes x; a case"), ("async def lstm():", "is an async def")],
)
def test_a_case_that_cannot_be_one_is_one_line_at_its_place(
    project, run_pytest, case, said
) -> None:
    project(gradcheck_mine=f"{CASES}\n@gradient_case\n{case}\n    return loss, right, point\n")
    ran, line = run_pytest(), CASES.count("\n") + 2
    assert f"\nerror: gradcheck_mine.py:{line}: gradient case 'lstm' {said}" in ran.out
    assert "cases.py" not in ran.out
    assert "never awaited" not in ran.out


def test_the_command_shown_repeats_the_failure(project, run_pytest) -> None:
    project(gradcheck_mine=TWO_CASES)
    ran = run_pytest()
    (line,) = [x for x in ran.out.splitlines() if x.startswith("repeat: ")]
    words = shlex.split(line.removeprefix("repeat: "))
    assert words[:2] == ["pytest", "gradcheck_mine.py::bad"]
    assert words[-2:] == ["--gradcheck-select", "W"]
    again = run_pytest(*words[1:])
    assert again.code == 1
    assert "1 failed" in again.last
    # Verdict, entry, gradient and difference; noise and step are found along what is selected, so
    # that error ÷ bound may differ.
    numbers, repeated = (
        [[*x.split()[:4], *x.split()[5:9]] for x in r.out.splitlines() if x.startswith("  W ")]
        for r in (ran, again)
    )
    assert numbers == repeated != []
    assert "fail" in numbers[0]


@pytest.mark.parametrize("on_ci", [False, True])
def test_the_short_summary_says_in_a_line_what_is_wrong(
    project, run_pytest, monkeypatch, on_ci: bool
) -> None:
    """On CI pytest repeats a failure's whole message there."""
    project(gradcheck_mine=TWO_CASES, test_one="from gradients import *\n"
            "def test_one(gradcheck):\n    gradcheck(loss, wrong, point)\n")  # fmt: skip
    monkeypatch.setenv("CI", "true" if on_ci else "")
    for options in ((), ("-n", "2")):
        ran = run_pytest(*options, alone=bool(options))
        summary = ran.out.partition("short test summary info")[2].splitlines()[1:-1]
        assert sorted(summary) == [
            f"FAILED {test} - fail. the gradient of W is wrong: 0.179469 for 0.197356 at [0, 0], "
            "6 of 6 entries"
            for test in ("gradcheck_mine.py::bad", "test_one.py::test_one")
        ]
        assert ran.out.count("  W          (2, 3)  fail") == 2
    assert "gradcheck_mine.py:25: fail. the gradient of W is wrong" in run_pytest("--tb=line").out


def test_a_file_named_on_the_command_line_is_enough(project, run_pytest) -> None:
    project(other=TWO_CASES)
    assert run_pytest("other.py::good").code == 0
    assert run_pytest("other.py", "-m", "gradcheck").code == 1
    ran = run_pytest("-o", "gradcheck_files=oth*.py", "-k", "good")
    assert "1 passed, 1 deselected" in ran.last


def test_the_fixture_fails_the_test_at_the_users_line(project, run_pytest) -> None:
    project(
        test_it="from gradients import *\nimport pytest\n\n"
        "def test_right(gradcheck):\n    assert gradcheck(loss, right, point).passed\n\n"
        "def test_wrong(gradcheck):\n    gradcheck(loss, wrong, point)\n\n"
        "def test_step(gradcheck):\n"
        "    gradcheck.vjp(lambda W: (np.tanh(W), W),\n"
        "                  lambda g, W: (g * (1 - np.tanh(W) ** 2),), (np.ones(3),))\n\n"
        "def test_nothing():\n    pass\n"
    )
    ran = run_pytest("-m", "gradcheck")
    assert "1 failed, 2 passed, 1 deselected" in ran.last
    assert ">       gradcheck(loss, wrong, point)" in ran.out
    assert "GradientMismatch: test_wrong: the gradient of W is wrong" in ran.out
    assert "pytest_plugin.py" not in ran.out
    assert "repeat: pytest test_it.py::test_wrong --gradcheck-seed" in ran.out


def test_options_of_the_marker_the_call_and_the_command_line(project, run_pytest) -> None:
    project(
        test_it="from gradients import *\nimport pytest\n\n"
        "@pytest.mark.gradcheck(seed=3, select='b')\n"
        "def test_one(gradcheck):\n"
        "    print('seeds', gradcheck(loss, wrong, point).seed,\n"
        "          gradcheck(loss, wrong, point, seed=4).seed)\n\n"
        "@pytest.mark.gradcheck(sed=3)\n"
        "def test_two(gradcheck):\n    pass\n"
    )
    ran = run_pytest("-s")
    assert "seeds 3 4" in ran.out
    assert "the marker gradcheck takes budget, mode" in ran.out
    assert "not sed" in ran.out
    assert "1 passed, 1 error" in ran.last
    assert "seeds 5 5" in run_pytest("-s", "--gradcheck-seed", "5").out


def test_undecided_fails_unless_it_only_warns(project, run_pytest) -> None:
    text = CASES + "\n@gradient_case\ndef dim():\n    return noisy, right, point\n"
    project(gradcheck_mine=text)
    ran = run_pytest()
    assert ran.code == 1
    assert "dim: undecided" in ran.out
    ran = run_pytest("--gradcheck-undecided", "warn", "--gradcheck-report", "r.json")
    assert ran.code == 0
    assert "GradcheckWarning: dim: undecided" in ran.out


def test_the_users_exception_with_the_users_frames(project, run_pytest) -> None:
    text = CASES + "\n@gradient_case\ndef one():\n    return loss, lambda p: nothing, point\n"
    project(gradcheck_mine=text)
    ran = run_pytest()
    assert "NameError: name 'nothing' is not defined" in ran.out
    assert "gradcheck_mine.py:23: in <lambda>" in ran.out
    assert "target.py" not in ran.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "@gradient_case\ndef one():\n    return loss, right\n",
            "error: case 'one' returned a tup",
        ),
        (
            (
                "@gradient_case\ndef one():\n    return loss, right, point\n"
                "@gradient_case\ndef one():\n    return loss, wrong, point\n"
            ),
            "a second case is named 'one'",
        ),
    ],
)
def test_misuse_is_one_line(project, run_pytest, text: str, said: str) -> None:
    project(gradcheck_mine=f"{CASES}\n{text}")
    ran = run_pytest()
    assert ran.code != 0
    assert said in ran.out
    assert "Traceback" not in ran.out


def test_the_report_is_the_same_with_and_without_xdist(project, run_pytest, pytester) -> None:
    project(
        gradcheck_mine=TWO_CASES,
        test_it="from gradients import *\n\ndef test_two(gradcheck):\n"
        "    gradcheck(loss, right, point, title='first')\n"
        "    gradcheck(loss, right, point, title='second')\n",
    )
    one = run_pytest("--gradcheck-report", "one.json")
    two = run_pytest("--gradcheck-report", "two.json", "-n", "2")
    assert (one.code, two.code) == (1, 1)
    first, second = (json.loads((pytester.path / f).read_text()) for f in ("one.json", "two.json"))
    for plain in (first, second):
        plain["reports"].sort(key=lambda r: (r["test"], r["title"]))
    assert first == second
    assert [(r["title"], r["verdict"]) for r in first["reports"]] == [
        ("bad", "fail"), ("good", "pass"), ("first", "pass"), ("second", "pass"),
    ]  # fmt: skip
    assert (first["verdict"], first["passed"]) == ("fail", False)
    assert "gradcheck: 3 pass, 1 fail" in two.out


def test_a_test_that_broke_before_its_check_is_no_pass(project, run_pytest, pytester) -> None:
    project(
        test_it="from gradients import *\n\ndef test_one(gradcheck):\n"
        "    gradcheck(loss, right, point)\n\n"
        "def test_two(gradcheck):\n    undefined\n"
    )
    assert run_pytest("--gradcheck-report", "r.json").code == 1
    plain = json.loads((pytester.path / "r.json").read_text())
    assert (plain["verdict"], plain["passed"]) == ("undecided", False)
    assert plain["broken"] == ["test_it.py::test_two"]


def test_a_report_that_cannot_be_written_is_said_at_once(project, run_pytest) -> None:
    project(gradcheck_mine=TWO_CASES)
    ran = run_pytest("--gradcheck-report", "nowhere/r.json")
    assert ran.code == 4
    assert "there is no folder" in ran.err
    assert "passed" not in ran.out


def test_annotations_in_a_workflow(project, run_pytest, pytester, monkeypatch) -> None:
    project(gradcheck_mine=TWO_CASES)
    assert "::error" not in run_pytest().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    ran = run_pytest()
    (line,) = [x for x in ran.out.splitlines() if x.startswith("::error ")]
    assert "file=gradcheck_mine.py,line=" in line
    assert "title=bad%3A gradient fail::the gradient of W is wrong: " in line


def test_an_annotation_is_at_the_call(project, run_pytest, pytester, monkeypatch) -> None:
    """Of the fixture, also in a helper, and of a check by hand, whose verdict counts as well."""
    project(
        test_it="from gradients import *\nfrom gradcheck_rnn import check_gradient\n\n"
        "def helper(check):\n    return check(loss, wrong, point)\n\n"
        "def test_fixture(gradcheck):\n    assert point\n    gradcheck(loss, right, point)\n"
        "    gradcheck(loss, wrong, point)\n\n"
        "def test_helper(gradcheck):\n    helper(gradcheck)\n\n"
        "def test_by_hand():\n    report = helper(check_gradient)\n"
        "    report.raise_for_failure()\n"
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    ran = run_pytest()
    told = [x.partition(" gradient fail")[0] for x in ran.out.splitlines() if x.startswith("::")]
    assert told == [
        "::error file=test_it.py,line=10,title=test_fixture%3A",
        "::error file=test_it.py,line=5,title=test_helper%3A",
        "::error file=test_it.py,line=17,title=gradient check%3A",
    ]
    assert "gradcheck: 1 pass, 3 fail" in ran.out
    assert "FAILED test_it.py::test_by_hand - gradient check: fail. the gradient of W" in ran.out
    assert "def raise_for_failure" not in ran.out


def test_an_assert_of_a_report_has_an_annotation(project, run_pytest, pytester) -> None:
    project(
        test_it="from gradients import *\nfrom gradcheck_rnn import check_gradient\n\n"
        "def test_call():\n    assert check_gradient(loss, right, point)\n"
        "    assert check_gradient(loss, wrong, point).passed\n\n"
        "def test_name():\n    other = check_gradient(loss, wrong, point)\n"
        "    report = check_gradient(loss, right, point)\n    assert report and not other\n"
        "    assert other, 'wrong'\n\n"
        "def test_of_its_own():\n    other = check_gradient(loss, wrong, point)\n"
        "    assert point is None\n\n"
        "class TestOld(__import__('unittest').TestCase):\n    def test_old(self):\n"
        "        self.assertTrue(check_gradient(loss, wrong, point))\n"
    )
    ran = run_pytest("--gradcheck-github")
    told = [x for x in ran.out.splitlines() if x.startswith("::")]
    assert [re.findall(r"line=(\d+)", x) for x in told] == [["6"], ["12"], ["20"]]
    assert all("the gradient of W is wrong" in x for x in told)
    assert "gradcheck: 3 fail" in ran.out
    assert "4 failed" in ran.last


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--gradcheck-seed", "abc"), "seed 'abc' is neither a non-negative integer nor 'fresh'"),
        (("--gradcheck-budget", "10x"), "budget '10x' is neither a count nor seconds like '10s'"),
        (("--gradcheck-budget", "0"), "budget is 0"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_the_run(
    project, run_pytest, option: tuple[str, str], message: str
) -> None:
    project(gradcheck_mine=TWO_CASES)
    ran = run_pytest(*option)
    assert ran.code == 4
    assert message in ran.err
    assert "passed" not in ran.out


def test_tracebacks_of_the_fixture_show_the_users_code_only(project, run_pytest) -> None:
    project(
        test_it="from gradients import *\n\n"
        "def broken(p):\n    return p['nope']\n\n"
        "def test_wrong(gradcheck):\n    gradcheck(loss, wrong, point)\n\n"
        "def test_raises(gradcheck):\n    gradcheck(broken, right, point)\n\n"
        "def test_misuse(gradcheck):\n    gradcheck(lambda p: p['b'], right, point)\n"
    )
    out = run_pytest("--tb=long").out
    for line in ("test_it.py:7: GradientMismatch", "test_it.py:4: KeyError",
                 "test_it.py:13: UsageError"):  # fmt: skip
        assert line in out
    assert "blackbox.py" not in out
    assert "raise GradientMismatch" not in out


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('pythonpath = ["src"]', 0, "1 passed"),
        ('budget = "9s"', 2, "No module named 'mine'"),
        ("pythonpath = 3", 4, "pythonpath is not a list of folders"),
    ],
)
def test_the_pythonpath_of_the_project(project, run_pytest, pytester, text, code, said) -> None:
    (pytester.path / "tox.ini").unlink()
    (pytester.path / "pyproject.toml").write_text(f"[tool.gradcheck-rnn]\n{text}\n")
    (pytester.path / "src").mkdir()
    (pytester.path / "src" / "mine.py").write_text("from gradients import *\n")
    project(
        gradcheck_mine="from gradcheck_rnn import gradient_case\nfrom mine import *\n\n"
        "@gradient_case\ndef one():\n    return loss, right, point\n"
    )
    ran = run_pytest(alone=True)
    assert ran.code == code, ran.out
    assert said in ran.out + ran.err
