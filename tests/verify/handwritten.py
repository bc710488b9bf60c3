"""Small recurrent networks with gradients written by hand, as the checker's users write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Params = dict[str, Any]


def elman_problem(
    rng: np.random.Generator,
    *,
    d: int = 2,
    p: int = 3,
    q: int = 4,
    T: int = 5,
    B: int = 2,
    dtype: Any = np.float64,
    scale: float = 0.6,
    offset: float = 0.0,
    activation: str = "tanh",
    last_only: bool = False,
) -> tuple[Callable, Callable, Params]:
    """Loss, gradient and parameters of h = phi(W h + U x + b), squared error on V h.

    The gradient takes keyword faults, see the body.
    """
    x = rng.normal(size=(T, B, d)).astype(dtype)
    target = rng.normal(size=(T, B, q)).astype(dtype)
    params = {
        "W": rng.normal(size=(p, p)) * scale / np.sqrt(p),
        "U": rng.normal(size=(p, d)) * scale,
        "b": rng.normal(size=p) * 0.1,
        "V": rng.normal(size=(q, p)) * scale,
        "h0": rng.normal(size=(B, p)) * 0.5,
    }
    params = {k: v.astype(dtype) for k, v in params.items()}

    def phi(z: Any) -> Any:
        return np.tanh(z) if activation == "tanh" else z * (z > 0)

    def forward(P: Params) -> tuple[Any, list[Any], list[Any]]:
        h, hs, ys = P["h0"], [P["h0"]], []
        for t in range(T):
            h = phi(h @ P["W"].T + x[t] @ P["U"].T + P["b"])
            hs.append(h)
            ys.append(h @ P["V"].T - target[t])
        return h, hs, ys

    def loss(P: Params) -> Any:
        _, _, ys = forward(P)
        total = sum(np.sum(y * y) for y in (ys[-1:] if last_only else ys)) * dtype(0.5)
        return total + dtype(offset)

    def gradient(
        P: Params,
        *,
        truncate: int | None = None,
        transpose: bool = False,
        drop_phi: bool = False,
        lag: bool = False,
        overwrite: bool = False,
    ) -> Params:
        _, hs, ys = forward(P)
        g = {k: np.zeros_like(v) for k, v in P.items()}
        carry = np.zeros_like(P["h0"])
        for t in reversed(range(T)):
            y = ys[t] if (not last_only or t == T - 1) else np.zeros_like(ys[t])
            g["V"] += y.T @ hs[t + 1]
            dh = y @ P["V"] + carry
            h = hs[t + 1]
            dz = dh * ((1 - h * h) if activation == "tanh" else (h > 0))
            if drop_phi:
                dz = dh
            g["W"] += dz.T @ hs[t + 1 if lag else t]
            g["U"] = dz.T @ x[t] if overwrite else g["U"] + dz.T @ x[t]
            g["b"] += dz.sum(0)
            carry = dz @ (P["W"].T if transpose else P["W"])
            if truncate is not None and (T - t) % truncate == 0:
                carry = np.zeros_like(carry)
        g["h0"] += carry
        return g

    return loss, gradient, params


def lstm_problem(
    rng: np.random.Generator,
    *,
    d: int = 2,
    p: int = 3,
    T: int = 4,
    B: int = 2,
    dtype: Any = np.float64,
    scale: float = 0.7,
) -> tuple[Callable, Callable, Params]:
    """LSTM without peepholes, gates i f o g packed by rows; linear loss in h_t, c_T.

    Sigmoid is written in exp, so that complex input works.
    """
    x = rng.normal(size=(T, B, d)).astype(dtype)
    ch = rng.normal(size=(T, B, p)).astype(dtype)
    cc = rng.normal(size=(B, p)).astype(dtype)
    params = {
        "W": rng.normal(size=(4 * p, p)) * scale,
        "U": rng.normal(size=(4 * p, d)) * scale,
        "b": rng.normal(size=4 * p) * 0.3,
        "h0": rng.normal(size=(B, p)) * 0.5,
        "c0": rng.normal(size=(B, p)) * 0.5,
    }
    params = {k: v.astype(dtype) for k, v in params.items()}

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    def forward(P: Params) -> tuple[Any, list[Any]]:
        h, c, saved = P["h0"], P["c0"], []
        total = dtype(0)
        for t in range(T):
            z = h @ P["W"].T + x[t] @ P["U"].T + P["b"]
            i, f, o = (sigmoid(z[:, k * p : (k + 1) * p]) for k in range(3))
            g = np.tanh(z[:, 3 * p :])
            new = f * c + i * g
            saved.append((h, c, i, f, o, g, new))
            h, c = o * np.tanh(new), new
            total = total + np.sum(ch[t] * h)
        return total + np.sum(cc * c), saved

    def loss(P: Params) -> Any:
        return forward(P)[0]

    def gradient(P: Params, *, lose_c: bool = False, forget: bool = False) -> Params:
        _, saved = forward(P)
        grads = {k: np.zeros_like(v) for k, v in P.items()}
        dh = np.zeros_like(P["h0"])
        dc = np.zeros_like(cc) if lose_c else cc.copy()
        for t in reversed(range(T)):
            h, c, i, f, o, g, new = saved[t]
            dh = dh + ch[t]
            tc = np.tanh(new)
            dc = dc + dh * o * (1 - tc * tc)
            df = dc * c * (1 if forget else f * (1 - f))
            dz = np.concatenate(
                [dc * g * i * (1 - i), df, dh * tc * o * (1 - o), dc * i * (1 - g * g)], axis=1
            )
            grads["W"] += dz.T @ h
            grads["U"] += dz.T @ x[t]
            grads["b"] += dz.sum(0)
            dh, dc = dz @ P["W"], dc * f
        grads["h0"], grads["c0"] = dh, dc
        return grads

    return loss, gradient, params
