"""The exact certificate: what is right is certified, what is wrong is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.calculus.terms import Num, Scale
from gradcheck_rnn.cells.losses import with_loss
from gradcheck_rnn.derivation import Derivation, Edge, derive
from gradcheck_rnn.derivation.proof import Setting, certify, certify_exactly, prove
from gradcheck_rnn.derivation.proof.prove import adjoint_claims
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language import cell, elu, tanh, where
from gradcheck_rnn.language.network import as_network

SMALL = {"d": 1, "p": 2, "q": 3}
FORMS = ["forward values", "BPTT, matrix form", "BPTT, Kronecker form", "RTRL"]


@cell(inputs="x: p", states="h: p", params="w: p")
def small(x, h, w):
    return tanh(w * h + x)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "mgu", "lstm_peephole"])
def test_cells_are_certified(name: str, gradcheck_summary: Any) -> None:
    derivation = api.derive(with_loss(api.load(name)))
    certificate = certify_exactly(derivation, rtrl=True, sizes=SMALL)
    gradcheck_summary.sample("certify a cell without error", certificate.seconds)
    assert certificate.exact, str(certificate)
    assert certificate.verdict == "certified"
    assert list(dict.fromkeys(g.form for g in certificate.groups)) == FORMS
    # The same entries as the proof at a random point, where nothing is assumed.
    proof = [g for g in prove(derivation, sizes=SMALL).groups if g.form in FORMS]
    entries = {(g.form, g.what, g.entries) for g in proof}
    assert {(g.form, g.what, g.entries) for g in certificate.groups} == entries


def changed(derivation: Derivation, edge: Edge) -> Derivation:
    """The derivation with twice the pullback at one edge."""
    wrong = replace(edge, pullback=Scale(Num(2), edge.pullback))

    def program(p: Any) -> Any:
        equations = (
            replace(q, edges=tuple(wrong if e.id == edge.id else e for e in q.edges))
            for q in p.equations
        )
        return replace(p, equations=tuple(equations))

    return replace(derivation, scans=tuple(program(p) for p in derivation.scans))


def test_every_wrong_pullback_is_refused() -> None:
    derivation = derive(api.load("mgu"))
    for edge in derivation.edges:
        certificate = certify_exactly(changed(derivation, edge), sizes=SMALL, seconds=20)
        assert certificate.verdict == "different", edge.id
        assert {e.split(":")[0] for e in certificate.different} == {"BPTT, matrix form"}


def test_a_wrong_entry_is_named() -> None:
    derivation = derive(small)
    edge = next(e for e in derivation.edges if e.operand.name == "x")
    certificate = certify_exactly(changed(derivation, edge), lengths={"T": 2})
    assert certificate.different == tuple(
        f"BPTT, matrix form: dx[t={t}][{k}]" for t in range(2) for k in range(3)
    )
    assert not certificate.undecided
    assert "different: dx[t=0][0]" in str(certificate)


def test_a_wrong_slope_of_a_function_in_two_parts_is_refused() -> None:
    """Balls take the part of elu that their points lie in."""

    @cell(inputs="x: p", states="h: p", params="w: p")
    def curved(x, h, w):
        return elu(w * h + x)

    derivation = derive(curved)
    assert certify_exactly(derivation).exact
    edge = next(e for e in derivation.edges if e.operand.name == "x")
    certificate = certify_exactly(changed(derivation, edge), lengths={"T": 2})
    assert certificate.verdict == "different"
    assert not certificate.undecided


def claims_with(slope: Any) -> Any:
    """BPTT of `small` by hand with a slope of one's own."""

    def claims(setting: Setting) -> Iterator[tuple[str, str, dict[str, Any]]]:
        v, g = setting.values, setting.cotangents
        h, arguments = [v["h0"]], []
        for x in v["x"]:
            arguments.append(v["w"] * h[-1] + x)
            h.append(np.array([[e.tanh()] for e in arguments[-1][:, 0]], dtype=object))
        out = {n: 0 * v[n] for n in v}
        carry = g["h_final"]
        for t in reversed(range(len(arguments))):
            slopes = np.array([[slope(e)] for e in arguments[t][:, 0]], dtype=object)
            down = (carry + g["h"][t]) * slopes
            out["w"] = out["w"] + down * h[t]
            out["x"][t] = down
            carry = down * v["w"]
        out["h0"] = carry
        yield "by hand", "gradient", out

    return claims


def test_hand_written_gradients_are_certified_however_they_are_written() -> None:
    network = as_network(small)
    for slope in (
        lambda a: 1 - a.tanh() ** 2,
        lambda a: (1 - a.tanh()) * (1 + a.tanh()),
        lambda a: 1 - a.tanh() * -(-a).tanh(),
    ):
        assert certify(network, claims_with(slope)).exact


def test_what_needs_a_relation_between_function_values_is_undecided() -> None:
    """1 − tanh² a = 4 σ(2a)(1 − σ(2a)) is true, and nothing here may say so or deny it."""
    network = as_network(small)
    certificate = certify(
        network, claims_with(lambda a: 4 * (2 * a).sigmoid() * (1 - (2 * a).sigmoid()))
    )
    assert certificate.verdict == "undecided"
    assert not certificate.different
    assert certificate.certified < certificate.entries
    assert {why.split(" (")[0] for _, why in certificate.undecided} == {
        "needs a relation between function values"
    }
    assert "undecided" in str(certificate)
    assert certificate.document()["verdict"] == "undecided"


def test_what_is_nearly_the_relation_is_refused() -> None:
    network = as_network(small)
    certificate = certify(network, claims_with(lambda a: 4 * (2 * a).sigmoid() * (1 - a.sigmoid())))
    assert certificate.verdict == "different"
    assert not certificate.undecided


def test_out_of_time_is_undecided_and_not_equal() -> None:
    certificate = certify_exactly(api.load("lstm"), sizes=SMALL, seconds=0.0)
    assert certificate.verdict == "undecided"
    assert 0 < certificate.certified < certificate.entries
    assert {why for _, why in certificate.undecided} == {"time limit"}
    assert certificate.identities == 0


def test_both_branches_at_once() -> None:
    @cell(inputs="x: p", states="h: p", params="w: p")
    def branching(x, h, w):
        return where(x > h, tanh(w * h), abs(w) * x)

    assert certify_exactly(branching).exact
    derivation = derive(branching)

    def one_branch(setting: Setting) -> Any:
        for form, kind, made in adjoint_claims(derivation, setting):
            if kind == "gradient":
                yield form, kind, {**made, "x": 0 * made["x"]}

    assert certify(derivation.network, one_branch).verdict == "different"


def test_frozen_is_said() -> None:
    certificate = certify_exactly(api.load("lstm_1997_truncated"), sizes=SMALL)
    assert certificate.exact
    assert "by intent not the derivative of the loss" in str(certificate)


def test_wrong_forward_values_are_refused() -> None:
    derivation = derive(small)

    def claims(setting: Setting) -> Any:
        for form, kind, made in adjoint_claims(derivation, setting):
            yield form, kind, {n: np.roll(x, 1, axis=0) for n, x in made.items()}
            return

    assert certify(derivation.network, claims).verdict == "different"


def test_missing_misshapen_and_strange_gradients() -> None:
    network = as_network(small)

    def broken(setting: Setting) -> Any:
        ((form, kind, made),) = claims_with(lambda a: 1 - a.tanh() ** 2)(setting)
        del made["w"]
        made["h0"] = made["h0"][:2]
        yield form, kind, made

    different = certify(network, broken).different
    assert set(different) == {"by hand: dw is missing", "by hand: dh0 has shape (2, 1) for (3, 1)"}
    with pytest.raises(UsageError, match="no gradient 'Z'"):
        certify(network, lambda s: [("f", "gradient", {"Z": s.values["w"]})])
    assert not certify(network, lambda s: []).exact


def test_a_division_by_zero_is_one_clear_line() -> None:
    @cell(inputs="x: p", states="h: p", params="w: p")
    def broken(x, h, w):
        return w * h / (x - x)

    with pytest.raises(UsageError, match="'broken': a denominator is zero"):
        certify_exactly(broken)


def test_a_proof_carries_its_certificate() -> None:
    assert prove(small).certificate is None
    result = prove(small, exact=True)
    assert result.proved
    assert result.certificate is not None
    assert result.certificate.exact
    document = json.loads(result.dumps())["certificate"]
    assert document["verdict"] == "certified"
    assert document["entries"] == document["certified"] == result.certificate.entries
    assert "small: certified exactly at p = 3, T = 3" in str(result)


def test_a_difference_found_exactly_is_not_proved() -> None:
    derivation = derive(small)
    wrong = certify_exactly(changed(derivation, next(derivation.edges)))
    result = replace(prove(derivation), certificate=wrong)
    assert wrong.different
    assert not result.proved
