"""Least squares is where the derived gradient of the squared error vanishes."""

from __future__ import annotations

import numpy as np

from examples import echo_state


def test_the_gradient_vanishes_at_the_least_squares_readout() -> None:
    found = echo_state.fit(units=30, steps=300)
    # Least squares by QR leaves a residual gradient of about eps times the size of the sums.
    assert found.gradient < 1e4 * np.finfo(float).eps * found.scale
    wave = echo_state.signal(300 + echo_state.AHEAD)
    now, later = wave[: -echo_state.AHEAD], wave[echo_state.AHEAD :]
    persistence = np.linalg.norm(now - later) / np.linalg.norm(later)
    assert found.error < persistence / 3


def test_the_reservoir_has_the_radius_asked_for() -> None:
    made = echo_state.reservoir(30, 0.95, 0.2, np.random.default_rng(1))
    assert np.isclose(np.abs(np.linalg.eigvals(made)).max(), 0.95)
    assert 0.05 < np.count_nonzero(made) / made.size < 0.4
