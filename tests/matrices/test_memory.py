"""What a generated kernel holds at once, beside the history of its states and what it is given."""

from __future__ import annotations

import functools
import tracemalloc
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.language.running import array_shape
from tests.codegen.support import Case, error, load

SIZES = {
    "T": 80, "B": 2, "n": 40, "m": 36, "d": 16, "H": 3, "k": 20, "3": 3, "S": 64, "p": 30, "e": 12,
    "q": 14,
}  # fmt: skip
#: Cells with a state that is a matrix, or one of every head: beside states that are vectors, gates
#: of their size count for more.
NAMES = [
    n for n in cells.names()
    if any(s.shape.stack or s.shape.headed for scan in cells.get(n).scans for s in scan.states)
]  # fmt: skip


def peaks(name: str, steps: int = SIZES["T"]) -> tuple[float, float]:
    """Peaks in units of the history of the states plus what is given."""
    forward, backward, unit = held(name, steps)
    return forward / unit, backward / unit


@functools.cache
def held(name: str, steps: int = SIZES["T"]) -> tuple[int, int, int]:
    """Peak bytes of forward, of backward beside its results, and of state histories plus inputs."""
    module, network = load(generate(derive(cells.get(name))), name), cells.get(name)
    module.ENTRIES = 2**10  # short blocks, as those of large matrices are
    rng, sizes = np.random.default_rng(0), {**SIZES, "T": steps, "S": steps}
    arrays = {
        n: rng.uniform(0.1, 1, size=[sizes[a] for a in axes]) for n, axes in module.SHAPES.items()
    }
    parameters = {n: arrays[n] for n in network.parameters}
    inputs = {n: arrays[n] for n in network.inputs}
    states = [arrays[i.ref.name] for s in network.scans for st in s.states for i in st.initial
              if i.ref is not None]  # fmt: skip
    unit = sum(a.nbytes for a in arrays.values()) + steps * sum(a.nbytes for a in states)
    tracemalloc.start()
    try:
        outputs, saved = module.forward(parameters, inputs)
        forward = tracemalloc.get_traced_memory()[1]
        given = {n: np.ones_like(a) for n, a in outputs.items()}
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        made: Any = module.backward(parameters, inputs, saved, given)
        results = sum(a.nbytes for a in made.values() if a is not None)
        backward = tracemalloc.get_traced_memory()[1] - before - results
    finally:
        tracemalloc.stop()
    return forward, backward, unit


@pytest.mark.parametrize("name", NAMES)
def test_a_forward_pass_holds_little_but_its_states(name: str) -> None:
    assert peaks(name)[0] < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_a_backward_pass_holds_the_adjoints_of_a_block(name: str) -> None:
    assert peaks(name)[1] < 0.65


def test_a_decoder_with_attention_holds_vectors_of_its_steps() -> None:
    """Every number that it may hold: keys once, S × m numbers of single steps alone."""
    T, S, B, p, k, m = (SIZES[n] for n in ("T", "T", "B", "p", "k", "m"))
    refs = cells.get("attention_decoder").parameters.values()
    parameters = sum(int(np.prod(array_shape(r, SIZES, batch=B, lengths={}))) for r in refs)
    small = S * B * m * 2 // 3  # less than a second copy of the keys
    # s; z, r, candidate; the product that W_a s is of; r ⊙ s; α; c; the product of y
    step = p + 3 * p + (2 * p + m) + p + S + k + 3 * p
    position = k + k + m + 1  # h; H and its keys; the mask
    forward, backward, _ = held("attention_decoder")
    numbers = T * B * step + S * B * position + 2 * B * S * m + 2 * parameters
    assert forward < 8 * (numbers + small)
    # δs; δ of the gates and of W_a s; 1 − z; δc
    step = p + (3 * p + m) + p + k
    numbers = T * B * step + 4 * S * B * k + 7 * B * S * m
    assert backward < 8 * (numbers + small)


@pytest.mark.parametrize(
    ("right", "wrong"), [
        ("d_S[stop - start] = d_S[0]", "pass"),
        ("d_S[1:stop - start + 1]", "d_S[:stop - start]"),
    ],
)  # fmt: skip
def test_a_wrong_border_between_blocks_is_found(right: str, wrong: str) -> None:
    case = Case(cells.get("delta_net"))
    _, saved = case.forward()
    given = case.cotangents()
    wanted = case.expected_gradients(given, loss=False)
    assert max(error(case.backward(saved, given)[n], a) for n, a in wanted.items()) < 1e-12
    text = generate(case.derivation)
    assert right in text
    case.module = load(text.replace(right, wrong), "delta_net")
    case.module.ROWS = 4
    found = case.backward(case.forward()[1], given)
    assert max(error(found[n], a) for n, a in wanted.items()) > 1e-3
