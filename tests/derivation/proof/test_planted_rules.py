"""A wrong version of every rule of the calculus makes the proof fail, in the form it feeds alone.

That the other two forms still hold shows that the three derivations do not lean on each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gradcheck_rnn.calculus import derivatives
from gradcheck_rnn.calculus.rules import RULES, Rule
from gradcheck_rnn.calculus.terms import Num, Scale
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.language import (
    cell,
    concat,
    cos,
    cross_entropy,
    cumsum,
    dot,
    elu,
    erf,
    erf_slope,
    exp,
    expm1,
    floor,
    frozen,
    gelu,
    log,
    log1p,
    log_softmax,
    maximum,
    normal_cdf,
    normal_pdf,
    ones,
    relu,
    sigmoid,
    silu,
    sin,
    softmax,
    softplus,
    softsign,
    solve,
    split,
    sqrt,
    sum_heads,
    surrogate,
    tanh,
    unvec,
    vec,
    where,
)
from gradcheck_rnn.language import sum as unit_sum
from gradcheck_rnn.language.ops.elementwise import ELEMENTWISE

FORMS = {
    "pullback": "BPTT, matrix form",
    "differential": "BPTT, Kronecker form",
    "pushforward": "RTRL",
}


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U: p d; V: p p; b w: p; g:",
    data="target: p; mask: p",
    outputs="h loss",
)
def everything(x, h, W, U, V, b, w, g, target, mask):
    """Every node of the calculus at least once."""
    a = W @ h + U @ x + b
    turned = V.T @ (w * h) - a
    quotient = tanh(a) / (2 + w**2)
    kinked = where(mask, maximum(a, turned), abs(turned))
    parts = concat(sigmoid(turned), softmax(kinked))
    first, second = split(parts, "p", "p")
    scaled = (
        g * second + unit_sum(a) * cumsum(w) + dot(h, w) * frozen(first) + log_softmax(V @ first)
    )
    declared = surrogate(lambda v: v**2, lambda v: 3 + v)(turned)
    quotient = quotient + declared * solve(V, a)
    return quotient * scaled - first + dot(a, turned), cross_entropy(V @ scaled, target)


@cell(inputs="x: p", states="h: p", params="w: p")
def functions_of(x, h, w):
    """Every elementwise function with a slope in the calculus."""
    a = w * h + x
    b = tanh(a) + sigmoid(a) * relu(a) + softplus(w) * exp(a)
    c = erf(a) * normal_pdf(b) + gelu(w * a) * erf_slope(x) + softsign(a) * normal_cdf(h) - elu(b)
    return sin(b) * cos(a) + log(a) * sqrt(b) + silu(a) * expm1(b) * log1p(a) + c * floor(a)


@cell(heads="H", inputs="x: H p", states="z: H p", params="w: H p; u: p")
def in_heads(x, z, w, u):
    """What every head has, and what they share, under a sum over heads."""
    return tanh(z * sum_heads(w * z * z + u * u + w * x) + u)


@cell(inputs="x: p*q; t: q", states="S: p q", params="A: p p; b: p*q")
def stacked_columns(x, t, S, A, b):
    """Matrices as the vectors of their columns, and back."""
    return tanh(A @ unvec(x * vec(S), "p q") + unvec(b * vec(S.T), "q p").T * (t @ ones("p").T).T)


#: The definition in which a rule is planted, where it is not `everything`.
DEFINITIONS = {"sum over heads": in_heads, "vec": stacked_columns, "unvec": stacked_columns}


def active(rule: Rule) -> bool:
    """Whether the rule has something to differentiate."""
    return rule.name not in ("comparison", "frozen value", "choice of units")


@pytest.fixture(autouse=True, scope="module")
def _sound() -> None:
    """Without a fault all is proved: what fails below fails because of the fault."""
    for definition in (everything, functions_of, in_heads, stacked_columns):
        result = prove(definition)
        assert result.proved, str(result)


@pytest.mark.parametrize("family", FORMS)
@pytest.mark.parametrize(
    "rule", [r for r in RULES if active(r)], ids=lambda r: r.name.replace(" ", "-")
)
def test_a_planted_rule_fails_its_own_form(rule: Rule, family: str) -> None:
    right = getattr(rule, family)

    def wrong(*arguments: Any) -> Any:
        # A factor, not a sign: applied twice on one path, a sign would cancel.
        return Scale(Num(2), right(*arguments))

    definition = DEFINITIONS.get(rule.name, everything)
    result = prove(derive(definition, RULES.replaced(replace(rule, **{family: wrong}))))
    assert {g.form for g in result.groups if g.mismatches} == {FORMS[family]}


@pytest.mark.parametrize("function", sorted(ELEMENTWISE))
def test_a_planted_slope_fails_all_forms(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = derivatives.declared_slope

    def doubled(name: str, x: Any, y: Any) -> Any:
        slope = declared(name, x, y)
        if name != function:
            return slope
        return (y,) if name == "floor" else (Scale(Num(2), slope[0]), *slope[1:])

    monkeypatch.setattr(derivatives, "declared_slope", doubled)
    result = prove(functions_of)
    assert {g.form for g in result.groups if g.mismatches} == set(FORMS.values())
