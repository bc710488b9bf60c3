"""Labels of another class or step, and smoothed ones, in a loss and in its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.blind_faults import check
from benchmarks.blind_fifth import cifg
from gradcheck_rnn import check_model

CLASS = 'dy[np.arange(n), a["labels"][:, t]] -= 1'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            'dy[np.arange(n), a["labels"][:, t] - 1] -= 1',
            "the class before that of target_t, the first one counted as the last",
        ),
        (
            'dy[np.arange(n), a["labels"][:, t]] -= 0.9; dy -= 0.1 / dy.shape[1]',
            "smoothed labels 0.9 · target_t + 0.1 / q",
        ),
    ],
)
def test_labels_in_a_gradient_are_named(line: str, words: str) -> None:
    report = check("cifg", [(CLASS, line)])
    assert [f"δy_t with {words} instead of target_t" in m.message
            for m in report.diagnosis.matches] == [True]  # fmt: skip


def _smoothed(a: dict[str, Any]) -> float:
    classes = [
        cifg.loss({**a, "labels": np.full_like(a["labels"], k)}) for k in range(len(a["by"]))
    ]
    return float(0.9 * cifg.loss(a) + 0.1 * np.mean(classes))


def _class_before(a: dict[str, Any]) -> float:
    return cifg.loss({**a, "labels": (a["labels"] - 1) % len(a["by"])})


def _step_after(a: dict[str, Any]) -> float:
    return cifg.loss({**a, "labels": np.roll(a["labels"], -1, axis=1)})


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (_smoothed, "that of smoothed labels, 0.9 times target and 0.1 shared by all classes"),
        (_class_before, "with target of the class before it, counted round the ends"),
        (_step_after, "with target of the step after, counted round the ends"),
    ],
)
def test_labels_in_a_loss_are_named(loss: Callable[[dict[str, Any]], float], words: str) -> None:
    model, layout = cifg.MODEL
    report = check_model(model, gradient=cifg.gradient, loss=loss, layout=layout)
    (found,) = [f for f in report.findings if f.kind == "other-function"]
    assert words in found.message
