"""The expansion of ∂s_T/∂W against the tangent program, and the constant error carousel."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.derivation.evaluate import forward as run_equations
from gradcheck_rnn.derivation.rtrl import rtrl
from gradcheck_rnn.dynamics.expansion import carousel, expansion
from gradcheck_rnn.dynamics.trajectory import forward
from gradcheck_rnn.errors import UsageError
from tests.dynamics.models import linear, zoo

STEPS = 12


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("elman_hidden", "W"), ("gru", "W_c"), ("elman_delayed", "W_3"), ("elman_multihead", "W_2")],
)
def test_terms_sum_to_the_total_derivative(name: str, parameter: str) -> None:
    """‖∂h_T/∂W‖_F by RTRL: one run for each entry of h_T."""
    model = zoo(name, seed=2)
    (system,) = model.systems()
    found = expansion(system, parameter, STEPS)
    assert len(found.terms) == STEPS
    assert found.rest == 0.0
    values = dict(model.values)
    values |= {n: s.block(0, STEPS)[:, :, None] for n, s in model.sources.items()}
    run = run_equations(model.derivation, values, model.sizes)
    size = system.slot("h", 1).stop
    total = 0.0
    for back in range(system.depth):
        for k in range(size):
            pick = np.zeros((STEPS, size, 1))
            pick[STEPS - 1 - back, k] = 1.0
            gradient = rtrl(run, {"h": pick}, wrt=(parameter,))[parameter]
            total += float((gradient**2).sum())
    assert found.log_norm == pytest.approx(np.log(total) / 2, abs=1e-12)
    assert found.error[0] == pytest.approx(1.0)
    assert found.error[-1] == 0.0


def test_small_slopes_need_two_terms_and_large_ones_do_not() -> None:
    """Kim: for f′ ≪ 1 two terms are enough; with W = I and f(x) = x every term counts."""
    weak = zoo("elman_hidden", gain=0.05, seed=1).systems()[0]
    found = expansion(weak, "W", 40)
    assert found.carrying() <= 2
    # The third term has two more factors W f′ ≈ 0.05 than the first.
    assert found.two_term_error < 0.05**2 * 2
    carried = linear(np.eye(3))
    everything = expansion(carried, "W", 40)
    assert everything.carrying() > 20
    assert everything.two_term_error > 0.5


def test_identity_gives_the_sum_of_earlier_states() -> None:
    """f(x) = x and W = I: ∂h_t/∂W = h_{t−1} + h_{t−2} + …, as Kim's slide on the cell state."""
    system = linear(np.eye(3))
    found = expansion(system, "W", STEPS)
    (segment,) = forward(system, STEPS)
    earlier = segment.line["h"][:, :STEPS]
    # ‖Σ h ᵀ⊗ I‖_F = √p ‖Σ h‖.
    expected = np.log(np.sqrt(3) * np.linalg.norm(earlier.sum(axis=1)))
    assert found.log_norm == pytest.approx(expected, abs=1e-12)


def test_the_carousel() -> None:
    (system,) = zoo("constant_error_carousel").systems()
    (ring,) = carousel(system, 30, np.arange(31))
    assert ring.constant
    (system,) = zoo("lstm", seed=3).systems()
    (gate,) = carousel(system, 30, np.arange(31))
    (segment,) = forward(system, 30)
    logs = np.log(segment.equations["f"])[:, ::-1].cumsum(axis=1).T
    np.testing.assert_allclose(gate.log_products[1:], logs, atol=1e-12)
    assert not gate.constant
    assert gate.mean_gate == pytest.approx(segment.equations["f"].mean())
    assert carousel(zoo("elman").systems()[0], 30, np.arange(31)) == []


def test_unknown_parameter() -> None:
    with pytest.raises(UsageError, match="W_q"):
        expansion(zoo("lstm").systems()[0], "W_q", STEPS)
