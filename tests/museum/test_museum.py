"""Every public wrong gradient is found, every right one is passed, and the place is told.

What does not hold now is marked in the exhibit with its reason and expected to fail, strictly. The
fast tests ask for verdicts only; those marked slow also for the array, the place and the term.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

import pytest

from gradcheck_rnn import check_model
from tests.museum.__main__ import totals
from tests.museum.exhibits import MODULES, Outcome, judge, load_all, verdict

EXHIBITS = load_all()


def cases(gap: str, wanted: bool = True) -> list[Any]:
    """All exhibits (for names those that have one), gaps marked."""
    found = []
    for name, exhibit in EXHIBITS.items():
        if wanted or exhibit.term:
            reason = exhibit.gaps.get(gap)
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            found.append(pytest.param(name, marks=marks))
    return found


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts only: nothing is searched for the name of a mistake."""
    for module in MODULES:
        if hasattr(sys.modules[f"tests.museum.{module}"], "check_model"):
            quick = functools.partial(check_model, diagnose=False)
            monkeypatch.setattr(f"tests.museum.{module}.check_model", quick)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("name", cases("found"))
def test_wrong_version_is_found(name: str) -> None:
    assert verdict(EXHIBITS[name].make, True) == "fail"


@functools.cache
def right_verdict(name: str) -> str:
    return verdict(EXHIBITS[name].make, False)


@pytest.mark.parametrize("name", EXHIBITS)
def test_right_version_raises_no_alarm(name: str) -> None:
    assert right_verdict(name) in ("pass", "undecided")


@pytest.mark.parametrize("name", cases("passes"))
def test_right_version_passes(name: str) -> None:
    assert right_verdict(name) == "pass"


@functools.cache
def outcome(name: str) -> Outcome:
    return judge(EXHIBITS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", cases("located"))
def test_place_is_told(name: str) -> None:
    result = outcome(name)
    assert result.located, f"not told: {result.missing}; failing: {result.failing}"


@pytest.mark.slow
@pytest.mark.parametrize("name", cases("named", wanted=False))
def test_term_is_named(name: str) -> None:
    result = outcome(name)
    assert result.named, f"not told: {result.missing}; {result.diagnosis}"


def test_exhibits_are_short_public_and_many() -> None:
    assert len([e for e in EXHIBITS.values() if not e.torch]) >= 60
    for exhibit in EXHIBITS.values():
        assert re.fullmatch(r"https://github.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", exhibit.link)
        assert exhibit.size <= 40, exhibit.name
        number = exhibit.link.rsplit("/", 1)[1]
        assert f"_{number}_" in exhibit.name


def test_totals_count_names_only_where_a_definition_has_some() -> None:
    names = ("stat453_5_one_sum_for_all_biases", "fla_1141_initial_state_still_in_the_final")
    counted = totals([judge(EXHIBITS[name]) for name in names])
    assert counted["exhibits"] == counted["found"] == counted["located"] == 2
    assert counted["of"] == 0
