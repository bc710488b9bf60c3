"""`prove --exact` says which entries are certified without any probability of error."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest


def test_one_cell(run) -> None:
    ran = run("prove", "elman", "--exact")
    assert ran.code == 0, ran.err
    assert "elman: proved" in ran.out
    assert "elman: certified exactly" in ran.out


def test_what_is_added_for_the_proof_is_said(run) -> None:
    added = "of the definition with softmax cross-entropy on a linear readout of q units (V, b_y)"
    assert added in run("prove", "linear").out
    assert "of the definition with softmax cross-entropy on y\n" in run("prove", "elman").out
    assert "of the definition with" not in run("prove", "squared_error").out


def test_as_json(run) -> None:
    plain = json.loads(run("prove", "mgu", "--json").out)
    assert "certificate" not in plain
    document = json.loads(run("prove", "mgu", "--exact", "--json").out)
    assert document["certificate"]["verdict"] == "certified"


def test_all_is_a_table(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcheck_rnn import api

    monkeypatch.setattr(api, "names", lambda: ("elman", "mgu"))
    ran = run("prove", "--all", "--exact")
    assert ran.code == 0, ran.err
    assert "without error" in ran.out
    assert "2 of 2 certified without any probability of error" in ran.out
    assert "without error" not in run("prove", "--all").out


def test_undecided_is_said_and_is_no_failure(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcheck_rnn import api
    from gradcheck_rnn.derivation.proof import certify_exactly

    proof = api.prove("elman")
    late = certify_exactly(api.load("elman"), seconds=0.0)
    monkeypatch.setattr(api, "names", lambda: ("elman",))
    monkeypatch.setattr(api, "prove", lambda *_, **__: replace(proof, certificate=late))
    ran = run("prove", "--all", "--exact")
    assert ran.code == 0
    assert f"undecided, {late.certified} of {late.entries} entries certified" in ran.out
    assert "0 of 1 certified without any probability of error" in ran.out
