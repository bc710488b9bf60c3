"""A gradient that is clipped inside the function under test is told to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify import Report
from gradcheck_rnn.verify.verdict import Verdict

POINT = {"W": np.linspace(-1, 1, 6).reshape(2, 3), "b": np.array([0.3, 0.4])}


def loss(p: Any) -> Any:
    return 0.5 * (p["W"] ** 2).sum() + np.sin(p["b"]).sum()


def gradient(p: Any) -> Any:
    return {"W": p["W"].copy(), "b": np.cos(p["b"])}


def kinds(report: Report) -> set[str]:
    return {f.kind for f in report.findings}


def test_entries_cut_at_one_size() -> None:
    report = check_gradient(
        loss, lambda p: {n: np.clip(g, -0.5, 0.5) for n, g in gradient(p).items()}, POINT
    )
    assert report.verdict is Verdict.FAIL
    (said,) = [f.message for f in report.findings if f.kind == "clipped"]
    assert said.startswith("the wrong entries are all ±0.5 and should be larger")


def test_a_norm_cut_is_a_common_factor() -> None:
    def clipped(p: Any) -> Any:
        g = gradient(p)
        norm = np.sqrt(sum((v**2).sum() for v in g.values()))
        return {n: v / norm for n, v in g.items()}

    report = check_gradient(loss, clipped, POINT)
    (said,) = [f.message for f in report.findings if f.kind == "common-factor"]
    assert "clipped by its norm?" in said


def test_other_wrong_gradients_are_not_called_clipped() -> None:
    for wrong in (
        lambda p: {n: 0.5 * g for n, g in gradient(p).items()},
        lambda p: {n: np.full_like(g, 0.5) for n, g in gradient(p).items()},
        lambda p: {n: np.clip(g, -0.5, 2) for n, g in gradient(p).items()} | {"b": np.ones(2)},
        gradient,
    ):
        assert "clipped" not in kinds(check_gradient(loss, wrong, POINT))
