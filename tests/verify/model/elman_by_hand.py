"""A right Elman forward and backward in the names of `elman_hidden`, with faults to order."""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = dict[str, Any]


def forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any) -> tuple[Arrays, Any]:
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, np.stack(h), W, U)


def backward(cotangents: Arrays, saved: Any, cut: int | None = None) -> Arrays:
    """Nothing is carried across a multiple of ``cut`` steps."""
    x, h, W, U = saved
    dh = cotangents["h_final"]
    g: Arrays = {"W": 0.0, "U": 0.0, "b_i": 0.0, "x": np.empty_like(x)}
    for t in reversed(range(len(x))):
        da = (cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
        g["W"] = g["W"] + da.T @ h[t]
        g["U"] = g["U"] + da.T @ x[t]
        g["b_i"] = g["b_i"] + da.sum(0)
        g["x"][t], dh = da @ U, da @ W
        if cut and t and t % cut == 0:
            dh = np.zeros_like(dh)
    return g | {"h0": dh}
