"""Domains of data: their texts, what is drawn from them, how several declarations meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.cells.elman import elman_hidden
from gradcheck_rnn.cells.losses import softmax_cross_entropy, with_loss
from gradcheck_rnn.cells.readout import readout
from gradcheck_rnn.errors import DefinitionError, DimensionError
from gradcheck_rnn.language import cell, tanh
from gradcheck_rnn.language.domains import Domain, parse_domain
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.transforms import masked

TEXTS = {
    "one-hot": "one-hot", "simplex": "simplex", "0/1": "0/1", "integers 0..1": "0/1",
    "integers -2..5": "integers -2..5", "> 0": "> 0", ">=1": ">= 1", "<= -0.5": "<= -0.5",
    "[0, 1]": "[0, 1]", "(0,1)": "(0, 1)", "(-1, 2.5]": "(-1, 2.5]", "[0, inf)": ">= 0",
}  # fmt: skip


def _inside(domain: Domain, a: np.ndarray[Any, Any]) -> bool:
    if domain.kind == "one-hot":
        return bool(np.all((a == 0) | (a == 1)) and np.all(a.sum(-1) == 1))
    if domain.kind == "simplex":
        return bool(np.all(a >= 0) and np.all(a.sum(-1) == 1))
    if domain.kind == "integers" and np.any(a != np.round(a)):
        return False
    low = np.all(a > domain.low) if domain.open_low else np.all(a >= domain.low)
    high = np.all(a < domain.high) if domain.open_high else np.all(a <= domain.high)
    return bool(low and high)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("data", [True, False])
def test_values_are_drawn_inside(text: str, data: bool) -> None:
    domain = parse_domain(text, "x")
    assert str(domain) == TEXTS[text]
    assert parse_domain(str(domain), "x") == domain
    for seed, shape in enumerate([(7, 2, 5), (1, 1), (40, 3), (2, 0), (3, 70)]):
        if 0 in shape and domain.of_vectors:
            continue
        drawn = domain.draw(np.random.default_rng(seed), shape, data=data)
        assert drawn.shape == shape
        assert _inside(domain, drawn)
        assert np.array_equal(domain.clip(drawn), drawn)


def test_what_is_drawn_tries_everything() -> None:
    rng = np.random.default_rng(3)
    classes = parse_domain("one-hot", "x").draw(rng, (7, 2, 5), data=True)
    assert np.all(classes.sum((0, 1)) >= 2)
    bits = parse_domain("0/1", "x").draw(rng, (1, 2), data=True)
    assert bits.sum() == 1
    probabilities = parse_domain("simplex", "x").draw(rng, (9, 33), data=True)
    # Multiples of a power of two with few digits: they sum to one in every number format.
    assert np.array_equal(probabilities.astype(np.float16).astype(float), probabilities)
    unit = parse_domain("[0, 1]", "x").draw(rng, (20, 4), data=True)
    assert {0.0, 1.0} < set(unit.ravel())
    open_unit = parse_domain("(0, 1)", "x").draw(rng, (20, 4), data=True)
    assert not {0.0, 1.0} & set(open_unit.ravel())


REFUSED = {
    "binary": "write '0/1'", "probabilities": "write 'simplex'", "onehot": "write 'one-hot'",
    "positive": "write '> 0'", "[1, 0]": "write one of", "integers 3..3": "write one of",
    "[0, nan]": "write one of", "one hot": "write 'one-hot'", "> inf": "write one of",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_no_domain(text: str) -> None:
    with pytest.raises(DefinitionError, match="is no domain") as caught:
        cell(inputs="x: d", states="h: p", params="W: p d", domains={"x": text})(
            lambda x, h, W: tanh(W @ x) + h
        )
    assert REFUSED[text] in str(caught.value)


DECLARED = {
    "name": ({"domains": {"tau": "> 0"}}, "domains names 'tau', not declared"),
    "no dict": ({"domains": "one-hot"}, "domains is str; give a dict by name"),
    "trained": ({"domains": {"b": "0/1"}}, "'b' is a trained parameter and moves along the reals"),
    "matrix": ({"domains": {"W": "simplex"}}, "'W' is a matrix (p, p); 'simplex' is a domain of"),
    "scalar": ({"domains": {"s": "one-hot"}}, "'s' is a scalar; 'one-hot' is a domain of vectors"),
    "twice": (
        {"domains": {"h": "> 0"}, "at_least": {"h": 1}},
        "'h' is in at_least and has a domain already",
    ),
    "no number": ({"at_least": {"h": "1"}}, "at_least of 'h' is '1'; give a number"),
    "no text": ({"domains": {"h": 3}}, "3 is no domain"),
}


@pytest.mark.parametrize("what", DECLARED)
def test_declarations_that_make_no_sense(what: str) -> None:
    options, text = DECLARED[what]
    with pytest.raises(DefinitionError) as caught:
        cell(data="s: ", states="h: p", params="W: p p; b: p", name="mine", **options)(
            lambda s, h, W, b: tanh(W @ h + b) * s
        )
    assert text in str(caught.value)
    assert "mine" in str(caught.value)


def test_a_scan_narrows_what_its_cell_declares() -> None:
    network = Network("net")
    x = network.input("x", "d", data=True, domain="0/1")
    made = network.scan(elman_hidden, x=x, domains={"h": "[-1, 1]"})
    y = network.scan(readout, h=made.h).y
    network.scan(softmax_cross_entropy, y=y, domains={"target": "one-hot"})
    found = {n: str(d) for n, d in network.domains.items()}
    assert found == {"x": "0/1", "h0": "[-1, 1]", "target": "one-hot"}
    assert str(network.copy().domains["target"]) == "one-hot"


def test_declarations_of_one_value_meet() -> None:
    @cell(data="m: p", states="h: p", domains={"m": "[0, 1]"})
    def soft(m, h):
        return m * h

    network = Network("net")
    m = network.input("m", "p", data=True, domain="0/1")
    network.scan(soft, suffix="_a", m=m)
    assert str(network.domains["m"]) == "0/1"
    with pytest.raises(DefinitionError, match="'m' is declared 0/1 and > 2"):
        network.scan(soft, suffix="_b", m=m, domains={"m": "> 2"})
    assert [s.name for s in network.scans] == ["soft_a"]
    assert str(with_loss(cells.get("elman")).domains["target"]) == "simplex"
    bits = with_loss(cells.get("elman"), "logistic_cross_entropy", domains={"target": "0/1"})
    assert str(bits.domains["target"]) == "0/1"


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [
        ("one-hot", "simplex", "one-hot"), ("0/1", "[0, 1]", "0/1"), ("one-hot", "0/1", "one-hot"),
        ("> 0", "<= 2", "(0, 2]"), (">= 1", "> 0", ">= 1"), ("simplex", ">= 0", "simplex"),
        ("[0, 1]", "(0, 3)", "(0, 1]"), ("integers 0..9", "integers 5..20", "integers 5..9"),
        ("> 0", "< 0", None), ("one-hot", "> 0", None), ("simplex", "0/1", None),
        ("integers 0..3", "integers 7..9", None), ("0/1", "(0, 1)", None),
    ],
)  # fmt: skip
def test_meeting(one: str, two: str, both: str | None) -> None:
    a, b = parse_domain(one, "x"), parse_domain(two, "x")
    expected = None if both is None else parse_domain(both, "x")
    assert a.meet(b) == b.meet(a) == expected


def test_masks_are_bits_and_lines_keep_their_domain() -> None:
    @cell(states="n: p", params="W: p p", lags={"n": (1, 2)}, domains={"n": ">= 1"})
    def mine(n, W):
        return tanh(W @ n[1]) / n[2]

    found = {n: str(d) for n, d in masked(mine).domains.items()}
    assert found == {"n": ">= 1", "n_back1": ">= 1", "mask": "0/1"}


def test_narrowed_copies() -> None:
    network = cells.get("elman_zoneout")
    assert str(network.narrowed({"x": "one-hot"}).domains["x"]) == "one-hot"
    assert "x" not in network.domains
    with pytest.raises(DefinitionError, match="has no input or parameter 'q'"):
        network.narrowed({"q": "0/1"})
    with pytest.raises(DefinitionError, match="declared 0/1 and > 3"):
        network.narrowed({"z": "> 3"})


def test_sizes_are_named_in_a_definition() -> None:
    from gradcheck_rnn.language import dim
    from gradcheck_rnn.language import sum as total

    @cell(states="h: p", params="W: p p")
    def centred(h, W):
        a = W @ h
        return a - total(a) / dim("p")

    made = centred.step({"h": np.array([[1.0], [2.0], [6.0]]), "W": np.eye(3)})
    assert np.allclose(made["h"], [[-2.0], [-1.0], [3.0]])
    with pytest.raises(DimensionError, match="dim 'q' is not declared"):
        cells.get("elman").scan(
            cell(states="g: p", name="other")(lambda g: g / dim("q")), suffix="_z"
        )
