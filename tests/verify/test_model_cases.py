"""Cases that say what they implement: a wrong term is named wherever cases are verified."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gradcheck_rnn import api, gradient_case, load
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.pools import Processes

CASE = """
import numpy as np
from gradcheck_rnn import gradient_case, load

def forward(x, h0, W, U, b_i):
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, np.stack(h), W, U)

def backward(cotangents, saved):
    x, h, W, U = saved
    dh, grads = cotangents["h_final"], {"W": 0.0, "U": 0.0, "b_i": 0.0, "x": np.empty_like(x)}
    for t in reversed(range(len(x))):
        da = (cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
        grads["W"] += da.T @ h[t]
        grads["U"] += da.T @ x[t]
        grads["b_i"] += da.sum(axis=0)
        grads["x"][t], dh = da @ U, da @ W
    return grads | {"h0": dh}

@gradient_case(model=load("elman_hidden"))
def mine():
    return forward, backward
"""
WRONG = CASE.replace("da.T @ h[t]", "da.T @ h[t + 1]")
SAYS = "∇W with h_t instead of h_{t−1}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.py"


def test_right_code_passes_and_the_wrong_term_is_named(file: Path) -> None:
    file.write_text(CASE, encoding="utf-8")
    (right,) = api.verify(file)
    assert right.passed
    assert right.to_json()["diagnosis"] is None
    file.write_text(WRONG, encoding="utf-8")
    (wrong,) = api.verify(file)
    assert SAYS in str(wrong)
    assert [r.name for r in wrong.rows if r.verdict.name != "PASS"] == ["W"]
    assert wrong.seed != right.seed  # made from the file's text


def test_workers_send_the_diagnosis_in_words(file: Path) -> None:
    file.write_text(WRONG, encoding="utf-8")
    alone = json.loads(json.dumps(api.verify(file)[0].to_json()))
    ((sent,),) = api.verify_many([str(file)], pool=Processes(2))
    assert sent.to_json() == alone
    (match,) = alone["diagnosis"]["matches"]
    assert SAYS in match["says"]
    assert match["residual"] < 1e-12
    assert alone["diagnosis"]["wrong"] == ["W"]


def test_select_budget_and_seed(file: Path) -> None:
    file.write_text(WRONG, encoding="utf-8")
    (one,) = api.verify(file, select="U", seed=7)
    assert one.passed
    assert (one.seed, [r.name for r in one.rows]) == (7, ["U"])
    (short,) = api.verify(file, budget="5s")
    assert "at one ordinary point" in str(short)
    with pytest.raises(UsageError, match="select names 'V'"):
        api.verify(file, select="V")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('load("elman_hidden")', 'load("elman_hiden")', "unknown cell 'elman_hiden'; did you mean"),
        ('load("elman_hidden")', '"elman_hidden"', "is a name; give the definition, load('elman_"),
        ('hidden")', 'hidden"), layout="mine"', "no ready layout 'mine'"),
        ("return forward, backward", "return forward", "case 'mine' returned a function; a case"),
        ("return forward, backward", "return forward, 3", "its backward is an int, not a function"),
        ("da.T @ x[t]", "x[t].T @ da", "case 'mine': the gradient of 'U' has shape"),
        ('model=load("elman_hidden")', 'layout="x"', "without model="),
        ('"elman_hidden")', '"elman_hidden"), form=1', "no option 'form'; beside model= there"),
    ],
)
def test_misuse_is_one_sentence(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(CASE.replace(old, new), encoding="utf-8")
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        api.verify(file)
    assert "\n" not in str(caught.value)


def test_other_code_is_said_first(file: Path) -> None:
    file.write_text(CASE.replace("np.tanh(", "0.5 + np.tanh("), encoding="utf-8")
    (report,) = api.verify(file)
    assert not report.passed
    assert "differs from the definition 'elman_hidden'" in str(report)


def test_a_kernel_is_diagnosed(tmp_path: Path) -> None:
    text = api.generate("gru")
    right = "        d_a_r *= h[start:stop]\n"
    assert text.count(right) == 1
    path = tmp_path / "gru.py"
    path.write_text(
        text.replace(right, "        d_a_r *= h[start + 1:stop + 1]\n"), encoding="utf-8"
    )
    done = api.verify(path)
    named = [f.message for r in done for f in r.findings if f.kind == "diagnosis"]
    assert len(named) == 1
    assert "h_t instead of h_{t−1}" in named[0]


def test_a_case_is_still_a_function() -> None:
    @gradient_case(model=load("lstm"))
    def mine() -> str:
        return "called"

    assert mine() == "called"


def test_a_search_that_breaks_costs_nobody_the_verdict(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradcheck_rnn.verify.diagnosis import find

    def broken(*_: object, **__: object) -> None:
        raise ValueError("shapes")

    monkeypatch.setattr(find, "find_mistake", broken)
    file.write_text(WRONG, encoding="utf-8")
    (report,) = api.verify(file)
    assert str(report.verdict) == "fail"
    assert "broke off (ValueError: shapes)" in str(report)
