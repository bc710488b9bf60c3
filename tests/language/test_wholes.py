"""Sequences that another scan reads whole."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.cells.elman import elman_hidden
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.errors import GradcheckError
from gradcheck_rnn.language import attend, cell, concat, softmax, tanh
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import to_columns
from tests.codegen.support import Case
from tests.language.rooms import kernels, proved, rooms


@cell(
    inputs="y: d; H: n k", states="s: p", params="A: k p; W: p p; U: p d; C: p k",
    data="there: n", outputs="s c", domains={"there": "0/1"},
)  # fmt: skip
def decode(y, H, s, A, W, U, C, there):
    """The positions that there are of H are read by the state before."""
    c = attend(A @ s, H, H, there)
    s = tanh(W @ s + U @ y + C @ c)
    return {"s": s, "c": c}


@cell(inputs="f b: k", params="w: k", outputs="h")
def beside(f, b, w):
    return tanh(concat(f, w * b))


@cell(inputs="x: d", params="Q K: m d; V: p d", outputs="q k v")
def projected(x, Q, K, V):
    return {"q": Q @ x, "k": K @ x, "v": tanh(V @ x)}


@cell(inputs="q: m; K: n m; V: n p", data="past: n", outputs="o", domains={"past": "0/1"})
def attended(q, K, V, past):
    return attend(q, K, V, past)


@cell(heads="H", inputs="x: d", states="k: H m", params="W: H m d; g: H m", outputs="k")
def keys(x, k, W, g):
    return tanh(g * k + W @ x)


@cell(heads="H", inputs="y: d; K: H n m; a: n", states="s: H m", params="W: H m d")
def read_by_heads(y, K, a, s, W):
    return tanh(W @ y + s + K.T @ softmax(K @ s + a))


@cell(inputs="a: n; K: n k", params="v: k", outputs="r")
def once(a, K, v):
    """A sequence of numbers as a vector, and one of vectors as a matrix."""
    return K.T @ softmax(a * (K @ v))


def pointer() -> Network:
    """A decoder over the states of an encoder; S and T differ."""
    network = Network("pointer")
    x = network.input("x", "e", axis="S")
    states = network.scan(elman_hidden, suffix="_src", axis="S", x=x, dims={"p": "k", "d": "e"})
    there = network.input("there", "", axis="S", data=True)
    made = network.scan(decode, H=states.h.whole("H"), there=there.whole())
    network.output(made.s, made.c, made.final("s"), states.final("h"))
    return network


def both_ways() -> Network:
    """Two readers, one backwards, of an encoder in both directions that is handed out too."""
    network = Network("both_ways")
    x = network.input("x", "e", axis="S")
    there = network.input("there", "", axis="S", data=True)
    dims = {"p": "k", "d": "e"}
    f = network.scan(elman_hidden, suffix="_f", axis="S", x=x, dims=dims)
    b = network.scan(elman_hidden, suffix="_b", axis="S", reverse=True, x=x, dims=dims)
    h = network.scan(beside, axis="S", f=f.h, b=b.h).h
    one = network.scan(decode, H=h.whole(), there=there.whole())
    two = network.scan(decode, suffix="_2", reverse=True, H=h.whole(), there=there.whole(),
                       y=one.s, dims={"p": "q"})  # fmt: skip
    network.output(h, two.s, two.final("s"))
    return network


def causal() -> Network:
    """Attention over the own past: the positions that are read are steps of the same axis."""
    network = Network("causal")
    made = network.scan(projected)
    o = network.scan(attended, q=made.q, K=made.k.whole(), V=made.v.whole()).o
    network.output(o)
    return network


def causal_recurrent() -> Network:
    """Two recurrences along one axis, of which the second reads what it needs of the first."""
    network = Network("causal_recurrent")
    h = network.scan(elman_hidden, suffix="_low", dims={"p": "k"}).h
    made = network.scan(decode, y=h, H=h.whole())
    network.output(h, made.s)
    return network


def by_heads() -> Network:
    """Keys of heads, and numbers of all heads."""
    network = Network("by_heads")
    made = network.scan(keys, axis="S", dims={"d": "e"}, x=network.input("x", "e", axis="S"))
    a = network.input("a", "", axis="S")
    read = network.scan(read_by_heads, suffix="_2", K=made.k.whole(), a=a.whole())
    network.output(read.final("s"))
    return network


def of_inputs() -> Network:
    """Inputs are handed on whole, to a scan without steps and to one with."""
    network = Network("of_inputs")
    a, k = network.input("a", "", axis="S"), network.input("k", "k", axis="S")
    r = network.scan(once, axis=None, a=a.whole(), K=k.whole()).r
    start = network.scan(elman_hidden, axis="S", x=k, initial={"h": r}, dims={"p": "k"})
    network.output(start.h, r)
    return network


@pytest.mark.parametrize("build", [pointer, causal, by_heads, of_inputs], ids=lambda b: b.__name__)
def test_they_go_through_every_room(build: Callable[[], Network], tmp_path: Path) -> None:
    rooms(build(), tmp_path)


@pytest.mark.parametrize("build", [both_ways, causal_recurrent], ids=lambda b: b.__name__)
def test_they_are_proved_and_generated(build: Callable[[], Network], tmp_path: Path) -> None:
    case = Case(build())
    proved(case)
    kernels(case, tmp_path)


def torch_pointer(torch, a):
    """All scores of a step as one product of batches; masked before the softmax."""
    h, rows = a["h_src0"], []
    for x in a["x"]:
        h = torch.tanh(h @ a["W_src"].T + x @ a["U_src"].T + a["b_i_src"])
        rows.append(h)
    H, absent, s = torch.stack(rows, 1), a["there"].T == 0, a["s0"]
    made, read = [], []
    for y in a["y"]:
        scores = torch.einsum("bsk,kp,bp->bs", H, a["A"], s).masked_fill(absent, -1e30)
        c = (torch.softmax(scores, -1)[:, None] @ H)[:, 0]
        s = torch.tanh(s @ a["W"].T + y @ a["U"].T + c @ a["C"].T)
        made.append(s)
        read.append(c)
    return {"s": torch.stack(made), "c": torch.stack(read), "s_final": s, "h_src_final": h}


def torch_causal(torch, a):
    """Attention of all steps at once, in PyTorch's own function."""
    q, k = (torch.einsum("tbd,md->btm", a["x"], a[n]) for n in "QK")
    v = torch.tanh(torch.einsum("tbd,pd->btp", a["x"], a["V"]))
    past = a["past"].transpose(0, 1) != 0
    made = torch.nn.functional.scaled_dot_product_attention(q, k, v, past, scale=1.0)
    return {"o": made.transpose(0, 1)}


@pytest.mark.parametrize(("build", "form"), [(pointer, torch_pointer), (causal, torch_causal)])
def test_beside_autograd_of_pytorch(build: Any, form: Any) -> None:
    torch = pytest.importorskip("torch")
    case = Case(build())
    for name, mask in case.arrays.items():
        if name in ("there", "past"):  # everyone reads something
            mask[(0, slice(None)) if name == "there" else (..., 0)] = 1.0
    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in case.arrays.items()}
    made, given = form(torch, leaves), case.cotangents()
    outputs, saved = case.forward()
    for label, value in made.items():
        np.testing.assert_allclose(outputs[label], value.detach(), rtol=1e-12, atol=1e-13)
    loss = sum((torch.tensor(given[n]) * v).sum() for n, v in made.items())
    gradients = case.backward(saved, given)
    wanted = torch.autograd.grad(loss, [leaves[n] for n in gradients])
    for (name, own), value in zip(gradients.items(), wanted, strict=True):
        assert np.max(np.abs(own - value.numpy())) <= 1e-12 * float(abs(value).max()), name


def test_pages_show_the_sequence_its_adjoint_and_the_row_of_each_step() -> None:
    text = api.render(derive(pointer()), "text")
    for line in (
        "H: S × k (all steps of h_{src,t} as its rows)",
        "there_all: S (all steps of there_t as its units)",
        "Σ_{t=1}^{T} softmax(a_{c,t}) δc_tᵀ    (δH_t is its row t)",
        "δh_{src,t} = W_srcᵀ δi_{src,t+1} + δH_t",
    ):
        assert line in text


@pytest.mark.parametrize("fault", ["", "values", "keys", "the last row alone"])
def test_faults_of_the_row_that_a_step_gets_are_found(fault: str) -> None:
    """A fault in what goes back to the sequence, in the derived program itself."""
    case = Case(of_inputs())
    derivation = case.derivation
    run = forward(derivation, *_inside(case))
    given = {n: to_columns(case.network.outputs[n], g) for n, g in case.cotangents().items()}
    edges = derivation.readers("k_all")
    assert len(edges) == 2
    ends = {"values": edges[0], "keys": edges[1]}
    edits = Edits(terms={ends[fault].id: None}) if fault in ends else Edits()
    right, made = bptt(run, given)["k"], bptt(run, given, edits=edits)["k"]
    if fault == "the last row alone":
        made[:-1] = 0
    assert (abs(right - made).max() < 1e-12) == (not fault)


def _inside(case: Case) -> tuple[dict[str, Any], dict[str, int], dict[str, int]]:
    refs = {**case.network.parameters, **case.network.inputs}
    values = {n: to_columns(r, case.arrays[n]) for n, r in refs.items()}
    return values, case.sizes, case.lengths


@cell(states="K: n k", inputs="x: k", params="w: n")
def started(K, x, w):
    return K + w @ x.T


@cell(inputs="c: n", params="w: n", domains={"c": "simplex"}, outputs="y")
def weighed(c, w):
    return w * c


def test_misuse_is_one_line() -> None:
    network = Network("net")
    x = network.input("x", "d", axis="S")
    made = network.scan(elman_hidden, axis="S", x=x)
    for wrong, words in (
        (lambda: made.final("h").whole(), "'h_final' is no sequence, so that it has no steps"),
        (lambda: network.input("A", "n m").whole(), "the steps of 'A' are matrices"),
        (lambda: network.output(made.h.whole()), "output 'h_all' is 'h' whole"),
        (
            lambda: network.scan(started, suffix="_k", initial={"K": made.h.whole()}),
            "state 'K' cannot start as all steps of 'h'; a cell reads them as an input",
        ),
        (
            lambda: network.scan(weighed, c=network.input("c", "", axis="S").whole()),
            "'c' is simplex, which is said of all units at once, but has the steps of 'c' as units",
        ),
        (
            lambda: network.scan(decode, suffix="_2", H=made.h.whole(), dims={"k": "p", "p": "S"}),
            "'S' is a time axis and a dim",
        ),
    ):
        with pytest.raises(GradcheckError, match=re.escape(words)):
            wrong()
