"""Wrong versions of every rule, vec identity and elementwise slope are found.

Each family is compared alone with the complex step through the definitions: the pullback through
BPTT, the differential through the Kronecker form, the pushforward through RTRL.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gradcheck_rnn.calculus import derivatives
from gradcheck_rnn.calculus.rules import RULES, Rule
from gradcheck_rnn.calculus.terms import Hadamard, Neg, Num, Plus, Scale, Term
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.errors import GradcheckError
from gradcheck_rnn.language import cell
from gradcheck_rnn.language.ops.elementwise import ELEMENTWISE
from gradcheck_rnn.language.primitives import elementwise
from gradcheck_rnn.language.values import operate

from .bank import BANK, disagreement
from .faults import FAMILIES, plant

#: Rules of what has no derivative.
NOTHING = ("comparison", "frozen value", "choice of units")
ACTIVE = [r for r in RULES if r.name not in NOTHING]
PASSIVE = [r for r in RULES if r.name in NOTHING]


def _id(value: Any) -> str:
    return getattr(value, "name", str(value)).replace(" ", "-")


def test_every_rule_has_its_definitions() -> None:
    assert set(BANK) == {r.name for r in RULES}
    for name, definitions in BANK.items():
        for definition in definitions:
            met = {s.rule for e in derive(definition).edges for s in e.steps}
            assert name in met or name in NOTHING
            for family in FAMILIES:
                assert disagreement(definition, family) == ""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", ACTIVE, ids=_id)
def test_wrong_versions_of_a_rule_are_found(rule: Rule, family: str) -> None:
    applied, missed = [], []
    for fault, planted in plant(rule, family).items():
        found = any(disagreement(d, family, planted.table) for d in BANK[rule.name])
        if planted.applied:
            applied.append(fault)
            if not found:
                missed.append(fault)
    assert missed == []
    assert len(applied) >= 4, applied


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", PASSIVE, ids=_id)
def test_a_derivative_where_there_is_none_is_found(rule: Rule, family: str) -> None:
    """A comparison or a frozen value that lets a derivative through."""
    through = lambda node, i, x, out: x  # noqa: E731
    wrong = replace(rule, passive=(), differential=through, pullback=through, pushforward=through)
    table = RULES.replaced(wrong)
    assert all(disagreement(d, family, table) for d in BANK[rule.name])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", ACTIVE, ids=_id)
def test_the_proof_fails_with_a_structural_fault(rule: Rule, family: str) -> None:
    """Through `prove`: the last fault in the list that applies, which is the most specific one."""
    definition = BANK[rule.name][0]
    for planted in reversed(plant(rule, family).values()):
        try:
            proved = prove(derive(definition, planted.table)).proved
        except GradcheckError:
            continue  # the calculus refuses what the fault makes of the term
        if planted.applied:
            assert not proved
            return
    raise AssertionError("no fault applies")


# -- elementwise slopes ------------------------------------------------------------------------


def _definition(name: str) -> Any:
    @cell(inputs="x: p", states="h: p", params="w: p", name=f"with_{name}")
    def definition(x, h, w):  # type: ignore[no-untyped-def]
        # Positive, for log and sqrt; elu where it is curved; relu has its own test below.
        a = 0.2 * (w * h + x) + (-1.1 if name == "elu" else 1.1)
        return operate("apply", a, function=name) * w + 0.1 * h

    return definition


def plant_slope(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    """Let the calculus take another slope, of the one function that the definition applies."""
    monkeypatch.setattr(derivatives, "declared_slope", lambda name, x, y: wrong(x, y))


SLOPE_FAULTS = {
    "negated": lambda slope, x, y: (Neg(slope[0]), *slope[1:]),
    "doubled": lambda slope, x, y: (Scale(Num(2), slope[0]), *slope[1:]),
    "plus one": lambda slope, x, y: (Plus(Hadamard(*slope), derivatives._one(x)),),
    "the function itself": lambda slope, x, y: (y,),
    "one": lambda slope, x, y: (derivatives._one(x),),
    "first factor only": lambda slope, x, y: slope[:1],
    "squared": lambda slope, x, y: (*slope, *slope),
}


@pytest.mark.parametrize("function", sorted(ELEMENTWISE))
def test_wrong_slopes_are_found(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = partial(derivatives.declared_slope, function)  # before any fault is planted
    definition = _definition(function)
    for family in FAMILIES:
        assert disagreement(definition, family) == ""
    for name, fault in SLOPE_FAULTS.items():
        if function == "relu" and name in ("one", "squared"):
            continue  # right where relu is on, and 1² = 1
        if (
            function == "floor"
            and name != "plus one"
            and name not in ("the function itself", "one")
        ):
            continue  # every multiple of its slope 0 is right

        def wrong(x: Term, y: Term, fault: Any = fault) -> tuple[Term, ...]:
            return tuple(fault(right(x, y), x, y))

        a = Num(1)
        if wrong(a, a) == right(a, a) or (function == "exp" and name == "the function itself"):
            continue
        plant_slope(monkeypatch, wrong)
        for family in FAMILIES:
            assert disagreement(definition, family), (name, family)
        plant_slope(monkeypatch, right)


def test_wrong_slope_of_relu_off_its_kink(monkeypatch: pytest.MonkeyPatch) -> None:
    @cell(inputs="x: p", states="h: p", params="w: p")
    def rectified(x, h, w):  # type: ignore[no-untyped-def]
        return operate("apply", w * h + x, function="relu") * w

    assert disagreement(rectified, "pullback") == ""
    plant_slope(monkeypatch, lambda x, y: (derivatives._one(x),))
    for family in FAMILIES:
        assert disagreement(rectified, family)


def test_wrong_slope_of_a_users_function(monkeypatch: pytest.MonkeyPatch) -> None:
    steep = elementwise("planted_steep", "x / (1 + abs(x)) + sigmoid(x)**2")

    @cell(inputs="x: p", states="h: p", params="w: p")
    def own(x, h, w):  # type: ignore[no-untyped-def]
        return steep(w * h + x) * w

    for family in FAMILIES:
        assert disagreement(own, family) == ""
    right = derivatives.lift
    monkeypatch.setattr(derivatives, "lift", lambda e, x: Scale(Num(2), right(e, x)))
    for family in FAMILIES:
        assert disagreement(own, family)
