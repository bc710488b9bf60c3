"""A kernel without generated code: the derivation's program, run on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.derivation import evaluate
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import sizes_of, to_columns, to_rows

Arrays = dict[str, Any]


class ProgramKernel:
    """forward, backward and loss_and_gradients as a generated module has them.

    ``spoil_outputs`` and ``spoil_gradients`` change what is handed out: planted faults.
    """

    def __init__(
        self,
        network: Network,
        spoil_outputs: Callable[[Arrays], Any] = lambda outputs: None,
        spoil_gradients: Callable[[Arrays, Arrays], Any] = lambda gradients, cotangents: None,
        lengths: dict[str, int] | None = None,
    ) -> None:
        self.network, self.lengths = network, lengths
        self.refs = network.parameters | network.inputs
        self.derivation = api.derive(network)
        self.spoil_outputs, self.spoil_gradients = spoil_outputs, spoil_gradients

    def forward(self, parameters: Arrays, inputs: Arrays) -> tuple[Arrays, Any]:
        values = {**parameters, **inputs}
        columns = {n: to_columns(self.refs[n], a) for n, a in values.items()}
        sizes = sizes_of(self.network, values)
        run = evaluate.forward(self.derivation, columns, sizes, self.lengths)
        outputs = {n: to_rows(r, run.output(n)) for n, r in self.network.outputs.items()}
        self.spoil_outputs(outputs)
        return outputs, run

    def backward(
        self, parameters: Arrays, inputs: Arrays, saved: Any, cotangents: Arrays
    ) -> Arrays:
        outputs = self.network.outputs
        given = {n: to_columns(outputs[n], a) for n, a in cotangents.items() if n != "loss"}
        found = evaluate.bptt(saved, given)
        # The program adds the gradient of the loss to that of the cotangents.
        if self.network.loss_terms:
            alone = evaluate.bptt(saved, {})
            factor = cotangents.get("loss", 0) - 1
            found = {n: g + factor * alone[n] for n, g in found.items()}
        return self._out(found, cotangents)

    def loss_and_gradients(self, parameters: Arrays, inputs: Arrays) -> tuple[Any, Arrays]:
        _, run = self.forward(parameters, inputs)
        total = np.float64(0)
        for ref in self.network.loss_terms:
            line = run.series[ref.name]
            total = total + sum(a.sum() for t, a in line.items() if t >= 1 or ref.axis is None)
        return total, self._out(evaluate.bptt(run, {}), {})

    def _out(self, found: Arrays, cotangents: Arrays) -> Arrays:
        gradients = {n: to_rows(self.refs[n], g) for n, g in found.items()}
        self.spoil_gradients(gradients, cotangents)
        return gradients
