"""An LSTM as one writes it by hand in NumPy: packed gates, one product a step, in place.

The yardstick of `bench_kernels` for what NumPy gives without a generator. No masks, no checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["hand_written", "products"]


def hand_written(given: dict[str, Any], g_h: Any) -> Callable[[], Any]:
    """One forward and backward pass; arrays by name as the generated module takes them."""
    x, h0, c0 = given["x"], given["h0"], given["c0"]
    (steps, batch, d), p, dtype = x.shape, h0.shape[-1], x.dtype
    rows = steps * batch

    def run() -> Any:
        W, U, b = (np.concatenate([given[f"{k}_{g}"] for g in "ifoc"]) for k in "WUb")
        W_T = np.ascontiguousarray(W.T)
        gates = (x.reshape(rows, d) @ U.T).reshape(steps, batch, 4 * p)
        gates += b
        h, c = (np.empty((steps + 1, batch, p), dtype) for _ in range(2))
        tanh_c = np.empty((steps, batch, p), dtype)
        product, work = np.empty((batch, 4 * p), dtype), np.empty((batch, p), dtype)
        h[0], c[0] = h0, c0
        for t in range(steps):
            g = gates[t]
            np.matmul(h[t], W_T, out=product)
            g += product
            # σ(x) = (1 + tanh(x/2))/2: one tanh for all four gates.
            sigmoids = g[:, : 3 * p]
            sigmoids *= 0.5
            np.tanh(g, out=g)
            sigmoids *= 0.5
            sigmoids += 0.5
            i, f, o, c_tilde = (g[:, k * p : (k + 1) * p] for k in range(4))
            np.multiply(f, c[t], out=c[t + 1])
            np.multiply(i, c_tilde, out=work)
            c[t + 1] += work
            np.tanh(c[t + 1], out=tanh_c[t])
            np.multiply(o, tanh_c[t], out=h[t + 1])
        d_gates = np.empty_like(gates)
        d_h, d_c = (np.zeros((batch, p), dtype) for _ in range(2))
        for t in reversed(range(steps)):
            g, delta = gates[t], d_gates[t]
            i, f, o, c_tilde = (g[:, k * p : (k + 1) * p] for k in range(4))
            d_h += g_h[t]
            np.multiply(tanh_c[t], tanh_c[t], out=work)
            np.subtract(1, work, out=work)
            work *= o
            work *= d_h
            d_c += work
            np.multiply(d_c, c_tilde, out=delta[:, :p])
            np.multiply(d_c, c[t], out=delta[:, p : 2 * p])
            np.multiply(d_h, tanh_c[t], out=delta[:, 2 * p : 3 * p])
            np.multiply(d_c, i, out=delta[:, 3 * p :])
            sigmoids, inner = g[:, : 3 * p], delta[:, : 3 * p]
            np.subtract(1, sigmoids, out=product[:, : 3 * p])
            inner *= sigmoids
            inner *= product[:, : 3 * p]
            np.multiply(c_tilde, c_tilde, out=work)
            np.subtract(1, work, out=work)
            delta[:, 3 * p :] *= work
            np.matmul(delta, W, out=d_h)
            d_c *= f
        flat = d_gates.reshape(rows, 4 * p)
        d_x = flat @ U
        return d_x, flat.T @ h[:-1].reshape(rows, p), flat.T @ x.reshape(rows, d), flat.sum(0)

    return run


def products(given: dict[str, Any]) -> Callable[[], Any]:
    """Only the matrix products of an LSTM's two passes: what no NumPy code can be faster than."""
    x = given["x"]
    (steps, batch, d), p, dtype = x.shape, given["h0"].shape[-1], x.dtype
    rows = steps * batch
    W, U = (np.concatenate([given[f"{k}_{g}"] for g in "ifoc"]) for k in "WU")
    W_T = np.ascontiguousarray(W.T)
    h, gates = np.ones((steps, batch, p), dtype), np.ones((steps, batch, 4 * p), dtype)
    a_step, h_step = np.empty((batch, 4 * p), dtype), np.empty((batch, p), dtype)
    flat, out = gates.reshape(rows, 4 * p), np.empty((rows, 4 * p), dtype)
    d_x, d_W, d_U = np.empty((rows, d), dtype), np.empty_like(W), np.empty_like(U)

    def run() -> Any:
        np.matmul(x.reshape(rows, d), U.T, out=out)
        for t in range(steps):
            np.matmul(h[t], W_T, out=a_step)
        for t in range(steps):
            np.matmul(gates[t], W, out=h_step)
        np.matmul(flat, U, out=d_x)
        np.matmul(flat.T, h.reshape(rows, p), out=d_W)
        np.matmul(flat.T, x.reshape(rows, d), out=d_U)

    return run
