"""Products in log scale: against exact arithmetic, over 100,000 steps, path by path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.dynamics import trajectory
from gradcheck_rnn.dynamics.accumulate import LogMatrix, QRProduct, array_module, pairwise
from gradcheck_rnn.dynamics.initialisation import build
from gradcheck_rnn.dynamics.products import decay, lags_to_show, norm_at, singular_values_of
from gradcheck_rnn.errors import UsageError
from tests.dynamics.models import linear, zoo

Array = np.ndarray[Any, Any]


def exact_extremes(blocks: Array) -> tuple[float, float]:
    """log σ_max and log σ_min of J_1 J_2 … by mpmath with enough digits."""
    with mpmath.workdps(120):
        out = mpmath.eye(blocks.shape[1])
        for block in blocks:
            out = out * mpmath.matrix(block.tolist())
        values = mpmath.svd_r(out, compute_uv=False)
        return float(mpmath.log(values[0])), float(mpmath.log(values[len(values) - 1]))


def test_extreme_singular_values_against_exact_arithmetic() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=(40, 4, 4)) * np.array([1.0, 0.3, 0.1, 0.03])
    largest, smallest = singular_values_of([blocks], 4, np.array([0, 1, 7, 40]))
    for k, lag in enumerate((0, 1, 7, 40)):
        top, low = exact_extremes(blocks[:lag])
        assert largest[k] == pytest.approx(top, abs=1e-10)
        assert smallest[k] == pytest.approx(low, abs=1e-7)
    # In double precision alone σ_min would be lost: it lies below 1e-16 σ_max.
    assert largest[-1] - smallest[-1] > math.log(1e20)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_hundred_thousand_steps_neither_under_nor_overflow(factor: float) -> None:
    steps, n = 100_000, 3
    rng = np.random.default_rng(1)
    angle = 0.3
    turn = np.eye(n)
    turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    frame = np.linalg.qr(rng.normal(size=(n, n)))[0]
    j = factor * frame @ turn @ np.diag([1.0, 1.0, 0.999]) @ frame.T

    def blocks() -> Iterator[Array]:
        for _ in range(steps // 1_000):
            yield np.broadcast_to(j, (1_000, n, n))

    largest, smallest = singular_values_of(blocks(), n, np.array([10, steps]))
    # The rounding of j itself, T times, and that of a sum of up to T logarithms.
    allowed = steps * np.finfo(float).eps * (10 + steps * abs(math.log(factor)))
    assert largest[-1] == pytest.approx(steps * math.log(factor), abs=allowed)
    expected = steps * (math.log(factor) + math.log(0.999))
    assert smallest[-1] == pytest.approx(expected, abs=allowed)


def test_a_model_far_below_what_a_double_can_hold() -> None:
    (system,) = zoo("elman_hidden", gain=0.8).systems()
    found = decay(system, 10_000, lags=np.array([0, 10, 10_000]), paths=False, gates=False)
    assert np.isfinite(found.norm).all()
    assert found.norm[-1] < 5 * math.log(5e-324)
    assert found.norm[0] == pytest.approx(0.0, abs=1e-15)


def test_a_singular_matrix_and_a_zero_matrix() -> None:
    blocks = np.stack([np.eye(2), np.diag([0.5, 0.0]), np.eye(2), np.zeros((2, 2)), np.eye(2)])
    largest, smallest = singular_values_of([blocks], 2, np.arange(6))
    np.testing.assert_allclose(largest[:4], [0, 0, math.log(0.5), math.log(0.5)], atol=1e-15)
    assert (smallest[2:] == -np.inf).all()
    assert (largest[4:] == -np.inf).all()


def test_log_matrix_and_pairwise() -> None:
    rng = np.random.default_rng(2)
    m = rng.normal(size=(3, 3))
    kept = LogMatrix(1e-300 * m).normalised()
    assert kept.log_norm() == pytest.approx(math.log(np.linalg.norm(m, 2)) + math.log(1e-300))
    assert LogMatrix(np.zeros((2, 2))).normalised().log_norm() == -math.inf
    blocks = rng.normal(size=(9, 3, 3))
    both = pairwise(blocks, 4)
    np.testing.assert_allclose(both[1], blocks[7] @ blocks[6] @ blocks[5] @ blocks[4])
    with pytest.raises(UsageError, match="extremes=True"):
        QRProduct(3).log_extremes()


def test_closed_recurrent_weights_leave_the_forget_gate_alone() -> None:
    """With W_* = 0 and U_* = 0 the LSTM's cell path decays as ∏ σ(b_f), unit by unit."""
    p, steps = 3, 120
    b_f = np.array([0.5, -1.0, 2.0])
    network = cells.get("lstm")
    zero = {n: np.zeros((p, p)) for n in network.parameters if n.startswith("W")}
    zero |= {n: np.zeros((p, 2)) for n in network.parameters if n.startswith("U")}
    model = build(network, sizes={"p": p, "d": 2}, parameters={**zero, "b_f": b_f})
    (system,) = model.systems()
    found = decay(system, steps)
    gate = -np.log1p(np.exp(-b_f))
    expected = found.lags * gate.max()
    np.testing.assert_allclose(found.blocks["c", "c"], expected, atol=1e-10)
    np.testing.assert_allclose(found.paths["c"], expected, atol=1e-10)
    # Nothing reads h₋ any more: beyond lag 0 it has no gradient at all.
    assert (found.blocks["h", "h"][1:] == -np.inf).all()
    assert found.slope(found.adjoint_by_state["c"]) == pytest.approx(gate.max(), abs=1e-3)


def test_adjoint_agrees_with_the_adjoint_program() -> None:
    """∂L_T/∂s_0 by transition Jacobians and by BPTT over named equations."""
    steps = 8
    model = zoo("char_lstm", seed=3)
    (system,) = model.systems()
    network = model.network
    found = decay(system, steps, lags=np.arange(steps + 1), paths=False, gates=False)
    assert found.loss == "the loss at the last step"
    values = dict(model.values)
    for name, source in model.sources.items():
        block = source.block(0, steps)[:, :, None]
        # Only the last step's loss: cross-entropy with a target of zeros is zero.
        if name == "target":
            block = block * (np.arange(steps) == steps - 1)[:, None, None]
        values[name] = block
    run = forward(model.derivation, values, model.sizes)
    gradients = bptt(run, {})
    for state in ("h", "c"):
        size = np.log(np.linalg.norm(gradients[f"{state}0"]))
        assert found.adjoint_by_state[state][-1] == pytest.approx(size, abs=1e-10)
    assert network.loss_terms


def test_delays_have_paths_of_their_own() -> None:
    (system,) = zoo("elman_delayed", seed=1).systems()
    found = decay(system, 30, lags=np.arange(31))
    assert set(found.paths) == {"h, delay 1", "h, delay 3"}
    third = found.paths["h, delay 3"]
    assert np.isfinite(third[::3]).all()
    assert (third[1::3] == -np.inf).all()
    # ∂h_T/∂h_{T−1} itself is the first hop of the one-step path.
    assert found.blocks["h", "h"][1] == pytest.approx(found.paths["h, delay 1"][1])


def test_gates_that_are_cut_change_the_decay() -> None:
    (system,) = zoo("lstm", sizes={"p": 6, "d": 3}, seed=1).systems()
    found = decay(system, 80)
    assert set(found.without) == {"i", "f", "o", "c_tilde", "c direct"}
    # The direct path carries the memory of an LSTM.
    assert found.without["c direct"][-1] < found.norm[-1] - 10
    assert found.only["c direct"] > found.only["i"]


def test_linear_identity_holds_everything() -> None:
    found = decay(linear(np.eye(3)), 50)
    np.testing.assert_array_equal(found.norm, 0.0)
    np.testing.assert_allclose(found.adjoint, 0.0, atol=1e-15)
    assert found.slope() == pytest.approx(0.0, abs=1e-15)


def test_lags() -> None:
    assert lags_to_show(5).tolist() == [0, 1, 2, 3, 4, 5]
    shown = lags_to_show(100_000)
    assert shown[0] == 0
    assert shown[-1] == 100_000
    assert len(shown) <= 160
    with pytest.raises(UsageError, match="between 0 and 10"):
        decay(linear(np.eye(2)), 10, lags=np.array([11]))


class Recording:
    """NumPy with its matrix products and QR counted: stands in for an array module."""

    def __init__(self) -> None:
        self.linalg = self
        self.calls = 0

    def qr(self, x: Array) -> Any:
        self.calls += 1
        return np.linalg.qr(x)

    def __getattr__(self, name: str) -> Any:
        return getattr(np.linalg if name == "solve" else np, name)


def test_products_run_on_the_array_module_that_is_asked_for() -> None:
    xp = Recording()
    blocks = np.random.default_rng(0).normal(size=(20, 3, 3))
    ours = singular_values_of([blocks], 3, np.array([20]))
    theirs = singular_values_of([blocks], 3, np.array([20]), xp=xp)
    assert xp.calls > 0
    np.testing.assert_array_equal(ours, theirs)
    assert array_module("numpy") is np
    with pytest.raises(UsageError, match="torch"):
        array_module("torch")


def test_paths_and_gates_end_where_detail_ends() -> None:
    (system,) = zoo("lstm", seed=1).systems()
    whole = decay(system, 60, lags=np.arange(61))
    part = decay(system, 60, lags=np.arange(61), detail=25)
    np.testing.assert_array_equal(part.norm, whole.norm)
    np.testing.assert_array_equal(part.adjoint, whole.adjoint)
    for name, curve in part.without.items():
        np.testing.assert_array_equal(curve[:26], whole.without[name][:26])
        assert np.isnan(curve[26:]).all()
    assert np.isnan(part.paths["c"][26:]).all()


@pytest.mark.parametrize("tiny", [0.0, 1e-320])
def test_a_step_that_cannot_be_inverted(tiny: float) -> None:
    block = np.array([[1.0, 0.5], [0.0, tiny]])
    largest, smallest = singular_values_of([np.stack([block] * 6)], 2, np.array([6]))
    assert np.isfinite(largest[0])
    assert smallest[0] == -np.inf


def test_a_trajectory_that_was_run_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    system = build(cells.get("bidirectional_stack")).systems(steps=12)[0]
    first = [s.line for s in trajectory.forward(system, 12)]
    fresh = build(cells.get("bidirectional_stack")).systems(steps=12)[0]
    monkeypatch.setattr(trajectory, "HELD", 0)
    stepped = list(trajectory.forward(fresh, 12))
    assert not fresh.stepped

    def never(*_: Any) -> None:
        raise AssertionError("stepped through again")

    monkeypatch.setattr(trajectory, "_step_through", never)
    for again in (list(trajectory.forward(system, 12)), list(trajectory.backward(system, 12))):
        assert all(np.array_equal(s.line[n], a) for s, b in zip(again, first, strict=True)
                   for n, a in b.items())  # fmt: skip
    assert all(np.array_equal(s.line[n], a) for s, b in zip(stepped, first, strict=True)
               for n, a in b.items())  # fmt: skip
    with pytest.raises(AssertionError, match="again"):
        list(trajectory.forward(system, 11))


@pytest.mark.parametrize("name", ["lstm", "elman_delayed"])
def test_the_norm_at_one_lag_is_that_of_the_decay(name: str) -> None:
    system = build(cells.get(name)).systems(steps=40)[0]
    whole = decay(system, 40, lags=np.array([0, 7, 40]), paths=False, gates=False)
    for lag, norm in zip(whole.lags, whole.norm, strict=True):
        assert norm_at(system, 40, int(lag)) == pytest.approx(norm, abs=1e-9)
    with pytest.raises(UsageError, match="between 0 and 40"):
        norm_at(system, 40, 41)
