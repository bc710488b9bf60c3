"""Random arrays for a network, generated modules, and what their results are compared with."""

from __future__ import annotations

import types
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.evaluate import bptt
from gradcheck_rnn.derivation.evaluate import forward as evaluate
from gradcheck_rnn.language.network import Network, Ref
from gradcheck_rnn.language.running import array_shape, run, to_columns, to_rows

Arrays = dict[str, np.ndarray[Any, Any]]
BATCH = 2


class Case:
    """A network with a generated module and random arrays at pairwise different dims."""

    def __init__(
        self, network: Network, seed: int = 0, dtype: Any = float, steps: int | None = None
    ) -> None:
        self.network = network
        self.derivation = derive(network)
        self.module = load(generate(self.derivation), network.name)
        if hasattr(self.module, "ROWS"):
            self.module.ROWS = 2 * BATCH  # blocks of two steps, the last one shorter
        self.sizes = {name: 2 + i for i, name in enumerate(network.dims)}
        self.lengths = {
            axis: 5 + i if steps is None else steps for i, axis in enumerate(network.axes)
        }
        rng = np.random.default_rng([seed, zlib.crc32(network.name.encode())])
        refs = {**network.parameters, **network.inputs}
        domains = network.domains
        self.arrays: Arrays = {}
        for name, ref in refs.items():
            shape = array_shape(ref, self.sizes, batch=BATCH, lengths=self.lengths)
            drawn = rng.normal(size=shape)
            if name in domains:
                drawn = domains[name].draw(rng, shape, data=False)
            elif ref.shape.scalar and ref.kind in ("data", "static_data"):
                drawn = (drawn > -0.5).astype(float)
            self.arrays[name] = np.asarray(drawn, dtype)
        inputs = network.inputs.values()
        # Axes that no input runs along, and a batch that no input shows, are said.
        self.keywords = {a: n for a, n in self.lengths.items() if all(r.axis != a for r in inputs)}
        self.batch = BATCH if network.inputs else 1
        if not network.inputs:
            self.keywords["B"] = 1
        self.rng = rng

    def split(self, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        parameters = {n: arrays[n] for n in self.network.parameters}
        return parameters, {n: arrays[n] for n in self.network.inputs}

    def forward(self, arrays: Mapping[str, Any] | None = None) -> Any:
        return self.module.forward(*self.split(arrays or self.arrays), **self.keywords)

    def backward(self, saved: Any, cotangents: Mapping[str, Any]) -> Any:
        return self.module.backward(*self.split(self.arrays), saved, cotangents, **self.keywords)

    def cotangents(self) -> Arrays:
        """Random cotangents of every output, the loss left out."""
        out = {}
        for label, ref in self.network.outputs.items():
            shape = array_shape(ref, self.sizes, batch=self.batch, lengths=self.lengths)
            out[label] = self.rng.normal(size=shape).astype(self.arrays_dtype)
        return out

    @property
    def arrays_dtype(self) -> Any:
        return next(iter(self.arrays.values())).dtype

    def columns(self) -> Arrays:
        refs = {**self.network.parameters, **self.network.inputs}
        return {n: to_columns(refs[n], a) for n, a in self.arrays.items()}

    def expected_outputs(self) -> Arrays:
        """By the definition itself."""
        made = run(self.network, self.columns(), self.lengths)
        out = {n: to_rows(ref, made[n]) for n, ref in self.network.outputs.items()}
        if self.network.loss_terms:
            out["loss"] = made["loss"]
        return out

    def expected_gradients(self, cotangents: Arrays, loss: bool) -> Arrays:
        """By the adjoint program, step by step; the loss is in it if the network has one."""
        ran = evaluate(self.derivation, self.columns(), self.sizes, self.lengths)
        given = {
            n: to_columns(self.network.outputs[n], g)
            for n, g in cotangents.items()
            if n in self.network.outputs
        }
        made = bptt(ran, given)
        if self.network.loss_terms and not loss:
            base = bptt(ran, {})
            made = {n: g - base[n] for n, g in made.items()}
        refs: dict[str, Ref] = {**self.network.parameters, **self.network.inputs}
        return {n: to_rows(refs[n], g) for n, g in made.items()}

    def slope(self, cotangents: Arrays, direction: Arrays, step: float = 1e-30) -> float:
        """The derivative of Σ ⟨cotangent, output⟩ along a direction, by the complex step."""
        moved: dict[str, Any] = dict(self.arrays)
        for n, along in direction.items():
            moved[n] = self.arrays[n] + 1j * step * along
        outputs, _ = self.forward(moved)
        return float(sum(np.sum(g * np.imag(outputs[n])) for n, g in cotangents.items()) / step)


def load(text: str, name: str) -> types.ModuleType:
    """A module from text."""
    module = types.ModuleType(f"generated_{name}")
    exec(compile(text, f"<generated {name}>", "exec"), module.__dict__)
    return module


def error(actual: Any, expected: Any) -> float:
    """Largest difference relative to the size of what is expected."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    scale = max(np.abs(expected).max(initial=0), 1e-3)
    return float(np.abs(actual - expected).max(initial=0) / scale)
