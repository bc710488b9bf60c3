"""Declared sizes: which of them are run."""

from __future__ import annotations

from typing import Any

import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.sizes import around, listed_sizes


def test_every_size_of_a_list_and_the_marks_of_a_range() -> None:
    assert listed_sizes(7) == [7]
    assert listed_sizes([130, 1, 65]) == [1, 65, 130]
    assert listed_sizes({1, 100}) == [1, 100]
    found = listed_sizes(range(1, 131))
    assert {1, 2, 3, 63, 64, 65, 127, 128, 129, 130} <= set(found)
    assert len(found) < 30
    assert listed_sizes(range(8, 65, 8)) == [8, 16, 32, 64]


def test_sizes_around_a_block() -> None:
    assert around(64) == [1, 63, 64, 65, 129]
    assert around(1) == [1, 2, 3]


@pytest.mark.parametrize("bad", [[], range(0), 0, [3, -1], "8", 2.5, [2.5], True, None])
def test_what_is_no_size_is_misuse(bad: Any) -> None:
    with pytest.raises(UsageError):
        listed_sizes(bad)


@pytest.mark.parametrize("bad", [0, -3, 1.5, True])
def test_what_is_no_block_is_misuse(bad: Any) -> None:
    with pytest.raises(UsageError):
        around(bad)
