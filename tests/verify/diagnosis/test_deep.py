"""Mistakes in deep networks: looked for part by part, from the loss."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bench_growth import chain
from benchmarks.time_to_name import Code
from gradcheck_rnn.cells.elman import elman_hidden
from gradcheck_rnn.cells.stacked import stack
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.mutants import mutants
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.verify.diagnosis import find
from gradcheck_rnn.verify.diagnosis.check import check_model
from gradcheck_rnn.verify.diagnosis.parts import SOME, parts_of


def layers(count: int) -> Network:
    network = Network(f"layers_{count}")
    made = stack(network, elman_hidden, network.input("x", "d"), count)
    network.output(made[-1].h)
    for handle in made:
        network.output(handle.final("h"))
    return network


@pytest.fixture(scope="module")
def code() -> Code:
    made = object.__new__(Code)
    made.network = as_network(layers(3))
    made.derivation = derive(made.network)
    made.refs = {**made.network.parameters, **made.network.inputs}
    return made


def said(code: Code, monkeypatch: Any, *mistakes: str) -> list[str]:
    """What is named where these mistakes are in the code, and nothing is looked for at once."""
    known = {m.id: m for m in mutants(code.derivation)}
    code.edits = Edits()
    for m in mistakes:
        code.edits = code.edits | known[m].edits
    monkeypatch.setattr(find, "MOST_AT_ONCE", 0)
    report = check_model(code.network, forward=code.forward, backward=code.backward, plan="few")
    assert str(report.verdict) == "fail"
    assert report.diagnosis is not None
    return [m.message for m in report.diagnosis.matches]


@pytest.mark.parametrize(
    ("mistakes", "words"),
    [
        (("step:elman_hidden_2/h_2<-i_2:0",), ["δi_{2,t} without φ′"]),  # in one layer
        # seen with more steps only
        (("time:elman_hidden_1/i_1<-W_1:h_110",), ["∇W_1 with h_{1,t} instead of h_{1,t−1}"]),
        # one at one step, the other behind it with more steps
        (("sign:elman_hidden_3/i_3<-b_i_3:", "short:elman_hidden_1/i_1<-U_1:1"),
         ["∇b_{i,3} with the sign of δi_{3,t} reversed", "∇U_1 without the first step"]),
        # what one layer hands to another
        (("scale:elman_hidden_3/i_3<-h_2:2",), ["δh_{2,t} with 2 times U_3ᵀ δi_{3,t}"]),
        # one function that every layer calls
        (tuple(f"step:elman_hidden_{k}/h_{k}<-i_{k}:0" for k in (1, 2, 3)),
         ["in 3 layers alike: ", "without φ′"]),
    ],
)  # fmt: skip
def test_named(code: Code, monkeypatch: Any, mistakes: tuple[str, ...], words: list[str]) -> None:
    found = said(code, monkeypatch, *mistakes)
    assert len(found) == 1
    assert all(w in found[0] for w in words), found


def test_without_a_name_the_next_step_is_said(code: Code, monkeypatch: Any) -> None:
    plain = code.backward

    def spoilt(cotangents: Any, run: Any) -> Any:
        made = plain(cotangents, run)
        made["b_i_3"] = made["b_i_3"] + 0.1 * made["b_i_3"] ** 2
        return made

    code.edits = Edits()
    monkeypatch.setattr(find, "MOST_AT_ONCE", 0)
    report = check_model(code.network, forward=code.forward, backward=spoilt, plan="few")
    text = str(report.diagnosis)
    assert report.diagnosis is not None
    assert not report.diagnosis.found
    assert "smallest failure: T = 1" in text
    assert "hand its adjoints over" in text
    assert "δi_3" in text


def test_every_gradient_and_edge_belongs_to_one_part() -> None:
    derivation = derive(as_network(chain(60)))
    parts = parts_of(derivation)
    assert len(parts) > 60 // SOME
    names = [n for p in parts for n in p.names]
    assert sorted(names) == sorted(r.name for r in derivation.differentiated())
    edges = [e.id for p in parts for e in p.edges]
    assert len(edges) == len(set(edges)) == len(list(derivation.edges))
