"""What the search leaves out is what the long way finds too, and where it ends early it says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.blind_faults import FAULTS, check
from benchmarks.hand_faults import CELLS, patched
from gradcheck_rnn import check_model, load
from gradcheck_rnn.verify.diagnosis import candidates, matching, search
from gradcheck_rnn.verify.diagnosis.candidates import Bench, Candidate
from gradcheck_rnn.verify.diagnosis.combine import Changes
from gradcheck_rnn.verify.diagnosis.effects import Effects, is_one_step
from gradcheck_rnn.verify.diagnosis.reach import Reach
from gradcheck_rnn.verify.verdict import Verdict

from .study import Laboratory


@pytest.fixture(scope="module")
def gru() -> Laboratory:
    return Laboratory("gru")


def mistakes(laboratory: Laboratory, *ids: str) -> Candidate:
    known = {c.id: c for c in laboratory.candidates}
    first, *more = (known[i] for i in ids)
    for c in more:
        first = first & c
    return first


def every_set(
    bench: Bench, alike: Any, sets: Sequence[tuple[Candidate, ...]], *others: Any
) -> list[Candidate]:
    """The long way: all sets at all points."""
    whole = [c for some in sets if (c := matching.together(some)) is not None]
    return matching.everywhere(bench, whole, others[-1])


@pytest.mark.parametrize(
    "ids",
    [("dropped:gru/z<-a_z:",), ("dropped:gru/z<-a_z:", "transpose:gru/a_r<-h@1:0")],
)
def test_sets_of_the_same_edits_tried_once_have_the_names_of_all(
    monkeypatch: pytest.MonkeyPatch, gru: Laboratory, ids: tuple[str, ...]
) -> None:
    comparisons = gru.faulty(mistakes(gru, *ids))
    short = gru.diagnose(comparisons)
    monkeypatch.setattr(search, "_sets_everywhere", every_set)
    long = gru.diagnose(comparisons)
    assert short.found
    assert str(short) == str(long)
    assert {n: set(i) for n, i in short.same.items()} == {n: set(i) for n, i in long.same.items()}
    assert any(short.same.values())


@pytest.mark.parametrize("mistake", ["step:gru/z<-a_z:0", "time:gru/a_r<-W_r:h10"])
def test_what_cannot_make_the_error_by_itself_does_not(gru: Laboratory, mistake: str) -> None:
    right = mistakes(gru, mistake)
    comparisons = [c for c in gru.faulty(right) if c.wrong]
    some = [right, *gru.candidates[::4]]
    for place in {is_one_step(c): c for c in reversed(comparisons)}.values():
        effects = Effects(gru.bench, place)
        reach, changes = Reach(effects), Changes(effects, some)
        out = [c.id for c in some if not reach.can_make(c)]
        assert len(out) > len(some) / (2 if is_one_step(place) else 5)
        changes.take_all()
        alone = {changes.chosen[k].id for (k,) in changes.alone()}
        assert alone & {mistake}
        assert not alone & set(out)


@pytest.mark.parametrize(("most", "found"), [(1, False), (10**9, True)])
def test_a_search_ends_at_its_limit_of_work_and_says_so(
    monkeypatch: pytest.MonkeyPatch, most: int, found: bool
) -> None:
    monkeypatch.setattr(candidates, "MOST_WORK", most)
    slope, sign = ("(1 - hs[t + 1] ** 2)", "hs[t + 1]", ""), ("dU += da.T", "dU -= da.T", "")
    forward, backward = patched("elman", slope, sign)
    report = check_model(load(CELLS["elman"]), forward=forward, backward=backward)
    assert report.verdict is Verdict.FAIL
    diagnosis = report.diagnosis
    assert diagnosis is not None
    assert diagnosis.stopped is not found
    assert ("the search ended at its limit of work" in str(diagnosis)) is not found
    assert ("the search ended at its limit of work" in str(report)) is not found


def test_lags_are_seen_along_axes_of_different_lengths() -> None:
    fault = FAULTS["bahdanau/context-not-returned"]  # a source and a target sequence
    report = check("bahdanau", [fault.edit], False)
    assert report.verdict is Verdict.FAIL
    assert any("steps back were seen" in f.message for f in report.findings)
