"""Model mode calls code through the same guard as the other checks, and says the same sentences."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_model, load
from gradcheck_rnn.verify.guard import STATE


def forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any) -> Any:
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, np.stack(h), W, U)


def backward(cotangents: Any, saved: Any) -> Any:
    x, h, W, U = saved
    dh = cotangents["h_final"]
    g = {"W": 0.0, "U": 0.0, "b_i": 0.0, "x": np.empty_like(x)}
    for t in reversed(range(len(x))):
        da = (cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
        g["W"] = g["W"] + da.T @ h[t]
        g["U"] = g["U"] + da.T @ x[t]
        g["b_i"] = g["b_i"] + da.sum(0)
        g["x"][t], dh = da @ U, da @ W
    return g | {"h0": dh}


def check(forward: Any = forward, backward: Any = backward) -> Any:
    return check_model(load("elman_hidden"), forward=forward, backward=backward, plan="point")


def faults(report: Any) -> dict[str, str]:
    return {f.kind: f.message for f in report.findings if f.fatal}


def test_right_code_passes() -> None:
    report = check()
    assert report.passed, str(report)
    assert not faults(report)


def test_cotangents_inputs_and_caches() -> None:
    def eats(cotangents: Any, saved: Any) -> Any:
        found = backward(cotangents, saved)
        cotangents["h"] *= 2
        return found

    def spoils(index: int) -> Any:
        def spoiled(cotangents: Any, saved: Any) -> Any:
            found = backward(cotangents, saved)
            saved[index][...] *= 2
            return found

        return spoiled

    assert (
        "backward changes its cotangents in place"
        in faults(check(backward=eats))["mutated-cotangent"]
    )
    said = faults(check(backward=spoils(2)))["mutated-input"]
    assert said == "backward changes its argument 'W' in place; it should work on a copy"
    report = check(backward=spoils(1))
    assert report.passed, "a cache is for one call"
    assert [f.message for f in report.findings if f.kind == "mutated-cache"] == [
        "backward changes the cache; a second call would differ"
    ]


@pytest.mark.parametrize("who", ["forward", "backward"])
def test_exits(who: str) -> None:
    report = check(**{who: lambda *_, **__: sys.exit(0)})
    assert faults(report) == {"exits": f"{who} called sys.exit(0); it must return"}


def test_state_and_closed_over_data() -> None:
    scale = np.ones(1)

    def scaled(**arrays: Any) -> Any:
        out, saved = forward(**arrays)
        return {n: a * scale[0] for n, a in out.items()}, saved

    def grows(**arrays: Any) -> Any:
        scale[0] += 1
        return scaled(**arrays)

    def writes(cotangents: Any, saved: Any) -> Any:
        scale[0] = 1.5
        return backward(cotangents, saved)

    assert faults(check(forward=grows)) == {"state": f"forward {STATE} ('scale')"}
    scale[0] = 1.0
    said = faults(check(forward=scaled, backward=writes))["mutated-data"]
    assert "backward changes 'scale' in place, and forward then gives another value" in said

    total: dict[str, Any] = {}

    def adds(cotangents: Any, saved: Any) -> Any:
        for n, g in backward(cotangents, saved).items():
            total[n] = g + total.get(n, 0.0)
        return total

    assert f"backward {STATE}" in faults(check(backward=adds))["state"]


def test_what_is_not_returned_is_not_called_right() -> None:
    def partial(cotangents: Any, saved: Any) -> Any:
        found = backward(cotangents, saved)
        del found["h0"]
        return found | {"b_i": 2 * found["b_i"]}

    report = check_model(load("elman_hidden"), forward=forward, backward=partial)
    right = [line for line in report.diagnosis.where if line.startswith("right (")]
    assert right
    assert not [line for line in right if "dh0" in line]
