"""Every public wrong gradient is found, its array, place and term are told, the right one passes.

What does not hold now is marked in the exhibit with its reason and expected to fail, strictly.
"""

from __future__ import annotations

import functools
import re

import pytest

from tests.museum.__main__ import totals
from tests.museum.exhibits import Outcome, judge, load_all

EXHIBITS = load_all()


@functools.cache
def outcome(name: str) -> Outcome:
    return judge(EXHIBITS[name])


@pytest.mark.parametrize("name", EXHIBITS)
def test_exhibit(name: str) -> None:
    result = outcome(name)
    assert result.right in ("pass", "undecided")
    holds = {
        "found": result.found,
        "passes": result.right == "pass",
        "located": result.located,
        "named": result.named is not False,
    }
    gaps = EXHIBITS[name].gaps
    assert {k for k, held in holds.items() if not held} == set(gaps), result
    if gaps:
        pytest.xfail("; ".join(gaps.values()))


def test_exhibits_are_short_public_and_many() -> None:
    assert len([e for e in EXHIBITS.values() if not e.torch]) >= 60
    for exhibit in EXHIBITS.values():
        assert re.fullmatch(r"https://github.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", exhibit.link)
        assert exhibit.size <= 40, exhibit.name
        number = exhibit.link.rsplit("/", 1)[1]
        assert f"_{number}_" in exhibit.name


def test_totals_count_names_only_where_a_definition_has_some() -> None:
    names = ("stat453_5_one_sum_for_all_biases", "fla_1141_initial_state_still_in_the_final")
    counted = totals([outcome(name) for name in names])
    assert counted["exhibits"] == counted["found"] == counted["located"] == 2
    assert counted["of"] == 0
