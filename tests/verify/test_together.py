"""One direction through several blocks: cheap where all are right, and no place to hide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify import Report, Verdict

Floats = NDArray[np.float64]
SHAPES = {"a": (4, 7), "b": (9,), "c": (3, 5, 2), "d": (6, 2), "e": (11,), "s": (), "t": (2,)}
P = {n: np.random.default_rng(k).normal(size=s) for k, (n, s) in enumerate(SHAPES.items())}
SIZES = {"a": 1.0, "b": 0.3, "c": 3.0, "d": 1.0, "e": 1.0, "s": 1.0, "t": 1.0}


def loss(p: dict[str, Floats]) -> float:
    return float(sum(SIZES[n] * np.sum(np.sin(k + v)) for k, (n, v) in enumerate(p.items())))


def gradient(p: dict[str, Floats]) -> dict[str, Floats]:
    return {n: np.asarray(SIZES[n] * np.cos(k + v)) for k, (n, v) in enumerate(p.items())}


def check(fault: Callable[[dict[str, Floats]], dict[str, Floats]], seed: int = 0) -> Report:
    def claim(p: dict[str, Floats]) -> dict[str, Floats]:
        return gradient(p) | fault(gradient(p))

    return check_gradient(loss, claim, P, mode="directional", seed=seed)


def test_blocks_that_are_right_share_their_losses() -> None:
    report = check(lambda g: {})
    assert report.passed
    # eight for five blocks, three for each of two small ones
    assert report.evaluations == 8 + 2 * 3
    assert all(row.probes and row.resolution < 1e-3 for row in report.rows)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("factor", [1.01, -1.0])
def test_a_fault_of_one_block_is_found_and_no_other_is_blamed(name: str, factor: float) -> None:
    report = check(lambda g: {name: factor * g[name]})
    failing = [row.name for row in report.rows if row.verdict is Verdict.FAIL]
    assert failing == [name]
    assert all(row.verdict is Verdict.PASS for row in report.rows if row.name != name)


@pytest.mark.parametrize("seed", range(4))
def test_faults_of_two_blocks_do_not_cancel(seed: int) -> None:
    """Two scalars, the same fault in both: a common direction would miss it every other time."""
    pair = {"s": np.array(0.3), "u": np.array(0.3), "a": P["a"]}

    def wrong(p: dict[str, Floats]) -> dict[str, Floats]:
        g = {n: np.asarray(np.cos(v)) for n, v in p.items()}
        return g | {"s": 1.1 * g["s"], "u": 1.1 * g["u"]}

    report = check_gradient(
        lambda p: float(sum(np.sum(np.sin(v)) for v in p.values())), wrong, pair,
        mode="directional", seed=seed,
    )  # fmt: skip
    assert [row.name for row in report.rows if row.verdict is Verdict.FAIL] == ["s", "u"]
    both = check(lambda g: {"a": 1.01 * g["a"], "d": 0.99 * g["d"]}, seed)
    assert [row.name for row in both.rows if row.verdict is Verdict.FAIL] == ["a", "d"]


def test_a_kink_in_one_block_leaves_the_others_alone() -> None:
    at = {"a": P["a"], "d": P["d"], "z": np.zeros(5)}

    def bent(p: dict[str, Floats]) -> float:
        return float(np.sum(np.sin(p["a"])) + np.sum(np.sin(p["d"])) + np.sum(np.abs(p["z"])))

    report = check_gradient(
        bent, lambda p: {"a": np.cos(p["a"]), "d": np.cos(p["d"]), "z": np.ones(5)}, at,
        mode="directional",
    )  # fmt: skip
    assert [row.verdict is Verdict.PASS for row in report.rows] == [True, True, False]
