"""Steps that are repeated within a step."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, Network, api, check_model, load
from gradcheck_rnn.cells.losses import softmax_cross_entropy
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.errors import GradcheckError
from gradcheck_rnn.language import Cell, cell, outer, repeat, sigmoid, tanh
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.unrolled import unrolled
from tests.codegen.support import Case
from tests.language.rooms import decayed, kernels, proved, rooms


def euler(count: int) -> Cell:
    @cell(
        inputs="x: d", states="h: p", outputs="h y", name="ode",
        params="W: p p; U: p d; b tau: p; V: q p", fixed="dt:",
        domains={"tau": "> 0", "dt": "(0, 1)"},
    )  # fmt: skip
    def ode(x, h, W, U, b, tau, V, dt):
        """Substeps of Euler for h′ = tanh(W h + U x + b) − h / τ."""
        drive = U @ x + b

        def step(h):
            return h + dt * (tanh(W @ h + drive) - h / tau)

        h = repeat(count, step, h)
        return {"h": h, "y": V @ h}

    return ode


@cell(inputs="k: n; v: m", states="S: n m; z: n", params="b: n; P: n n")
def runge_kutta(k, v, S, z, b, P):
    """Four steps of the midpoint rule, of a matrix and of a vector."""

    def slope(S, z):
        return outer(k, v) - sigmoid(z) * S, tanh(P @ z + S @ v) - b * z

    def step(S, z):
        dS, dz = slope(S, z)
        dS, dz = slope(S + 0.05 * dS, z + 0.05 * dz)
        return S + 0.1 * dS, z + 0.1 * dz

    return repeat(4, step, S, z)


@pytest.mark.parametrize("definition", [euler(3), runge_kutta])
def test_loops_are_proved_generated_and_verified(definition: Cell, tmp_path: Path) -> None:
    case = Case(as_network(definition))
    proved(case)
    kernels(case, tmp_path)
    assert api.verify(definition, shape=2).passed


def written(fault: str = "") -> tuple[Any, Any]:
    """The code of `euler(3)` as people write it, a loop in a loop."""

    def run(W, U, b, tau, V, dt, x, h0):
        states = [h0]
        for row in x:
            for _ in range(3):
                h = states[-1]
                states.append(h + dt * (np.tanh(h @ W.T + row @ U.T + b) - h / tau))
        steps = np.stack(states[3::3])
        return {"h": steps, "y": steps @ V.T}, (W, U, b, tau, V, dt, x, states)

    def back(cotangents, saved):
        W, U, b, tau, V, dt, x, states = saved
        given = {"W": W, "U": U, "b": b, "tau": tau, "V": V, "x": x}
        out = {n: np.zeros_like(a) for n, a in given.items()}
        carry = np.zeros_like(states[0])
        for t in reversed(range(len(x))):
            carry = carry + cotangents["h"][t] + cotangents["y"][t] @ V
            out["V"] += cotangents["y"][t].T @ states[3 * t + 3]
            for k in reversed(range(3)):
                h = states[3 * t + k]
                da = dt * carry * (1 - np.tanh(h @ W.T + x[t] @ U.T + b) ** 2)
                out["W"] += da.T @ h
                out["U"] += da.T @ x[t]
                out["b"] += da.sum(0)
                out["tau"] += (dt * carry * h / tau**2).sum(0)
                if not (fault == "x of one substep" and k):
                    out["x"][t] += da @ U
                leak = 0 if fault == "no leak" else dt * carry / tau
                carry = carry + da @ W - leak
        return {**out, "h0": carry}

    return run, back


def test_written_loops_are_judged_and_named() -> None:
    layout = Layout(
        {n: n for n in ("W", "U", "b", "tau", "V", "dt")},
        {"x": "x: T B n", "h0": "h0: B n"},
        {"h": "h: T B n", "y": "y: T B n"},
    )
    texts = {}
    for fault in ("", "x of one substep", "no leak"):
        forward, backward = written(fault)
        made = check_model(euler(3), forward=forward, backward=backward, layout=layout)
        assert made.passed == (not fault), str(made)
        texts[fault] = str(made)
    assert "without the term (−dt · δh_t) ⊘ τ" in texts["no leak"]
    named = "dx is what you get with: δx_t receives what the first substep of each step gives"
    assert named in texts["x of one substep"]


def test_beside_autograd_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    case = Case(as_network(euler(4)))
    names = ("x", "h0", "W", "U", "b", "tau", "V", "dt")
    leaves = [torch.tensor(case.arrays[n], requires_grad=True) for n in names]
    x, h, W, U, b, tau, V, dt = leaves
    states = []
    for row in x:
        for _ in range(4):
            h = h + dt * (torch.tanh(h @ W.T + row @ U.T + b) - h / tau)
        states.append(h)
    cotangents = case.cotangents()
    given = {n: torch.tensor(a) for n, a in cotangents.items()}
    steps = torch.stack(states)
    loss = (given["h"] * steps).sum() + (given["y"] * (steps @ V.T)).sum()
    loss = loss + (given["h_final"] * h).sum()
    _, saved = case.forward()
    gradients = case.backward(saved, cotangents)
    for name, wanted in zip(names[:-1], torch.autograd.grad(loss, leaves[:-1]), strict=True):
        scale = float(abs(wanted).max())
        assert np.max(np.abs(gradients[name] - wanted.numpy())) <= 1e-12 * scale, name


def test_nothing_grows_with_the_count() -> None:
    few, many = (derive(euler(count)) for count in (10, 1000))
    for form in ("matrix", "kronecker"):
        pages = [api.render(d, "text", form=form) for d in (few, many)]
        assert re.sub(r"10+", "n", pages[0]) == re.sub(r"10+", "n", pages[1])
        assert "A step has 10 substeps, which t counts" in pages[0]
    assert re.sub(r"10+", "n", generate(few)) == re.sub(r"10+", "n", generate(many))
    proofs = [prove(d) for d in (few, many)]
    assert all(p.proved for p in proofs)
    assert proofs[0].operations == proofs[1].operations
    assert "substeps = 3" in str(proofs[1])
    assert api.render(derive(euler(1))).count("substep") == 0


@pytest.mark.parametrize("definition", [euler(3), runge_kutta])
def test_decay_goes_through_all_substeps(definition: Cell) -> None:
    decayed(as_network(definition))


def read_by_a_loss() -> Network:
    """A loop, a readout and a loss."""
    network = Network("read")
    made = network.scan(euler(3), x=network.input("x", "d"))
    y = network.scan(load("readout"), h=made.h, suffix="_out").y
    network.output(y, made.final("h"))
    network.loss(network.scan(softmax_cross_entropy, y=y).loss)
    return network


def test_loops_in_networks_have_kernels_and_are_verified(tmp_path: Path) -> None:
    case = Case(read_by_a_loss())
    proved(case)
    written_out = unrolled(case.network).scans[0].equations
    assert len(case.derivation.scans[0].equations) < len(written_out)
    network = case.network.copy()
    network.loss_terms = []
    kernels(Case(network), tmp_path)
    assert api.verify(case.network, shape=2).passed


def _gated(x, h, c, b, gate):
    return repeat(3, lambda g, c: (gate * g, c * b + x), h, c)


def beside(x, h, c, b, P, V):
    """Two loops, with work before, between and behind them."""
    h = tanh(P @ h + c)
    h = repeat(3, lambda h: h + 0.2 * tanh(b * h + x), h)
    c = c * sigmoid(h)
    h, c = repeat(2, lambda h, c: (h + 0.3 * c, tanh(c - h * b)), h, c)
    return {"h": 0.5 * h, "c": c, "y": V @ h}


BESIDE: dict[str, Any] = {
    "the state itself": lambda x, h, c, b: repeat(3, lambda g, c: (tanh(h + x), c * b), h, c),
    "made before": lambda x, h, c, b: _gated(x, h, c, b, sigmoid(h)),
    "one state": lambda x, h, c, b: (repeat(3, lambda h: tanh(b * h + x), h), c + x),
    "changed behind": lambda x, h, c, b: tuple(
        v + 1 for v in repeat(3, lambda h, c: (c * b, h + x), h, c)
    ),
    "another start": lambda x, h, c, b: repeat(3, lambda h, c: (c * b, h), h + x, c),
}


def test_work_beside_loops_goes_through_every_room(tmp_path: Path) -> None:
    dims = {"inputs": "x: p", "states": "h c: p", "params": "b: p; P: p p; V: q p"}
    case = rooms(cell(beside, outputs="h c y", **dims), tmp_path)
    assert "h_1_t" in (text := api.render(case.derivation, "text")) or "h_{1,t}" in text


@pytest.mark.parametrize("case", BESIDE)
def test_loops_that_are_not_alone_are_written_out(case: str) -> None:
    definition = cell(BESIDE[case], inputs="x: p", states="h c: p", params="b: p", name="loops")
    derivation = derive(definition)
    assert derivation.network.scans[0].substeps == 1
    assert prove(derivation).proved


REFUSED = {
    "read outside": (
        lambda x, h, c, b: (*repeat(3, lambda h, c: (tanh(h + x), c * b), h, c), h),
        "returns 3 values",
    ),
    "no count": (
        lambda x, h, c, b: repeat(2.5, lambda h, c: (c * b, h + x), h, c),
        "the count is 2.5; write a positive integer",
    ),
    "other values": (
        lambda x, h, c, b: repeat(2, lambda h, c: c * b + h + x, h, c),
        "the step takes 2 states and returns 1 values",
    ),
    "long": (
        lambda x, h, c, b: repeat(21, lambda h, c: (c * b, h), h + x, c),
        "repeat: 21 substeps would have to be written out here, which is done up to 20: beside",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_loop_is_refused(case: str) -> None:
    function, said = REFUSED[case]
    definition = cell(function, inputs="x: p", states="h c: p", params="b: p", name="loops")
    with pytest.raises(GradcheckError, match=re.escape(said)):
        derive(definition)


def test_a_loop_that_runs_backwards_is_written_out() -> None:
    network = Network("back")
    made = network.scan(euler(2), reverse=True)
    network.output(made.y, made.final("h"))
    assert network.scans[0].substeps == 1
    assert prove(derive(network)).proved
