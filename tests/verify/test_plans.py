"""Plans: the same verdicts however the work is shared out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.api.plans import make_plan
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.executor_chunks import RemoteError
from gradcheck_rnn.verify.pools import Processes

CASES = """\
import numpy as np
from gradcheck_rnn import gradient_case

def loss(p):
    return np.sum(np.tanh(p["W"]) ** 2) + np.sum(p["b"] ** 2)

def gradient(p):
    h = np.tanh(p["W"])
    return {"W": 2 * h * (1 - h * h), "b": 2 * p["b"]}

def wrong(p):
    return {**gradient(p), "W": 2 * np.tanh(p["W"])}

point = {"W": np.linspace(0.1, 1, 40).reshape(4, 10), "b": np.ones(20)}

@gradient_case
def good():
    return loss, gradient, point

@gradient_case
def bad():
    return loss, wrong, point
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mine.py").write_text(CASES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return "mine.py"


def plain(done: list) -> list:
    return [
        [(r.title, str(r.verdict), r.seed, [(w.name, str(w.verdict)) for w in r.rows]) for r in v]
        for v in done
    ]


def test_one_verdict_however_it_is_run(mine: str) -> None:
    targets = ["elman_hidden", mine, "linear"]
    seen: list[tuple[int, int]] = []
    alone = api.verify_many(targets, grain=30)
    shared = api.verify_many(
        targets,
        grain=30,
        pool=Processes(2),
        on_done=lambda done, total, _: seen.append((done, total)),
    )
    assert plain(alone) == plain(shared)
    assert seen == [(n + 1, len(seen)) for n in range(len(seen))]
    assert [v.passed for v in shared] == [True, False, True]
    by_hand = api.verify("elman_hidden")
    assert [(r.title, [w.name for w in r.rows]) for r in shared[0]] == [
        (r.title, [w.name for w in r.rows]) for r in by_hand
    ], "nothing lost, nothing twice"
    assert [r.seed for r in shared[0]] == [r.seed for r in by_hand]


def test_chunks_are_groups_of_gradients(mine: str) -> None:
    plan = make_plan([mine], grain=30)
    assert [(c.case, c.select) for c in plan] == [
        ("good", ("W",)), ("good", ("b",)), ("bad", ("W",)), ("bad", ("b",)),
    ]  # fmt: skip
    assert plan[0].seed == plan[1].seed is not None, "one report has one seed"
    assert [c.select for c in make_plan([mine])] == [None, None]
    assert make_plan([mine]) == make_plan([mine])
    assert [c.select for c in make_plan(["linear", mine], select=["b"])] == [("b",), ("b",)]


def test_further_shapes_differ_and_can_be_repeated() -> None:
    done = api.verify_many(["gru"], shapes=3)
    assert [v.passed for v in done] == [True] * 3
    shapes = {v[1].rows[0].shape for v in done}
    assert len(shapes) == 3
    command = done[2].replay(done[2][1])
    assert "--shape 2" in command
    again = api.verify("gru", shape=2, seed=done[2][1].seed)
    assert [r.rows[0].worst for r in again] == [r.rows[0].worst for r in done[2]]


def test_a_kernel_that_kills_its_process_fails_and_the_others_are_done(mine: str) -> None:
    Path("deadly.py").write_text(
        CASES.replace("h = np.tanh", "import os; os.kill(os.getpid(), 9); h = np.tanh"),
        encoding="utf-8",
    )
    plan = ["deadly.py", mine]
    # What a plan evaluates itself is the parameters only, never a gradient.
    done = api.verify_many(plan, pool=Processes(2))
    assert [str(v.verdict) for v in done] == ["fail", "fail"]
    assert [r.mode for r in done[0]] == ["crash", "crash"]
    assert "died of SIGKILL" in done[0][0].findings[0].message
    assert "each of the 2 times it was run" in done[0][0].findings[0].message
    assert [(v.planned, v.reported) for v in done] == [(2, 0), (2, 2)]
    assert [str(r.verdict) for r in done[1]] == ["pass", "fail"]


def test_misuse(mine: str) -> None:
    with pytest.raises(UsageError, match=r"mine\.py is in the plan twice"):
        api.verify_many([mine, mine])
    with pytest.raises(UsageError, match="select names 'q', which is no parameter"):
        api.verify_many([mine], select=["q"])
    with pytest.raises(UsageError, match="unknown cell 'lsmt'"):
        api.verify_many(["lsmt"])
    with pytest.raises(UsageError, match="shapes is 0"):
        api.verify_many([mine], shapes=0)
    with pytest.raises(UsageError, match="budget '1x'"):
        api.verify_many([mine], budget="1x")


def test_the_users_exception_in_a_worker(mine: str) -> None:
    text = CASES.replace("h = np.tanh", "h = nothing + np.tanh").partition(
        "@gradient_case\ndef bad"
    )
    Path(mine).write_text(text[0], encoding="utf-8")
    with pytest.raises(RemoteError, match="NameError") as caught:
        api.verify_many([mine], pool=Processes(1))
    assert caught.value.traceback.count('File "') == 1
    assert "in gradient" in caught.value.traceback


def test_a_file_that_changed_under_a_worker_is_named(mine: str) -> None:
    from dataclasses import replace

    from gradcheck_rnn.api.plans import run_chunk

    (chunk, _) = make_plan([mine])
    with pytest.raises(UsageError, match="is another file than here, or changed"):
        run_chunk(replace(chunk, stamp="0" * 16))
    with pytest.raises(UsageError, match="put it where all workers see it"):
        run_chunk(replace(chunk, where="/nowhere/mine.py"))


def test_reports_pickle_small() -> None:
    import pickle

    from gradcheck_rnn.api.plans import run_chunk

    (chunk,) = make_plan(["lstm"])
    reports = run_chunk(chunk)
    assert len(pickle.dumps(reports)) < 200_000
    assert all(row.check is None for r in reports for row in r.rows)
    json.dumps([r.to_json() for r in reports], allow_nan=False)
