"""What no tested point reaches is said: sides of branches, sizes; zeros everywhere are no pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, check_model
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.language import cell, clip, maximum, minimum, relu, softplus, tanh, where
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify import Verdict
from gradcheck_rnn.verify.diagnosis.unseen import unseen_branches
from gradcheck_rnn.verify.points import draw_point
from tests.codegen.support import load


@cell(inputs="x: p", states="h: p", params="w: p")
def clipped(x, h, w):
    return tanh(w * h + clip(x, -1000, 1000))


@cell(inputs="x: p", states="h: p", params="w: p")
def thresholded(x, h, w):
    return tanh(w * h + where(x > 20, x, softplus(x)))


@cell(inputs="x: p", states="h: p", params="w: p")
def guarded(x, h, w):
    return tanh(w * h / maximum(abs(x) + 1, 0.5))


@cell(inputs="x: p", states="h: p", params="w: p", data="m:")
def both(x, h, w, m):
    low = minimum(x, h)
    return tanh(w * h + relu(low) + maximum(x, 0.1) + abs(x) + where(m, x, h))


@cell(inputs="x: p", states="h: p", params="w k: p")
def off(x, h, w, k):
    return tanh(w * h + x) + k * maximum(x - 100, 0)


SAID = {
    "clipped": ["clip, from 1000 on (line", "clip, up to -1000 (line"],
    "thresholded": ["the comparison, above 20 (line"],
    "guarded": ["maximum, up to 0.5 (line"],
    "both": [],
    "off": ["maximum, above 0 (line"],
}
CELLS = {c.name: c for c in (clipped, thresholded, guarded, both, off)}


@pytest.mark.parametrize("name", CELLS)
def test_sides_that_no_point_reaches_are_named(name: str) -> None:
    points: Any = [draw_point(as_network(CELLS[name]), seed) for seed in range(4)]
    found = unseen_branches(points)
    text = found[0].message if found else ""
    assert text.count("(line") == len(SAID[name]), text
    assert all(words in text for words in SAID[name]), text


def _code(definition: Any, spoil: Any = lambda gradients: None) -> dict[str, Any]:
    """The generated module of a definition as code under test."""
    network = as_network(definition)
    module: Any = load(generate(derive(network)), definition.name)

    def forward(**arrays: Any) -> Any:
        parameters = {n: arrays[n] for n in network.parameters}
        inputs = {n: arrays[n] for n in network.inputs}
        outputs, saved = module.forward(parameters, inputs)
        return outputs, (parameters, inputs, saved)

    def backward(cotangents: Any, cache: Any) -> Any:
        parameters, inputs, saved = cache
        gradients = module.backward(parameters, inputs, saved, cotangents)
        spoil(gradients)
        return gradients

    return {"forward": forward, "backward": backward}


def test_a_pass_says_which_side_of_a_clip_was_not_seen_and_which_sizes_were() -> None:
    report = check_model(clipped, **_code(clipped), plan="few")
    assert report.passed
    said = [f.message for f in report.findings if f.kind == "could-have-missed"]
    assert any("clip, from 1000 on" in text for text in said)
    (sizes,) = (text for text in said if text.startswith("sizes seen"))
    assert "in gradients" in sizes


@pytest.mark.parametrize("wrong", [False, True])
def test_a_gradient_that_is_zero_at_every_point_is_no_pass(wrong: bool) -> None:
    def spoil(gradients: Any) -> None:
        if wrong:  # the same at all points that are run
            gradients["k"] = np.zeros_like(gradients["k"])

    report = check_model(off, **_code(off, spoil), plan="few")
    rows = {row.name: row for row in report.rows}
    assert rows["k"].verdict is Verdict.UNDECIDED
    assert "zero at every point tried" in rows["k"].reason
    assert rows["w"].verdict is Verdict.PASS


def test_a_gradient_that_is_zero_by_intent_passes() -> None:
    definition = as_network(api.load("lstm_1997_truncated"))
    assert check_model(definition, **_code(definition), plan="few").passed
