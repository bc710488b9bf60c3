"""Where a trajectory starts: fixed points are said, and other starts are given or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, cells
from gradcheck_rnn.dynamics.initial_conditions import read_start, started
from gradcheck_rnn.dynamics.initialisation import build
from gradcheck_rnn.dynamics.system import Model
from gradcheck_rnn.dynamics.trajectory import forward
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.language import cell
from gradcheck_rnn.language.network import as_network
from tests.dynamics.models import tanh_map

N, G, STEPS, SKIP = 40, 2.5, 600, 100


def analysed(**options: Any) -> Any:
    options = {"sizes": {"p": N}, "gain": G, "steps": STEPS, "burn_in": SKIP, "seed": 3} | options
    (found,) = api.decay(tanh_map, remedies=False, **options)
    return found


def sompolinsky(j: np.ndarray[Any, Any], h: np.ndarray[Any, Any]) -> float:
    """λ₁ of h ↦ J tanh h by QR of plain products of Jacobians, in plain NumPy."""
    q, total = np.eye(len(j)), np.zeros(len(j))
    for t in range(STEPS):
        slope = 1 - np.tanh(h) ** 2
        h = j @ np.tanh(h)
        q, r = np.linalg.qr((j * slope) @ q)
        if t >= SKIP:
            total += np.log(np.abs(np.diag(r)))
    return float(total.max() / (STEPS - SKIP))


def test_the_fixed_point_is_said_and_a_drawn_start_gives_the_chaotic_exponent() -> None:
    rest, moving = analysed(), analysed(start="drawn")
    assert rest.resting == ("h",)
    assert any("never leaves its start" in s and "unstable" in s for s in rest.verdict.sentences)
    assert moving.resting == ()
    assert not any("never leaves" in s for s in moving.verdict.sentences)
    model = build(as_network(tanh_map), sizes={"p": N}, gain=G, seed=3)
    j = model.values["J"]
    assert rest.exponents.leading == pytest.approx(
        np.log(abs(np.linalg.eigvals(j)).max()), abs=0.02
    )
    truth = sompolinsky(j, np.random.default_rng(8).standard_normal(N))
    # Two trajectories of one chaotic map: each knows λ₁ to its standard error.
    assert moving.exponents.leading == pytest.approx(truth, abs=6 * moving.exponents.errors[0])
    assert rest.exponents.leading > 2 * moving.exponents.leading


def test_a_given_start_is_where_the_trajectory_starts(tmp_path: Path) -> None:
    h = np.random.default_rng(5).standard_normal(N)
    np.savez(tmp_path / "start.npz", h=h)
    model = build(as_network(tanh_map), sizes={"p": N}, gain=G, seed=3)
    for start in (str(tmp_path / "start.npz"), {"h": h}):
        (segment,) = forward(started(model, read_start(start), 0).systems()[0], 20)
        state = h
        for t in range(20):
            state = model.values["J"] @ np.tanh(state)
            assert segment.line["h"][:, t + 1] == pytest.approx(state, rel=1e-9)
    assert analysed(start=str(tmp_path / "start.npz")).resting == ()


def test_an_initial_state_is_named_by_itself_or_by_its_state() -> None:
    network = cells.get("lstm")
    model = build(network, sizes={"p": 3, "d": 2})
    starts = {i.ref.name: s.name for s in network.scans[0].states for i in s.initial if i.ref}
    assert starts
    first, state = next(iter(starts.items()))
    value = np.array([1.0, -2.0, 3.0])
    for name in (first, state):
        line = started(model, {name: value}, 0).systems()[0].start()
        assert line[state][:, -1].tolist() == value.tolist()
        assert all(not line[n].any() for n in line if n != state)


@cell(states="h: p", params="W: p p", lags={"h": (1, 3)})
def delayed(h: Any, W: Any) -> Any:
    """h = W h₋₁ + h₋₃."""
    h = W @ h[1] + 0.5 * h[3]
    return h  # noqa: RET504


def delays() -> Model:
    return build(as_network(delayed), sizes={"p": 2})


def test_the_lags_of_a_start_come_latest_first() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    line = started(delays(), {"h": rows}, 0).systems()[0].start()["h"]
    assert line.T.tolist() == rows[::-1].tolist()


def test_drawn_starts_repeat_and_differ_by_seed() -> None:
    lines = [started(delays(), "drawn", s).systems()[0].start()["h"] for s in (1, 1, 2)]
    assert np.array_equal(lines[0], lines[1])
    assert not np.array_equal(lines[0], lines[2])
    assert (lines[0] != 0).all()


def test_a_part_of_the_state_that_rests_is_named() -> None:
    @cell(inputs="x: d", states="h c: p", params="W: p p; U: p d")
    def half(h: Any, c: Any, x: Any, W: Any, U: Any) -> Any:
        h = W @ h + U @ x
        c = W @ c
        return h, c

    (found,) = api.decay(half, sizes={"p": 3, "d": 2}, steps=60, remedies=False)
    assert found.resting == ("c",)
    assert any("Of the state, c never" in s for s in found.verdict.sentences)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        ("nowhere", UsageError, "give zeros, drawn, or a file"),
        (3, UsageError, "start is 3"),
        ({"z": np.ones(N)}, UsageError, "no state 'z' to start; it has h"),
        ({"h": np.ones(N + 1)}, DimensionError, r"expected \(40,\)"),
        ({"h": np.full(N, np.nan)}, UsageError, "not finite"),
    ],
)
def test_starts_that_are_none(start: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        analysed(start=start)


def test_the_spread_is_that_of_the_draws_one_by_one() -> None:
    options = {"sizes": {"p": 4, "d": 3}, "steps": 60, "remedies": False, "start": "drawn"}
    (found,) = api.decay("elman_hidden", draws=4, seed=2, **options)
    alone = [api.decay("elman_hidden", seed=2 + k, **options)[0] for k in range(4)]
    rates = [a.exponents.leading for a in alone]
    assert found.draws is not None
    assert found.draws.rates == pytest.approx(rates, rel=1e-6)
    assert found.draws.deviation == pytest.approx(np.std(rates, ddof=1))
    assert any("Over 4 draws" in s for s in found.verdict.sentences)
    assert any("this one draw" in s and "--draws" in s for s in alone[0].verdict.sentences)


def test_draws_of_given_weights_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", J=np.eye(2))
    with pytest.raises(UsageError, match="nothing to draw"):
        api.decay(tanh_map, weights=tmp_path / "w.npz", draws=2)


def test_an_error_of_given_weights_does_not_speak_of_draws(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", J=np.array([[0.5, 0.2], [0.1, 0.4]]))
    (found,) = api.decay(tanh_map, weights=tmp_path / "w.npz", steps=60, start="drawn")
    assert any("this one trajectory with these weights" in s for s in found.verdict.sentences)
