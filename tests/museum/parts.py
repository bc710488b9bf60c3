"""Forward passes that several exhibits share, and arrays to run them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def normal(scale: float = 1.0, **shapes: Any) -> Arrays:
    """Arrays of normal numbers, in the shapes given by name."""
    rng = np.random.default_rng(20)
    return {name: scale * rng.normal(size=shape) for name, shape in shapes.items()}


def lstm_forward(x: Any, h0: Any, c0: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Arrays, Any]:
    """An LSTM as in lectures: x (B, T, d), gates packed in the order i, f, o, g."""
    h, c, hs, steps = h0, c0, [], []
    for t in range(x.shape[1]):
        i, f, o, g = np.split(x[:, t] @ Wx + h @ Wh + b, 4, axis=1)
        i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
        h_prev, c_prev, c = h, c, f * c + i * g
        h = o * np.tanh(c)
        steps.append((i, f, o, g, c, c_prev, h, h_prev))
        hs.append(h)
    return {"h": np.stack(hs, axis=1), "h_T": h, "c_T": c}, (steps, x, Wx, Wh)


Local = Callable[[Any, Any, Any], tuple[Any, Any]]


def lstm_step(dh: Any, dc: Any, step: Any) -> tuple[Any, Any]:
    """The right step: adjoints of h and c to those of the four pre-activations and of c before."""
    i, f, o, g, c, c_prev, _, _ = step
    th = np.tanh(c)
    dc = dc + dh * o * (1 - th**2)
    da = [dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dh * th * o * (1 - o)]
    return np.concatenate([*da, dc * i * (1 - g**2)], axis=1), dc * f


def lstm_backward(local: Local, seen: int = 7) -> Callable[[Arrays, Any], Arrays]:
    """The backward pass around one step; `seen` is the state that dWh reads (7 is h before)."""

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        steps, x, Wx, Wh = saved
        dh, dc = cotangents["h_T"], cotangents["c_T"]
        dx, dWx, dWh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh)
        db = np.zeros(Wx.shape[1], dtype=x.dtype)
        for t in reversed(range(len(steps))):
            da, dc = local(dh + cotangents["h"][:, t], dc, steps[t])
            dx[:, t], dh = da @ Wx.T, da @ Wh.T
            dWx += x[:, t].T @ da
            dWh += steps[t][seen].T @ da
            db += da.sum(axis=0)
        return {"x": dx, "h0": dh, "c0": dc, "Wx": dWx, "Wh": dWh, "b": db}

    return backward


def elman_forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any) -> tuple[Arrays, Any]:
    """An Elman network in the definition's names: x (T, B, d), h0 (B, p), W (p, p), U (p, d)."""
    h = [h0]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
    return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, np.stack(h), W, U)
