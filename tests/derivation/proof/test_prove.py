"""A proof holds for what is right and fails for every fault planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.calculus.terms import Num, Scale
from gradcheck_rnn.cells import elman as elman_cells
from gradcheck_rnn.cells import gru as gru_cells
from gradcheck_rnn.cells import losses
from gradcheck_rnn.cells import lstm as lstm_cells
from gradcheck_rnn.derivation import Derivation, Edge, derive
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.proof import ProofResult, Setting, check, prove
from gradcheck_rnn.derivation.proof.result import DirectionalClaims
from gradcheck_rnn.derivation.tangents import rtrl, rtrl_along
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language import cell, tanh, where
from gradcheck_rnn.language.network import Network, as_network


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p; V: q p; b_y: q", outputs="y")
def elman(x, h, W, U, b, V, b_y):
    h = tanh(W @ h + U @ x + b)
    return h, V @ h + b_y


@pytest.mark.parametrize(
    "definition",
    [elman_cells.elman, elman_cells.elman_delayed, lstm_cells.lstm, gru_cells.gru],
    ids=lambda c: c.name,
)
def test_cells_are_proved(definition: Any, gradcheck_summary: Any) -> None:
    result = prove(definition)
    gradcheck_summary.sample("prove a cell", result.seconds)
    assert result.proved, str(result)
    assert result.bits >= 120
    forms = {g.form for g in result.groups}
    assert forms == {"forward values", "BPTT, matrix form", "BPTT, Kronecker form", "RTRL"}
    gradients = {g.what for g in result.groups if g.form == "RTRL"}
    network = as_network(definition)
    assert {f"d{n}" for n in network.parameters} <= gradients
    assert {f"d{n}" for n in network.inputs} <= gradients


def test_a_loss_and_cotangents_together() -> None:
    network = Network("with_loss")
    layer = network.scan(elman)
    network.loss(network.scan(losses.softmax_cross_entropy, y=layer.y).loss)
    network.output(layer.y, layer.final("h"))
    result = prove(network, seed=3)
    assert result.proved, str(result)


# ----------------------------------------------------------- a backward pass with planted faults

FAULTS = ("W transposed", "sign", "carry lost", "final lost", "U transposed", "order of outer")
#: What 1 × 1 matrices cannot show.
HIDDEN_BY_ONES = {"W transposed", "U transposed", "order of outer"}


def backward(setting: Setting, fault: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """BPTT of the Elman network as people write it."""
    v, g = setting.values, setting.cotangents
    steps = setting.lengths["T"]
    h = [v["h0"]]
    for x in v["x"]:
        a = v["W"] @ h[-1] + v["U"] @ x + v["b"]
        h.append(np.array([[e.tanh()] for e in a[:, 0]], dtype=object))
    out = {n: 0 * v[n] for n in v}
    carry = 0 * v["h0"] if fault == "final lost" else g["h_final"]
    for k in reversed(range(steps)):
        dy = g["y"][k]
        delta = v["V"].T @ dy + carry
        slope = 1 - h[k + 1] ** 2 if fault != "sign" else 1 + h[k + 1] ** 2
        da = delta * slope
        out["b_y"] = out["b_y"] + dy
        out["V"] = out["V"] + dy @ h[k + 1].T
        outer = da @ h[k].T
        out["W"] = out["W"] + (outer.T if fault == "order of outer" else outer)
        out["U"] = out["U"] + da @ v["x"][k].T
        out["b"] = out["b"] + da
        fit = v["U"].T if v["U"].shape[0] != v["U"].shape[1] else v["U"]
        out["x"][k] = (fit[::-1] if fault == "U transposed" else v["U"].T) @ da
        carry = (v["W"] if fault == "W transposed" else v["W"].T) @ da
        if fault == "carry lost":
            carry = 0 * carry
    out["h0"] = carry
    yield "by hand", "gradient", out


def judged(fault: str, **setting: Any) -> ProofResult:
    return check(as_network(elman), lambda s: backward(s, fault), **setting)


def test_the_pass_without_a_fault_is_proved() -> None:
    result = judged("")
    assert result.proved, str(result)
    assert result.entries == 9 + 6 + 3 + 12 + 4 + 6 + 3


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(fault: str) -> None:
    result = judged(fault)
    assert not result.proved
    assert result.mismatches[0].startswith("by hand: d")
    assert "different: d" in str(result)


def test_where_a_fault_is_named() -> None:
    assert {m.split("[")[0] for m in judged("order of outer").mismatches} == {"by hand: dW"}
    inputs = judged("U transposed").mismatches
    assert "by hand: dx[t=0][1]" in inputs
    diagonal = judged("order of outer").mismatches
    assert "by hand: dW[0,1]" in diagonal
    assert "by hand: dW[1,1]" not in diagonal


@pytest.mark.parametrize("fault", FAULTS)
def test_dims_of_one_hide_transposes(fault: str) -> None:
    """Why the setting is 2, 3, 4: at 1, 1, 1 a wrong gradient passes."""
    result = judged(fault, sizes={"d": 1, "p": 1, "q": 1})
    assert result.proved == (fault in HIDDEN_BY_ONES)


def test_one_step_hides_a_lost_carry() -> None:
    def without_start(setting: Setting) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for form, kind, made in backward(setting, "carry lost"):
            (right,) = backward(setting)
            yield form, kind, {**made, "h0": right[2]["h0"]}

    network = as_network(elman)
    assert check(network, without_start, lengths={"T": 1}).proved
    assert not check(network, without_start).proved


# ------------------------------------------------------------------ faults in our own programs


def with_doubled_edge(derivation: Derivation, identity: str) -> Derivation:
    """The derivation with twice the pullback at one edge."""

    def edge(e: Edge) -> Edge:
        return replace(e, pullback=Scale(Num(2), e.pullback)) if e.id == identity else e

    scans = tuple(
        replace(
            program,
            equations=tuple(
                replace(q, edges=tuple(edge(e) for e in q.edges)) for q in program.equations
            ),
        )
        for program in derivation.scans
    )
    return replace(derivation, scans=scans)


def test_every_edge_of_the_adjoint_program_matters() -> None:
    """Doubling what any one edge contributes is found."""
    derivation = derive(lstm_cells.lstm)

    def proved(identity: str) -> bool:
        changed = with_doubled_edge(derivation, identity)

        def claims(setting: Setting) -> Iterator[tuple[str, str, dict[str, Any]]]:
            run = forward(changed, setting.values, setting.sizes, setting.lengths)
            yield "BPTT", "gradient", bptt(run, setting.cotangents)

        return check(derivation.network, claims).proved

    assert proved("no edge")
    assert not any(proved(edge.id) for edge in derivation.edges)


def test_wrong_forward_values_are_found() -> None:
    def claims(setting: Setting) -> Any:
        run = forward(derive(elman), setting.values, setting.sizes, setting.lengths)
        y = run.output("y")
        yield "as run", "value", {"y": y}
        yield "shifted", "value", {"y": np.roll(y, 1, axis=0)}

    result = check(as_network(elman), claims)
    assert {m.split(":")[0] for m in result.mismatches} == {"shifted"}


# ------------------------------------------------------------------------------- the checker


def test_missing_and_misshapen_gradients_are_mismatches() -> None:
    def claims(setting: Setting) -> Any:
        ((form, kind, made),) = backward(setting)
        del made["b"]
        made["W"] = made["W"][:, :2]
        yield form, kind, made

    mismatches = check(as_network(elman), claims).mismatches
    assert mismatches == (
        "by hand: dW has shape (3, 2) for (3, 3)",
        "by hand: db is missing",
    )


def test_a_gradient_of_a_stranger_is_refused() -> None:
    with pytest.raises(UsageError, match="no gradient 'Z'"):
        check(as_network(elman), lambda s: [("f", "gradient", {"Z": s.values["W"]})])


def test_nothing_compared_is_not_a_proof() -> None:
    assert not check(as_network(elman), lambda s: []).proved


def test_a_division_by_zero_is_one_clear_line() -> None:
    @cell(inputs="x: p", states="h: p", params="w: p")
    def broken(x, h, w):
        return w * h / (x - x)

    with pytest.raises(UsageError, match="'broken': a denominator is zero"):
        prove(broken)


def test_both_branches_are_proved_at_once() -> None:
    @cell(inputs="x: p", states="h: p", params="w: p")
    def branching(x, h, w):
        return where(x > h, tanh(w * h), abs(w) * x)

    assert prove(branching).proved

    def left_only(setting: Setting) -> Any:
        """The derivative of the first branch alone, right for those who only test there."""
        run = forward(derive(branching), setting.values, setting.sizes, setting.lengths)
        right = bptt(run, setting.cotangents)
        yield "one branch", "gradient", {**right, "x": 0 * right["x"]}

    assert not check(as_network(branching), left_only).proved


def test_the_report_says_what_was_done() -> None:
    result = prove(elman, seed=5)
    text = str(result)
    assert text.startswith("elman: proved at d = 2, p = 3, q = 4, T = 3, seed 5")
    assert "BPTT, Kronecker form  43 entries equal" in text
    assert f"below 2^-{result.bits} an entry" in text
    assert result.total_bits < result.bits
    document = json.loads(result.dumps())
    assert document["proved"] is True
    assert document["seed"] == 5
    assert document["error_bits_per_entry"] == result.bits


def test_frozen_is_said() -> None:
    result = prove(lstm_cells.lstm_1997_truncated)
    assert result.proved
    assert "by intent not the derivative of the loss" in str(result)


def test_other_seeds_prove_too() -> None:
    assert all(prove(gru_cells.gru_reset_after, seed=n).proved for n in range(1, 4))


def test_what_differs_along_a_direction_is_named_by_entries() -> None:
    derivation = derive(elman)

    def along(factor: int, entries: Any) -> Any:
        def claims(setting: Setting) -> Any:
            run = forward(derivation, setting.values, setting.sizes, setting.lengths)
            given = setting.cotangents
            yield (
                "RTRL",
                "gradient",
                DirectionalClaims(
                    lambda v: factor * rtrl_along(run, given, v), lambda: entries(rtrl(run, given))
                ),
            )

        return check(derivation.network, claims)

    right = along(1, lambda made: {})
    assert right.proved
    assert right.entries == 43
    wrong = along(2, lambda made: {**made, "U": 2 * made["U"]})
    assert wrong.mismatches
    assert {m[: m.index("[")] for m in wrong.mismatches} == {"RTRL: dU"}
    # of a program that is linear in no direction, entries may all be right
    assert along(2, lambda made: made).mismatches == ("RTRL: along a random direction",)
