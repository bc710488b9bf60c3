"""A part of the hostile inputs of benchmarks/hostile_inputs.py, each in a process of its own.

Another part at every run of the week would not be repeatable, so it is every N-th of each group.
"""

from __future__ import annotations

import sys

import pytest

import gradcheck_rnn.api
import gradcheck_rnn.cli.app
import gradcheck_rnn.derivation  # noqa: F401 - imported once and not by every child
from tests.hostile.grammar import ALL
from tests.hostile.running import FAULTS, Hostile, run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, needs /proc")
#: Of each group about so many.
SHARE = 5


def chosen(group: str) -> list[Hostile]:
    items = list(ALL[group]())
    return items[:: max(1, len(items) // SHARE)]


@pytest.mark.parametrize("group", list(ALL))
def test_every_ending_is_an_answer_or_one_line(group: str) -> None:
    wrong = []
    for item in chosen(group):
        ended = run(item)
        if ended.kind in FAULTS:
            wrong.append(f"{ended.kind}: {item.kind} {item.argv}\n{ended.err[-300:]}")
    assert not wrong, "\n".join(wrong)


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
