"""What no entry shows by itself: a line through all contradicts the gradient, and so do others."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_vjp
from gradcheck_rnn.verify import Verdict


def recurrence(seed: int, weight: float, carry: Any = float, at: str = "", by: float = 0.0) -> Any:
    """A report on an Elman network whose adjoint is carried in a format, with one entry off."""
    rng = np.random.default_rng(seed)
    T, B, p, d = 4, 2, 3, 2
    x, c = rng.normal(size=(T, B, d)), rng.normal(size=(T, B, p))
    P = {
        "W": weight * rng.normal(size=(p, p)), "U": rng.normal(size=(p, d)),
        "h0": rng.normal(size=(B, p)),
    }  # fmt: skip

    def states(P: Any) -> list[Any]:
        h = [P["h0"]]
        for x_t in x:
            h.append(np.tanh(h[-1] @ P["W"].T + x_t @ P["U"].T))
        return h

    def gradient(P: Any) -> Any:
        h, g, dh = states(P), {n: np.zeros_like(a) for n, a in P.items()}, np.zeros((B, p))
        for t in reversed(range(T)):
            da = (dh + c[t]) * (1 - h[t + 1] ** 2)
            g["W"] += da.T @ h[t]
            g["U"] += da.T @ x[t]
            dh = (da @ P["W"]).astype(carry).astype(float)
        g["h0"] = dh
        if at:
            g[at][0, 1] += by
        return g

    return check_gradient(
        lambda P: sum(float(np.sum(a * h)) for a, h in zip(c, states(P)[1:], strict=True)),
        gradient, P,
    )  # fmt: skip


@pytest.mark.parametrize("weight", [0.5, 0.05])
def test_a_carry_in_single_precision(weight: float) -> None:
    """Below the resolution of every entry where little is carried."""
    for seed in range(6):
        assert recurrence(seed, weight).passed
        report = recurrence(seed, weight, np.float32)
        assert report.verdict is Verdict.FAIL, str(report)


def test_what_is_said_of_one_entry_holds() -> None:
    """A fault above what a passing report says would show on a line does show."""
    for seed in range(6):
        right = recurrence(seed, 0.1)
        assert right.passed
        for row in right.rows:
            found = re.search(r"one entry alone above (\S+) shows on a line", row.missed)
            assert found is not None
            wrong = recurrence(seed, 0.1, at=row.name, by=1.1 * float(found[1]))
            assert wrong.verdict is Verdict.FAIL, str(wrong)
            assert "along 2 random lines" in str(wrong) or f" of {row.entries} entries" in str(
                wrong
            )


def test_what_the_moves_themselves_round_is_part_of_the_bound_of_a_line() -> None:
    """A power of 60 changes by 60 units where a parameter is rounded by one."""
    x, n = np.random.default_rng(0).normal(size=3), 60
    report = check_vjp(
        lambda x, w: (x * w**n, (x, w)),
        lambda g, c: (g * c[1] ** n, (g * c[0]).sum() * n * c[1] ** (n - 1)),
        (x, np.array(3.0)),
    )
    assert report.passed, str(report)
