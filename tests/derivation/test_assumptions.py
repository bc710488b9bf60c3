"""p − y where targets sum to one: on pages, in every format, and proved under that assumption."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.calculus.terms import Num, Scale
from gradcheck_rnn.cells.losses import with_loss
from gradcheck_rnn.derivation import assumptions
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.language import cell, cross_entropy

SHOWN = "BPTT as shown, units of target summing to one"


@cell(inputs="y: q", data="target: q", outputs="loss")
def any_target(y, target):  # type: ignore[no-untyped-def]
    return {"loss": cross_entropy(y, target)}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("char_rnn", "softmax(y_t) − target_t    (as sum(target_t) = 1: target_t is one-hot)"),
        ("many_to_one", "softmax(y) − target    (as sum(target) = 1: target is one-hot)"),
    ],
)
def test_the_page_says_what_it_assumes(name: str, line: str) -> None:
    derivation = api.derive(name)
    assert line in api.render(derivation)
    steps = api.render(derivation, steps=True)
    # How the rule is applied is general; what comes of it is not.
    assert "(sum(target" in steps
    assert line in steps
    for fmt in ("latex", "markdown", "typst", "json"):
        assert "is one-hot" in api.render(derivation, fmt)
    jacobian = api.render(derivation, form="kronecker")
    assert "(softmax(y" in jacobian
    assert "sum(target_t) ·" not in jacobian


def test_undeclared_targets_keep_the_general_form() -> None:
    derivation = api.derive(with_loss(api.load("elman"), any_target))
    assert "sum(target_t) · softmax(y_t) − target_t" in api.render(derivation)
    assert "as sum" not in api.render(derivation)
    forms = {g.form for g in prove(derivation).groups}
    assert not any("as shown" in f for f in forms)
    declared = api.derive(with_loss(api.load("elman"), any_target, domains={"target": "simplex"}))
    assert "softmax(y_t) − target_t    (as sum(target_t) = 1: target_t are" in api.render(declared)


def test_what_is_shown_is_proved() -> None:
    proof = prove(api.derive("char_rnn"))
    assert proof.proved
    shown = [g for g in proof.groups if g.form == SHOWN]
    plain = [g for g in proof.groups if g.form == "BPTT, matrix form"]
    assert [(g.what, g.entries) for g in shown] == [(g.what, g.entries) for g in plain]


def test_a_wrong_simplification_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a page said 2 (p − y), or left out a factor that is not one."""
    derivation = api.derive("char_rnn")

    def doubled(*given: Any) -> Any:
        terms, names = found(*given)
        return {n: Scale(Num(2), t) for n, t in terms.items()}, names

    found = assumptions.assumed_terms
    monkeypatch.setattr(assumptions, "assumed_terms", doubled)
    proof = prove(derivation)
    assert not proof.proved
    assert all(m.startswith("BPTT as shown") for m in proof.mismatches)


def test_without_the_assumption_it_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The point of the proof satisfies what is assumed, and no other point would do."""
    module = importlib.import_module("gradcheck_rnn.derivation.proof.prove")
    draw = module.draw  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "draw", lambda *a, assumed, **k: draw(*a, **k))
    assert not prove(api.derive("char_rnn")).proved


def test_generated_code_keeps_to_the_general_form() -> None:
    """A kernel takes any target: nothing that it assumes could be broken by its caller."""
    assert "sum(target_t) · softmax(y_t) − target_t" in api.generate("char_rnn")
