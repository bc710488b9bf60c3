"""Gradient cases: from a user's own loss and gradient to a verdict in ten lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradcheck_rnn import GradcheckError, api, gradient_case
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.loading import run_file, user_frames
from gradcheck_rnn.verify.cases import GradientCase, collect_cases

GOOD = """\
import numpy as np
from gradcheck_rnn import gradient_case

def loss(p):
    return np.sum(np.tanh(p["W"]) ** 2)

def gradient(p):
    h = np.tanh(p["W"])
    return {"W": 2 * h * (1 - h * h)}

@gradient_case
def mine():
    return loss, gradient, {"W": np.linspace(0.1, 1, 6).reshape(2, 3)}
"""


@pytest.fixture
def collect(tmp_path: Path) -> Callable[[str], list[GradientCase]]:
    def collect(text: str) -> list[GradientCase]:
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        path = str(tmp_path / "mine.py")
        return collect_cases(run_file(path), path)

    return collect


def test_ten_lines_are_enough_and_a_fault_is_found(collect) -> None:
    (case,) = collect(GOOD)
    assert case.check().passed
    (case,) = collect(GOOD.replace("1 - h * h", "1 - h"))
    assert str(case.check().verdict) == "fail"


def test_a_case_stays_a_function_and_knows_its_line(collect) -> None:
    (case,) = collect(GOOD)
    assert isinstance(case, GradientCase)
    loss, gradient, parameters = case()
    assert callable(loss)
    assert callable(gradient)
    assert parameters["W"].shape == (2, 3)
    assert (case.name, case.line) == ("mine", 11)


def test_cases_come_in_file_order_also_those_made_in_a_loop(collect) -> None:
    text = GOOD + (
        "\nfor n in (3, 1, 2):\n"
        "    @gradient_case(name=f'size {n}')\n"
        "    def one(n=n):\n"
        "        return loss, gradient, {'W': np.full(n, 0.3)}\n"
    )
    cases = collect(text)
    assert [c.name for c in cases] == ["mine", "size 3", "size 1", "size 2"]
    assert [c.check().rows[0].entries for c in cases] == [6, 3, 1, 2]


def test_two_cases_of_one_name_are_not_one(collect) -> None:
    text = GOOD + "\n@gradient_case\ndef mine():\n    return loss, gradient, {'W': np.ones(2)}\n"
    with pytest.raises(UsageError, match=r"mine\.py:15: a second case is named 'mine'.*line 11"):
        collect(text)


def test_a_case_imported_by_name_counts(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "more.py").write_text("from base import mine\n", encoding="utf-8")
    try:
        (case,) = collect_cases(run_file(str(tmp_path / "more.py")))
    finally:
        sys.modules.pop("base", None)
    assert case.name == "mine"


def test_options_in_a_dict_and_from_outside() -> None:
    @gradient_case
    def case():
        return {
            "loss": lambda p: np.sum(p["a"] ** 2) + np.sum(p["b"] ** 3),
            "gradient": lambda p: {"a": 2 * p["a"], "b": 2 * p["b"] ** 2},
            "parameters": {"a": np.ones(3), "b": np.ones(2)},
            "select": ["a"],
            "mode": "directional",
        }

    report = case.check()
    assert report.passed, "b is wrong, but not selected"
    assert report.mode == "directional"
    assert case.check(seed=3).seed == 3
    assert not case.check(select="b").passed, "what is asked for wins"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: None, r"case 'case' returned a NoneType; return \(loss, gradient, parameters\)"),
        (lambda: (np.sum, np.sum), "returned a tuple of 2"),
        (lambda: {"loss": np.sum, "gradient": None}, "returned a dict without 'parameters'"),
        (
            lambda: {"loss": np.sum, "gradient": None, "parameters": 1.0, "tol": 1e-5},
            "the option 'tol', which does not exist; there are mode, seed",
        ),
        (lambda: (3.0, np.sum, np.ones(2)), "its loss is a float, not a function"),
        (lambda: (np.sum, 3.0, np.ones(2)), "its gradient is a float, not a function"),
        (lambda: (np.sum, lambda x: x[:1], np.ones(2)), r"case 'case': .* has shape \(1,\)"),
    ],
)
def test_misuse_names_the_case(made: Callable, message: str) -> None:
    @gradient_case
    def case():
        return made()

    with pytest.raises(GradcheckError, match=message):
        case.check()


def test_the_decorator_wants_a_function_without_arguments() -> None:
    with pytest.raises(UsageError, match="'wide' takes n"):

        @gradient_case
        def wide(n):
            return n

    with pytest.raises(UsageError, match="'later' is an async def, which gives nothing"):

        @gradient_case
        async def later():
            return None

    with pytest.raises(UsageError, match="'parts' is a generator"):

        @gradient_case
        def parts():
            yield None

    with pytest.raises(UsageError, match="not a int"):
        gradient_case(3)  # type: ignore[call-overload]


def test_the_users_exception_stays_the_users(collect) -> None:
    (case,) = collect(GOOD.replace("h = np.tanh", "h = np.tanh + nh"))
    with pytest.raises(NameError, match="nh") as caught:
        case.check()
    text = "".join(user_frames(caught.value))
    assert text.count('File "') == 1, "the frames of the checker are none of the user's business"
    assert "mine.py" in text
    assert "line 8, in gradient" in text


def test_reports_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    second = (
        "\n@gradient_case\ndef other():\n"
        "    return lambda p: np.sum(p['V'] ** 2), lambda p: {'V': p['V']}, {'V': np.ones(3)}\n"
    )
    path.write_text(GOOD + second, encoding="utf-8")
    seen: list[tuple[str, int]] = []
    done = api.verify(path, on_report=lambda report, left: seen.append((report.title, left)))
    assert [(r.title, r.passed) for r in done] == [("mine", True), ("other", False)]
    assert seen == [("mine", 1), ("other", 0)]
    assert not done.passed
    assert done.replay(done[1]) == (
        f"gradcheck-rnn verify {path}:other --seed {done[1].seed}"
    )  # fmt: skip
    assert api.verify(f"{path}:mine").passed
    assert [r.title for r in api.verify(path, select="V")] == ["other"]
    with pytest.raises(UsageError, match="'X', which is no parameter; choose from W, V"):
        api.verify(path, select="X")


def test_undecided_fails_unless_it_only_warns() -> None:
    # Noise drowns every difference, so nothing can be decided.
    rng = np.random.default_rng(0)

    def noisy(x):
        return float(np.sum(x**2) + rng.normal() * 1e3)

    from gradcheck_rnn.verify.session import verify_cases

    @gradient_case
    def case():
        return noisy, lambda x: 2 * x, np.ones(2)

    done = verify_cases([case])
    assert str(done.verdict) == "undecided"
    assert not done.passed
    assert verify_cases([case], undecided="warn").passed
    with pytest.raises(UsageError, match="undecided='maybe'"):
        verify_cases([case], undecided="maybe")  # type: ignore[arg-type]
    assert not verify_cases([]).passed, "nothing checked is nothing passed"


def test_black_box_verification_is_light(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD, encoding="utf-8")
    code = (
        "import sys\nfrom gradcheck_rnn import api\n"
        f"assert api.verify({str(tmp_path / 'mine.py')!r}).passed\n"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"sympy", "scipy", "flint", "mpmath"}
