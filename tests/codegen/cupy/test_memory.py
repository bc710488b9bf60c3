"""What CuPy kernels of matrix states hold at once: no outer products of all steps."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from tests.codegen.support import load
from tests.cuda_shim import fake_cupy

#: A value for each step and gate is a small part of this many steps.
SIZES = {
    "T": 64, "B": 2, "n": 40, "m": 36, "d": 16, "H": 3, "k": 20, "p": 30, "3": 3, "S": 64, "e": 12,
    "q": 14,
}  # fmt: skip


class _Idle:
    """A module whose kernels do nothing: what is held is decided by the Python around them."""

    def __init__(self, **_: Any) -> None:
        pass

    def get_function(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def peaks(name: str, steps: int = SIZES["T"]) -> tuple[float, float]:
    """Peak bytes of forward and of backward in units of state history plus inputs."""
    network = cells.get(name)
    rng, sizes = np.random.default_rng(0), {**SIZES, "T": steps, "S": steps}
    with fake_cupy.installed() as cupy, mock.patch.object(cupy, "RawModule", _Idle):
        module: Any = load(generate(derive(network), "cupy"), f"{name}_cupy")
        arrays = {
            n: rng.uniform(0.1, 1, size=[sizes[a] for a in axes])
            for n, axes in module.SHAPES.items()
        }
        held = {n: cupy.asarray(a) for n, a in arrays.items()}
        parameters = {n: held[n] for n in network.parameters}
        inputs = {n: held[n] for n in network.inputs}
        states = [arrays[i.ref.name] for s in network.scans for st in s.states for i in st.initial
                  if i.ref is not None]  # fmt: skip
        unit = sum(a.nbytes for a in arrays.values()) + steps * sum(a.nbytes for a in states)
        tracemalloc.start()
        try:
            outputs, saved = module.forward(parameters, inputs)
            forward = tracemalloc.get_traced_memory()[1]
            given = {n: cupy.asarray(np.ones(a.shape)) for n, a in outputs.items()}
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            module.backward(parameters, inputs, saved, given)
            backward = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
    return forward / unit, backward / unit


@pytest.mark.parametrize(
    "name",
    ["linear_attention", "delta_net", "rwkv7", "multihead_retention", "selective_scan",
     "conv_lstm", "ntm_head", "tree_lstm"],
)  # fmt: skip
def test_both_passes_hold_a_history_of_the_states(name: str) -> None:
    forward, backward = peaks(name)
    assert forward < 1.5
    assert backward < 1.5


def test_scores_of_all_steps_are_not_held() -> None:
    """S × m numbers a step would be 15 histories of states that are vectors."""
    assert max(peaks("attention_decoder")) < 7.5
