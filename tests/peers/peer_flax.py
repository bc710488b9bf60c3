"""Cells of flax.linen under nn.RNN, against the cells of the zoo."""

from __future__ import annotations

from typing import Any

import jax
import pytest
from flax import linen

from gradcheck_rnn import check_model, load
from gradcheck_rnn.verify.harness.ready import definition

jax.config.update("jax_enable_x64", True)
CELLS = {"lstm": linen.LSTMCell, "gru": linen.GRUCell, "rnn": linen.SimpleCell}


@pytest.mark.parametrize("kind", list(CELLS))
def test_cells(kind: str) -> None:
    def run(inputs: Any, h0: Any, c0: Any = None, **leaves: Any) -> Any:
        params: dict[str, Any] = {}
        for name, x in leaves.items():
            part, leaf = name.split(".")
            params.setdefault(part, {})[leaf] = x
        layer = linen.RNN(CELLS[kind](h0.shape[-1]), return_carry=True)
        carry = h0 if c0 is None else (c0, h0)
        last, out = layer.apply({"params": {"cell": params}}, inputs, initial_carry=carry)
        return (out, last) if c0 is None else (out, last[1], last[0])

    if kind != "lstm":
        plain = run

        def run(inputs: Any, h0: Any, **leaves: Any) -> Any:
            return plain(inputs, h0, **leaves)

    name = f"flax {kind}"
    report = check_model(load(definition(name)), module=run, layout=name, array="jax", plan="point")
    assert report.passed, str(report)
