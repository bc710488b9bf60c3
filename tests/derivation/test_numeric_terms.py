"""Terms run as functions of their operands, which must give what they give one by one."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from gradcheck_rnn import api, cell
from gradcheck_rnn.derivation import evaluate
from gradcheck_rnn.derivation.numeric_terms import TermEvaluator
from gradcheck_rnn.language import tanh
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.running import to_columns
from gradcheck_rnn.verify.points import draw_point


class OneByOne(TermEvaluator):
    """Has a way of its own with every part of a term, and so is never compiled."""

    met = 0

    def __call__(self, term, lookup):
        type(self).met += 1
        return super().__call__(term, lookup)


@cell(inputs="x: d", states="h: p", params="U: p d; b: p")
def deep(h, x, U, b):
    return {"h": reduce(lambda a, _: tanh(a) + b, range(70), U @ x + h)}


@pytest.mark.parametrize(
    "system", ["gru", "lstm_layer_norm", "tree_lstm", "ltc", "linear_attention", deep]
)
def test_compiled_terms_give_what_their_parts_give(system):
    network = as_network(api.load(system) if isinstance(system, str) else system)
    point = draw_point(network, 0)
    refs = {**network.parameters, **network.inputs}
    columns = {n: to_columns(refs[n], a) for n, a in point.values.items()}
    derivation, found = api.derive(network), {}
    for evaluator in (TermEvaluator, OneByOne):
        OneByOne.met = 0
        run = evaluate.Run(derivation, columns, point.sizes, None, evaluator)
        bars = {n: np.ones_like(run.output(n)) for n in network.outputs}
        found[evaluator] = evaluate.bptt(run, bars)
    assert OneByOne.met > 100
    for one, other in zip(found[TermEvaluator].values(), found[OneByOne].values(), strict=True):
        assert np.array_equal(one, other)
