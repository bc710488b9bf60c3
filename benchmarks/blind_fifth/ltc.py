"""A liquid time-constant network: three semi-implicit Euler substeps of the time that went by."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid
from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import repeat
from gradcheck_rnn.language import sigmoid as gate

SUBSTEPS = 3


@cell(
    inputs="x: d",
    data="dt:",
    states="h: p",
    params="W: p p; U: p d; b A tau: p",
    domains={"dt": "(0, 1)", "tau": ">= 1"},
)
def liquid_substeps(x, dt, h, W, U, b, A, tau):
    drive = U @ x + b
    step = dt / SUBSTEPS

    def solve(h):
        f = gate(W @ h + drive)
        return (h + step * f * A) / (1 + step * (1 / tau + f))

    return repeat(SUBSTEPS, solve, h)


def forward(x, dt, h0, W, U, b, A, tau):
    h, hs, tape = h0, [], []
    for t in range(len(x)):
        step = dt[t][:, None] / SUBSTEPS
        drive = x[t] @ U.T + b
        inner = []
        for _ in range(SUBSTEPS):
            f = sigmoid(h @ W.T + drive)
            den = 1 + step * (1 / tau + f)
            new = (h + step * f * A) / den
            inner.append((h, f, den, new))
            h = new
        hs.append(h)
        tape.append(inner)
    return {"h": np.stack(hs), "h_T": h}, (x, dt, W, U, A, tau, tape)


def backward(cot, saved):
    x, dt, W, U, A, tau, tape = saved
    dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros_like(A)
    dA, dtau, dx = np.zeros_like(A), np.zeros_like(tau), np.zeros_like(x)
    dh = cot["h_T"]
    for t in reversed(range(len(x))):
        dh = dh + cot["h"][t]
        step = dt[t][:, None] / SUBSTEPS
        ddrive = 0
        for h, f, den, new in reversed(tape[t]):
            dnum = dh / den
            dden = -dh * new / den
            df = step * (dnum * A + dden)
            dA += (dnum * step * f).sum(axis=0)
            dtau -= (dden * step).sum(axis=0) / tau**2
            da = df * f * (1 - f)
            dW += da.T @ h
            ddrive = ddrive + da
            dh = dnum + da @ W
        dU += ddrive.T @ x[t]
        db += ddrive.sum(axis=0)
        dx[t] = ddrive @ U
    return {"x": dx, "h0": dh, "W": dW, "U": dU, "b": db, "A": dA, "tau": dtau}


MODEL = (
    liquid_substeps,
    Layout(
        {k: k for k in ("W", "U", "b", "A", "tau")},
        {"x": "x: T B n", "dt": "dt: T B", "h0": "h0"},
        {"h": "h: T B n", "h_T": "h_final"},
    ),
)
