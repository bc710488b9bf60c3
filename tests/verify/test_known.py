"""What a user's loss is called by its attributes is nobody's business but the user's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.verify import Verdict, check_gradient


class Net:
    """A network with attributes that losses of this package have, too."""

    depth = "three"
    derivatives = None
    reads = 0

    def __call__(self, p: dict[str, Any]) -> Any:
        return np.tanh(p["W"] @ p["x"]).sum() + 0 * p["b"].sum()

    def many(self) -> str:
        return "layers"

    def gradient(self, p: dict[str, Any]) -> dict[str, Any]:
        slope = 1 - np.tanh(p["W"] @ p["x"]) ** 2
        return {"W": np.outer(slope, p["x"]), "x": p["W"].T @ slope, "b": np.zeros(3)}


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_attributes_of_a_user_are_not_taken_for_ours(mode: str) -> None:
    rng, net = np.random.default_rng(2), Net()
    point = {"W": rng.normal(size=(3, 4)), "x": rng.normal(size=4), "b": rng.normal(size=3)}
    assert check_gradient(net, net.gradient, point, mode=mode).passed

    def wrong(p: dict[str, Any]) -> dict[str, Any]:
        return {**net.gradient(p), "x": p["W"].T @ np.tanh(p["W"] @ p["x"])}

    assert check_gradient(net, wrong, point, mode=mode).verdict is Verdict.FAIL
