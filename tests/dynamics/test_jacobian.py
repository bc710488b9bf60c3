"""Transition Jacobians along a trajectory against differences of the trajectory itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.dynamics.factors import Factor
from gradcheck_rnn.dynamics.system import Model, System, Variant
from gradcheck_rnn.dynamics.trajectory import backward, forward
from tests.dynamics.models import zoo

STEPS = 9
RECURRENT = [
    name
    for name in cells.names()
    if any(s.states for s in cells.get(name).scans)
    # A stopped gradient is by intent not the derivative of the run.
    and name not in ("lstm_1997_truncated", "lif")
]


def jacobians(system: System, steps: int = STEPS) -> np.ndarray[Any, Any]:
    return np.concatenate([s.jacobian() for s in forward(system, steps)])


def by_differences(system: System, steps: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """∂s_T/∂s_0 by central differences with one Richardson step, and its error entry by entry.

    The truncation is at most what halving the step changed; rounding is the trajectory's, a few
    hundred operations, divided by the step.
    """
    coarse, fine = _central(system, steps, 2e-6), _central(system, steps, 1e-6)
    rounding = 1e3 * np.finfo(float).eps * max(1.0, abs(fine).max()) / 1e-6
    return (4 * fine - coarse) / 3, abs(fine - coarse) + rounding


def _central(system: System, steps: int, h: float) -> np.ndarray[Any, Any]:
    columns = []
    start = system.start

    for k in range(system.n):
        ends = []
        for sign in (1.0, -1.0):

            def moved(k: int = k, sign: float = sign) -> dict[str, Any]:
                line = start()
                for s in system.slots:
                    if s.start <= k < s.stop:
                        line[s.name][k - s.start, system.depth - s.lag] += sign * h
                return line

            system.start = moved  # type: ignore[method-assign]
            last = list(forward(system, steps))[-1]
            end = np.zeros(system.n)
            for s in system.slots:
                end[s.at] = last.line[s.name][:, last.line[s.name].shape[1] - s.lag]
            ends.append(end)
        columns.append((ends[0] - ends[1]) / (2 * h))
    system.start = start  # type: ignore[method-assign]
    return np.stack(columns, axis=1)


def product(blocks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    out = np.eye(blocks.shape[1])
    for block in blocks:
        out = block @ out
    return out


@pytest.mark.parametrize("name", RECURRENT)
def test_products_are_derivatives_of_the_trajectory(name: str) -> None:
    for system in zoo(name, gain=0.7, seed=3).systems(steps=STEPS):
        expected, error = by_differences(system, STEPS)
        assert (abs(product(jacobians(system)) - expected) <= error).all()


@pytest.mark.parametrize("variant", [Variant(leak=0.3), Variant(mix={1: 0.6, 3: 0.4})])
@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_variants(name: str, variant: Variant) -> None:
    model: Model = zoo(name, seed=1)
    (system,) = model.systems(variant)
    expected, error = by_differences(system, STEPS)
    assert (abs(product(jacobians(system)) - expected) <= error).all()


def test_a_wrong_edge_is_seen() -> None:
    (system,) = zoo("lstm", seed=3).systems()
    expected, error = by_differences(system, STEPS)
    wrong = next(e for e in system.model.derivation.edges if e.id == "lstm/c<-f")
    system.edit = lambda e, f: f.scaled(np.float64(1.01)) if e.id == wrong.id else f
    assert (abs(product(jacobians(system)) - expected) > 10 * error).any()


def test_parts_by_gate_add_up() -> None:
    (system,) = zoo("lstm", seed=2).systems()
    for segment in forward(system, STEPS):
        parts = [segment.jacobian(lambda e, g=g: system.port(e) == g) for g in system.ports]  # type: ignore[misc]
        np.testing.assert_allclose(sum(parts), segment.jacobian(), atol=1e-14)
    assert system.ports == ("i", "f", "o", "c_tilde", "c direct")


def test_backward_stretches_are_the_forward_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    (system,) = zoo("elman_delayed", seed=2).systems()
    monkeypatch.setattr(System, "segment_length", property(lambda self: 4))
    forward = jacobians(system, 11)
    back = np.concatenate([s.jacobian()[::-1] for s in backward(system, 11)])
    np.testing.assert_array_equal(back[::-1], forward)


def test_factors_keep_diagonals_as_vectors() -> None:
    rng = np.random.default_rng(0)
    w, s, t = rng.normal(size=(3, 3)), rng.normal(size=(5, 3, 1)), rng.normal(size=(5, 3, 1))
    a, b = Factor(3, 3, s), Factor(3, 3, t, w)
    left = a @ b
    assert left.matrix is w
    dense = s * np.eye(3)
    np.testing.assert_allclose(left.dense(), dense @ (t * w))
    np.testing.assert_allclose((b @ a).dense(), (t * w) @ dense)
    np.testing.assert_allclose((b + b).dense(), 2 * t * w)
    np.testing.assert_allclose((a + b).dense(), dense + t * w)
    np.testing.assert_allclose((Factor(3, 3, None, w) @ b).dense(), w @ (t * w))
