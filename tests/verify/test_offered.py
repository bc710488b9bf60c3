"""Derivatives that a loss offers: believed where differences bear them out, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.cells.elman import delayed
from gradcheck_rnn.cells.lstm import lstm
from gradcheck_rnn.cells.readout import readout
from gradcheck_rnn.cells.stacked import stack
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.verify.blackbox import check_gradient
from gradcheck_rnn.verify.definition_gradients import DefinitionGradients, read_by
from gradcheck_rnn.verify.kernel_check import check_kernel
from gradcheck_rnn.verify.known import KnownLoss
from gradcheck_rnn.verify.offered import METHOD
from gradcheck_rnn.verify.points import draw_point

from .program_kernel import ProgramKernel

A = np.array([[1.0, -2.0, 0.5], [0.3, 1.5, -1.0]])


class Cubic(KnownLoss):
    """Σ (A x)³ of `x` (3,) and Σ y² of `y` (2,), which offers derivatives times factors."""

    def __init__(self, x: float = 1.0, y: float = 1.0, error: float = 1e-15) -> None:
        self.factors, self.error = {"x": x, "y": y}, error
        self.calls = 0

    def __call__(self, v: dict[str, Any]) -> Any:
        self.calls += 1
        return ((A @ v["x"]) ** 3).sum() + (v["y"] ** 2).sum()

    def derivatives(self, v: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        exact = gradient(v)
        return {n: (f * exact[n], self.error * np.abs(exact[n])) for n, f in self.factors.items()}


def gradient(v: dict[str, Any]) -> dict[str, Any]:
    return {"x": 3 * A.T @ (A @ v["x"]) ** 2, "y": 2 * v["y"]}


POINT = {"x": np.array([0.4, -0.7, 1.1]), "y": np.array([0.9, -0.2])}


def test_offered_derivatives_stand_for_differences_of_entries() -> None:
    loss = Cubic()
    report = check_gradient(loss, gradient, POINT)
    assert report.passed, str(report)
    assert [row.method for row in report.rows] == [METHOD] * 2
    plain = check_gradient(lambda v: Cubic()(v), gradient, POINT)
    assert report.evaluations < plain.evaluations


@pytest.mark.parametrize("factor", [1.3, 1 + 1e-5])
def test_a_wrong_gradient_fails_by_them(factor: float) -> None:
    def wrong(v: dict[str, Any]) -> dict[str, Any]:
        return {**gradient(v), "x": factor * gradient(v)["x"]}

    report = check_gradient(Cubic(), wrong, POINT)
    assert {r.name: str(r.verdict) for r in report.rows} == {"x": "fail", "y": "pass"}
    assert report.rows[0].method == METHOD


def test_offers_that_differences_do_not_bear_out_are_not_used() -> None:
    # A wrong offer neither fails a right gradient nor passes a wrong one that agrees with it.
    report = check_gradient(Cubic(x=1.01), gradient, POINT)
    assert report.passed, str(report)
    assert METHOD not in {row.method for row in report.rows}

    def wrong(v: dict[str, Any]) -> dict[str, Any]:
        return {**gradient(v), "x": 1.01 * gradient(v)["x"]}

    assert not check_gradient(Cubic(x=1.01), wrong, POINT).passed


def test_unknown_offers_are_differenced() -> None:
    report = check_gradient(Cubic(error=np.inf), gradient, POINT)
    assert report.passed, str(report)
    assert METHOD not in {row.method for row in report.rows}


def stacked(count: int) -> Network:
    network = Network(f"stack_{count}")
    made = stack(network, lstm, network.input("x", "d"), count)
    network.output(network.scan(readout, h=made[-1].h).y)
    for handle in made:
        network.output(*(handle.final(s) for s in lstm.states))
    return network


def test_what_a_result_reads_is_known_by_scan() -> None:
    network = stacked(3)
    names = list(network.outputs)
    every = read_by(network, names[:1])
    assert set(network.parameters) | set(network.inputs) <= every
    first = read_by(network, [names[1]])
    readers = [s for s in network.scans if s.states]
    assert set(readers[0].operands) <= first
    assert (
        not {o for o in readers[1].operands if o not in readers[0].operands}
        & first
        & set(network.parameters)
    )


@pytest.mark.parametrize("network", [stacked(3), api.load(delayed((1, 3, 4), "lags"))])
def test_layers_and_delays_are_checked_without_a_run_an_entry(network: Network) -> None:
    entries = sum(a.size for a in draw_point(network, 1).differentiated.values())
    done = list(check_kernel(network, ProgramKernel(network), seed=1))
    assert all(r.passed for r in done), "\n".join(map(str, done))
    assert all(r.evaluations < entries for r in done[1:])


def test_a_fault_in_a_lower_layer_is_found_in_every_part_that_it_reaches() -> None:
    network = stacked(2)
    name = next(n for n in network.parameters if network.parameters[n].shape.rows.names)

    def spoil(gradients: dict[str, Any], cotangents: dict[str, Any]) -> None:
        gradients[name].flat[-1] *= 1 + 1e-6

    done = list(check_kernel(network, ProgramKernel(network, spoil_gradients=spoil), seed=1))
    failing = {row.name for r in done for row in r.rows if str(row.verdict) == "fail"}
    assert failing == {name}
    assert all(not r.passed for r in done[1:])


def test_gradients_of_the_definition_are_those_of_its_differences() -> None:
    network = api.load("char_rnn")
    point = draw_point(network, 3)
    found = DefinitionGradients(point, {"loss": {"loss": np.ones(())}}).of("loss")
    from gradcheck_rnn.language.running import run

    values = {n: np.asarray(a, dtype=np.longdouble) for n, a in point.values.items()}
    for name in ("W", "h0"):
        value, error = found[name]
        assert np.all(error <= 1e-11 * np.max(np.abs(value)))
        moved = []
        for sign in (1, -1):
            there = dict(values)
            there[name] = there[name].copy()
            there[name].flat[0] += sign * np.longdouble(1e-6)
            moved.append(run(network, point.columns(there), point.lengths)["loss"])
        slope = float((moved[0] - moved[1]) / np.longdouble(2e-6))
        assert value.flat[0] == pytest.approx(slope, rel=1e-9)
