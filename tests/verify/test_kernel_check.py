"""Kernels against their definition: right ones pass, and every kind of fault is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.errors import DimensionError, GradcheckError, UsageError
from gradcheck_rnn.language import cell
from gradcheck_rnn.language.running import run
from gradcheck_rnn.verify import kernel_check as kernels
from gradcheck_rnn.verify.kernel_check import check_kernel, parts_of
from gradcheck_rnn.verify.outcome import Report
from gradcheck_rnn.verify.points import draw_point

from .program_kernel import ProgramKernel


def reports(system: str, seed: int = 1, **faults: Any) -> list[Report]:
    network = api.load(system)
    return list(check_kernel(network, ProgramKernel(network, **faults), seed=seed))


@pytest.mark.parametrize(
    "system", ["elman", "gru", "many_to_one", "char_rnn", "lstm_1997_truncated", "squared_error"]
)
def test_a_right_kernel_passes_in_every_part(system: str) -> None:
    done = reports(system)
    assert [r.title.split(": ", 1)[1].removeprefix("cotangent of ") for r in done] == parts_of(
        api.load(system)
    )
    for report in done:
        assert report.passed, str(report)


def test_frozen_values_are_said() -> None:
    done = reports("lstm_1997_truncated")
    assert all("frozen" in [f.kind for f in r.findings] for r in done[1:])


def test_a_wrong_output_stops_the_check_with_the_reason() -> None:
    def spoil(outputs: dict[str, Any]) -> None:
        outputs["h"][2, 1, 0] *= 1 + 1e-12

    (report,) = reports("gru", spoil_outputs=spoil)
    assert [str(r.verdict) for r in report.rows] == ["fail", "pass"]
    assert report.rows[0].worst == "[2, 1, 0]"
    assert "other-function" in [f.kind for f in report.findings]


def test_a_wrong_function_with_its_right_gradient_fails() -> None:
    # The kernel of another cell: its gradient is that of its own forward pass.
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b_i: p")
    def sine(h, x, W, U, b_i):
        return np.sin(W @ h + U @ x + b_i)

    kernel = ProgramKernel(api.load(sine))
    (report,) = check_kernel(api.load("elman_hidden"), kernel, seed=1)
    assert not report.passed


def test_a_lost_last_state_is_seen_by_its_cotangent_alone() -> None:
    def spoil(gradients: dict[str, Any], cotangents: dict[str, Any]) -> None:
        if np.any(cotangents["c_final"]):
            gradients["c0"] *= 0

    done = reports("lstm_packed", spoil_gradients=spoil)
    failing = [r.title.rpartition("cotangent of ")[2] for r in done if not r.passed]
    assert failing == ["c_final", "all outputs"]
    assert [r.name for r in done[3].rows if str(r.verdict) == "fail"] == ["c0"]


def test_cotangents_that_overwrite_each_other_are_seen_together() -> None:
    def spoil(gradients: dict[str, Any], cotangents: dict[str, Any]) -> None:
        if all(np.any(c) for c in cotangents.values()):
            gradients["h0"] *= 0.5

    assert [r.passed for r in reports("elman", spoil_gradients=spoil)] == [True] * 4 + [False]


@pytest.mark.parametrize("name", ["W", "U", "b_i", "V", "b_y", "x", "h0"])
def test_one_wrong_digit_in_any_gradient_is_found(name: str) -> None:
    def spoil(gradients: dict[str, Any], cotangents: dict[str, Any]) -> None:
        gradients[name].flat[-1] *= 1 + 1e-5

    network = api.load("elman")
    kernel = ProgramKernel(network, spoil_gradients=spoil)
    bad = [r for r in check_kernel(network, kernel, seed=1) if not r.passed]
    assert bad
    assert {row.name for r in bad for row in r.rows if str(row.verdict) == "fail"} == {name}


def test_a_wrong_loss_gradient_is_found() -> None:
    def spoil(gradients: dict[str, Any], cotangents: dict[str, Any]) -> None:
        if not cotangents:
            gradients["W"] += 1e-6

    done = reports("char_rnn", spoil_gradients=spoil)
    assert [r.title for r in done if not r.passed] == ["char_rnn: loss"]


def test_select_and_seed() -> None:
    network = api.load("elman")
    kernel = ProgramKernel(network)
    done = list(check_kernel(network, kernel, seed=5, select="W"))
    assert all([row.name for row in r.rows] == ["W"] for r in done[1:])
    assert {r.seed for r in done} == {5}
    with pytest.raises(UsageError, match="'W_q', which is no parameter"):
        list(check_kernel(network, kernel, seed=5, select="W_q"))


class Broken:
    """A kernel whose parts are replaced."""

    def __init__(self, system: str, **parts: Any) -> None:
        self.network = api.load(system)
        whole = ProgramKernel(self.network)
        self.forward, self.backward = whole.forward, whole.backward
        self.loss_and_gradients: Any = whole.loss_and_gradients
        for name, part in parts.items():
            setattr(self, name, part)


@pytest.mark.parametrize(
    ("system", "parts", "error", "message"),
    [
        ("gru", {"backward": None}, UsageError, "gru: the kernel has no function 'backward'"),
        ("char_rnn", {"loss_and_gradients": None}, UsageError, "no function 'loss_and_gradients'"),
        ("gru", {"forward": lambda p, i: 3}, UsageError, "must return"),
        ("gru", {"forward": lambda p, i: ({}, 0)}, UsageError, "no output 'h'"),
        (
            "gru",
            {"forward": lambda p, i: ({"h": np.ones(2), "h_final": np.ones(2)}, 0)},
            DimensionError,
            r"output 'h' has shape \(2,\), the definition's \(5, 4, 3\)",
        ),
        ("gru", {"backward": lambda *a: {}}, UsageError, "the gradient of 'W_r' is missing"),
    ],
)
def test_a_malformed_kernel_is_one_sentence(
    system: str, parts: dict[str, Any], error: type[GradcheckError], message: str
) -> None:
    broken = Broken(system, **parts)
    with pytest.raises(error, match=message):
        list(check_kernel(broken.network, broken, seed=1))


@pytest.mark.parametrize("system", api.names())
def test_points_tell_everything_apart(system: str) -> None:
    network = api.load(system)
    point = draw_point(network, 0)
    numbers = [*point.sizes.values(), *point.lengths.values(), point.batch]
    assert len(set(numbers)) == len(numbers)
    assert point.batch >= 2
    assert all(t >= 3 for t in point.lengths.values())
    for name, domain in network.domains.items():
        assert np.array_equal(point.values[name], domain.clip(point.values[name]))
    assert all(np.any(a) for a in point.values.values())
    again = draw_point(network, 0).values
    assert all(np.array_equal(a, again[n]) for n, a in point.values.items())


def test_an_output_that_is_not_finite_is_undecided() -> None:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
    def unguarded(h, x, W, U):
        return np.log(W @ h + U @ x)

    network = api.load(unguarded)
    with np.errstate(invalid="ignore"):
        first = next(check_kernel(network, ProgramKernel(network), seed=1))
    assert str(first.verdict) == "undecided"
    assert "declare where the values lie with domains" in first.rows[0].reason


def test_the_definition_runs_once_for_all_cotangents(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    def counted(*given: Any) -> Any:
        runs[-1] += 1
        return run(*given)

    monkeypatch.setattr(kernels, "run", counted)
    parts = []
    for count in (3, 6):
        network = api.layers("elman_hidden", count)
        runs.append(0)
        done = list(check_kernel(network, ProgramKernel(network), seed=1))
        assert all(r.passed for r in done)
        parts.append(len(done))
    assert parts[1] > 1.4 * parts[0]
    assert runs[1] < 1.3 * runs[0]


def test_a_part_that_asks_again_gets_another_run() -> None:
    point = draw_point(api.load("elman_hidden"), 1, 0)
    oracle = kernels._Oracle(point)
    first, again, other = (oracle.shared(b"here", n, point.values, {}, 1) for n in (1, 2, 1))
    assert other is first
    assert again is not first
