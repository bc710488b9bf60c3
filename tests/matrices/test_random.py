"""Random cells with matrices per sequence and heads: proved, generated, differentiated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.language.running import to_columns
from tests.codegen.support import Case
from tests.property.pipeline import load_text
from tests.strategies.choices import Seeded
from tests.strategies.random_stacks import random_loop, random_reader, random_stack_cell

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


@pytest.mark.parametrize("heads", [False, True])
def test_loops_are_the_steps_that_a_reader_writes_out(heads: bool) -> None:
    """And each term that goes back from a substep to the one before counts."""
    for seed in range(2):
        text, written = random_loop(Seeded(seed), heads)
        try:
            examine(text, seed)
            case, plain = (Case(load_text(t, "stacked"), seed) for t in (text, written))
            assert [c.network.scans[0].substeps for c in (case, plain)] == [3, 1]
            wanted = _gradients(plain)
            scale = max(abs(a).max() for a in wanted.values())
            assert _distance(_gradients(case), wanted) < 1e-12 * scale
            edges = [e for state in ("S", "z") for e in case.derivation.readers(state)]
            found = [bool(_distance(_gradients(case, e.id), wanted) > 1e-6 * scale) for e in edges]
            assert all(found), f"{found.count(False)} of {len(found)} faults stay unfound"
        except Exception as problem:
            raise AssertionError(f"seed {seed}: {problem}\n{text}") from problem


def test_sequences_are_read_whole() -> None:
    """And each term that goes back to the sequence counts."""
    for seed in range(3):
        text = random_reader(Seeded(seed))
        try:
            examine(text, seed)
            case = Case(load_text(text, "stacked"), seed)
            edges, right = case.derivation.readers("h_src_all"), _gradients(case)
            assert len(edges) >= 4
            scale = max(abs(a).max() for a in right.values())
            found = [bool(_distance(_gradients(case, e.id), right) > 1e-6 * scale) for e in edges]
            assert all(found), f"{found.count(False)} of {len(found)} faults stay unfound"
        except Exception as problem:
            raise AssertionError(f"seed {seed}: {problem}\n{text}") from problem


def _gradients(case: Case, fault: str | None = None) -> dict[str, Any]:
    """Of the derived program, a term of which may be left out."""
    edits = Edits(terms={fault: None}) if fault is not None else Edits()
    ran = forward(case.derivation, case.columns(), case.sizes, case.lengths)
    case.rng = np.random.default_rng(1)
    refs = case.network.outputs
    return bptt(ran, {n: to_columns(refs[n], g) for n, g in case.cotangents().items()}, edits=edits)


def _distance(made: dict[str, Any], wanted: dict[str, Any]) -> float:
    return max(float(abs(made[n] - a).max()) for n, a in wanted.items())


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
