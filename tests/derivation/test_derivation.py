"""Derivations of hand-picked systems: their terms as text, and their gradients four ways.

Matrix BPTT, Kronecker BPTT and RTRL are compared with the complex step through the definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation import Derivation, derive
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.rtrl import rtrl
from gradcheck_rnn.errors import DimensionError, MissingRule, UsageError
from gradcheck_rnn.language import cell, concat, cross_entropy, frozen, maximum, relu, sigmoid, tanh
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.numeric import holding_frozen, recording_frozen
from tests.property.pipeline import compare, measured_roundoff
from tests.property.reference import Arrays, Case, complex_gradients, draw_case, loss_of

# -- terms as text --------------------------------------------------------------------------------

ELMAN = """
elman/i<-W: δi_t h_{t−1}ᵀ | h_{t−1}ᵀ ⊗ I_p
elman/i<-h@1: Wᵀ δi_t | W
elman/i<-U: δi_t x_tᵀ | x_tᵀ ⊗ I_p
elman/i<-x: Uᵀ δi_t | U
elman/i<-b_i: δi_t | I_p
elman/h<-i: δh_t ⊙ (1 − h_t²) | diag(1 − h_t²)
elman/y<-V: δy_t h_tᵀ | h_tᵀ ⊗ I_q
elman/y<-h: Vᵀ δy_t | V
elman/y<-b_y: δy_t | I_q
"""

LSTM = """
lstm/a_f<-h@1: W_fᵀ δa_{f,t} | W_f
lstm/f<-a_f: δf_t ⊙ f_t ⊙ (1 − f_t) | diag(f_t ⊙ (1 − f_t))
lstm/c_tilde<-a_c: δc̃_t ⊙ (1 − c̃_t²) | diag(1 − c̃_t²)
lstm/c<-f: δc_t ⊙ c_{t−1} | diag(c_{t−1})
lstm/c<-c@1: δc_t ⊙ f_t | diag(f_t)
lstm/c<-i: δc_t ⊙ c̃_t | diag(c̃_t)
lstm/c<-c_tilde: δc_t ⊙ i_t | diag(i_t)
lstm/h<-o: δh_t ⊙ tanh(c_t) | diag(tanh(c_t))
lstm/h<-c: δh_t ⊙ o_t ⊙ (1 − tanh(c_t)²) | diag(o_t ⊙ (1 − tanh(c_t)²))
"""


def _lines(derivation: Derivation) -> list[str]:
    return [f"{e.id}: {e.pullback} | {e.jacobian}" for e in derivation.edges]


def test_elman_is_what_one_writes_on_a_slide() -> None:
    assert _lines(api.derive("elman")) == ELMAN.strip().splitlines()


def test_lstm_edges() -> None:
    derivation = api.derive("lstm")
    lines = _lines(derivation)
    assert [n for n in LSTM.strip().splitlines() if n not in lines] == []
    assert len(lines) == 4 * 5 + 4 + 4 + 2  # pre-activations, gates, cell state, output
    steps = derivation.edge("lstm/h<-c").steps
    assert [s.rule for s in steps] == ["elementwise product", "elementwise function"]
    assert [s.path for s in steps] == [(), (1,)]
    assert all(s.citation for e in derivation.edges for s in e.steps)


def test_immediate_and_total_are_different_objects() -> None:
    edge = api.derive("elman").edge("elman/i<-W")
    assert str(edge.immediate) == "h_{t−1}ᵀ ⊗ I_p"
    assert str(edge.pushforward) == "(h_{t−1}ᵀ ⊗ I_p) S[W]"
    carried = api.derive("elman").edge("elman/i<-h@1")
    assert str(carried.pushforward) == "W S[h]_{t−1}"


def test_adjoint_terms_and_transition() -> None:
    derivation = api.derive("elman")
    terms = [str(c.term) for c in derivation.adjoint_terms("h")]
    assert terms[-2:] == ["Wᵀ δi_{t+1}", "Vᵀ δy_t"]
    assert str(derivation.transition("elman", "h", "h")) == "diag(1 − h_t²) W"
    assert derivation.transition("elman", "i", "h") is not None
    lstm = api.derive("lstm")
    assert str(lstm.transition("lstm", "c", "c")) == "diag(f_t)"
    assert lstm.transition("lstm", "f", "c") is None


def test_repeated_readings_have_edges_of_their_own() -> None:
    @cell(states="h: p", params="W: p p")
    def twice(h, W):  # type: ignore[no-untyped-def]
        return tanh(W @ h + W.T @ h)

    ids = [e.id for e in derive(twice).edges]
    pre = next(i for i in ids if i.endswith("<-W")).removesuffix("<-W")
    assert [i for i in ids if i.startswith(pre + "<-")] == [
        f"{pre}<-W", f"{pre}<-h@1", f"{pre}<-W#1", f"{pre}<-h@1#1",
    ]  # fmt: skip


def test_unknown_names_are_refused() -> None:
    derivation = api.derive("elman")
    with pytest.raises(UsageError, match="no edge"):
        derivation.edge("elman/i<-Q")
    with pytest.raises(UsageError, match="no 'Q' to differentiate"):
        derivation.gradient_terms("Q")
    case = draw_case(derivation.network)
    with pytest.raises(UsageError, match="no output 'z'"):
        bptt(forward(derivation, case.values, case.sizes), {"z": np.zeros((4, 4, 1))})


def test_a_node_without_a_rule_raises() -> None:
    from gradcheck_rnn.calculus.rules import RULES, RuleTable

    table = RuleTable(tuple(r for r in RULES if r.name != "elementwise function"))
    with pytest.raises(MissingRule, match="Apply"):
        derive(as_network(api.load("elman")), table)


# -- systems --------------------------------------------------------------------------------------


@cell(
    inputs="x: d",
    states="h: p",
    params="W_1 W_3: p p; U: p d; b: p",
    lags={"h": (1, 3)},
)
def delayed(x, h, W_1, W_3, U, b):
    return tanh(W_1 @ h[1] + W_3 @ h[3] + U @ x + b)


@cell(inputs="x: d", states="h: p; g: p", params="W R: p p; U: p d; b: p", lags={"g": (2,)})
def gate_as_state(x, h, g, W, R, U, b):
    g = sigmoid(R @ g[2] + U @ x)
    return {"h": g * tanh(W @ h + b) + (1 - g) * h, "g": g}


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d", data="keep: p", fixed="F: p p")
def dropped(x, h, W, U, keep, F):
    return tanh(W @ (keep * h) + F @ relu(U @ x) + maximum(h, U @ x))


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
def stopped(x, h, W, U):
    return tanh(W @ frozen(h) + U @ x) * h


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p")
def autoencoder_like(x, h, W, U, b):
    """Tied: U and its own transpose."""
    h = tanh(W @ h + U @ x + W.T @ b)
    return {"h": h + 0.1 * (U @ (U.T @ h))}


@cell(inputs="h: p", params="V: q p; b_y: q", outputs="y")
def readout(h, V, b_y):
    return V @ h + b_y


@cell(inputs="y: q", data="target: q", outputs="loss")
def entropy(y, target):
    return cross_entropy(y, target)


@cell(inputs="u: m; v: k", outputs="z")
def join(u, v):
    return concat(u, v)


def _plain(definition: Any) -> Callable[[], Network]:
    return lambda: as_network(definition)


def _reversed() -> Network:
    network = Network("reversed")
    scan = network.scan(delayed, x=network.input("x", "d"), reverse=True)
    network.output(scan.h, scan.final("h"))
    return network


def _masked() -> Network:
    network = Network("masked")
    x, mask = network.input("x", "d"), network.input("mask", "", data=True)
    scan = network.scan(delayed, x=x, mask=mask)
    back = network.scan(gate_as_state, suffix="_b", x=x, mask=mask, reverse=True)
    network.output(scan.h, scan.final("h"), back.h, back.final("g"))
    return network


def _tied() -> Network:
    network = Network("tied")
    x, w = network.input("x", "d"), network.parameter("W", "p p")
    first = network.scan(dropped, suffix="_1", x=x, W=w)
    second = network.scan(
        autoencoder_like, suffix="_2", x=first.h, W=w, U=w,
        initial={"h": network.parameter("start", "p")},
    )  # fmt: skip
    network.output(second.h)
    return network


def _encoder_decoder() -> Network:
    network = Network("encoder_decoder")
    encoder = network.scan(delayed, x=network.input("x", "d"))
    context = encoder.final("h")
    start = (context, None, None)
    decoder = network.scan(
        delayed, suffix="_d", axis="S", x=context, initial={"h": start}, dims={"d": "p"}
    )
    y = network.scan(readout, axis="S", h=decoder.h)
    loss = network.scan(entropy, axis="S", y=y.y)
    network.loss(loss.loss)
    network.output(decoder.final("h"), y.y)
    return network


def _once() -> Network:
    network = Network("once")
    x = network.input("x", "d")
    a = network.scan(gate_as_state, suffix="_a", x=x)
    b = network.scan(delayed, suffix="_b", x=x, reverse=True, dims={"p": "r"})
    z = network.scan(join, axis=None, u=a.final("h"), v=b.final("h"))
    network.output(z.z, b.h)
    return network


SYSTEMS: dict[str, Callable[[], Network]] = {
    "elman": lambda: api.load("elman"),
    "lstm": lambda: api.load("lstm"),
    "delayed": _plain(delayed),
    "gate as state": _plain(gate_as_state),
    "data and fixed": _plain(dropped),
    "frozen": _plain(stopped),
    "tied in a cell": _plain(autoencoder_like),
    "reversed": _reversed,
    "masked": _masked,
    "tied in a network": _tied,
    "encoder and decoder": _encoder_decoder,
    "read once": _once,
}
SIZES = {"d": 2, "p": 3, "q": 4, "r": 5}


def _prepared(name: str, batch: int = 1) -> tuple[Derivation, Case]:
    network = SYSTEMS[name]()
    lengths = {"T": 5, "S": 3}
    return derive(network), draw_case(network, 7, batch=batch, sizes=SIZES, lengths=lengths)


def _matrix(derivation: Derivation, case: Case) -> tuple[Arrays, Arrays]:
    made = []
    for dtype in (np.longdouble, np.float64):
        c = case.astype(dtype)
        made.append(bptt(forward(derivation, c.values, c.sizes, c.lengths), c.cotangents))
    return made[0], measured_roundoff(made[1], made[0])


@pytest.mark.parametrize("name", SYSTEMS)
def test_four_ways_to_the_gradients(name: str) -> None:
    derivation, case = _prepared(name)
    truth = complex_gradients(case)
    matrix, roundoff = _matrix(derivation, case)
    wide = case.astype(np.longdouble)
    run = forward(derivation, wide.values, wide.sizes, wide.lengths)
    compare("matrix", matrix, truth, roundoff, wide.cotangents)
    kronecker = bptt(run, wide.cotangents, form="kronecker")
    compare("Kronecker", kronecker, truth, roundoff, wide.cotangents)
    compare("RTRL", rtrl(run, wide.cotangents), truth, roundoff, wide.cotangents)


@pytest.mark.parametrize("name", SYSTEMS)
def test_batch_gradient_is_the_sum_over_sequences(name: str) -> None:
    derivation, case = _prepared(name, batch=3)
    together, roundoff = _matrix(derivation, case)
    alone = [_matrix(derivation, case.sequence(b))[0] for b in range(3)]
    refs = case.network.parameters | case.network.inputs
    expected = {
        n: np.concatenate([a[n] for a in alone], axis=-1)
        if refs[n].shape.batch
        else sum((a[n] for a in alone), np.zeros_like(g))
        for n, g in together.items()
    }
    compare("batch", together, expected, roundoff, case.cotangents)


def test_every_output_alone() -> None:
    """The cotangent of one output at a time: the one of a final state is the one often lost."""
    derivation, case = _prepared("masked")
    for label in case.cotangents:
        only = Case(
            case.network, case.values, {label: case.cotangents[label]},
            case.sizes, case.lengths, case.batch,
        )  # fmt: skip
        made, roundoff = _matrix(derivation, only)
        truth = complex_gradients(only)
        compare(label, made, truth, roundoff, only.cotangents)
        assert any(np.any(g != 0) for g in truth.values())


def test_frozen_is_held_and_not_the_derivative_as_run() -> None:
    _, case = _prepared("frozen")
    case = case.astype(np.float64)
    held = complex_gradients(case)["h0"]
    step = 1e-6
    moved = {**case.values, "h0": case.values["h0"] + step * np.eye(3)[:, :1]}
    as_run = (loss_of(case, moved) - loss_of(case, case.values)) / step
    assert abs(float(as_run) - float(held[0, 0])) > 1e-3
    with recording_frozen() as tape:
        base = loss_of(case, case.values)
    with holding_frozen(tape):
        with_held = (loss_of(case, moved) - base) / step
    assert abs(float(with_held) - float(held[0, 0])) < 1e-4


def test_rtrl_refuses_a_batch() -> None:
    derivation, case = _prepared("elman", batch=2)
    with pytest.raises(DimensionError, match="one sequence"):
        rtrl(forward(derivation, case.values, case.sizes), case.cotangents)


# -- truncated BPTT -------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("block", [1, 2, 3, 5, 9])
def test_truncated_bptt_is_windows_with_cut_gradients(block: int, reverse: bool) -> None:
    """Windows are run one after the other; each starts from the values the last one ended with."""
    network = Network("one")
    scan = network.scan(gate_as_state, x=network.input("x", "d"), reverse=reverse)
    network.output(scan.h, scan.g)
    steps = 5
    case = draw_case(network, 3, batch=2, sizes=SIZES, lengths={"T": steps}).astype(np.longdouble)
    derivation = derive(network)
    run = forward(derivation, case.values, case.sizes)
    made = bptt(run, case.cotangents, truncate=block)

    order = np.arange(steps)[::-1] if reverse else np.arange(steps)
    expected = {n: np.zeros_like(g) for n, g in made.items()}
    starts = {n: case.values[n] for n in ("h0", "g0_1", "g0_2")}
    for first in range(0, steps, block):
        window = np.sort(order[first : first + block])
        values = {**case.values, **starts, "x": case.values["x"][window]}
        cotangents = {n: g[window] for n, g in case.cotangents.items()}
        part = Case(network, values, cotangents, case.sizes, {"T": len(window)}, 2)
        truth = complex_gradients(part)
        for n in ("W", "R", "U", "b"):
            expected[n] += truth[n]
        expected["x"][window] = truth["x"]
        if first == 0:
            for n in starts:
                expected[n] = truth[n]
        inner = forward(derivation, values, case.sizes)
        g_last, last = run_order(inner, "g", len(window), reverse)
        starts = {"h0": inner.series["h"][last], "g0_1": g_last[0], "g0_2": g_last[1]}
    zero = {n: np.zeros_like(g, dtype=float) for n, g in made.items()}
    compare("truncated", made, expected, zero, case.cotangents)
    whole = bptt(run, case.cotangents)
    differs = any(np.max(np.abs(whole[n] - made[n])) > 1e-6 for n in ("W", "R"))
    assert differs == (block < steps)


def run_order(run: Any, state: str, steps: int, reverse: bool) -> tuple[tuple[Any, Any], int]:
    """The last two values of a state in the order of the scan, and the time of its last step."""
    last, back = (1, 1) if reverse else (steps, -1)
    line = run.series[state]
    return (line[last], line[last + back]), last
