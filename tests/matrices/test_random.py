"""Random cells with matrices per sequence and heads: proved, generated, differentiated."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.derivation.proof import prove
from tests.codegen.support import Case
from tests.property.pipeline import load_text
from tests.strategies.choices import Seeded
from tests.strategies.random_stacks import random_stack_cell

BLOCK = 6


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("start", range(0, 12, BLOCK))
def test_block(start: int, heads: bool) -> None:
    for seed in range(start, start + BLOCK):
        text = random_stack_cell(Seeded(seed), heads)
        try:
            examine(text, seed)
        except Exception as problem:
            raise AssertionError(f"seed {seed}: {problem}\n{text}") from problem


def examine(text: str, seed: int) -> None:
    """Raise where two ways to the same numbers differ."""
    case = Case(load_text(text, "stacked"), seed)
    result = prove(case.derivation, seed=seed)
    assert result.proved, str(result)
    outputs, saved = case.forward()
    for n, a in case.expected_outputs().items():
        np.testing.assert_allclose(outputs[n], a, rtol=1e-10, atol=1e-10, err_msg=n)
    given = case.cotangents()
    gradients = case.backward(saved, given)
    scale = 1 + max(abs(a).max() for a in gradients.values())
    for n, a in case.expected_gradients(given, loss=False).items():
        np.testing.assert_allclose(gradients[n], a, rtol=1e-9, atol=1e-11 * scale, err_msg=n)
    direction = {n: case.rng.normal(size=a.shape) for n, a in case.arrays.items()}
    direction = {n: a for n, a in direction.items() if n in gradients}  # data have none
    along = sum(np.sum(gradients[n] * d) for n, d in direction.items())
    np.testing.assert_allclose(along, case.slope(given, direction), rtol=1e-8, atol=1e-10 * scale)
