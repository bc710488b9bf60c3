"""A selective scan (the recurrence of Mamba) in channels-first arrays, with the states kept.

Arrays are as the layer has them: u and delta (batch, dim, time), B and C (batch, state, time), A
(dim, state), D (dim,). The loop runs over time alone; gradients of A and D are summed over batch
and time.

    gradcheck-rnn verify examples/selective_scan.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load


def selective_scan_forward(u, delta, B, C, A, D, state):
    """y (batch, dim, time), the last state (batch, dim, state), and what backward needs."""
    xs = [state]
    y = np.empty_like(u)
    for t in range(u.shape[2]):
        a = np.exp(delta[:, :, t, None] * A)
        x = a * xs[-1] + (delta[:, :, t] * u[:, :, t])[:, :, None] * B[:, None, :, t]
        xs.append(x)
        y[:, :, t] = np.einsum("bdn,bn->bd", x, C[:, :, t]) + D * u[:, :, t]
    return y, xs[-1], (u, delta, B, C, A, D, xs)


def selective_scan_backward(dy, dlast, saved):
    """Gradients of all arguments from dy (batch, dim, time) and dlast (batch, dim, state)."""
    u, delta, B, C, A, D, xs = saved
    du, ddelta = dy * D[:, None], np.empty_like(delta)
    dB, dC, dA = np.empty_like(B), np.empty_like(C), np.zeros_like(A)
    dx = dlast.copy()
    for t in reversed(range(u.shape[2])):
        step = delta[:, :, t]
        a = np.exp(step[:, :, None] * A)
        dC[:, :, t] = np.einsum("bd,bdn->bn", dy[:, :, t], xs[t + 1])
        dx += dy[:, :, t, None] * C[:, None, :, t]
        da = dx * a * xs[t]  # with respect to delta A
        written = np.einsum("bdn,bn->bd", dx, B[:, :, t])
        ddelta[:, :, t] = (da * A).sum(axis=2) + written * u[:, :, t]
        du[:, :, t] += written * step
        dB[:, :, t] = np.einsum("bdn,bd->bn", dx, step * u[:, :, t])
        dA += (da * step[:, :, None]).sum(axis=0)
        dx *= a
    return {
        "u": du,
        "delta": ddelta,
        "B": dB,
        "C": dC,
        "A": dA,
        "D": (dy * u).sum(axis=(0, 2)),
        "state": dx,
    }


LAYOUT = Layout(
    parameters={"A": "A", "D": "D"},
    inputs={
        "u": "u: B n T",
        "delta": "delta: B n T",
        "B": "B: B n T",
        "C": "C: B n T",
        "state": "S0: B n m",
    },
    outputs={"y": "y: B n T", "last": "S_final: B n m"},
)


@gradient_case(model=load("selective_scan"), layout=LAYOUT)
def selective_scan():
    """The scan beside the equations of the zoo."""

    def forward(**arrays):
        y, last, saved = selective_scan_forward(**arrays)
        return {"y": y, "last": last}, saved

    def backward(cotangents, saved):
        return selective_scan_backward(cotangents["y"], cotangents["last"], saved)

    return forward, backward
