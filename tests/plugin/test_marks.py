"""What a project says beside a check: pytest's marks on cases, threads, its pyproject.toml."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn import check_gradient

from .conftest import CASES


def case(name: str, gradient: str, above: str = "", below: str = "") -> str:
    return (
        f"\n{above}\n@gradient_case\n{below}\ndef {name}():\n    return loss, {gradient}, point\n"
    )


def test_marks_hold_for_cases_above_and_below_the_decorator(project, run_pytest) -> None:
    text = "import pytest\n" + CASES
    text += case("known", "wrong", "@pytest.mark.xfail(reason='known')")
    text += case("below", "wrong", below="@pytest.mark.xfail")
    text += case("mended", "right", "@pytest.mark.xfail(strict=True)")
    text += case("elsewhere", "wrong", "@pytest.mark.skipif(True, reason='no GPU')")
    text += case("plain", "right")
    project(gradcheck_mine=text)
    ran = run_pytest("-rs")
    assert ran.code == 1
    assert "1 failed, 1 passed, 1 skipped, 2 xfailed" in ran.last
    assert "XPASS(strict)" in ran.out
    assert "no GPU" in ran.out
    assert "1 passed, 4 deselected" in run_pytest("-k", "plain").last


def test_a_mark_that_gives_arguments_is_refused_with_the_way_out(project, run_pytest) -> None:
    mark = "@pytest.mark.parametrize('k', [1, 2])"
    project(gradcheck_mine="import pytest\n" + CASES + case("one", "wrong", mark))
    ran = run_pytest()
    assert ran.code == 2
    assert "case 'one' has the mark parametrize" in ran.out
    assert "gradient_case(name=...)" in ran.out


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("gradient", ["wrong", "right"])
def test_a_failure_in_another_thread_fails_the_test(project, run_pytest, gradient: str) -> None:
    project(
        test_mine="from threading import Thread\nfrom gradients import *\n"
        "def test_it(gradcheck):\n"
        f"    thread = Thread(target=gradcheck, args=(loss, {gradient}, point))\n"
        "    thread.start()\n    thread.join()\n"
    )
    ran = run_pytest("-W", "ignore")
    assert ran.code == (gradient == "wrong")
    assert ("the gradient of W is wrong" in ran.out) == (gradient == "wrong")


@pytest.mark.parametrize(
    ("line", "options", "code"),
    [
        ('undecided = "warn"', (), 0),
        ('undecided = "warn"', ("--gradcheck-undecided", "fail"), 1),
        ('undecidd = "warn"', (), 4),
        ('undecided = "never"', (), 4),
    ],
)
def test_options_of_the_project_hold_under_pytest(
    project, run_pytest, pytester: pytest.Pytester, line: str, options: tuple[str, ...], code: int
) -> None:
    kink = "\n@gradient_case\ndef kink():\n"
    kink += "    return lambda w: abs(w).sum(), lambda w: np.sign(w), np.array([0.0, 1.0])\n"
    project(gradcheck_mine=CASES + kink)
    (pytester.path / "pyproject.toml").write_text(f"[tool.gradcheck-rnn]\n{line}\n")
    ran = run_pytest("-W", "ignore", *options)
    assert ran.code == code
    if code == 4:
        assert "pyproject.toml: [tool.gradcheck-rnn]" in ran.err


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_report_is_as_true_as_it_passed(factor: float) -> None:
    report = check_gradient(lambda w: (w**3).sum(), lambda w: 3 * factor * w**2, np.ones(2))
    assert bool(report) == report.passed == (factor == 1)
    assert repr(report).startswith("<Report of gradient check: ")
