"""Small models whose dynamics are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradcheck_rnn import cells
from gradcheck_rnn.dynamics.initialisation import build
from gradcheck_rnn.dynamics.system import Model, System
from gradcheck_rnn.language import cell, tanh
from gradcheck_rnn.language.network import as_network

SIZES = {"d": 2, "p": 3, "q": 4, "m": 5, "k": 6, "v": 7, "e": 6, "p_1": 3, "p_2": 4}
SIZES |= {"p_fwd": 3, "p_bwd": 4, "n": 4, "H": 2}


def zoo(name: str, steps: int | None = None, **options: Any) -> Model:
    """A zoo network with pairwise different sizes."""
    network = cells.get(name)
    sizes = options.pop("sizes", {n: SIZES[n] for n in network.dims})
    return build(network, sizes=sizes, **options)


def linear(w: np.ndarray[Any, Any]) -> System:
    """h = W h₋ + U x."""
    p = len(w)
    model = build(cells.get("linear"), sizes={"p": p, "d": 2}, parameters={"W": w})
    return model.systems()[0]


@cell(states="h: p", params="J: p p")
def tanh_map(h: Any, J: Any) -> Any:
    """Random neural network h = J tanh(h₋)."""
    h = J @ tanh(h)
    return h  # noqa: RET504


def random_network(n: int, g: float, seed: int) -> System:
    """x ↦ J tanh x with J_ij of variance g²/n, as a system."""
    rng = np.random.default_rng(seed)
    given: Mapping[str, Any] = {
        "J": rng.standard_normal((n, n)) * g / np.sqrt(n),
        "h0": rng.standard_normal(n),
    }
    return build(as_network(tanh_map), parameters=given).systems()[0]
